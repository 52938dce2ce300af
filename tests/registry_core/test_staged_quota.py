"""What a project has staged is counted by all processes alike, and mended after a process that died."""

from __future__ import annotations

import dataclasses
import secrets
from pathlib import Path

import pytest

from registry_core.access import SYSTEM
from registry_core.content import quota, quota_audit, staged_quota, upload_rows
from registry_core.content.errors import QuotaExceeded, TooManyUploads
from registry_core.content.models import Project
from registry_core.content.repositories import RepositoryRef
from registry_core.content.staged_quota import StagedUpload
from registry_core.storage import staged_bytes
from registry_core.storage.staged_bytes import Staged, StagedBytes
from registry_core.storage.stores import default_store
from tests.api.conftest import project, repository  # noqa: F401 fixtures

MIB = 1 << 20


@pytest.fixture
def limited(project: Project, repository: RepositoryRef) -> RepositoryRef:  # noqa: F811 the fixtures
    """A repository of a project of 1 MiB."""
    quota.set_limit(project_id=project.pk, limit_bytes=MIB)
    return dataclasses.replace(repository, project=dataclasses.replace(repository.project, has_limit=True))


def staged(target: RepositoryRef, size_bytes: int) -> StagedUpload:
    return StagedUpload(target.project, secrets.token_hex(16), size_bytes)


def test_what_others_leave_in_the_folder_counts_nothing_and_stays(tmp_path: Path) -> None:
    """NFS does, and desktops do; a name that is no number made every push to the project fail."""
    (tmp_path / "7").mkdir()
    for name in (".nfs000000000123", ".DS_Store", "notes", "lease.old"):
        (tmp_path / "7" / name).touch()
    counted = StagedBytes(tmp_path / "7")
    assert counted.add("one", 10)
    assert counted.count() == Staged(1, 10)
    counted.mend({})
    assert (tmp_path / "7" / "notes").exists()


def test_uploads_count_until_they_leave_or_are_over(tmp_path: Path) -> None:
    counted = StagedBytes(tmp_path / "7")
    assert counted.count() == Staged(0, 0)
    with counted.locked() as lease:
        assert lease.leased_bytes == 0
        lease.set(1000)
    assert counted.add("one", 10)
    assert not counted.add("one", 10)
    assert counted.add("two", 5)
    counted.begin_leaving("one", 10)
    assert counted.count() == Staged(1, 5)
    counted.come_back("one", 10)
    assert counted.count() == Staged(2, 15)
    counted.begin_leaving("one", 10)
    counted.remove("one", 10)
    counted.remove("two", 5)
    counted.remove("two", 5)
    assert counted.count() == Staged(0, 0)
    with counted.locked() as lease:
        assert lease.leased_bytes == 1000
        lease.set(9)
    with counted.locked() as lease:
        assert lease.leased_bytes == 9


def test_what_a_dead_process_left_is_mended_and_what_is_being_changed_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = StagedBytes(tmp_path / "7")
    with counted.locked():
        pass
    for name in ("here", "over", "leaving"):
        counted.add(name, 10)
    counted.begin_leaving("leaving", 10)
    counted.mend({})
    assert counted.count() == Staged(2, 20)
    monkeypatch.setattr(staged_bytes, "_CHANGING_S", -1)
    counted.mend({"here": True, "leaving": True, "over": False})
    assert sorted(path.name for path in (tmp_path / "7").iterdir()) == ["here.10", "lease", "leaving.10"]


def test_a_lease_is_charged_shared_and_given_back(limited: RepositoryRef) -> None:
    project_id = limited.project.id
    first, second = staged(limited, 400_000), staged(limited, 600_000)
    assert staged_quota.reserve(first)
    assert staged_quota.reserve(second)
    assert not staged_quota.reserve(first)
    assert staged_quota.used_bytes(project_id) == 1_000_000
    with pytest.raises(QuotaExceeded):
        staged_quota.reserve(staged(limited, 100_000))
    staged_quota.end(second)
    assert staged_quota.used_bytes(project_id) == 400_000
    assert staged_quota.reserve(staged(limited, 600_000))
    staged_quota.end(first)
    staged_quota.sweep()
    found = quota_audit.audit(project_id)
    assert found.is_exact
    assert found.leased_bytes == 600_000


def test_a_project_without_a_limit_is_not_charged(repository: RepositoryRef) -> None:  # noqa: F811 the fixture
    assert not repository.project.has_limit
    assert staged_quota.reserve(staged(repository, 400_000))
    assert staged_quota.used_bytes(repository.project.id) == 0


def test_no_more_uploads_are_begun_than_are_kept(limited: RepositoryRef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged_quota, "UPLOADS_MAX", 2)
    monkeypatch.setattr(upload_rows, "UPLOADS_MAX", 2)
    uploads = [staged(limited, 0) for _ in range(3)]
    assert [staged_quota.reserve(upload) for upload in uploads[:2]] == [True, True]
    with pytest.raises(TooManyUploads, match="finish or cancel"):
        staged_quota.reserve(uploads[2])
    staged_quota.end(uploads[0])
    assert staged_quota.reserve(uploads[2])

    def insert(token: str) -> None:
        store = default_store()
        upload_rows.insert(
            repository=limited, by=SYSTEM, token=token, store=store.name, key=store.new_key(), algorithm="sha256"
        )

    for token in ("a", "b"):
        insert(token)
    with pytest.raises(TooManyUploads, match="the repository has 2"):
        insert("c")
