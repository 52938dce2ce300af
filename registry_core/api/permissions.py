"""The permission that a view requires: one rule per method, and one class that enforces it.

Permissions are pairs (resource, action) of the role table. A project that the caller may not see is refused exactly
like one that does not exist: 401 without authentication, 403 otherwise; only an administrator learns that it does not
exist.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from rest_framework.exceptions import NotAuthenticated, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from registry_core.access import NO_PROJECT, Subject, authority
from registry_core.api.authentication import subject_of
from registry_core.caching.cache import Cache
from registry_core.content.models import Project
from registry_core.content.repositories import name_key, project_key
from registry_core.distribution.guards import absence_cache
from registry_core.distribution.rights import is_sysadmin, may_in_system, rights_life_s
from registry_core.errors import NotFound

if TYPE_CHECKING:
    from registry_core.api.base import ApiView

Permission = tuple[str, str]
_permission_cache: Cache[frozenset[Permission]] = Cache("project permissions", share=1 / 16)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who is admitted: everybody, everybody who is authenticated, or subjects with a permission in the project or in
    the system."""

    scope: Literal["anyone", "signed-in", "sysadmin", "project", "system"]
    resource: str = ""
    action: str = ""
    or_action: str = ""


ANYONE: Final = Rule("anyone")
SIGNED_IN: Final = Rule("signed-in")
SYSADMIN: Final = Rule("sysadmin")


def in_project(resource: str, action: str, or_action: str = "") -> Rule:
    """The permission `action` (or the alternative) on `resource` in the project of the URL; the resource "" is the
    project."""
    return Rule("project", resource, action, or_action or action)


def in_system(resource: str, action: str) -> Rule:
    """The permission `action` on `resource` of the system: administrators, and robots that were given it."""
    return Rule("system", resource, action)


@dataclass(frozen=True, slots=True)
class Computed:
    """A rule that depends on what the request is about: the project of a robot, the account of the caller.

    `of` finds it for a view, and may raise what the view's method may. The view says in `found_project` and
    `named_project` how a project is found that the URL does not name. `is_for_anybody`: it is also found for callers
    that are not signed in.
    """

    of: Callable[[Any], Rule]
    is_for_anybody: bool = False


class MeetsRule(BasePermission):
    """Enforces the view's rule for the method."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """True, or an error. Raises NotAuthenticated, PermissionDenied or NotFound."""
        method = "GET" if request.method == "HEAD" and "HEAD" not in view.access else str(request.method)
        rule = view.access.get(method)
        if rule is None:
            view.http_method_not_allowed(request)
        admit(subject_of(request), rule, view)
        return True


def admit(subject: Subject, rule: Rule | Computed, view: ApiView) -> None:
    """Enforce a rule for a subject. Raises NotAuthenticated, PermissionDenied or NotFound, and what finding a computed
    rule raises."""
    if isinstance(rule, Computed):
        if not rule.is_for_anybody:
            admit(subject, SIGNED_IN, view)
        rule = rule.of(view)
    if rule.scope == "anyone" or _meets(subject, rule, view):
        return
    if subject.is_anonymous:
        raise NotAuthenticated("sign in first: send a user name and password, or a robot's name and secret, as Basic")
    # Administrators may do everything in every project, but not in one that does not exist or is deleted just now.
    if rule.scope == "project" and is_sysadmin(subject):
        raise NotFound(f"there is no project {view.named_project}")
    raise PermissionDenied("not found, or you lack permission: ask an administrator for access")


def _meets(subject: Subject, rule: Rule, view: ApiView) -> bool:
    if rule.scope == "project":
        wanted = {(rule.resource, rule.action), (rule.resource, rule.or_action)}
        return not wanted.isdisjoint(permissions_in(subject, view.found_project, named=view.named_project))
    if subject.is_anonymous:
        return False
    if rule.scope == "system":
        return may_in_system(subject, rule.resource, rule.action)
    return rule.scope == "signed-in" or is_sysadmin(subject)


def permissions_in(subject: Subject, project: Project | None, *, named: str = "") -> frozenset[Permission]:
    """All permissions of the subject in the project now, from the cache while that is valid.

    For a nonexistent project (`named` is its name in the request) there are none, which is looked up and cached in the
    same way: the time does not reveal which projects exist.
    """
    if project is None:
        cache, key, generation = absence_cache, (subject.key, f"name:{named}"), name_key(named)
    else:
        cache, key, generation = _permission_cache, (subject.key, str(project.pk)), project_key(project.pk)
    return cache.read_through(
        key,
        lambda: authority().project_permissions(subject=subject, project_id=project.pk if project else NO_PROJECT),
        depends_on=[subject.key, generation],
        size_bytes=lambda held: permissions_bytes(held) + 4 * len(named),
        ttl_s=lambda _: rights_life_s(subject),
    )


def permissions_bytes(held: frozenset[Permission]) -> int:
    """The size of a set of permissions with its key; the permissions in it are shared by all sets."""
    return sys.getsizeof(held) + 256
