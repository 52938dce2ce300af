"""User groups: create, rename and delete them. Each function is one transaction.

A group of an LDAP directory is identified by its distinguished name, others by name and kind.
"""

from __future__ import annotations

import re
from typing import Final

from django.db import IntegrityError

from rbac.events import GroupCreated, GroupDeleted, GroupUpdated
from rbac.models import Group, Role
from rbac.services.changes import rights_change
from rbac.services.granting import hold_grantor, require_may_give_role
from rbac.services.members import remove_member
from registry_core.access import Cause, Subject
from registry_core.errors import AlreadyExists, InvalidInput, NotFound, PreconditionFailed
from registry_core.names.readable import check_text

NAME_MAX: Final = 255
DN_MAX: Final = 512
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# RFC 4514: attribute=value separated by commas, several joined by plus; special characters are escaped by a backslash.
_PAIR: Final = r"\s*(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)*)\s*=(?:[^\\,+\";<>\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])+"
_DN: Final = re.compile(rf"{_PAIR}(?:[,+]{_PAIR})*")


def check_dn(dn: str) -> None:
    """Raises InvalidInput unless `dn` has the form of a distinguished name (RFC 4514)."""
    if len(dn) > DN_MAX or _DN.fullmatch(dn) is None:
        raise InvalidInput(f"ldap_group_dn must be a DN of at most {DN_MAX} characters: cn=a,dc=example")


def create_group(*, name: str, kind: int, cause: Cause, ldap_dn: str = "") -> Group:
    """Create a group; an LDAP group without a name is named after the first part of its distinguished name.

    Raises InvalidInput, or AlreadyExists if there is a group of this kind and name, or with this distinguished name.
    """
    known_kind = _known(kind)
    if known_kind == Group.Kind.LDAP:
        check_dn(ldap_dn)
        name = name or re.split(r"(?<!\\)[,+]", ldap_dn)[0].partition("=")[2].strip()
    elif ldap_dn:
        raise InvalidInput("only an LDAP group (group_type 1) has a distinguished name")
    _check_name(name)
    group = Group(name=name, kind=known_kind, ldap_dn=ldap_dn)
    try:
        with rights_change(GroupCreated(name=name, group_type=int(known_kind)), cause=cause):
            group.save(force_insert=True)
    except IntegrityError:
        raise AlreadyExists("this user group already exists") from None
    return group


def find_group(*, name: str = "", kind: int = 0, ldap_dn: str = "") -> Group | None:
    """The group with a distinguished name, or with a name and a kind, ignoring case."""
    if ldap_dn:
        return Group.objects.filter(kind=Group.Kind.LDAP, ldap_dn__iexact=ldap_dn).first()
    return Group.objects.filter(name__iexact=name, kind=kind).order_by("pk").first()


def rename_group(*, group: Group, name: str, cause: Cause) -> None:
    """Rename a group. Raises InvalidInput, AlreadyExists or NotFound.

    Users that an identity provider puts into a group of the new name get the group's roles: raises NotAllowed if the
    acting subject could not give them.
    """
    _check_name(name)
    try:
        with rights_change(GroupUpdated(name=name, was=group.name), cause=cause):
            _require_may_give_roles_of(group, cause.subject)
            if not Group.objects.filter(pk=group.pk).update(name=name):
                raise _gone()
    except IntegrityError:
        raise AlreadyExists("a user group of this name already exists") from None


def delete_group(*, group: Group, cause: Cause) -> None:
    """Delete a group; its roles in projects are removed first.

    Raises NotFound if it is already deleted, PreconditionFailed if it was given another role meanwhile.
    """
    _end_memberships(group, cause)
    with rights_change(GroupDeleted(name=group.name), cause=cause):
        if not Group.objects.select_for_update().filter(pk=group.pk).exists():
            raise _gone()
        if group.memberships.exists():
            raise PreconditionFailed("the group was given a role in a project meanwhile: try again")
        Group.objects.filter(pk=group.pk).delete()


def _require_may_give_roles_of(group: Group, by: Subject) -> None:
    hold_grantor(by)
    for member in group.memberships.filter(project__deleted_at=None):
        require_may_give_role(by=by, role=Role(member.role), project_id=member.project_id)


def _end_memberships(group: Group, cause: Cause) -> None:
    """One by one: a group may have roles in more projects than can be marked as changing at once."""
    for member in list(group.memberships.all()):
        try:
            remove_member(member=member, cause=cause)
        except NotFound:
            continue  # it was removed meanwhile


def _known(kind: int) -> Group.Kind:
    try:
        return Group.Kind(kind)
    except ValueError:
        raise InvalidInput("group_type is 1 (LDAP), 2 (HTTP, local) or 3 (OIDC)") from None


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= NAME_MAX or name != name.strip() or _CONTROL.search(name):
        raise InvalidInput(f"a group's name has 1 to {NAME_MAX} characters on one line, no blanks at the ends")
    check_text(name, what="a group's name")


def _gone() -> NotFound:
    return NotFound("this user group does not exist any more")
