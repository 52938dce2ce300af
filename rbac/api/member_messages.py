"""Request and response messages of project members."""

from __future__ import annotations

from rbac.api.group_messages import UserGroupRequest
from rbac.models import ProjectMember
from registry_core.api.messages import Answer, Body, ShortText


class UserEntity(Body):
    """A user, by id or by name."""

    user_id: int = 0
    username: ShortText = ""


class ProjectMemberRequest(Body):
    """A user or a group to add as a member, and its role."""

    role_id: int = 0
    member_user: UserEntity | None = None
    member_group: UserGroupRequest | None = None


class RoleRequest(Body):
    """The role to set."""

    role_id: int = 0


class ProjectMemberEntity(Answer):
    """A member of a project. `entity_type`: u for a user, g for a group; `entity_id` is the id of that user or
    group."""

    id: int
    project_id: int
    entity_name: str
    role_name: str
    role_id: int
    entity_id: int
    entity_type: str


def member_answer(member: ProjectMember) -> ProjectMemberEntity:
    """The message for a member, which was loaded with its user and group."""
    entity = member.user or member.group
    assert entity is not None, member.pk  # noqa: S101 a constraint of the table
    return ProjectMemberEntity(
        id=member.pk,
        project_id=member.project_id,
        entity_name=str(entity),
        role_name=str(member.get_role_display()),
        role_id=member.role,
        entity_id=entity.pk,
        entity_type="u" if member.user else "g",
    )
