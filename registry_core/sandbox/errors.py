"""Errors of content that cannot be read within the limits. Also raised by the functions that run in the child."""

from __future__ import annotations

from registry_core.errors import PreconditionFailed, TryAgain, Unavailable


class Unreadable(PreconditionFailed):
    """The content cannot be read; a retry will not help."""


class TooLarge(Unreadable):
    """It is larger than the limit, or unpacks to more, or takes more memory."""


class TooSlow(Unreadable):
    """It takes longer than the limit."""


class Damaged(Unreadable):
    """It does not have the expected format."""


class SandboxBusy(TryAgain):
    """All places are taken, or this client has as many requests in progress as it may."""


class SandboxUnavailable(Unavailable):
    """The child could not be started, or was killed from outside."""
