"""Selectors: which tags and which repositories a rule of a project is about.

A rule has selectors of tags and of repositories, and is about what all of them select. Rules of retention and of
immutability have the same; stored as JSON in the words of the REST API.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec
from django.db.models import Q

from projects.globs import glob
from registry_core.errors import InvalidInput

KIND: Final = "doublestar"
MATCHES: Final = "matches"
EXCLUDES: Final = "excludes"
OF_TAGS: Final = (MATCHES, EXCLUDES)
OF_REPOSITORIES: Final = ("repoMatches", "repoExcludes")
SELECTORS_MAX: Final = 5
"""The most selectors of one rule for tags, and for repositories."""
EXTRAS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Selector:
    """Names that match a glob pattern, or all that do not. A repository's name is without its project.

    `extras`: JSON; `{"untagged": true}` says that a rule of retention is about untagged artifacts too.
    """

    kind: str
    decoration: str
    pattern: str
    extras: str = ""

    @property
    def is_exclusion(self) -> bool:
        """Whether it selects what does not match."""
        return self.decoration in {EXCLUDES, "repoExcludes"}

    @property
    def selects_untagged(self) -> bool:
        """Whether it selects artifacts without a tag. For a selector that excludes, `untagged` says what is excluded.
        Without extras they are selected."""
        given = _untagged(self.extras)
        return True if given is None else given != self.is_exclusion

    def selects(self, name: str) -> bool:
        """Whether it selects a name."""
        return glob(self.pattern).matches(name) != self.is_exclusion

    def condition(self, column: str) -> Q:
        """The same as a condition on a column, for lists that the database makes."""
        matching = Q(**{f"{column}__regex": glob(self.pattern).regex})
        return ~matching if self.is_exclusion else matching


@dataclass(frozen=True, slots=True)
class Selection:
    """What a rule is about: the tags that all of `tags` select in the repositories that all of `repositories` do."""

    tags: tuple[Selector, ...]
    repositories: tuple[Selector, ...]

    def has_repository(self, name: str) -> bool:
        """Whether it is about tags of a repository, named without its project."""
        return all(selector.selects(name) for selector in self.repositories)

    def has_tag(self, tag: str) -> bool:
        """Whether it is about tags of this name, in the repositories that it is about."""
        return all(selector.selects(tag) for selector in self.tags)

    def first_of(self, tags: Collection[str]) -> str | None:
        """A tag that it is about; None if it is about none. Fast for many tags."""
        if len(self.tags) == 1 and not self.tags[0].is_exclusion:
            return glob(self.tags[0].pattern).first_of(tags)
        return next(filter(self.has_tag, tags), None)

    def condition(self, *, tag: str, repository: str) -> Q:
        """The same as a condition on the columns with the names of tags and of repositories."""
        condition = Q()
        for selector in self.tags:
            condition &= selector.condition(tag)
        for selector in self.repositories:
            condition &= selector.condition(repository)
        return condition


def parse_selectors(given: Iterable[Selector], decorations: Sequence[str], *, what: str) -> tuple[Selector, ...]:
    """Selectors of a client, checked. `what` they select, for messages. Raises InvalidInput."""
    selectors = tuple(given)
    if not 1 <= len(selectors) <= SELECTORS_MAX:
        raise InvalidInput(f"a rule has 1 to {SELECTORS_MAX} selectors of {what}, this one has {len(selectors)}")
    for selector in selectors:
        if selector.kind != KIND:
            raise InvalidInput(f"a selector of {what} has the kind {KIND}")
        if selector.decoration not in decorations:
            raise InvalidInput(f"a selector of {what} has the decoration {' or '.join(decorations)}")
        if not selector.pattern:
            raise InvalidInput(f"a selector of {what} has a pattern: ** is for all")
        glob(selector.pattern)
        _untagged(selector.extras)
    return selectors


def stored(selectors: Iterable[Selector]) -> list[dict[str, str]]:
    """Selectors as they are stored."""
    return [asdict(selector) for selector in selectors]


def loaded(selectors: Iterable[Mapping[str, Any]]) -> tuple[Selector, ...]:
    """Selectors from what is stored."""
    return tuple(Selector(**selector) for selector in selectors)


def _untagged(extras: str) -> bool | None:
    """What extras say of untagged artifacts; None if they say nothing. Raises InvalidInput."""
    if not extras:
        return None
    try:
        said = msgspec.json.decode(extras, type=dict[str, Any]) if len(extras) <= EXTRAS_MAX else {"untagged": ""}
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        said = {"untagged": ""}
    untagged = said.get("untagged")
    if not isinstance(untagged, bool | None):
        raise InvalidInput('extras of a selector are JSON: {"untagged": true} or {"untagged": false}')
    return untagged
