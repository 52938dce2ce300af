"""Who asks, and what they may do: the types, and the door through which an app above answers.

`registry_core` knows subjects and actions but neither users nor roles. The app that does (rbac) registers one
`Authority` when Django starts; the data path, the token endpoint and the REST API all ask that one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from math import inf
from typing import Final, Literal, Protocol, runtime_checkable

Action = Literal["pull", "push", "delete"]
PULL: Action = "pull"
PUSH: Action = "push"
DELETE: Action = "delete"
NO_ACTIONS: frozenset[str] = frozenset()
ALL_ACTIONS: frozenset[str] = frozenset({PULL, PUSH, DELETE})
NO_PROJECT: Final = 0
"""The id of no project: what may be done in it is nothing, and is looked up as in any other."""
CACHED_S: Final = 60.0
"""Seconds for which checked credentials, and what is known of their subject, are remembered at most."""


class SubjectKind(IntEnum):
    """The kinds of subject; the numbers are stored."""

    ANONYMOUS = 0
    USER = 1
    ROBOT = 2
    SYSTEM = 3


_KIND_WORDS: Final = {kind: kind.name.lower() for kind in SubjectKind}


@dataclass(frozen=True, slots=True)
class Subject:
    """Someone or something that asks: identified by kind and id, never by name."""

    kind: SubjectKind
    id: int
    name: str

    @property
    def is_anonymous(self) -> bool:
        return self.kind is SubjectKind.ANONYMOUS

    @property
    def key(self) -> str:
        """The subject as one word, for the generations and the logs: `user:12`."""
        return f"{_KIND_WORDS[self.kind]}:{self.id}"


ANONYMOUS = Subject(SubjectKind.ANONYMOUS, 0, "anonymous")
SYSTEM = Subject(SubjectKind.SYSTEM, 0, "system")


CLIENT: Final = "client"
"""The reason of what somebody asks for by a request of its own."""


@dataclass(frozen=True, slots=True)
class Cause:
    """On whose behalf something happens, and why: every policy sees it.

    `client` is the address of who asked (empty for jobs), `reason` says what it belongs to (`client`, `copy`,
    `retention`), and `request_id` is the id of the request, or of the job, in the logs.
    """

    subject: Subject
    client: str
    reason: str
    request_id: str

    def because(self, reason: str) -> Cause:
        """The same for another reason."""
        return replace(self, reason=reason)


def of_system(reason: str) -> Cause:
    """The cause of what the registry does by itself, with an id of its own."""
    return Cause(SYSTEM, "", reason, f"system-{secrets.token_hex(8)}")


class AccessError(Exception):
    """Base of what an authority may refuse; the message is for the person who asked."""


class Unauthenticated(AccessError):
    """The credentials are wrong, expired or revoked. Says no more than that, so that names cannot be probed."""


class TooManyAttempts(AccessError):
    """Throttled, or the password workers are all busy: try again after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many attempts; try again in {retry_after_s} seconds")
        self.retry_after_s = retry_after_s


class Authority(Protocol):
    """What the registry asks of the app that knows users and roles. Plain synchronous functions on Django's
    database."""

    def authenticate(self, *, username: str, secret: str, client: str) -> Subject:
        """The subject with these credentials. Raises Unauthenticated or TooManyAttempts."""
        ...

    def subject(self, *, kind: SubjectKind, id: int) -> Subject | None:
        """The subject as it is now; None when it is gone, disabled or expired."""
        ...

    def expires_at(self, subject: Subject) -> datetime | None:
        """When the subject may act no longer though nobody changes anything: no generation tells that. None: never."""
        ...

    def credential_version(self, subject: Subject) -> int:
        """Grows whenever the subject's tokens must die: password changed, secret refreshed, all sessions revoked."""
        ...

    def actions_by_project(self, *, subject: Subject, project_ids: Collection[int]) -> dict[int, frozenset[str]]:
        """The actions (pull, push, delete) that the subject has now on the repositories of each of the projects, in as
        many statements as for one; projects that are gone may be missing."""
        ...

    def project_permissions(self, *, subject: Subject, project_id: int) -> frozenset[tuple[str, str]]:
        """Everything (resource, action) that the subject may do in a project now; the resource "" is the project."""
        ...

    def has_system_permission(self, *, subject: Subject, resource: str, action: str) -> bool:
        """Whether the subject may do `action` on a `resource` of the system."""
        ...

    def is_sysadmin(self, subject: Subject) -> bool:
        """Whether the subject may do all."""
        ...

    def pullable_projects(self, subject: Subject) -> list[int] | None:
        """Ids of the projects that the subject may pull from; None means all of them."""
        ...

    def may_list_catalog(self, subject: Subject) -> bool:
        """Whether the subject may ask for the catalog at all (what it shows is bounded by pullable_projects)."""
        ...


_authority: Authority | None = None


def register_authority(authority: Authority) -> None:
    """Make `authority` the one that answers; called once, from the `ready` of the app that knows users."""
    global _authority
    _authority = authority


def authority() -> Authority:
    """The registered authority. Raises RuntimeError when no app registered one."""
    if _authority is None:
        raise RuntimeError("no authority is registered: is the rbac app installed?")
    return _authority


def ends_at_s(subject: Subject) -> float:
    """When the subject may act no longer though nobody changes anything, in seconds since the epoch; inf: never."""
    expires_at = authority().expires_at(subject)
    return expires_at.timestamp() if expires_at else inf


def cacheable_for_s(ends_at_s: float, *, at_most_s: float = CACHED_S) -> float:
    """For how many seconds anything about a subject that ends then may be remembered; none or less: not at all.

    The one rule for every cache of credentials and rights: no generation tells that a robot has expired.
    """
    return min(at_most_s, ends_at_s - time.time())


@runtime_checkable
class RefreshTokens(Protocol):
    """What an authority may offer besides: logins of command-line clients that outlive a bearer token."""

    def issue_refresh_token(self, *, subject: Subject, device: str, client: str) -> str:
        """A new refresh token for a subject that has just authenticated."""
        ...

    def redeem_refresh_token(self, *, token: str, client: str) -> Subject:
        """The subject of a living refresh token, presented at the address `client`. Raises Unauthenticated."""
        ...


def refresh_tokens() -> RefreshTokens | None:
    """The registered authority, when it knows refresh tokens."""
    known = authority()
    return known if isinstance(known, RefreshTokens) else None
