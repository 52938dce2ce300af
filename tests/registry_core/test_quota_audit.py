"""What a project was charged can be derived from what it has, and is mended where it is wrong."""

from __future__ import annotations

import importlib

import pytest
from django.db import connection

from registry_core.content import quota_audit, staged_quota
from registry_core.content.manifests import delete_manifest
from registry_core.content.models import Project
from registry_core.content.repositories import RepositoryRef
from registry_core.content.repository_changes import delete_repository
from tests.api.conftest import project, repository  # noqa: F401 fixtures
from tests.api.content import put, put_index, repository_of
from tests.support.operations import BY_SYSTEM


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def filled(project: Project, repository: RepositoryRef) -> Project:  # noqa: F811 the fixtures
    """A project with manifests in two repositories, one of them in both, and one deleted."""
    first = put(repository, "v1", config=b'{"architecture":"amd64"}')
    put(repository_of(project, "other"), "v1", config=b'{"architecture":"amd64"}')
    put_index(repository, [first], "multi")
    delete_manifest(repository=repository, digest=put(repository, "gone"), cause=BY_SYSTEM)
    found = quota_audit.audit(project.pk)
    assert found.is_exact, found
    assert found.manifests_bytes > 0
    return project


def test_used_is_what_is_there_and_nothing_when_all_is_deleted(
    filled: Project,
    repository: RepositoryRef,  # noqa: F811
) -> None:
    found = quota_audit.audit(filled.pk)
    assert staged_quota.used_bytes(filled.pk) == found.blobs_bytes + found.manifests_bytes
    for each in (repository, repository_of(filled, "other")):
        delete_repository(repository=each, cause=BY_SYSTEM)
    assert quota_audit.audit(filled.pk).is_exact
    assert staged_quota.used_bytes(filled.pk) == 0


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE content_quotastripe SET used_bytes = used_bytes + 7 WHERE stripe = 3",
        "UPDATE content_quotastripe SET used_bytes = 0",
        "DELETE FROM content_quotastripe",
        "WITH gone AS (DELETE FROM content_projectmanifest RETURNING *) INSERT INTO content_quotaentry "
        "(project_id, manifest_id, delta_bytes, reason) SELECT project_id, manifest_id, -octet_length(content), 'x' "
        "FROM gone JOIN content_manifest ON id = manifest_id",
        "UPDATE content_projectmanifest SET artifacts = artifacts + 1",
    ],
)
def test_what_is_wrong_is_noticed_and_mended(filled: Project, damage: str) -> None:
    before = staged_quota.used_bytes(filled.pk)
    execute(damage)
    assert not quota_audit.audit(filled.pk).is_exact
    assert quota_audit.mend_all() == 1
    assert quota_audit.audit(filled.pk).is_exact
    assert staged_quota.used_bytes(filled.pk) == before
    assert quota_audit.mend_all() == 0
    execute("UPDATE content_quotastripe SET allowance_bytes = allowance_bytes")
    put(repository_of(filled, "after"), "v1")
    assert quota_audit.audit(filled.pk).is_exact


def test_what_a_release_before_has_stored_is_charged_by_the_migration(filled: Project) -> None:
    before = quota_audit.audit(filled.pk)
    execute("DELETE FROM content_projectmanifest")
    execute("DELETE FROM content_quotaentry WHERE manifest_id IS NOT NULL")
    execute(
        f"UPDATE content_quotastripe SET used_bytes = used_bytes - {before.manifests_bytes} "
        "WHERE stripe = (SELECT stripe FROM content_quotastripe ORDER BY used_bytes DESC LIMIT 1)"
    )
    execute("DELETE FROM content_quotastripe WHERE used_bytes = 0")
    migration = importlib.import_module("registry_core.content.migrations.0009_quota_of_manifests")
    execute(migration.CHARGE)
    assert quota_audit.audit(filled.pk) == before
    put(repository_of(filled, "after"), "v1")
    assert quota_audit.audit(filled.pk).is_exact
