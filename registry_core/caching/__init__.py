"""Caches: values that are good while the generations they were read under stay the same."""
