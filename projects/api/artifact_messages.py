"""Request and response messages of artifacts, tags and related resources."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec

from projects.artifact_lists import ArtifactRow, Detail, Details
from projects.icons import accessory_icon_digest, icon_digest
from projects.immutability.rules import Protection
from registry_core.api.messages import NEVER, Answer, Body, Int64, Time
from registry_core.content.descriptions import CHART, IMAGE, MODEL, UNKNOWN
from registry_core.content.models import Artifact
from registry_core.digests import Digest

ADDITIONS: Final = {
    IMAGE: ("build_history",),
    CHART: ("values.yaml", "readme.md", "dependencies"),
    MODEL: ("license", "readme.md", "files"),
}


class Platform(Answer, kw_only=True):
    """The platform of an image. The field names with dots are the contract's."""

    architecture: Any = ""
    os: Any = ""
    variant: Any = ""
    os_version: Any = msgspec.field(default="", name="'os.version'")
    os_features: Any = msgspec.field(name="'os.features'")


class Reference(Answer, kw_only=True):
    """A child of an index. `child_id` is 0 if the repository does not contain the child."""

    parent_id: int
    child_id: int
    child_digest: str
    platform: Platform | None = None
    annotations: dict[str, str] | None = None
    urls: list[str] | None


class TagAnswer(Answer):
    """A tag."""

    id: int
    repository_id: int
    artifact_id: int
    name: str
    push_time: Time
    pull_time: Time
    immutable: bool


class Label(Answer):
    """A label. `scope`: g for a global label, p for one of the project `project_id`."""

    id: int
    name: str
    description: str
    color: str
    scope: str
    project_id: int
    creation_time: Time
    update_time: Time


class Accessory(Answer):
    """An artifact about another: a signature, an SBOM, an accelerated form."""

    id: int
    artifact_id: int
    subject_artifact_id: int
    subject_artifact_digest: str
    subject_artifact_repo: str
    size: int
    digest: str
    type: str
    icon: str
    creation_time: Time


class AdditionLink(Answer):
    """The address of an addition to an artifact."""

    href: str
    absolute: bool


class ArtifactAnswer(Answer, kw_only=True):
    """An artifact. Lists that are empty, or were not requested, are null."""

    id: int
    type: str
    media_type: str
    manifest_media_type: str
    artifact_type: str
    project_id: int
    repository_id: int
    repository_name: str
    digest: str
    size: int
    icon: str
    push_time: Time
    pull_time: Time
    addition_links: dict[str, AdditionLink]
    extra_attrs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    annotations: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    references: list[Reference] | None
    tags: list[TagAnswer] | None
    labels: list[Label] | None
    accessories: list[Accessory] | None
    inherited_accessories: list[Accessory] | None = None
    scan_overview: dict[str, Any] | None = None
    sbom_overview: dict[str, Any] | None = None


class NewTag(Body):
    """A tag to create. Other fields of the contract's message are read-only."""

    name: str
    id: int = 0
    repository_id: int = 0
    artifact_id: int = 0
    push_time: str | None = None
    pull_time: str | None = None
    immutable: bool = False


class LabelId(Body):
    """A label to attach to an artifact: only its id is used."""

    id: Int64 = 0
    name: str | None = None
    description: str | None = None
    color: str | None = None
    scope: str | None = None
    project_id: int | None = None
    creation_time: str | None = None
    update_time: str | None = None


_platform: Final = msgspec.json.Decoder(dict[str, Any])


def present_artifacts(rows: list[ArtifactRow], details: Details, protection: Protection) -> list[ArtifactAnswer]:
    """The messages for artifacts of one project and their details."""
    return [_artifact(row, details, protection) for row in rows]


def incomplete(rows: list[ArtifactRow], details: Details) -> str:
    """Names what had to be left out of an answer because of its size, and what to do; empty if it is complete."""
    names = {"tag": "tags", "label": "labels", "accessory": "accessories", "child": "references"}
    names["inherited"] = "inherited_accessories"
    lacking = sorted(names[part] for part in details.cut)
    lacking += [] if all(row.is_whole for row in rows) else ["annotations and extra_attrs"]
    return f"incomplete: {', '.join(lacking)}; request fewer artifacts at once" if lacking else ""


