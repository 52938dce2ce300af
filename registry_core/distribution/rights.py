"""What a subject may do in the system and in which projects it may pull, cached for the data path and the REST API.

Synchronous, on Django's database: the event loop calls these in a thread.
"""

from __future__ import annotations

from typing import Final

from registry_core.access import Subject, authority, cacheable_for_s, ends_at_s
from registry_core.caching.cache import Cache
from registry_core.content.repositories import CATALOG_KEY

PULLABLE_CACHED_S: Final = 1.0
"""A role that a group is given makes no list of projects stale; this does."""
RIGHTS_CACHED_S: Final = 3600.0
_system_cache: Cache[bool] = Cache("system permissions", share=1 / 32)
_pullable_cache: Cache[list[int] | None] = Cache("pullable projects", share=1 / 32)


def may_in_system(subject: Subject, resource: str, action: str) -> bool:
    """Whether the subject may do `action` on a `resource` of the system now."""
    return _system_cache.read_through(
        (subject.key, resource, action),
        lambda: authority().has_system_permission(subject=subject, resource=resource, action=action),
        depends_on=[subject.key],
        ttl_s=lambda _: rights_life_s(subject),
    )


def may_list_catalog(subject: Subject) -> bool:
    """Whether the subject may list the catalog at all; `pullable_projects` bounds what it shows."""
    return _system_cache.read_through(
        (subject.key, "catalog"),
        lambda: authority().may_list_catalog(subject),
        depends_on=[subject.key],
        ttl_s=lambda _: rights_life_s(subject, at_most_s=PULLABLE_CACHED_S),
    )


def is_sysadmin(subject: Subject) -> bool:
    """Whether the subject may do all."""
    return _system_cache.read_through(
        (subject.key,), lambda: authority().is_sysadmin(subject), depends_on=[subject.key]
    )


def pullable_projects(subject: Subject) -> list[int] | None:
    """Ids of the living projects that the subject may pull from now, in order; None: all of them."""
    return _pullable_cache.read_through(
        subject.key,
        lambda: authority().pullable_projects(subject),
        depends_on=[subject.key, CATALOG_KEY],
        size_bytes=lambda found: 256 + 40 * len(found or ()),
        ttl_s=lambda _: rights_life_s(subject, at_most_s=PULLABLE_CACHED_S),
    )


def rights_life_s(subject: Subject, *, at_most_s: float = RIGHTS_CACHED_S) -> float:
    """For how many seconds the rights of the subject may be cached."""
    return cacheable_for_s(ends_at_s(subject), at_most_s=at_most_s)
