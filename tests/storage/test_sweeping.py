"""What a sweep removes, what it leaves alone and why, and how what it removed comes back; on each kind of store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import structlog.testing
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from registry_core.config import get_config
from registry_core.content import adoption, installation, trash
from registry_core.content.check import check_storage
from registry_core.content.models import Blob, Installation, Repository, StoreMark, Upload
from registry_core.content.repair import repair_storage
from registry_core.content.scrub import scrub
from registry_core.content.sweep import SweepReport, sweep
from registry_core.digests import Digest
from registry_core.storage import stores
from registry_core.storage.interface import ObjectStore, StorageError
from registry_core.storage.journal_lines import blob_line, parse_line
from registry_core.storage.s3 import S3Store
from registry_core.storage.s3_trash import S3Trash
from tests.storage.test_driver import stored
from tests.support.minio import Minio

pytestmark = pytest.mark.django_db
DAY_S = 86_400


@dataclass
class Depot:
    """A store and the database that belongs to it."""

    store: ObjectStore
    keys: dict[bytes, str] = field(default_factory=dict)

    def push(self, content: bytes) -> Blob:
        """A blob, as a push makes it: object, row, line of the journal."""
        key = self.write(content)
        digest = Digest.of(content)
        blob = Blob.objects.create(
            digest=digest.raw, size_bytes=len(content), store=self.store.name, storage_key=key, state=Blob.State.LIVE
        )
        self.store.note(digest, key, len(content))
        return blob

    def write(self, content: bytes) -> str:
        """An object that no row names: what a push leaves that dies before its row is written."""
        self.keys[content] = stored(self.store, content)
        return self.keys[content]

    def begin_upload(self, content: bytes) -> str:
        key = self.write(content)
        upload = Upload.objects.create(
            token=key[-32:], repository=_repository(), subject_kind=1, subject_id=1, store=self.store.name,
            storage_key=key.partition("-")[0],
        )  # fmt: skip
        Upload.objects.filter(pk=upload.pk).update(updated_at="2000-01-01T00:00Z")
        return key

    def forget(self, *blobs: Blob) -> None:
        """The database becomes one that never knew them."""
        for blob in blobs:
            Blob.objects.filter(pk=blob.pk).delete()

    def is_there(self, content: bytes) -> bool:
        return self.store.size_bytes(self.keys[content]) == len(content)

    def in_trash(self) -> list[str]:
        return [trashed.key for trashed in self.store.trashed()]

    def sweep(self, **options: Any) -> SweepReport:
        return sweep(ttl_s=0, **options)

    def stopped(self, **options: Any) -> str:
        """Why a sweep was refused; it removed nothing."""
        before = sorted(found.key for found in self.store.objects())
        report = self.sweep(**options)
        assert sorted(found.key for found in self.store.objects()) == before
        assert (report.removed, self.in_trash()) == (0, [])
        reason = report.stopped.get(self.store.name, "")
        assert reason == "" or reason in (installation.sweeping_stopped() or "")
        return reason


def _repository() -> Repository:
    from registry_core.content.models import Project

    project, _ = Project.objects.get_or_create(name="depot")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO content_quotastripe (project_id, stripe, used_bytes, allowance_bytes) "
            "SELECT %s, stripe, 0, 0 FROM generate_series(0, 15) AS stripe ON CONFLICT DO NOTHING",
            [project.pk],
        )
    return Repository.objects.get_or_create(project=project, name="app")[0]


Configure = Callable[..., None]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Change settings of this process, and forget the stores."""

    def apply(**settings: Any) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"PORTOLAN_{name.upper()}", str(value))
        for cached in (get_config, stores._filesystem, stores._s3):
            cached.cache_clear()

    yield apply
    monkeypatch.undo()
    apply()


