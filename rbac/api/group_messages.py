"""Request and response messages of user groups."""

from __future__ import annotations

from typing import Annotated

import msgspec

from rbac.models import Group
from registry_core.api.messages import Answer, Body, ShortText

DistinguishedName = Annotated[str, msgspec.Meta(max_length=512, pattern=r"^[^\x00]*$")]


class UserGroup(Answer, kw_only=True):
    """A user group. `group_type`: 1 LDAP, 2 HTTP (managed in this registry), 3 OIDC."""

    id: int
    group_name: str
    group_type: int
    ldap_group_dn: str = ""


class UserGroupSearchItem(Answer):
    """The part of a group that every signed-in user can find."""

    id: int
    group_name: str
    group_type: int


class UserGroupRequest(Body):
    """A group to create, to rename, or to add as a member; `id` only for the latter."""

    id: int = 0
    group_name: ShortText = ""
    group_type: int = 0
    ldap_group_dn: DistinguishedName = ""


def group_answer(group: Group) -> UserGroup:
    """The message for a group."""
    return UserGroup(id=group.pk, group_name=group.name, group_type=group.kind, ldap_group_dn=group.ldap_dn)


def group_found(group: Group) -> UserGroupSearchItem:
    """The message for a group in search results."""
    return UserGroupSearchItem(id=group.pk, group_name=group.name, group_type=group.kind)
