"""What the operations of rbac may refuse, as types; each door translates them once."""

from __future__ import annotations


class RbacError(Exception):
    """Base; the message tells the caller what to do next."""


class InvalidInput(RbacError):
    """A name, password or secret that breaks a rule."""


class AlreadyExists(RbacError):
    """The name is taken, or the member is one already."""


class NotAllowed(RbacError):
    """More than the one who asks may give."""
