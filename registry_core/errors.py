"""Refusals of operations, as types. Raised where they are detected; each endpoint (REST, console, CLI) translates them
once.

The message tells the caller what to do next. Errors about content have types of their own:
`registry_core.content.errors`.
"""

from __future__ import annotations


class OperationError(Exception):
    """Base."""


class InvalidInput(OperationError):
    """A name, value or combination that violates a rule."""


class Unprocessable(InvalidInput):
    """A value that the contract's own validation refuses before an operation sees it, such as a page size that is not a
    number."""


class NotAllowed(OperationError):
    """The acting subject may not do or grant this."""


class NotFound(OperationError):
    """There is no such thing, or none that the caller may see."""


class AlreadyExists(OperationError):
    """The name is taken, or the thing already exists."""


class PreconditionFailed(OperationError):
    """Something else must be done first."""


class TryAgain(OperationError):
    """Too many requests at the moment; may be repeated after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(OperationError):
    """A part of the registry that this needs is unavailable."""
