"""Hooks: the few moments at which others have a say about content, and the way in which policies are added.

An app registers its functions in `AppConfig.ready()`, a third party's package through the entry-point group
`portolan.hooks` (a function that takes the `Hooks`). A hook allows by returning and refuses by raising `Refused`. The
operations call them in one place, under the row lock of what they concern, so every path that changes content meets
the same policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from registry_core.access import Subject
from registry_core.digests import Digest

if TYPE_CHECKING:
    from registry_core.content.repositories import RepositoryRef


@dataclass(frozen=True, slots=True)
class PutContext:
    """A manifest is about to be stored, with these tags."""

    subject: Subject
    repository: RepositoryRef
    digest: Digest
    media_type: str
    tags: tuple[str, ...]
    reason: str


@dataclass(slots=True)
class Hooks:
    """The registered functions, by moment."""

    put: list[Callable[[PutContext], None]] = field(default_factory=list)

    def before_put(self, context: PutContext) -> None:
        """Ask whether a manifest may be stored. Raises Refused."""
        for hook in self.put:
            hook(context)


hooks = Hooks()


def load_plugins() -> None:
    """Let the installed packages of the group `portolan.hooks` register theirs."""
    for entry_point in entry_points(group="portolan.hooks"):
        entry_point.load()(hooks)
