"""Parsers for charts, models and images that run in the sandbox: pure functions of bytes that import as little as
possible.

`projects.readers` sets the limits of each.
"""
