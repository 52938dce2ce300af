"""`/projects/{project_name_or_id}/members`: users and groups with a role in a project."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from rest_framework.request import Request
from rest_framework.response import Response

from rbac.api.group_messages import UserGroupRequest
from rbac.api.member_messages import (
    ProjectMemberEntity,
    ProjectMemberRequest,
    RoleRequest,
    UserEntity,
    member_answer,
)
from rbac.models import Group, ProjectMember, User
from rbac.services import groups, members
from registry_core.access import Cause
from registry_core.api.base import ApiView, created, done
from registry_core.api.messages import parameters_of, parse_body
from registry_core.api.openapi import CURSOR, IS_NAME, PAGE, PAGE_SIZE, operation, query
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import in_project
from registry_core.api.query import Fuzzy, text_key
from registry_core.errors import InvalidInput, NotFound

TAG: Final = "member"
RULES: Final = ListRules(order=("entity",))


class MembersView(ApiView):
    """`/projects/{project_name_or_id}/members`."""

    access = {"GET": in_project("member", "list"), "POST": in_project("member", "create")}

    @operation(
        "listProjectMembers",
        TAG,
        parameters=[IS_NAME, query("entityname", "Members whose name contains this."), PAGE, PAGE_SIZE, CURSOR],
        answer=list[ProjectMemberEntity],
    )
    def get(self, request: Request, project_name_or_id: str) -> Response:
        """List the members of a project."""
        rows: QuerySet[Any] = ProjectMember.objects.filter(project=self.project).annotate(
            entity=Coalesce("user__username", "group__name")
        )
        if part := parameters_of(request).get("entityname"):
            rows = rows.filter(text_key("entity")(Fuzzy(part)))
        return listed(request, rows, RULES, lambda found: [member_answer(member) for member in found], load=_load)

    @operation(
        "createProjectMember",
        TAG,
        parameters=[IS_NAME],
        body=ProjectMemberRequest,
        status=201,
        errors=(400, 401, 403, 404, 409),
    )
    def post(self, request: Request, project_name_or_id: str) -> Response:
        """Give a user or a group a role in the project."""
        asked = parse_body(request, ProjectMemberRequest)
        members.check_role(project=self.project, role=asked.role_id, by=self.subject)
        user = _user(asked.member_user) if asked.member_user else None
        group = _group(asked.member_group, self.cause) if asked.member_group and not user else None
        member = members.add_member(project=self.project, role=asked.role_id, user=user, group=group, cause=self.cause)
        return created(f"{request.path}/{member.pk}")


class MemberView(ApiView):
    """`/projects/{project_name_or_id}/members/{mid}`."""

    access = {
        "GET": in_project("member", "read"),
        "PUT": in_project("member", "update"),
        "DELETE": in_project("member", "delete"),
    }

    @property
    def member(self) -> ProjectMember:
        """The member of the URL, within its project. Raises NotFound."""
        found = _load([self.kwargs["mid"]]).filter(project=self.project).first()
        if found is None:
            raise NotFound(f"the project has no member {self.kwargs['mid']}")
        return found

    @operation("getProjectMember", TAG, parameters=[IS_NAME], answer=ProjectMemberEntity)
    def get(self, _request: Request, project_name_or_id: str, mid: int) -> Response:
        """Get a member."""
        return Response(member_answer(self.member))

    @operation("updateProjectMember", TAG, parameters=[IS_NAME], body=RoleRequest)
    def put(self, request: Request, project_name_or_id: str, mid: int) -> Response:
        """Change a member's role."""
        member, asked = self.member, parse_body(request, RoleRequest)
        members.change_role(member=member, role=asked.role_id, cause=self.cause)
        return done()

    @operation("deleteProjectMember", TAG, parameters=[IS_NAME])
    def delete(self, _request: Request, project_name_or_id: str, mid: int) -> Response:
        """Remove a member."""
        members.remove_member(member=self.member, cause=self.cause)
        return done()


def _load(keys: list[int]) -> QuerySet[ProjectMember]:
    return ProjectMember.objects.filter(pk__in=keys).select_related("user", "group")


def _user(named: UserEntity) -> User | None:
    """The named user; None if no user is named. Raises NotFound."""
    if not named.user_id and not named.username:
        return None
    living = User.objects.filter(deleted_at=None)
    found = living.filter(pk=named.user_id) if named.user_id else User.objects.named(named.username)
    user = found.first()
    if user is None:
        raise NotFound(f"there is no user {named.user_id or named.username}")
    return user


def _group(named: UserGroupRequest, cause: Cause) -> Group:
    """The named group. An unknown group of a directory or an identity provider is created, so that it can have a role
    before its first member signs in. Raises InvalidInput or NotFound."""
    if named.id:
        known = Group.objects.filter(pk=named.id).first()
    elif named.group_name or named.ldap_group_dn:
        known = groups.find_group(name=named.group_name, kind=named.group_type, ldap_dn=named.ldap_group_dn)
    else:
        raise InvalidInput("name the group by id, by name and type, or by distinguished name")
    if known is None and not named.id and named.group_type in (Group.Kind.LDAP, Group.Kind.OIDC):
        return groups.create_group(
            name=named.group_name, kind=named.group_type, ldap_dn=named.ldap_group_dn, cause=cause
        )
    if known is None:
        raise NotFound(f"there is no user group {named.id or named.group_name or named.ldap_group_dn}")
    return known
