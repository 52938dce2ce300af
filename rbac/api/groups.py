"""`/usergroups`: list, create, find, get, rename and delete them."""

from __future__ import annotations

from typing import Final

from rest_framework.request import Request
from rest_framework.response import Response

from rbac.api.group_messages import UserGroup, UserGroupRequest, UserGroupSearchItem, group_answer, group_found
from rbac.models import Group
from rbac.services import groups
from registry_core.api.base import ApiView, created, done
from registry_core.api.messages import parameters_of, parse_body
from registry_core.api.openapi import CURSOR, PAGE, PAGE_SIZE, operation, query
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import SIGNED_IN, in_system
from registry_core.api.query import Fuzzy, text_key
from registry_core.errors import InvalidInput, NotFound

TAG: Final = "usergroup"
RULES: Final = ListRules(order=("name",))
NAMED: Final = text_key("name")


class GroupsView(ApiView):
    """`/usergroups`."""

    access = {"GET": in_system("user-group", "list"), "POST": in_system("user-group", "create")}

    @operation(
        "listUserGroups",
        TAG,
        parameters=[
            query("group_name", "Groups whose name contains this."),
            query("ldap_group_dn", "Only the group with this distinguished name."),
            PAGE,
            PAGE_SIZE,
            CURSOR,
        ],
        answer=list[UserGroup],
        errors=(400, 401, 403),
    )
    def get(self, request: Request) -> Response:
        """List the user groups."""
        given, rows = parameters_of(request), Group.objects.all()
        if name := given.get("group_name"):
            rows = rows.filter(NAMED(Fuzzy(name)))
        if dn := given.get("ldap_group_dn"):
            rows = rows.filter(ldap_dn__iexact=dn)
        return listed(request, rows, RULES, lambda found: [group_answer(group) for group in found])

    @operation("createUserGroup", TAG, body=UserGroupRequest, status=201, errors=(400, 401, 403, 409))
    def post(self, request: Request) -> Response:
        """Create a user group."""
        asked = parse_body(request, UserGroupRequest)
        group = groups.create_group(
            name=asked.group_name, kind=asked.group_type, ldap_dn=asked.ldap_group_dn, cause=self.cause
        )
        return created(f"{request.path}/{group.pk}")


class GroupSearchView(ApiView):
    """`/usergroups/search`."""

    access = {"GET": SIGNED_IN}

    @operation(
        "searchUserGroups",
        TAG,
        parameters=[query("groupname", "A part of the name.", required=True), PAGE, PAGE_SIZE, CURSOR],
        answer=list[UserGroupSearchItem],
        errors=(400, 401),
    )
    def get(self, request: Request) -> Response:
        """Find groups by a part of their name, for adding them as members."""
        part = parameters_of(request).get("groupname", "")
        if not part:
            raise InvalidInput("groupname is missing: give a part of the name, ?groupname=")
        rows = Group.objects.filter(NAMED(Fuzzy(part)))
        return listed(request, rows, RULES, lambda found: [group_found(group) for group in found])


class GroupView(ApiView):
    """`/usergroups/{group_id}`."""

    access = {
        "GET": in_system("user-group", "read"),
        "PUT": in_system("user-group", "update"),
        "DELETE": in_system("user-group", "delete"),
    }

    @property
    def group(self) -> Group:
        """The group of the URL. Raises NotFound."""
        found = Group.objects.filter(pk=self.kwargs["group_id"]).first()
        if found is None:
            raise NotFound(f"there is no user group {self.kwargs['group_id']}")
        return found

    @operation("getUserGroup", TAG, answer=UserGroup)
    def get(self, _request: Request, group_id: int) -> Response:
        """Get a user group."""
        return Response(group_answer(self.group))

    @operation("updateUserGroup", TAG, body=UserGroupRequest, errors=(400, 401, 403, 404, 409))
    def put(self, request: Request, group_id: int) -> Response:
        """Rename a user group; its type and its distinguished name are unchanged."""
        group, asked = self.group, parse_body(request, UserGroupRequest)
        groups.rename_group(group=group, name=asked.group_name, cause=self.cause)
        return done()

    @operation("deleteUserGroup", TAG)
    def delete(self, _request: Request, group_id: int) -> Response:
        """Delete a user group and the roles that it has in projects."""
        groups.delete_group(group=self.group, cause=self.cause)
        return done()
