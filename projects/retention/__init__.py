"""Retention: rules that say which artifacts of a project stay; all others are deleted when the policy runs."""
