"""What an operation may refuse, as types. Raised where it is known; each door (REST, console, CLI) translates it once.

The message tells whoever asked what to do next. What is wrong with content has types of its own:
`registry_core.content.errors`.
"""

from __future__ import annotations


class OperationError(Exception):
    """Base."""


class InvalidInput(OperationError):
    """A name, value or combination that breaks a rule."""


class Unprocessable(InvalidInput):
    """A value that the contract's own check refuses before an operation sees it: a page size that is no number."""


class NotAllowed(OperationError):
    """More than the one who asks may do or give."""


class NotFound(OperationError):
    """There is no such thing, or none that the one who asks may know of."""


class AlreadyExists(OperationError):
    """The name is taken, or the thing is there already."""


class PreconditionFailed(OperationError):
    """Something else must be done first."""


class TryAgain(OperationError):
    """Too much is being done just now; it may be asked for again after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(OperationError):
    """A part of the registry that this needs does not work just now."""
