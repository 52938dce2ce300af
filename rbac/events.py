"""The events of accounts and rights: users, groups, members of projects, robot accounts and sign-ins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from registry_core.events.kinds import Ids, Names, Operation, Payload, Result, event_kind
from registry_core.events.reads import Read

_ROLES: Final = {1: "projectAdmin", 2: "developer", 3: "guest", 4: "maintainer", 5: "limitedGuest"}


class UserEvent(Payload):
    """`user_id` and `username`: whom it is about, with the name at the time."""

    user_id: int = 0
    username: str = ""

    def ids(self) -> Ids:
        return Ids(users=[self.user_id] if self.user_id else [])

    def resource(self, names: Names) -> str:
        return self.username or (names.user(self.user_id) if self.user_id else "")


@event_kind("user.created", Operation.CREATE)
class UserCreated(UserEvent):
    """An account was made."""


@event_kind("user.updated", Operation.UPDATE)
class UserUpdated(UserEvent):
    """The profile of a user was changed, or whether it is an administrator or may sign in (None: unchanged)."""

    is_sysadmin: bool | None = None
    is_active: bool | None = None

    def details(self, names: Names) -> Iterable[str]:
        del names
        if self.is_sysadmin is not None:
            yield "is an administrator now" if self.is_sysadmin else "is no administrator any longer"
        if self.is_active is not None:
            yield "may sign in" if self.is_active else "may not sign in"


@event_kind("user.password_changed", Operation.UPDATE)
class UserPasswordChanged(UserEvent):
    """The password of a user was changed; its sessions and tokens ended."""


@event_kind("user.sessions_revoked", Operation.UPDATE)
class UserSessionsRevoked(UserEvent):
    """All sessions and tokens of a user were ended."""


@event_kind("user.cli_secret_changed", Operation.UPDATE)
class UserCliSecretChanged(UserEvent):
    """A user has a new secret for command-line clients."""


@event_kind("user.cli_secret_deleted", Operation.UPDATE)
class UserCliSecretDeleted(UserEvent):
    """The secret of a user for command-line clients was deleted."""


@event_kind("user.groups_changed", Operation.UPDATE)
class UserGroupsChanged(UserEvent):
    """A sign-in at an identity provider said that a user is in other groups now."""


@event_kind("user.deleted", Operation.DELETE)
class UserDeleted(UserEvent):
    """An account was deleted."""


@event_kind("user.signed_in", Operation.LOGIN)
class UserSignedIn(UserEvent):
    """A session of the console began."""


@event_kind("user.signed_out", Operation.LOGOUT)
class UserSignedOut(UserEvent):
    """A session of the console was ended by its user."""


@event_kind("user.sign_in_failed", Operation.LOGIN, result=Result.FAILURE)
class UserSignInFailed(Payload):
    """Somebody tried to sign in as `username`, `times` times within a minute; empty: under many names."""

    username: str = ""
    times: int = 1

    def resource(self, names: Names) -> str:
        del names
        return self.username or "many names"

    def details(self, names: Names) -> Iterable[str]:
        del names
        if self.times > 1:
            yield f"{self.times} times within a minute"


class GroupEvent(Payload):
    name: str = ""

    def resource(self, names: Names) -> str:
        del names
        return self.name


@event_kind("group.created", Operation.CREATE)
class GroupCreated(GroupEvent):
    """A user group was made. `group_type`: 1 LDAP, 2 HTTP, 3 OIDC."""

    group_type: int = 0


@event_kind("group.updated", Operation.UPDATE)
class GroupUpdated(GroupEvent):
    """A user group has another name; `was`: the one before."""

    was: str = ""

    def details(self, names: Names) -> Iterable[str]:
        del names
        if self.was:
            yield f"was {self.was}"


@event_kind("group.deleted", Operation.DELETE)
class GroupDeleted(GroupEvent):
    """A user group was deleted, and the roles that it gave."""


class MemberEvent(Payload):
    """Either a user or a group is the member. `role`: by its number in the API."""

    user_id: int | None = None
    group_id: int | None = None
    role: int = 0

    def ids(self) -> Ids:
        return Ids(
            users=[self.user_id] if self.user_id else [],
            groups=[self.group_id] if self.group_id else [],
        )

    def resource(self, names: Names) -> str:
        return names.user(self.user_id) if self.user_id else names.group(self.group_id or 0)

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"role {_ROLES.get(self.role, self.role)}"


@event_kind("project.member.added", Operation.CREATE, of="member", former_names=("member.created",))
class MemberAdded(MemberEvent):
    """A user or a group became a member of a project."""


@event_kind("project.member.updated", Operation.UPDATE, of="member", former_names=("member.updated",))
class MemberUpdated(MemberEvent):
    """A member of a project has another role."""


@event_kind("project.member.removed", Operation.DELETE, of="member", former_names=("member.deleted",))
class MemberRemoved(MemberEvent):
    """A user or a group is no member of a project any longer."""


class RobotEvent(Payload):
    """`name`: the full name, with which the robot account signs in."""

    name: str = ""

    def resource(self, names: Names) -> str:
        del names
        return self.name


@event_kind("robot.created", Operation.CREATE)
class RobotCreated(RobotEvent):
    """A robot account was made."""


@event_kind("robot.updated", Operation.UPDATE)
class RobotUpdated(RobotEvent):
    """A robot account was changed: its description, permissions, expiry, or whether it is disabled."""


@event_kind("robot.secret_changed", Operation.UPDATE)
class RobotSecretChanged(RobotEvent):
    """A robot account has a new secret; the old one is worthless."""


@event_kind("robot.deleted", Operation.DELETE)
class RobotDeleted(RobotEvent):
    """A robot account was deleted."""


class RefreshTokenEvent(Payload):
    """`name`: the client or device that holds it. `user`: whose it is, when that is not who acts."""

    name: str = ""
    user: str = ""

    def resource(self, names: Names) -> str:
        del names
        return self.name

    def details(self, names: Names) -> Iterable[str]:
        del names
        if self.user:
            yield f"of {self.user}"


@event_kind("refresh_token.created", Operation.CREATE)
class RefreshTokenCreated(RefreshTokenEvent):
    """A client was given a refresh token, good for `days` days."""

    days: int = 0


@event_kind("refresh_token.revoked", Operation.DELETE)
class RefreshTokenRevoked(RefreshTokenEvent):
    """One or all refresh tokens of a user were ended."""


@event_kind("user.read", Operation.READ)
class UserRead(Read):
    """Somebody's account, or the list of accounts, was read by somebody else."""