@pytest.fixture(params=["filesystem", "s3"])
def depot(
    request: pytest.FixtureRequest, tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> Depot:
    """A new installation on each kind of store, with its first mark."""
    monkeypatch.setattr(S3Store, "journal_delay_s", 0.0)  # no other process writes to its journal
    configure(data=tmp_path)
    if request.param == "s3":
        minio: Minio = request.getfixturevalue("minio")
        configure(**minio.settings())
    Installation.objects.all().delete()
    StoreMark.objects.all().delete()
    installation.begin()
    return Depot(stores.default_store())


@pytest.fixture
def folder(tmp_path: Path, configure: Configure) -> Depot:
    """A new installation on a folder."""
    configure(data=tmp_path)
    installation.begin()
    return Depot(stores.default_store())


def test_what_a_push_left_that_died_goes_to_the_trash_and_is_logged(
    depot: Depot,
) -> None:
    depot.push(b"kept")
    key = depot.write(b"left behind")
    with structlog.testing.capture_logs() as lines:
        report = depot.sweep()

    (line,) = [line for line in lines if line["event"] == "an object was removed"]
    assert (line["key"], line["size_bytes"], line["store"]) == (key, 11, depot.store.name)
    assert (line["reason"], key.replace("/", "+") in line["trash"]) == (
        "no blob and no upload in the database has it",
        True,
    )

    assert (report.stopped, [removed.key for removed in report.objects]) == ({}, [key])
    assert (depot.is_there(b"kept"), depot.in_trash()) == (True, [key])
    assert check_storage().is_clean
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload FROM events_event WHERE kind = 'storage.swept' ORDER BY id DESC LIMIT 1")
        payload = cursor.fetchone()[0]
    assert '"bytes": 11' in str(payload).replace("'", '"')
    assert depot.sweep().removed == 0


def test_a_dry_run_says_what_would_go_and_removes_nothing(depot: Depot) -> None:
    depot.push(b"kept")
    key = depot.write(b"left behind")
    depot.begin_upload(b"half an upload")
    report = depot.sweep(is_dry_run=True)
    assert ([found.key for found in report.objects], report.uploads) == ([key], 1)
    assert f"would remove {key} (11 bytes)" in str(report)
    assert depot.is_there(b"left behind")
    assert depot.is_there(b"half an upload")
    assert depot.in_trash() == []


def test_an_abandoned_upload_goes_without_the_trash(depot: Depot) -> None:
    depot.begin_upload(b"half an upload")
    report = depot.sweep()
    assert (report.uploads, depot.in_trash()) == (1, [])
    assert not depot.is_there(b"half an upload")


def test_blobs_that_only_the_journal_knows_are_not_swept_until_somebody_has_looked(depot: Depot) -> None:
    depot.push(b"old")
    assert depot.sweep().stopped == {}
    lost = depot.push(b"pushed after the dump")
    depot.forget(lost)

    reason = depot.stopped()
    assert "1 of the objects that would be removed are blobs" in reason
    assert "portolan storage adopt" in reason
    assert depot.stopped(is_forced=True), "not even by --force"

    (finding,) = adoption.findings()
    assert "1 objects (21 bytes) that are not in the database" in str(finding)
    adoption.adopt(finding)
    assert installation.sweeping_stopped() is None
    assert [removed.key for removed in depot.sweep().objects] == [depot.keys[b"pushed after the dump"]]
    assert depot.in_trash() == [depot.keys[b"pushed after the dump"]]
    assert check_storage().is_clean


def test_an_upload_that_had_become_a_blob_after_the_dump_is_not_swept(depot: Depot) -> None:
    key = depot.begin_upload(b"finished after the dump")
    depot.store.note(Digest.of(b"finished after the dump"), key, 23)
    assert "never had" in depot.stopped()


def test_a_line_of_an_earlier_release_may_be_of_a_push_that_died(folder: Depot) -> None:
    folder.push(b"kept" * 100)
    keys = [folder.write(b"%d" % number) for number in range(10)]
    journal = get_config().data / "journal" / "2026-01.jsonl"
    lines = [f'{{"digest": "{Digest.of(key.encode())}", "key": "{key}", "size": 1}}\n' for key in keys]
    journal.write_text("".join(lines) + "a line that was not written wh")
    assert len(folder.sweep().objects) == 10

    keys = [folder.write(b"%d" % number) for number in range(100, 111)]
    lines = [f'{{"digest": "{Digest.of(key.encode())}", "key": "{key}", "size": 1}}\n' for key in keys]
    journal.write_text("".join(lines))
    assert "never had" in folder.sweep(is_forced=True).stopped["filesystem"]


def test_another_object_of_a_known_digest_is_no_sign_of_an_older_database(depot: Depot) -> None:
    blob = depot.push(b"pushed twice")
    former = depot.keys[b"pushed twice"]
    Blob.objects.filter(pk=blob.pk).update(storage_key=depot.write(b"pushed twice"))
    assert [removed.key for removed in depot.sweep().objects] == [former]


def test_the_object_that_a_blob_in_quarantine_waits_for_is_left_for_the_repair(depot: Depot) -> None:
    blob = depot.push(b"wanted")
    Blob.objects.filter(pk=blob.pk).update(state=Blob.State.QUARANTINED, storage_key="gone")
    assert depot.stopped() == ""
    assert str(Digest.of(b"wanted")) in repair_storage().healed
    assert Blob.objects.get(pk=blob.pk).storage_key == depot.keys[b"wanted"]


def test_a_database_older_than_the_last_mark_is_compared_and_left_alone_while_anything_differs(depot: Depot) -> None:
    depot.push(b"old")
    dump = StoreMark.objects.get(store=depot.store.name)
    assert depot.sweep().stopped == {}
    depot.write(b"what the newer database knew")
    dump.save()

    assert "the database is older than the store" in depot.stopped()
    report = check_storage()
    assert (report.is_clean, "is not swept: the database is older" in str(report)) == (False, True)
    depot.store.delete(depot.keys[b"what the newer database knew"])
    assert depot.stopped() == "", "they fit together again"
    assert installation.sweeping_stopped() is None


def test_marks_are_given_when_blobs_were_made_and_a_mark_that_was_cut_off_is_made_up_for(depot: Depot) -> None:
    assert installation.mark_stores() == 0
    depot.push(b"new")
    former = depot.store.read_mark()
    assert installation.mark_stores() == 1
    assert installation.mark_stores() == 0
    assert former is not None
    depot.store.write_mark(former)  # as if the process had died between the database and the store
    depot.write(b"left behind")
    assert depot.sweep().removed == 1


def test_a_store_older_than_the_database_is_left_alone_while_anything_differs(depot: Depot) -> None:
    depot.push(b"new")
    former = depot.store.read_mark()
    assert former is not None
    for _ in range(2):
        assert depot.sweep().stopped == {}
    depot.store.write_mark(former)
    depot.write(b"of the older store")
    assert "the store is older than the database" in depot.stopped()


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_new_database_removes_nothing(depot: Depot, is_forced: bool) -> None:
    depot.forget(*[depot.push(b"%d" % number) for number in range(4)])
    Installation.objects.all().delete()
    StoreMark.objects.all().delete()
    installation.begin()
    assert Installation.objects.count() == 0, "it does not take the store for its own"
    assert "4 objects (4 bytes) have no row" in depot.stopped(is_forced=is_forced)


def test_a_database_of_another_installation_removes_nothing_even_where_it_fits(depot: Depot) -> None:
    depot.push(b"known to both")
    Installation.objects.update(name="another")
    assert "the store belongs to the installation" in depot.stopped(is_forced=True)
    with pytest.raises(StorageError, match="belongs to the installation"):
        repair_storage()
    (finding,) = adoption.findings()
    adoption.adopt(finding)
    depot.write(b"left behind")
    assert depot.sweep().removed == 1


def test_an_installation_without_marks_is_taken_for_one_only_when_everything_fits(depot: Depot) -> None:
    depot.push(b"known")
    mark = depot.store.read_mark()
    assert mark is not None
    _forget_marks(depot)
    depot.write(b"unknown")
    assert "records that they belong together; 1 objects" in depot.stopped()
    assert depot.store.read_mark() is None
    depot.store.delete(depot.keys[b"unknown"])
    assert depot.stopped() == ""
    assert depot.store.read_mark() not in {None, mark}


def test_a_damaged_mark_stops_the_sweep_until_somebody_has_looked(depot: Depot) -> None:
    depot.push(b"known")
    depot.store.write_mark(b"{")
    assert "mark is damaged" in depot.stopped()
    adoption.adopt(adoption.findings()[0])
    assert depot.stopped() == ""


def test_a_database_that_was_restored_or_moved_is_compared_first(depot: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    depot.push(b"known")
    depot.write(b"unknown")
    monkeypatch.setattr(installation, "database_identity", lambda: "another server")
    assert "was restored, copied or moved; 1 objects" in depot.stopped()
    depot.store.delete(depot.keys[b"unknown"])
    assert depot.stopped() == ""
    depot.write(b"unknown again")
    assert depot.sweep().removed == 1


def test_the_identity_of_a_database_changes_when_a_table_is_made_anew() -> None:
    before = installation.database_identity()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE content_blob RENAME TO former; CREATE TABLE content_blob (LIKE former)")
    after = installation.database_identity()
    assert before.split(":")[:3] == after.split(":")[:3]
    assert before != after


def test_another_store_that_is_empty_is_not_taken_for_one_that_lost_everything(
    folder: Depot, configure: Configure, tmp_path: Path
) -> None:
    folder.push(b"elsewhere")
    folder.sweep()
    configure(data=tmp_path / "not-mounted")
    wrong = Depot(stores.default_store())
    assert "one has no mark: is it another folder, bucket or prefix, or not mounted?" in wrong.stopped()
    for look in (repair_storage, lambda: scrub(rate_bytes_s=1 << 30, is_from_start=True)):
        with pytest.raises(StorageError, match="has no mark"):
            look()
    assert Blob.objects.filter(state=Blob.State.QUARANTINED).count() == 0


def test_a_blob_in_quarantine_whose_object_came_back_is_healed(depot: Depot) -> None:
    blob = depot.push(b"was not mounted")
    damaged = depot.push(b"good bytes")
    Blob.objects.filter(pk=damaged.pk).update(digest=Digest.of(b"other").raw)
    Blob.objects.update(state=Blob.State.QUARANTINED)
    repaired = repair_storage()
    assert repaired.healed == [str(Digest.of(b"was not mounted"))]
    assert Blob.objects.get(pk=blob.pk).state == Blob.State.LIVE
    assert Blob.objects.get(pk=damaged.pk).state == Blob.State.QUARANTINED


def test_more_than_the_usual_share_goes_only_by_force(depot: Depot) -> None:
    for number in range(11):
        depot.write(b"%d" % number)
    for number in range(11):
        depot.push(b"kept %d" % number)
    reason = depot.stopped()
    assert "11 of 22 objects" in reason
    assert "--force" in reason
    assert depot.sweep(is_forced=True).removed == 11
    assert len(depot.in_trash()) == 11
    assert installation.sweeping_stopped() is None


def test_the_share_is_of_objects_or_of_bytes_and_can_be_set(
    folder: Depot, configure: Configure, tmp_path: Path
) -> None:
    for number in range(11):
        folder.write(b"large" * 1000 + b"%d" % number)
    for number in range(300):
        folder.push(b"kept %d" % number)
    assert "bytes) have no row" in folder.stopped(), "3 % of the objects, nearly all of the bytes"
    configure(data=tmp_path, sweep_max_percent=100)
    assert folder.sweep().removed == 11


def test_without_a_trash_what_a_sweep_removes_is_deleted(depot: Depot, configure: Configure) -> None:
    depot.write(b"in the trash")
    depot.sweep()
    configure(trash_days=0)
    depot.write(b"deleted at once")
    report = depot.sweep()
    assert (report.removed, report.purged, depot.in_trash()) == (1, 1, [])


def test_what_has_been_in_the_trash_for_its_days_is_deleted_and_nothing_else(depot: Depot) -> None:
    depot.write(b"removed")
    depot.sweep()
    for days, left in ((6.9, 1), (7.1, 0)):
        trash.expire(depot.store, older_than_s=7 * DAY_S, now_s=time.time() + days * DAY_S)
        assert len(depot.in_trash()) == left
    assert not depot.is_there(b"removed")


def test_a_clock_that_was_set_forward_makes_nothing_old(depot: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    depot.write(b"removed")
    depot.sweep()
    depot.write(b"young")
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + 400 * DAY_S)
    report = sweep(ttl_s=DAY_S)
    assert (report.removed, report.purged) == (0, 0)


def test_what_the_database_has_after_all_comes_back_from_the_trash(depot: Depot) -> None:
    blob = depot.push(b"back by the repair")
    other = depot.push(b"back by the sweep")
    for key in depot.keys.values():
        assert depot.store.trash(key) is not None
    assert "2 of these are in the trash" in str(check_storage())
    assert repair_storage().given_back == sorted(depot.keys.values())
    assert check_storage().is_clean

    for content in depot.keys:
        depot.store.trash(depot.keys[content])
    Blob.objects.filter(pk=blob.pk).update(state=Blob.State.QUARANTINED)
    repaired = repair_storage()
    assert (repaired.healed, repaired.quarantined) == ([str(Digest.of(b"back by the repair"))], [])

    depot.store.trash(other.storage_key)
    assert trash.expire(depot.store, older_than_s=-10) == (0, 1)
    assert depot.is_there(b"back by the sweep")


def test_a_changed_database_gets_back_what_it_has_before_it_is_compared(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = depot.push(b"swept by a newer database")
    depot.store.trash(blob.storage_key)
    monkeypatch.setattr(installation, "database_identity", lambda: "restored")
    assert depot.sweep().stopped == {}
    assert depot.is_there(b"swept by a newer database")


def test_one_key_can_be_in_the_trash_twice_and_replaces_nothing_when_it_comes_back(folder: Depot) -> None:
    key = folder.write(b"first")
    for content in (b"first", b"second"):
        (get_config().data / "objects" / key).write_bytes(content)
        folder.store.trash(key)
    first, second = sorted(folder.store.trashed(), key=lambda trashed: trashed.size_bytes)
    assert folder.store.give_back(second)
    assert not folder.store.give_back(first)
    assert not folder.store.give_back(second)
    assert folder.store.size_bytes(key) == 6
    folder.store.purge(first)
    folder.store.purge(first)
    assert folder.in_trash() == []


def test_what_is_restored_from_the_trash_is_as_young_as_if_it_had_been_written_now(depot: Depot) -> None:
    depot.write(b"removed")
    depot.sweep()
    (restored,) = trash.restore([depot.keys[b"removed"]])
    assert restored.key == depot.keys[b"removed"]
    assert depot.is_there(b"removed")
    assert sweep(ttl_s=DAY_S).removed == 0
    assert trash.restore(None) == []
    assert trash.empty() == (0, 0)


def test_killed_between_the_copy_and_the_delete_an_object_is_moved_once(
    minio: Minio, tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(data=tmp_path, **minio.settings())
    depot = Depot(stores.default_store())
    installation.begin()
    key = depot.write(b"left behind")

    def die(_key: str) -> None:
        raise StorageError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(depot.store, "_trash", S3Trash(depot.store._bucket, "objects/", die))  # type: ignore[attr-defined]
        assert "killed" in depot.sweep().stopped["s3"]
    assert (depot.in_trash(), depot.is_there(b"left behind")) == ([key], True)
    assert depot.sweep().removed == 1
    assert (depot.in_trash(), depot.is_there(b"left behind")) == ([key], False)


def test_two_sweeps_at_once_move_each_object_once(folder: Depot) -> None:
    key = folder.write(b"left behind")
    assert folder.store.trash(key) is not None
    assert folder.store.trash(key) is None
    assert folder.in_trash() == [key]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can type a command for another account")
def test_a_sweep_by_root_leaves_files_to_whom_the_folder_belongs(tmp_path: Path, configure: Configure) -> None:
    configure(data=tmp_path)
    objects = tmp_path / "objects"
    objects.mkdir()
    os.chown(objects, 1234, 1234)
    installation.begin()
    depot = Depot(stores.default_store())
    depot.write(b"left behind")
    assert depot.sweep().removed == 1
    made = [objects / ".trash", objects / ".installation", objects / ".installation" / "mark.json"]
    assert {path.stat().st_uid for path in made} == {1234}


@given(st.binary(max_size=200))
def test_no_line_of_a_journal_is_an_error(line: bytes) -> None:
    parse_line(line)


@given(st.binary(min_size=1, max_size=8), st.text("abcdef0123456789-/", min_size=1), st.integers(0, 1 << 40))
def test_a_line_says_what_was_written(content: bytes, key: str, size_bytes: int) -> None:
    digest = Digest.of(content)
    line = parse_line(blob_line(digest, key, size_bytes).encode())
    assert line is not None
    assert (line.digest, line.key, line.withdrawn) == (str(digest), key, "")
    assert line.at > 0


def _forget_marks(depot: Depot) -> None:
    Installation.objects.all().delete()
    StoreMark.objects.all().delete()
    if isinstance(depot.store, S3Store):
        depot.store._bucket.delete("installation.json")
    else:
        (get_config().data / "objects" / ".installation" / "mark.json").unlink()


def test_what_became_of_an_abandoned_short_upload_goes_with_the_sweep_after_the_one_that_ends_it(folder: Depot) -> None:
    staging, name = folder.store.staging, "ab" * 16
    assert staging is not None
    assert staging.add(name, b"promoted")
    folder.keys[b"promoted"] = key = folder.store.key_for(name)
    (get_config().data / "objects" / key).write_bytes(b"promoted")  # the process died before the row

    first = folder.sweep()
    assert (first.uploads, first.objects) == (1, []), "the name may be that of a blob that is being made"
    assert [removed.key for removed in folder.sweep().objects] == [key]
    assert check_storage().is_clean


@pytest.mark.parametrize("thing", ["lost+found/", "README", "loop@", "ab/folder/", "ab/a@1-b", "ab/.nfs01", "ab/pipe|"])
def test_what_is_no_object_of_ours_is_left_alone(folder: Depot, thing: str) -> None:
    folder.push(b"kept")
    left = folder.write(b"left behind")
    path = get_config().data / "objects" / thing.rstrip("/@|")
    match thing[-1]:
        case "/":
            path.mkdir()
        case "@":
            path.symlink_to(path.name)
        case "|":
            os.mkfifo(path)
        case _:
            path.write_bytes(b"of somebody else")

    report = folder.sweep()
    assert ([removed.key for removed in report.objects], report.stopped) == ([left], {})
    assert check_storage().is_clean
    assert repair_storage().left == 0
    assert os.path.lexists(path)


def test_what_lies_in_the_trash_and_is_none_of_ours_is_neither_given_back_nor_in_the_way(folder: Depot) -> None:
    trash_folder = get_config().data / "objects" / ".trash"
    key = folder.write(b"removed")
    folder.sweep()
    (trash_folder / "..+..+outside@1-00000000").write_bytes(b"x")
    (trash_folder / f"ab+{'ab' * 16}@1-00000000").mkdir()
    assert folder.sweep().stopped == {}
    assert [trashed.key for trashed in trash.restore(None)] == [key]
    assert trash.empty() == (0, 0)
    assert not (get_config().data.parent / "outside").exists()


def test_a_folder_of_another_installation_among_the_objects_is_left_alone(
    minio: Minio, configure: Configure, tmp_path: Path
) -> None:
    configure(data=tmp_path, **minio.settings())
    installation.begin()
    outer = Depot(stores.default_store())
    outer.push(b"kept")
    client, bucket = minio.client(), get_config().s3_bucket
    theirs = [
        f"objects/objects/{'ab' * 16}-01",
        "objects/installation.json",
        "objects/journal/2026-01/01T000000-1.jsonl",
    ]
    for name in theirs:
        client.put_object(Bucket=bucket, Key=name, Body=b"of another installation")
    assert (outer.sweep(is_forced=True).removed, check_storage().is_clean) == (0, True)


@pytest.mark.parametrize("folder_name", ["objects", "staging"])
def test_a_folder_that_is_not_there_is_an_error_of_the_store(folder: Depot, folder_name: str) -> None:
    folder.push(b"kept")
    (get_config().data / folder_name).rename(get_config().data / "away")
    with pytest.raises(StorageError, match="is missing"):
        check_storage()
    with suppress(StorageError):
        assert "is missing" in folder.sweep().stopped["filesystem"]


def test_a_sweep_that_broke_off_is_told_until_one_succeeds(folder: Depot) -> None:
    folder.push(b"kept")
    folder.write(b"left behind")
    in_the_way = get_config().data / "objects" / ".trash"
    in_the_way.write_bytes(b"no folder")
    assert "Not a directory" in folder.sweep().stopped["filesystem"]
    assert "the sweep broke off" in (installation.sweeping_stopped() or "")
    in_the_way.unlink()
    assert folder.sweep().removed == 1
    assert installation.sweeping_stopped() is None


@pytest.mark.parametrize(
    "mark",
    [
        b'{"installation":"\xff"}',
        b'{"installation":"a\\u0000b"}',
        b'{"installation":"' + b"x" * 33 + b'"}',
        b'{"installation":"x","count":9223372036854775807}',
        b'{"installation":"x","count":-1}',
        b'{"installation":"x","at":"\\u0000"}',
    ],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_a_mark_that_nobody_wrote_is_damaged(depot: Depot, mark: bytes, is_known: bool) -> None:
    depot.push(b"known")
    if not is_known:
        _forget_marks(depot)
    depot.store.write_mark(mark)
    assert ("mark is damaged" in depot.stopped()) is is_known
    adoption.adopt(adoption.findings()[0])
    assert depot.stopped() == ""


def test_what_is_adopted_stays_so_when_the_clock_was_ahead(depot: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    depot.push(b"old")
    depot.sweep()
    now_s = time.time()
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: now_s + 400 * DAY_S)
        lost = depot.push(b"pushed while the clock was a year ahead")
        depot.store.flush()
    depot.forget(lost)
    if depot.store.name == "filesystem":
        os.utime(get_config().data / "objects" / lost.storage_key)

    assert "never had" in depot.stopped()
    adoption.adopt(adoption.findings()[0])
    assert depot.sweep().removed == 1


def test_a_line_of_the_journal_behind_one_that_was_broken_off_counts(folder: Depot) -> None:
    folder.push(b"old")
    journal = next((get_config().data / "journal").glob("*.jsonl"))
    with journal.open("ab") as file:
        file.write(b'{"digest": "sha256:a disk was full')
    folder.forget(folder.push(b"pushed after the dump"))
    assert "never had" in folder.stopped()


def test_marks_that_the_store_did_not_take_are_no_sign_of_another_store(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    depot.push(b"old")
    depot.sweep()

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as failing:
        failing.setattr(type(depot.store), "write_mark", full)
        for number in range(3):
            depot.push(b"%d" % number)
            with pytest.raises(StorageError):
                installation.mark_stores()
    depot.write(b"left behind")
    assert depot.sweep().removed == 1
