"""What every store must do, whatever it is made of: the same tests against a folder and against an object store."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from registry_core.digests import Digest
from registry_core.storage import s3_bucket
from registry_core.storage.filesystem import FilesystemStore
from registry_core.storage.interface import (
    ObjectMissing,
    ObjectStore,
    ObjectWriter,
    SignedUrl,
    StorageError,
    UploadLost,
)
from registry_core.storage.journal_lines import parse_line
from registry_core.storage.s3 import S3Store

MIB = 1 << 20
NOTHING: list[Any] = []


def content_of(size_bytes: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def feed(writer: ObjectWriter, content: bytes, piece_bytes: int = MIB) -> None:
    """Write as an upload does: up to where a checkpoint is due, then the checkpoint."""
    while content:
        if writer.until_checkpoint_bytes <= 0:
            writer.checkpoint()
        size = min(piece_bytes, writer.until_checkpoint_bytes)
        writer.write(content[:size])
        content = content[size:]


def stored(store: ObjectStore, *chunks: bytes) -> str:
    """An object of the chunks, each written by a writer of its own that goes on with the notes of the last."""
    key, offset, notes = store.new_key(), 0, NOTHING
    for chunk in chunks[:-1]:
        offset, notes = _append(store, key, offset, notes, chunk)
    writer = store.writer(key, offset=offset, parts=notes)
    feed(writer, chunks[-1])
    made = writer.commit()
    writer.settle()
    writer.close()
    return made


def _append(store: ObjectStore, key: str, offset: int, notes: list[Any], chunk: bytes) -> tuple[int, list[Any]]:
    writer = store.writer(key, offset=offset, parts=notes)
    feed(writer, chunk)
    notes = writer.hand_over()
    writer.close()
    return writer.offset, notes


def read(store: ObjectStore, key: str, **part: int) -> bytes:
    return b"".join(store.read(key, **part))


def test_keys_are_not_given_twice(store: ObjectStore) -> None:
    keys = [store.new_key() for _ in range(100)]
    assert len(set(keys)) == 100


@pytest.mark.parametrize("size_bytes", [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 16 * MIB + 3])
def test_object_reads_back_as_it_was_written(store: ObjectStore, size_bytes: int) -> None:
    content = content_of(size_bytes)
    key = stored(store, content)
    assert read(store, key) == content
    assert store.size_bytes(key) == size_bytes


@pytest.mark.parametrize(
    "sizes",
    [
        [3, 0],
        [3, 4],
        [0, 3],
        [1000] * 5,
        [4 * MIB, 4 * MIB],
        [5 * MIB, 0],
        [6 * MIB, 6 * MIB, 6 * MIB],
        [11 * MIB, 1, 1, 5 * MIB, 1],
    ],
    ids=str,
)
def test_object_goes_on_with_the_notes_at_any_byte(store: ObjectStore, sizes: list[int]) -> None:
    chunks = [content_of(size, seed) for seed, size in enumerate(sizes)]
    key = stored(store, *chunks)
    assert read(store, key) == b"".join(chunks)
    assert [found.key for found in store.objects()] == [key]
    assert list(store.unfinished()) == []


def test_an_object_goes_to_the_trash_and_comes_back(store: ObjectStore) -> None:
    key, content = stored(store, content_of(MIB)), content_of(MIB)
    trashed = store.trash(key)
    assert trashed is not None
    assert (trashed.key, trashed.size_bytes) == (key, MIB)
    assert abs(trashed.trashed_at_s - time.time()) < 60
    assert (store.size_bytes(key), list(store.objects()), list(store.trashed())) == (None, [], [trashed])
    assert store.trash(key) is None

    assert store.give_back(trashed)
    assert (read(store, key), list(store.trashed())) == (content, [])
    again = store.trash(key)
    assert again is not None
    store.purge(again)
    assert (list(store.objects()), list(store.trashed())) == ([], [])


def test_a_mark_is_kept_beside_the_objects_and_is_none_of_them(store: ObjectStore) -> None:
    assert store.read_mark() is None
    for content in (b"first", b"second, and longer"):
        store.write_mark(content)
        assert store.read_mark() == content
    assert list(store.objects()) == []


def test_the_journal_gives_back_its_lines(store: ObjectStore) -> None:
    digest = Digest.of(b"content")
    store.note(digest, "some key", 7)
    store.withdraw(["another", "third"])
    lines = [parse_line(line) for line in store.journal()]
    said = {(line.digest, line.key, line.withdrawn) for line in lines if line is not None}
    assert said == {(str(digest), "some key", ""), ("", "", "another"), ("", "", "third")}


def test_a_large_object_is_copied_to_the_trash_in_parts(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_bucket, "COPY_BYTES", 5 * MIB)  # the smallest part that S3 takes
    content = content_of(11 * MIB + 1)
    key = stored(s3, content)
    trashed = s3.trash(key)
    assert trashed is not None
    assert s3.give_back(trashed)
    assert read(s3, key) == content
    assert list(s3._bucket.multiparts("trash/")) == []


def test_what_was_not_handed_over_is_cut_off(store: ObjectStore) -> None:
    key, kept, lost = store.new_key(), content_of(7 * MIB, 1), content_of(6 * MIB, 2)
    offset, notes = _append(store, key, 0, [], kept)
    dying = store.writer(key, offset=offset, parts=notes)
    feed(dying, lost)

    writer = store.writer(key, offset=offset, parts=notes)
    feed(writer, b"the end")
    assert read(store, writer.commit()) == kept + b"the end"


def test_commit_can_be_tried_again_by_another_writer(store: ObjectStore) -> None:
    for size in (3, 12 * MIB):
        key, content = store.new_key(), content_of(size)
        offset, notes = _append(store, key, 0, [], content)
        store.writer(key, offset=offset, parts=notes).commit()  # and then its row was not written
        again = store.writer(key, offset=offset, parts=notes)
        assert read(store, again.commit()) == content


def test_commit_whose_row_fails_leaves_notes_to_go_on_with(store: ObjectStore) -> None:
    for size in (3, 12 * MIB):
        key, content = store.new_key(), content_of(size)
        writer = store.writer(key, offset=0, parts=[])
        feed(writer, content)
        writer.commit()
        notes = writer.hand_over()
        again = store.writer(key, offset=size, parts=notes)
        assert read(store, again.commit()) == content


@pytest.mark.parametrize(("start", "end"), [(0, 1), (1, 2), (0, None), (5, None), (1_048_570, 1_048_590), (9, 9)])
def test_part_of_an_object_is_read(store: ObjectStore, start: int, end: int | None) -> None:
    content = content_of(2 * MIB)
    key = stored(store, content)
    assert b"".join(store.read(key, start=start, end=end)) == content[start:end]


def test_absent_object_is_said_to_be_missing(store: ObjectStore) -> None:
    key = store.new_key()
    assert store.size_bytes(key) is None
    with pytest.raises(ObjectMissing):
        read(store, key)


def test_delete_removes_one_object_and_may_be_repeated(store: ObjectStore) -> None:
    kept, gone = stored(store, b"kept"), stored(store, b"gone")
    store.delete(gone)
    store.delete(gone)
    assert store.size_bytes(gone) is None
    assert read(store, kept) == b"kept"


@pytest.mark.parametrize("sizes", [[3], [3, 3], [6 * MIB], [12 * MIB, 2]], ids=str)
def test_forget_leaves_nothing_of_an_upload(store: ObjectStore, sizes: list[int]) -> None:
    kept = stored(store, b"kept")
    key, offset, notes = store.new_key(), 0, NOTHING
    for size in sizes:
        offset, notes = _append(store, key, offset, notes, content_of(size))
    store.forget(key, parts=notes)
    assert [found.key for found in store.objects()] == [kept]
    assert list(store.unfinished()) == []


def test_objects_are_listed_with_size_and_time_and_their_upload(store: ObjectStore) -> None:
    upload = store.new_key()
    writer = store.writer(upload, offset=0, parts=[])
    writer.write(b"12345")
    key = writer.commit()
    (found,) = store.objects()
    assert (found.key, found.upload_key, found.size_bytes) == (key, upload, 5)
    assert abs(found.modified_at_s - time.time()) < 60


def test_object_can_be_located(store: ObjectStore) -> None:
    import httpx

    key = stored(store, b"0123456789")
    where = store.locate(key)
    if isinstance(where, SignedUrl):
        assert httpx.get(where.url, headers={"range": "bytes=2-4"}).content == b"234"
    else:
        assert isinstance(where, Path)
        assert where.read_bytes() == b"0123456789"


def test_bytes_that_went_with_the_machines_memory_are_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FilesystemStore(tmp_path)
    folder.prepare()
    flushed, unflushed, elsewhere = folder.new_key(), folder.new_key(), folder.new_key()
    notes: dict[str, list[Any]] = {}
    for key in (flushed, unflushed):
        writer = folder.writer(key, offset=0, parts=[])
        writer.write(b"12345")
        notes[key] = writer.checkpoint() if key == flushed else writer.hand_over()
        writer.close()
    _append(folder, elsewhere, 0, NOTHING, b"12345")
    assert folder.writer(unflushed, offset=5, parts=notes[unflushed]).hand_over() == notes[unflushed] != []

    monkeypatch.setattr("registry_core.storage.local_files.boot_id", lambda: "another")

    with pytest.raises(UploadLost):
        folder.writer(unflushed, offset=5, parts=notes[unflushed])
    assert folder.writer(flushed, offset=5, parts=notes[flushed]).offset == 5
    assert folder.writer(elsewhere, offset=5, parts=["another machine:its boot"]).offset == 5


def test_file_that_is_shorter_than_its_upload_is_lost_but_not_one_whose_store_is_away(tmp_path: Path) -> None:
    folder = FilesystemStore(tmp_path)
    folder.prepare()
    key = folder.new_key()
    _append(folder, key, 0, NOTHING, b"12345")
    with folder.locate(key).open("rb+") as file:
        file.truncate(3)
    with pytest.raises(UploadLost):
        folder.writer(key, offset=5, parts=[])
    folder.delete(key)
    with pytest.raises(UploadLost):
        folder.writer(key, offset=5, parts=[])

    (tmp_path / "objects").rename(tmp_path / "unmounted")
    with pytest.raises(StorageError) as away:
        folder.writer(key, offset=5, parts=[])
    assert not isinstance(away.value, UploadLost)


def test_writer_that_lost_its_claim_cannot_touch_what_the_next_one_made(s3: ObjectStore) -> None:
    for begun in ([], [content_of(6 * MIB)]):
        key, offset, notes = s3.new_key(), 0, NOTHING
        for chunk in begun:
            offset, notes = _append(s3, key, offset, notes, chunk)
        late, next_one = (s3.writer(key, offset=offset, parts=notes) for _ in range(2))
        feed(next_one, b"what counts")
        made = next_one.commit()
        next_one.settle()

        late.write(b"something else")
        try:
            assert late.commit() != made
        except ObjectMissing:
            assert begun, "the upload's parts were used up"
        assert read(s3, made) == b"".join(begun) + b"what counts"


def test_more_is_written_while_a_checkpoint_is_on_its_way(store: ObjectStore) -> None:
    key, content = store.new_key(), content_of(7 * MIB)
    writer = store.writer(key, offset=0, parts=[])
    writer.write(content)
    begun = writer.begin_checkpoint()
    writer.write(b"what is lost")
    notes = begun.result()
    writer.close()

    again = store.writer(key, offset=len(content), parts=notes)
    again.write(b"the end")
    assert read(store, again.commit()) == content + b"the end"


class Disk:
    """A disk whose flushes of files wait until they may end, and then fail if they are to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_end = threading.Event()
        self.may_end.set()
        self.error: int | None = None
        self.flushed: list[int] = []
        monkeypatch.setattr(os, "fdatasync", self._flush)

    def _flush(self, descriptor: int) -> None:
        assert self.may_end.wait(30)
        os.fstat(descriptor)  # it is open
        if self.error is not None:
            error, self.error = self.error, None  # the kernel tells once
            raise OSError(error, os.strerror(error))
        self.flushed.append(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> FilesystemStore:
    made = FilesystemStore(tmp_path)
    made.prepare()
    return made


@pytest.mark.parametrize("step", ["begin_checkpoint", "checkpoint", "hand_over", "commit", "close"])
def test_a_file_waits_for_its_flush_before_anything_that_counts_on_it(
    folder: FilesystemStore, disk: Disk, step: str
) -> None:
    writer = folder.writer(folder.new_key(), offset=0, parts=[])
    writer.write(b"12345")
    disk.may_end.clear()
    begun = writer.begin_checkpoint()
    writer.write(b"678")
    assert not begun.done()

    with ThreadPoolExecutor(1) as pool:
        next_step = pool.submit(getattr(writer, step))
        time.sleep(0.2)
        assert not next_step.done()
        disk.may_end.set()
        next_step.result(30)

    assert begun.result() == []
    assert disk.flushed
    writer.close()


def test_a_handed_over_file_is_flushed_only_as_far_as_it_was_when_the_flush_began(
    folder: FilesystemStore, disk: Disk
) -> None:
    writer = folder.writer(folder.new_key(), offset=0, parts=[])
    writer.write(b"12345")
    writer.begin_checkpoint()
    assert writer.hand_over() == []
    writer.write(b"678")
    assert writer.hand_over() != []
    writer.close()


@pytest.mark.parametrize("step", ["begin_checkpoint", "checkpoint", "hand_over", "commit"])
def test_after_a_flush_that_failed_nothing_is_said_to_be_kept(folder: FilesystemStore, disk: Disk, step: str) -> None:
    writer = folder.writer(folder.new_key(), offset=0, parts=[])
    writer.write(b"12345")
    disk.error = errno.EIO
    with pytest.raises(StorageError, match="Input/output error"):
        writer.begin_checkpoint().result()
    for _ in range(2):
        with pytest.raises(StorageError, match="Input/output error"):
            getattr(writer, step)()
    writer.close()


def test_after_a_failed_commit_nothing_is_said_to_be_kept(
    folder: FilesystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = folder.writer(folder.new_key(), offset=0, parts=[])
    writer.write(b"12345")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError):
        writer.commit()
    monkeypatch.undo()
    with pytest.raises(StorageError):
        writer.hand_over()
    writer.close()


def test_a_flush_that_failed_takes_the_upload_with_it_when_what_came_before_was_not_flushed(
    folder: FilesystemStore, disk: Disk
) -> None:
    key = folder.new_key()
    offset, notes = _append(folder, key, 0, NOTHING, b"12345")
    writer = folder.writer(key, offset=offset, parts=notes)
    disk.error = errno.EIO
    with pytest.raises(UploadLost):
        writer.checkpoint()
    writer.close()

    again = folder.writer(key, offset=offset, parts=notes)
    again.checkpoint()
    disk.error = errno.EIO
    with pytest.raises(StorageError) as failed:
        again.checkpoint()
    assert not isinstance(failed.value, UploadLost)
    again.close()
