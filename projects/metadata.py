"""The metadata of a project: the names, the values that each accepts, and the operations.

All values are strings, as in the contract. `public` is a column of the project, because every pull reads it; the others
are in the project's settings. Each change is one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.db.models.functions import Now

from projects.events import ProjectUpdated
from projects.models import ProjectSettings
from rbac.services.changes import rights_change
from rbac.services.granting import require_may_publish
from registry_core.access import Cause, Subject
from registry_core.content.models import Project
from registry_core.content.repositories import CATALOG_KEY, project_key
from registry_core.errors import AlreadyExists, InvalidInput

PUBLIC: Final = "public"
_SEVERITIES: Final = ("none", "negligible", "low", "medium", "high", "critical")
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_TRUTHS: Final = dict.fromkeys(("1", "t", "true"), "true") | dict.fromkeys(("0", "f", "false"), "false")


def _truth(text: str) -> str | None:
    """`true` or `false`, in any spelling that Go accepts; None for anything else. The other functions below work
    alike."""
    return _TRUTHS.get(text.lower())


def _severity(text: str) -> str | None:
    return text.lower() if text.lower() in _SEVERITIES else None


def _number(text: str) -> str | None:
    return text if _WHOLE.fullmatch(text) else None


def _at_most(characters: int) -> Callable[[str], str | None]:
    return lambda text: text if len(text) <= characters else None


_RULES: Final[Mapping[str, tuple[Callable[[str], str | None], str]]] = {
    PUBLIC: (_truth, "true or false"),
    "enable_content_trust": (_truth, "true or false"),
    "enable_content_trust_cosign": (_truth, "true or false"),
    "prevent_vul": (_truth, "true or false"),
    "severity": (_severity, f"one of {', '.join(_SEVERITIES)}"),
    "auto_scan": (_truth, "true or false"),
    "auto_sbom_generation": (_truth, "true or false"),
    "reuse_sys_cve_allowlist": (_truth, "true or false"),
    "retention_id": (_number, "the number of a retention policy"),
    "proxy_speed_kb": (_number, "a number of KB a second, or -1 for no limit"),
    "max_upstream_conn": (_number, "a number of connections, or -1 for no limit"),
    "proxy_cache_local_on_not_found": (_truth, "true or false"),
    "proxy_referrer_api": (_truth, "true or false"),
    "proxy_cache_filter_pattern": (_at_most(1024), "a pattern of at most 1024 characters"),
    "proxy_cache_filter_kind": (_at_most(64), "the kind of the pattern"),
}


def metadata_of(project: Project, settings: ProjectSettings | None) -> dict[str, str]:
    """The metadata as the API shows them."""
    return {PUBLIC: str(project.is_public).lower()} | (settings.metadata if settings else {})


def checked(values: Mapping[str, str]) -> dict[str, str]:
    """The values in their stored form: booleans and severities in one spelling.

    Raises InvalidInput for an unknown name or an invalid value.
    """
    return {name: _checked(name, value) for name, value in values.items()}


def change_metadata(
    *, project: Project, values: Mapping[str, str], cause: Cause, cve_allowlist: dict[str, Any] | None = None
) -> None:
    """Set metadata by name, and the CVE allowlist; others are unchanged.

    Raises InvalidInput, or NotAllowed if the project would become public and the acting subject lacks a right that
    everybody would get.
    """
    wanted = checked(values)
    event = ProjectUpdated(name=project.name, metadata=wanted)
    keys = [project_key(project.pk), *([CATALOG_KEY] if PUBLIC in wanted else [])]
    with rights_change(event, *keys, cause=cause, project_id=project.pk):
        settings = _locked(project)
        if PUBLIC in wanted:
            _require_may_set_public(project, wanted[PUBLIC] == "true", cause.subject)
            Project.objects.filter(pk=project.pk).update(is_public=wanted[PUBLIC] == "true")
        settings.metadata |= {name: value for name, value in wanted.items() if name != PUBLIC}
        if cve_allowlist is not None:
            settings.cve_allowlist = cve_allowlist
        _save(settings)
    project.refresh_from_db()


def add_metadata(*, project: Project, name: str, value: str, cause: Cause) -> None:
    """Set a value that is not set. Raises InvalidInput or AlreadyExists."""
    checked({name: value})
    settings = ProjectSettings.objects.filter(project=project).first()
    if name in metadata_of(project, settings):
        raise AlreadyExists(f"{name} is already set: change it with PUT")
    change_metadata(project=project, values={name: value}, cause=cause)


def delete_metadata(*, project: Project, name: str, cause: Cause) -> None:
    """Remove a value, if it is set. Raises InvalidInput for `public`, which is always set."""
    if name == PUBLIC:
        raise InvalidInput("public cannot be deleted: set it to true or false")
    event = ProjectUpdated(name=project.name, deleted_metadata=name)
    with rights_change(event, project_key(project.pk), cause=cause, project_id=project.pk):
        settings = _locked(project)
        settings.metadata.pop(name, None)
        _save(settings)


def _checked(name: str, value: str) -> str:
    rule = _RULES.get(name)
    if rule is None:
        raise InvalidInput(f"unknown metadata {name[:64]!r}: use one of {', '.join(_RULES)}")
    read, expected = rule
    stored = None if "\x00" in value else read(value)
    if stored is None:
        raise InvalidInput(f"{name} must be {expected}, not {value[:64]!r}")
    return stored


def _require_may_set_public(project: Project, is_public: bool, by: Subject) -> None:
    if is_public and not Project.objects.filter(pk=project.pk, is_public=True).exists():
        require_may_publish(by=by, project_id=project.pk)


def _locked(project: Project) -> ProjectSettings:
    """The project's settings row, created if missing, locked. Within a transaction."""
    ProjectSettings.objects.bulk_create([ProjectSettings(project=project)], ignore_conflicts=True)
    return ProjectSettings.objects.select_for_update().get(project=project)


def _save(settings: ProjectSettings) -> None:
    values = {"metadata": settings.metadata, "cve_allowlist": settings.cve_allowlist}
    ProjectSettings.objects.filter(pk=settings.pk).update(updated_at=Now(), **values)
