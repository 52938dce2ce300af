"""Importing less: packages that others use where they find them, and that we would only keep in memory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Have what is imported within find none of `packages`, as if they were not installed.

    One that is imported already is found. Only for a process with a single thread.
    """
    hidden = [package for package in packages if package not in sys.modules]
    for package in hidden:
        sys.modules[package] = None  # type: ignore[assignment] # so says the import system's reference
    try:
        yield
    finally:
        for package in hidden:
            del sys.modules[package]
