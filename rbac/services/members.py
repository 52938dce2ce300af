"""Project members and their roles. Each function is one transaction."""

from __future__ import annotations

from contextlib import AbstractContextManager

from django.db import IntegrityError, connection

from rbac.events import MemberAdded, MemberEvent, MemberRemoved, MemberUpdated, UserGroupsChanged
from rbac.models import Group, GroupMember, ProjectMember, Role, User
from rbac.services.changes import rights_change, user_key
from rbac.services.granting import hold_grantor, require_may_give_role
from registry_core.access import Cause, Subject
from registry_core.content.models import Project
from registry_core.content.repositories import project_key
from registry_core.errors import AlreadyExists, InvalidInput, NotFound


def add_member(
    *, project: Project, role: Role | int, cause: Cause, user: User | None = None, group: Group | None = None
) -> ProjectMember:
    """Give a user or a group a role in a project.

    Raises InvalidInput, AlreadyExists, NotAllowed if the acting subject lacks a permission of the role, or
    NotFound if
    project, user or group is deleted meanwhile.
    """
    if (user is None) == (group is None):
        raise InvalidInput("a member is either a user or a group")
    member = ProjectMember(project=project, user=user, group=group, role=_known(role))
    try:
        with _members_change(member, MemberAdded, cause=cause):
            hold_grantor(cause.subject)
            _hold_living(member)
            _require_may_give(member, cause.subject)
            member.save(force_insert=True)
    except IntegrityError:
        raise AlreadyExists("is already a member of this project: change the role instead") from None
    return member


def make_creator_admin(*, project: Project, user: User, cause: Cause) -> None:
    """Make the user that creates a project its administrator. Within the transaction that creates it."""
    member = ProjectMember(project=project, user=user, role=Role.PROJECT_ADMIN)
    with _members_change(member, MemberAdded, cause=cause):
        member.save(force_insert=True)


def check_role(*, project: Project, role: int, by: Subject) -> None:
    """Checks before anything is created for a new member: raises InvalidInput if there is no such role, NotAllowed if
    the acting subject lacks one of its permissions."""
    require_may_give_role(by=by, role=_known(role), project_id=project.pk)


def change_role(*, member: ProjectMember, role: Role | int, cause: Cause) -> None:
    """Change a member's role. Raises InvalidInput if there is no such role, NotFound if the member was removed,
    NotAllowed if the acting subject lacks a permission of the new role."""
    member.role = _known(role)
    with _members_change(member, MemberUpdated, cause=cause):
        hold_grantor(cause.subject)
        _require_may_give(member, cause.subject)
        if not ProjectMember.objects.filter(pk=member.pk).update(role=member.role):
            raise _gone("member")


def remove_member(*, member: ProjectMember, cause: Cause) -> None:
    """Remove a member. Raises NotFound if it is already removed."""
    with _members_change(member, MemberRemoved, cause=cause):
        if not ProjectMember.objects.filter(pk=member.pk).delete()[0]:
            raise _gone("member")


def set_groups(*, user: User, groups: list[Group], cause: Cause) -> None:
    """Set the groups of a user to `groups`, as reported by the last sign-in."""
    with rights_change(UserGroupsChanged(user_id=user.pk, username=user.username), user_key(user.pk), cause=cause):
        GroupMember.objects.filter(user=user).exclude(group__in=groups).delete()
        links = [GroupMember(user=user, group=group) for group in groups]
        GroupMember.objects.bulk_create(links, ignore_conflicts=True)


def _require_may_give(member: ProjectMember, by: Subject) -> None:
    require_may_give_role(by=by, role=Role(member.role), project_id=member.project_id)


def _hold_living(member: ProjectMember) -> None:
    """Keep the referenced rows from being deleted until the membership is stored. Raises NotFound.

    In the order in which deletions lock: project, then user or group.
    """
    held: list[tuple[str, str, str, int | None]] = [
        ("project", "content_project", "AND deleted_at IS NULL", member.project_id)
    ]
    if member.user_id:
        held.append(("user", "rbac_user", "AND deleted_at IS NULL", member.user_id))
    else:
        held.append(("user group", "rbac_group", "", member.group_id))
    with connection.cursor() as cursor:
        for what, table, is_living, key in held:
            cursor.execute(f"SELECT 1 FROM {table} WHERE id = %s {is_living} FOR KEY SHARE", [key])  # noqa: S608 names of ours
            if cursor.fetchone() is None:
                raise _gone(what)


def _gone(what: str) -> NotFound:
    return NotFound(f"this {what} does not exist any more")


def _known(role: int) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise InvalidInput(f"unknown role {role}: use one of {', '.join(map(str, Role.values))}") from None


def _members_change(
    member: ProjectMember, happened: type[MemberEvent], *, cause: Cause
) -> AbstractContextManager[None]:
    keys = [project_key(member.project_id)] + ([user_key(member.user_id)] if member.user_id else [])
    event = happened(user_id=member.user_id, group_id=member.group_id, role=member.role)
    return rights_change(event, *keys, cause=cause, project_id=member.project_id)
