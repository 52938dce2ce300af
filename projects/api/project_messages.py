"""Request and response messages of projects."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from projects.metadata import PUBLIC, checked, metadata_of
from projects.models import ProjectSettings
from registry_core.access import Subject
from registry_core.api.messages import NEVER, Answer, Body, Int64, ShortText, Time, api_time
from registry_core.content.models import Project
from registry_core.distribution.rights import may_in_system
from registry_core.errors import InvalidInput

ALLOWLIST_MAX: Final = 2_000
"""Limits the size of a list of a hundred projects, which anybody may request, to a few megabytes."""


class CVEAllowlistItem(Answer):
    """A vulnerability on the allowlist."""

    cve_id: ShortText


class CVEAllowlist(Answer, kw_only=True):
    """An allowlist of vulnerabilities. `expires_at` in seconds since the epoch; absent: never."""

    id: int = 0
    project_id: int = 0
    expires_at: int | None = None
    items: list[CVEAllowlistItem]
    creation_time: Time
    update_time: Time


class CVEAllowlistRequest(Body):
    """An allowlist to store. Other fields of the contract's message are read-only."""

    id: int = 0
    project_id: int = 0
    expires_at: Int64 | None = None
    items: Annotated[list[CVEAllowlistItem], msgspec.Meta(max_length=ALLOWLIST_MAX)] = []
    creation_time: str = ""
    update_time: str = ""

    def kept(self) -> dict[str, Any]:
        """The stored form: each vulnerability once."""
        return {"items": list(dict.fromkeys(item.cve_id for item in self.items)), "expires_at": self.expires_at}


class ProjectMetadata(Answer):
    """The settings of a project, as strings."""

    public: str | None = None
    enable_content_trust: str | None = None
    enable_content_trust_cosign: str | None = None
    prevent_vul: str | None = None
    severity: str | None = None
    auto_scan: str | None = None
    auto_sbom_generation: str | None = None
    reuse_sys_cve_allowlist: str | None = None
    retention_id: str | None = None
    proxy_speed_kb: str | None = None
    max_upstream_conn: str | None = None
    proxy_cache_local_on_not_found: str | None = None
    proxy_referrer_api: str | None = None
    proxy_cache_filter_pattern: str | None = None
    proxy_cache_filter_kind: str | None = None


class ProjectAnswer(Answer, kw_only=True):
    """A project."""

    project_id: int
    name: str
    repo_count: int
    metadata: ProjectMetadata
    creation_time: Time
    update_time: Time
    owner_id: int = 0
    owner_name: str = ""
    registry_id: int | None = None
    deleted: bool = False
    togglable: bool = False
    current_user_role_id: int = 0
    current_user_role_ids: list[int]
    cve_allowlist: CVEAllowlist | None = None


class ProjectDeletable(Answer):
    """Whether a project can be deleted; if not, the reason."""

    deletable: bool
    message: str


class ProjectRequest(Body, kw_only=True):
    """A project to create, or the values to change."""

    project_name: ShortText = ""
    public: bool | None = None
    metadata: ProjectMetadata | None = None
    cve_allowlist: CVEAllowlistRequest | None = None
    storage_limit: Int64 | None = None
    registry_id: int | None = None

    @property
    def is_public(self) -> bool | None:
        """Whether the project is to be public; None if the request does not say. Raises InvalidInput."""
        said = self.values().get("public")
        return self.public if said is None else checked({PUBLIC: said})[PUBLIC] == "true"

    def values(self) -> dict[str, str]:
        """The metadata in the request."""
        given = msgspec.structs.asdict(self.metadata) if self.metadata else {}
        return {name: value for name, value in given.items() if value is not None}

    def allowlist(self) -> dict[str, Any] | None:
        """The allowlist to store; None if the request has none."""
        return self.cve_allowlist.kept() if self.cve_allowlist else None

    def storage_limit_bytes(self, subject: Subject) -> int | None:
        """The limit for a new project: administrators, and robots that may create projects, can choose it; for others,
        and for 0, None: the default.

        Raises InvalidInput.
        """
        if self.registry_id:
            raise InvalidInput("proxy cache projects are not supported yet: leave out registry_id")
        return self.storage_limit or None if may_in_system(subject, "project", "create") else None


def project_answer(project: Project, roles: list[int]) -> ProjectAnswer:
    """The message for a project, which was loaded with its settings, their owner and `repo_count`, for a subject with
    these roles."""
    settings: ProjectSettings | None = getattr(project, "settings", None)
    owner = settings.owner if settings else None
    return ProjectAnswer(
        project_id=project.pk,
        name=project.name,
        repo_count=project.repo_count,  # type: ignore[attr-defined]
        metadata=ProjectMetadata(**metadata_of(project, settings)),
        creation_time=api_time(project.created_at),
        update_time=api_time(settings.updated_at if settings else project.created_at),
        owner_id=owner.pk if owner else 0,
        owner_name=owner.username if owner else "",
        current_user_role_id=roles[0] if roles else 0,
        current_user_role_ids=roles,
        cve_allowlist=allowlist_answer(
            settings.cve_allowlist if settings else None,
            project_id=project.pk,
            made=api_time(project.created_at),
            changed=api_time(settings.updated_at) if settings else NEVER,
        ),
    )


def allowlist_answer(kept: dict[str, Any] | None, *, project_id: int, made: Time, changed: Time) -> CVEAllowlist:
    """The message for an allowlist; `kept` is its stored form, None if none is stored."""
    allowlist = kept or {"items": [], "expires_at": None}
    return CVEAllowlist(
        project_id=project_id,
        expires_at=allowlist["expires_at"],
        items=[CVEAllowlistItem(cve_id=cve_id) for cve_id in allowlist["items"]],
        creation_time=made if kept else NEVER,
        update_time=changed if kept else NEVER,
    )
