"""Hides optional dependencies during import, so that libraries skip optional integrations, which saves memory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Imports within the block do not find `packages`, as if they were not installed.

    A package that is already imported is still found. Only for a process with a single thread.
    """
    hidden = [package for package in packages if package not in sys.modules]
    for package in hidden:
        sys.modules[package] = None  # type: ignore[assignment] # so says the import system's reference
    try:
        yield
    finally:
        for package in hidden:
            del sys.modules[package]