def _artifact(row: ArtifactRow, details: Details, protection: Protection) -> ArtifactAnswer:
    digest, kind = _digest(row.digest), row.kind or UNKNOWN
    path = row.repository_name.partition("/")[2]
    return ArtifactAnswer(
        id=row.id,
        type=kind,
        media_type=row.config_type or row.media_type,
        manifest_media_type=row.media_type,
        artifact_type=row.artifact_type,
        project_id=row.project_id,
        repository_id=row.repository_id,
        repository_name=row.repository_name,
        digest=digest,
        size=row.size_bytes,
        icon=icon_digest(kind, row.icon),
        push_time=row.pushed_at,
        pull_time=row.pulled_at or NEVER,
        addition_links=_addition_links(row, kind, digest),
        extra_attrs=_json(row.extra_attrs),
        annotations=_json(row.annotations),
        references=[_reference(detail) for detail in details.of("child", row.id)] or None,
        tags=[tag_answer(tag, is_immutable=protection.covers(path, tag.name)) for tag in details.of("tag", row.id)]
        or None,
        labels=[label_answer(detail) for detail in details.of("label", row.id)] or None,
        accessories=_accessories(row, details, "accessory") or None,
        inherited_accessories=_accessories(row, details, "inherited") or None,
    )


def tag_answer(tag: Detail, *, is_immutable: bool) -> TagAnswer:
    """A tag of an artifact."""
    return TagAnswer(
        id=tag.id or 0,
        repository_id=tag.other_id,
        artifact_id=tag.artifact_id,
        name=tag.name,
        push_time=_time(tag.at),
        pull_time=_time(tag.other_at),
        immutable=is_immutable,
    )


def label_answer(label: Detail) -> Label:
    """A label that an artifact has."""
    description, color = msgspec.json.decode(label.more, type=tuple[str, str])
    return Label(
        id=label.id or 0,
        name=label.name,
        description=description,
        color=color,
        scope="p" if label.other_id else "g",
        project_id=label.other_id,
        creation_time=_time(label.at),
        update_time=_time(label.other_at),
    )


def accessory_answer(accessory: Detail, repository_name: str) -> Accessory:
    """An accessory of an artifact of the repository."""
    return Accessory(
        id=accessory.id or 0,
        artifact_id=accessory.id or 0,
        subject_artifact_id=accessory.other_id,
        subject_artifact_digest=_digest(accessory.other_digest),
        subject_artifact_repo=repository_name,
        size=int(accessory.more),
        digest=_digest(accessory.digest),
        type=Artifact.Accessory(accessory.number).label,
        icon=accessory_icon_digest(accessory.number),
        creation_time=_time(accessory.at),
    )


def _accessories(row: ArtifactRow, details: Details, part: str) -> list[Accessory]:
    return [accessory_answer(detail, row.repository_name) for detail in details.of(part, row.id)]


def _reference(child: Detail) -> Reference:
    platform = None if child.more is None else _platform.decode(child.more)
    return Reference(
        parent_id=child.artifact_id,
        child_id=child.id or 0,
        child_digest=_digest(child.digest),
        platform=None if platform is None else _platform_answer(platform),
        urls=None,
    )


def _platform_answer(platform: dict[str, Any]) -> Platform:
    named = {name: platform.get(name, "") for name in ("architecture", "os", "variant")}
    return Platform(**named, os_version=platform.get("os.version", ""), os_features=platform.get("os.features"))


def _addition_links(row: ArtifactRow, kind: str, digest: str) -> dict[str, AdditionLink]:
    # An index has no additions of its own.
    names = ADDITIONS.get(kind, ()) if row.config_type else ()
    if not names:
        return {}
    project, _, repository = row.repository_name.partition("/")
    # Encoded twice, as the contract's clients do: a slash in a name must survive every proxy on the way.
    repository = quote(quote(repository, safe=""), safe="")
    base = f"/api/v2.0/projects/{project}/repositories/{repository}/artifacts/{digest}/additions"
    return {name: AdditionLink(href=f"{base}/{name}", absolute=False) for name in names}


def _json(stored: bytes | None) -> msgspec.Raw | msgspec.UnsetType:
    return msgspec.UNSET if stored is None else msgspec.Raw(bytes(stored))


def _digest(raw: bytes | None) -> str:
    return str(Digest(bytes(raw or b"")))


def _time(moment: str | None) -> Time:
    return moment or NEVER
