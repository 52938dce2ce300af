"""What becomes of content that cannot be read within the limits. Also raised by the functions that run in the child."""

from __future__ import annotations

from registry_core.errors import PreconditionFailed, TryAgain, Unavailable


class Unreadable(PreconditionFailed):
    """The content cannot be read, today or later."""


class TooLarge(Unreadable):
    """It is larger than what is read here, or unpacks to more, or takes more memory."""


class TooSlow(Unreadable):
    """It takes longer than the limit."""


class Damaged(Unreadable):
    """It is not what it should be."""


class SandboxBusy(TryAgain):
    """Others are being served, or the one who asks has asked for as much as is done at once."""


class SandboxUnavailable(Unavailable):
    """The child could not be started, or was ended from outside."""
