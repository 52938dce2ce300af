"""What a long operation says while it runs, and how it learns that it is to end.

A job that runs such an operation satisfies the protocol; `Lines` is for commands and tests.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from django.db import transaction


class Reporter(Protocol):
    """Whoever runs the operation."""

    def log(self, line: str) -> None:
        """A line for people."""
        ...

    def progress(self, done: int, total: int) -> None:
        """How much is done, in units of the operation."""
        ...

    def check(self) -> None:
        """Go on by returning; called at least once a second. Raises to end the operation."""
        ...

    def fenced(self) -> AbstractContextManager[None]:
        """A transaction that commits only while the operation may still change anything. Raises to end it."""
        ...


class Lines:
    """Passes the lines on, and ends nothing."""

    def __init__(self, write: Callable[[str], object] = lambda _: None) -> None:
        self._write = write

    def log(self, line: str) -> None:
        self._write(line)

    def progress(self, done: int, total: int) -> None:
        """Nobody is interested."""

    def check(self) -> None:
        """There is nobody who could stop it."""

    def fenced(self) -> AbstractContextManager[None]:
        return transaction.atomic()
