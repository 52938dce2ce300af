"""Immutability rules: tags that can be neither moved nor deleted."""
