"""User groups as the API takes and shows them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from rbac.models import Group
from registry_core.api.messages import Answer, Body, ShortText

DistinguishedName = Annotated[str, msgspec.Meta(max_length=512, pattern=r"^[^\x00]*$")]


class UserGroup(Answer, kw_only=True):
    """A user group. `group_type`: 1 LDAP, 2 HTTP (kept here), 3 OIDC."""

    id: int
    group_name: str
    group_type: int
    ldap_group_dn: str = ""


class UserGroupSearchItem(Answer):
    """What anybody who signed in may find of a group."""

    id: int
    group_name: str
    group_type: int


class UserGroupRequest(Body):
    """A group to create, to rename, or to make a member; `id` only there."""

    id: int = 0
    group_name: ShortText = ""
    group_type: int = 0
    ldap_group_dn: DistinguishedName = ""


def group_answer(group: Group) -> UserGroup:
    """The group as the API shows it."""
    return UserGroup(id=group.pk, group_name=group.name, group_type=group.kind, ldap_group_dn=group.ldap_dn)


def group_found(group: Group) -> UserGroupSearchItem:
    """The group as a search shows it."""
    return UserGroupSearchItem(id=group.pk, group_name=group.name, group_type=group.kind)
