"""Hooks: the few moments at which others have a say about content, and the way in which policies are added.

An app registers its functions in `AppConfig.ready()`, a third party's package through the entry-point group
`portolan.hooks` (a function that takes the `Hooks`). A hook allows by returning and refuses by raising `Refused`. The
operations call them in one place, a change's under the row lock of what it concerns, so every path meets the same
policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import TYPE_CHECKING

from registry_core.access import Subject
from registry_core.digests import Digest

if TYPE_CHECKING:
    from registry_core.content.repositories import RepositoryRef

HOLD_S = 3600.0


@dataclass(frozen=True, slots=True)
class PullContext:
    """A manifest is about to be served, or (without a tag) a blob."""

    subject: Subject
    client: str
    repository: RepositoryRef
    digest: Digest
    tag: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """That a pull is allowed: while these generations stay the same, and for so many seconds at the most."""

    depends_on: tuple[str, ...] = ()
    hold_s: float = HOLD_S


@dataclass(frozen=True, slots=True)
class UploadContext:
    """A blob is about to come in; its size is seldom known."""

    subject: Subject
    client: str
    repository: RepositoryRef
    size_bytes: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class MountContext:
    """A blob that another repository has is about to be linked."""

    subject: Subject
    client: str
    repository: RepositoryRef
    digest: Digest


@dataclass(frozen=True, slots=True)
class PutContext:
    """A manifest is about to be stored, with these tags."""

    subject: Subject
    client: str
    repository: RepositoryRef
    digest: Digest
    media_type: str
    tags: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class TagContext:
    """A tag is about to be made (`old` is None) or moved."""

    subject: Subject
    repository: RepositoryRef
    tag: str
    old: Digest | None
    new: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class DeleteContext:
    """A tag, or (without one) a manifest or blob, is about to be deleted."""

    subject: Subject
    client: str
    repository: RepositoryRef
    digest: Digest | None
    tag: str
    reason: str


@dataclass(slots=True)
class Hooks:
    """The registered functions, by moment. `asked_by_guards`: those that the guards of the data path ask themselves,
    on the event loop, before every request that writes."""

    pull: list[Callable[[PullContext], Verdict]] = field(default_factory=list)
    upload: list[Callable[[UploadContext], None]] = field(default_factory=list)
    mount: list[Callable[[MountContext], None]] = field(default_factory=list)
    put: list[Callable[[PutContext], None]] = field(default_factory=list)
    tag: list[Callable[[TagContext], None]] = field(default_factory=list)
    delete: list[Callable[[DeleteContext], None]] = field(default_factory=list)
    asked_by_guards: set[Callable[..., None]] = field(default_factory=set)

    def before_pull(self, context: PullContext) -> Verdict:
        """Ask whether content may be served, and for how long that holds. Raises Refused."""
        verdicts = [hook(context) for hook in self.pull]
        depends_on = tuple(sorted({key for verdict in verdicts for key in verdict.depends_on}))
        return Verdict(depends_on, min((verdict.hold_s for verdict in verdicts), default=HOLD_S))

    def before_upload(self, context: UploadContext) -> None:
        """Ask whether an upload may begin. Raises Refused."""
        for hook in self.upload:
            hook(context)

    def before_mount(self, context: MountContext) -> None:
        """Ask whether a blob may be linked from elsewhere. Raises Refused."""
        for hook in self.mount:
            hook(context)

    def before_put(self, context: PutContext) -> None:
        """Ask whether a manifest may be stored. Raises Refused."""
        for hook in self.put:
            hook(context)

    def before_tag(self, context: TagContext) -> None:
        """Ask whether a tag may be made or moved; its row is locked. Raises Refused."""
        for hook in self.tag:
            hook(context)

    def before_delete(self, context: DeleteContext) -> None:
        """Ask whether something may be deleted; its row is locked. Raises Refused."""
        for hook in self.delete:
            hook(context)


hooks = Hooks()


@cache
def plugins() -> EntryPoints:
    """The installed packages of the group `portolan.hooks`. Looked for once, also on behalf of processes to be forked:
    it reads what every package of the environment says of itself."""
    return entry_points(group="portolan.hooks")


def load_plugins() -> None:
    """Let the installed packages of the group `portolan.hooks` register theirs."""
    for entry_point in plugins():
        entry_point.load()(hooks)
