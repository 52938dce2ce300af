"""Subjects and what they may do: the types, and the interface that an app above implements.

`registry_core` has subjects and actions but neither users nor roles. The app that has them (rbac) registers one
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
"""The id of a project that does not exist: nothing is allowed in it, and that takes the same look-ups as for any
other."""
CACHED_S: Final = 60.0
"""The most seconds for which checked credentials, and facts about their subject, are cached."""


class SubjectKind(IntEnum):
    """The kinds of subject; the numbers are stored."""

    ANONYMOUS = 0
    USER = 1
    ROBOT = 2
    SYSTEM = 3


_KIND_WORDS: Final = {kind: kind.name.lower() for kind in SubjectKind}


@dataclass(frozen=True, slots=True)
class Subject:
    """An account that makes requests or causes changes: identified by kind and id, never by name."""

    kind: SubjectKind
    id: int
    name: str

    @property
    def is_anonymous(self) -> bool:
        return self.kind is SubjectKind.ANONYMOUS

    @property
    def key(self) -> str:
        """The subject as one word, for generations and logs: `user:12`."""
        return f"{_KIND_WORDS[self.kind]}:{self.id}"


ANONYMOUS = Subject(SubjectKind.ANONYMOUS, 0, "anonymous")
SYSTEM = Subject(SubjectKind.SYSTEM, 0, "system")


CLIENT: Final = "client"
"""The reason of what a client requests directly."""


@dataclass(frozen=True, slots=True)
class Cause:
    """On whose behalf something happens, and why: every policy sees it.

    `client` is the address of the request (empty for jobs), `reason` says what it belongs to (`client`, `copy`,
    `retention`), and `request_id` is the id of the request, or of the job, in the logs.
    """

    subject: Subject
    client: str
    reason: str
    request_id: str

    def because(self, reason: str) -> Cause:
        """The same cause with another reason."""
        return replace(self, reason=reason)


def of_system(reason: str) -> Cause:
    """The cause of what the registry does by itself, with an id of its own."""
    return Cause(SYSTEM, "", reason, f"system-{secrets.token_hex(8)}")


def of_many(subject: Subject, client: str = "") -> Cause:
    """The cause of what a subject did many times, told in sum: no single request stands for it."""
    return Cause(subject, client, CLIENT, "")


def subject_with_key(key: str, name: str = "") -> Subject:
    """The subject with that `key`; the key does not contain its name. Raises KeyError or ValueError for no key."""
    kind, _, number = key.partition(":")
    return Subject(SubjectKind[kind.upper()], int(number), name)


def stored_subject(kind: int, id: int) -> Subject:
    """The subject whose kind and id a row has; without a name if the account is deleted or disabled."""
    if kind == SubjectKind.SYSTEM:
        return SYSTEM
    return authority().subject(kind=SubjectKind(kind), id=id) or Subject(SubjectKind(kind), id, "")


class AccessError(Exception):
    """Base of an authority's refusals; the message is for the client's user."""


class Unauthenticated(AccessError):
    """The credentials are wrong, expired or revoked. The message says no more than that, so that names cannot be
    probed."""


class TooManyAttempts(AccessError):
    """Throttled, or the queue for password hashing is full: try again after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many attempts; try again in {retry_after_s} seconds")
        self.retry_after_s = retry_after_s


class Authority(Protocol):
    """What the registry asks of the app that has users and roles. Plain synchronous functions on Django's database."""

    def authenticate(self, *, username: str, secret: str, client: str) -> Subject:
        """The subject with these credentials. Raises Unauthenticated or TooManyAttempts."""
        ...

    def subject(self, *, kind: SubjectKind, id: int) -> Subject | None:
        """The current state of the subject; None if it is deleted, disabled or expired."""
        ...

    def expires_at(self, subject: Subject) -> datetime | None:
        """When the subject expires without any change, which no generation shows. None: never."""
        ...

    def credential_version(self, subject: Subject) -> int:
        """Grows whenever the subject's tokens must become invalid: password changed, secret refreshed, all sessions
        revoked."""
        ...

    def actions_by_project(self, *, subject: Subject, project_ids: Collection[int]) -> dict[int, frozenset[str]]:
        """The actions (pull, push, delete) that the subject may now perform on repositories of each project, with a
        number of statements that does not depend on the number of projects; deleted projects may be missing."""
        ...

    def project_permissions(self, *, subject: Subject, project_id: int) -> frozenset[tuple[str, str]]:
        """All permissions (resource, action) of the subject in a project now; the resource "" is the project."""
        ...

    def has_system_permission(self, *, subject: Subject, resource: str, action: str) -> bool:
        """Whether the subject may do `action` on a `resource` of the system."""
        ...

    def is_sysadmin(self, subject: Subject) -> bool:
        """Whether the subject is system administrator."""
        ...

    def pullable_projects(self, subject: Subject) -> list[int] | None:
        """Ids of the projects that the subject may pull from; None means all of them."""
        ...

    def may_list_catalog(self, subject: Subject) -> bool:
        """Whether the subject may list the catalog at all (pullable_projects bounds what it shows)."""
        ...


_authority: Authority | None = None


def register_authority(authority: Authority) -> None:
    """Register the authority; called once, from the `ready` of the app that has users."""
    global _authority
    _authority = authority


def authority() -> Authority:
    """The registered authority. Raises RuntimeError when no app registered one."""
    if _authority is None:
        raise RuntimeError("no authority is registered: is the rbac app installed?")
    return _authority


def ends_at_s(subject: Subject) -> float:
    """When the subject expires without any change, in seconds since the epoch; inf: never."""
    expires_at = authority().expires_at(subject)
    return expires_at.timestamp() if expires_at else inf


def cacheable_for_s(ends_at_s: float, *, at_most_s: float = CACHED_S) -> float:
    """For how many seconds a fact about a subject that expires then may be cached; zero or less: not at all.

    The one rule for every cache of credentials and permissions: no generation changes when a robot expires.
    """
    return min(at_most_s, ends_at_s - time.time())


@runtime_checkable
class RefreshTokens(Protocol):
    """An optional part of an authority: logins of command-line clients that outlive a bearer token."""

    def issue_refresh_token(self, *, device: str, cause: Cause) -> str:
        """A new refresh token for the subject of `cause`, which has just authenticated."""
        ...

    def redeem_refresh_token(self, *, token: str, client: str) -> Subject:
        """The subject of a valid refresh token, presented from the address `client`. Raises Unauthenticated."""
        ...


def refresh_tokens() -> RefreshTokens | None:
    """The registered authority, if it supports refresh tokens."""
    known = authority()
    return known if isinstance(known, RefreshTokens) else None
