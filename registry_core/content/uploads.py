"""Uploads: from the first byte to the blob's row.

An upload belongs to one repository and one subject. There are two kinds, behind the functions of this module: a short
one is a file in the store's staging folder (`short_uploads`) and lasts until its second piece; any other has a row. A
request that writes one with a row claims it, so that no two write at once, and the row records what is durable: offset,
hash state and the store's notes. docs/data-model.md has the states.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from django.db import transaction

from registry_core.access import Cause, Subject
from registry_core.content import quota, reservations, short_uploads, staged_quota, upload_rows, upload_tokens
from registry_core.content.blobs import BlobRef, store_blob, store_fresh
from registry_core.content.errors import DigestMismatch, QuotaExceeded, UploadBusy, UploadUnknown
from registry_core.content.healing import healed
from registry_core.content.objects import note
from registry_core.content.policies import policies
from registry_core.content.policy_contexts import Moment, UploadContext
from registry_core.content.repositories import RepositoryRef, retried
from registry_core.content.short_uploads import ShortUpload
from registry_core.content.upload_rows import Position, UploadRow
from registry_core.database.statements import statements
from registry_core.digests import ALGORITHMS, Digest
from registry_core.storage.hashing import RunningHash, new_hash, restored_hash
from registry_core.storage.interface import StorageError, StoreNotConfigured, UploadLost
from registry_core.storage.stores import configured_stores, default_store, store_named

T = TypeVar("T")
BUSY = "another request is writing this upload: wait for it, then ask for its state"
RENEW_S = 30
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UploadState:
    """The state of an upload."""

    token: str
    offset_bytes: int


@retried
def start_upload(
    *,
    repository: RepositoryRef,
    cause: Cause,
    algorithm: str = "sha256",
    digest: Digest | None = None,
    size_bytes: int | None = None,
) -> UploadState:
    """Begin an upload of a blob whose digest will use `algorithm`; `digest` and `size_bytes` if the client states them.
    Raises Refused by a policy.

    If the store stages short uploads, the upload begins with its first byte, and neither a row nor a file exists
    before.
    """
    policies.ask(UploadContext(cause, repository, digest, size_bytes))
    store, by = default_store(), cause.subject
    has_row = store.staging is None
    token = upload_tokens.issue(repository_id=repository.id, by=by, algorithm=algorithm, has_row=has_row)
    if has_row:
        upload_rows.insert(
            repository=repository, by=by, token=token, store=store.name, key=store.new_key(), algorithm=algorithm
        )
    return UploadState(token, 0)


def start_at_once(*, repository: RepositoryRef, by: Subject, algorithm: str) -> UploadState | None:
    """As `start_upload`, for an admitted request, if that does not block; None otherwise."""
    if default_store().staging is None or policies.concerned(Moment.UPLOAD, repository.project):
        return None
    return UploadState(upload_tokens.issue(repository_id=repository.id, by=by, algorithm=algorithm), 0)


def upload_state(*, repository: RepositoryRef, by: Subject, token: str) -> UploadState:
    """The state of the upload. Raises UploadUnknown."""
    found = short_uploads.find(repository=repository, by=by, token=token) or upload_rows.find(repository, by, token)
    return UploadState(token, found.offset_bytes)


def cancel_upload(*, repository: RepositoryRef, by: Subject, token: str) -> None:
    """Cancel the upload and delete its bytes. Raises UploadUnknown or UploadBusy."""
    short = short_uploads.find(repository=repository, by=by, token=token)
    if short is not None:
        short.end()
    else:
        claim_upload(repository=repository, by=by, token=token).discard()


Check = Callable[[int], None]
"""Is given the offset of an upload before anything is written, and refuses by raising."""


def append(*, repository: RepositoryRef, by: Subject, token: str, content: bytes, check: Check) -> int:
    """Append a short body at once; how many bytes the upload has then. Raises as `claim_upload` and
    `UploadSession.write`, and what `check` raises."""
    short = short_uploads.find(repository=repository, by=by, token=token)
    if short is not None and short.content is None:
        check(0)
        if short.begin(content):
            return len(content)

    def write(session: UploadSession) -> int:
        check(session.offset_bytes)
        session.write(content)
        session.release()
        return session.offset_bytes

    return _with_claimed(repository, by, token, write)


def finish(*, repository: RepositoryRef, by: Subject, token: str, last: bytes, stated: Digest, check: Check) -> BlobRef:
    """Append a short body and make the upload the blob `stated`. Raises as `append` and `UploadSession.commit`."""
    short = short_uploads.find(repository=repository, by=by, token=token)
    if short is not None:
        check(short.offset_bytes)
        return short.commit(last, stated)

    def commit(session: UploadSession) -> BlobRef:
        check(session.offset_bytes)
        session.write(last)
        return session.commit(stated)

    return _with_claimed(repository, by, token, commit)


def _with_claimed(repository: RepositoryRef, by: Subject, token: str, work: Callable[[UploadSession], T]) -> T:
    session = claim_upload(repository=repository, by=by, token=token)
    try:
        return work(session)
    except BaseException as error:
        session.end_after(error)
        raise


def claim_upload(*, repository: RepositoryRef, by: Subject, token: str) -> UploadSession:
    """Claim an upload for writing, creating its row if necessary. Raises UploadUnknown (also if the store has lost its
    bytes), or UploadBusy while another request writes it."""
    short = short_uploads.find(repository=repository, by=by, token=token)
    if short is not None and not short.leave():
        short = short_uploads.find(repository=repository, by=by, token=token)  # another request just began it
        if short is not None and short.content is None:
            raise UploadBusy(BUSY)
    if short is not None:
        try:
            return _grown(short, by)
        except QuotaExceeded:
            short.end()
            raise
        except BaseException:
            short.come_back()
            raise
    row = upload_rows.claim(repository, by, token) or _claim_from_dead(repository, by, token)
    try:
        return UploadSession(repository, by, row)
    except StorageError:
        upload_rows.let_go(row.id, row.version)
        raise


def _grown(short: ShortUpload, by: Subject) -> UploadSession:
    """Converts a short upload into one with a row."""
    token, store = short.token, default_store()
    row = upload_rows.begin(
        repository=short.repository,
        by=by,
        token=token.text,
        store=store.name,
        key=store.new_key(),
        algorithm=token.algorithm,
    ) or _claim_from_dead(short.repository, by, token.text)
    session = UploadSession(short.repository, by, row)
    try:
        if short.content and not session.offset_bytes:  # otherwise a request that died got as far as this
            session.write(short.content)
            session.keep()
        short.end()
    except BaseException as error:
        session.end_after(error)
        raise
    return session


def _claim_from_dead(repository: RepositoryRef, by: Subject, token: str) -> UploadRow:
    """Claim an upload whose writer died without releasing it."""
    writer = upload_rows.find(repository, by, token).writer
    row = upload_rows.claim(repository, by, token, writer) if upload_rows.is_free(writer) else None
    if row is None:
        raise UploadBusy(BUSY)
    return row


@contextmanager
def _left_for_the_sweep(key: str) -> Iterator[None]:
    """Clean-up after the outcome is decided: if the store fails here, the sweep removes the remains."""
    try:
        yield
    except StorageError as error:
        _log.warning("leftovers of an upload stay for the sweep", key=key, reason=str(error))


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """A checkpoint in progress: `position` is durable once `notes` are available."""

    position: Position
    notes: Future[list[Any]]


class UploadSession:
    """A claimed upload: accepts bytes, then is released, discarded, or committed as a blob."""

    def __init__(self, repository: RepositoryRef, by: Subject, row: UploadRow) -> None:
        self.token = row.token
        self.offset_bytes = row.offset_bytes
        self.algorithm = row.algorithm
        self._repository = repository
        self._by = by
        self._id = row.id
        self._version = row.version
        self._store = store_named(row.store)
        self._key = row.storage_key
        self._reserved_bytes = row.reserved_bytes
        self._saved_at_s = time.monotonic()
        self._is_held = True
        self._parts = row.parts
        self._checkpoint: _Checkpoint | None = None
        with self._unknown_when_lost():
            self._writer = self._store.writer(self._key, offset=self.offset_bytes, parts=self._parts)
            self._hash = self._restore_hash(row.hash_state)

    def write(self, chunk: bytes | bytearray) -> None:
        """Append bytes. Raises StorageFull or StorageError (earlier bytes are kept), UploadUnknown if the store has
        lost earlier bytes, QuotaExceeded, UploadBusy if fenced."""
        with self._unknown_when_lost():
            self._renew()
            self._reserve(self.offset_bytes + len(chunk))
            if self._checkpoint is not None and self._checkpoint.notes.done():
                self._end_checkpoint()
            while chunk:
                if self._writer.until_checkpoint_bytes <= 0:
                    self._begin_checkpoint()
                piece = chunk[: self._writer.until_checkpoint_bytes]
                self._append(piece)
                chunk = chunk[len(piece) :]

    def keep(self) -> None:
        """Make the bytes written so far durable, and continue. Raises as `write`."""
        with self._unknown_when_lost():
            self._save(is_releasing=False)

    def release(self) -> None:
        """Keep the bytes and release the claim. Raises StorageError if the store cannot keep them; the upload then ends
        at its last checkpoint. Raises UploadUnknown as `write`."""
        self._is_held = False
        try:
            with self._unknown_when_lost():
                self._save(is_releasing=True)
        except StorageError:
            upload_rows.let_go(self._id, self._version)
            raise
        finally:
            self._writer.close()

    def position(self) -> Position:
        """The current position, for `go_back`."""
        return Position(self.offset_bytes, self._hash.export(), list(self._parts))

    def go_back(self, position: Position) -> None:
        """Release the upload at an earlier position, discarding later bytes."""
        self._is_held = False
        self._writer.close()
        self._let_go(position)

    def end_after(self, error: BaseException) -> None:
        """End a session after an error: the bytes are kept to continue from, unless the quota does not allow them.

        A session that has ended, or was taken over, is left alone.
        """
        if self._is_held:
            with suppress(UploadBusy):
                if isinstance(error, QuotaExceeded):
                    self.discard()
                else:
                    self.release()
        self._writer.close()

    def discard(self) -> None:
        """Delete the upload, its bytes and its reservation."""
        self._writer.close()
        self._drop()

    def commit(self, stated: Digest) -> BlobRef:
        """Make the bytes the blob `stated`: first durable, then one transaction. Raises DigestMismatch (the upload is
        then deleted), or UploadUnknown as `write`."""
        with self._unknown_when_lost():
            self._renew()
            if stated.algorithm == self.algorithm:
                self._verify(stated, self._hash)
            key = self._writer.commit()
        if stated.algorithm != self.algorithm:
            self._verify(stated, self._read_back(key, stated.algorithm))
        ours = BlobRef(0, stated, self.offset_bytes, self._store.name, key)
        blob = self._store_blob(ours)
        self._is_held = False
        blob = healed(stored=blob, pushed=ours)
        if blob.storage_key == key:
            note(self._store, stated, key=key, size_bytes=self.offset_bytes)
        with _left_for_the_sweep(self._key):
            self._writer.settle()
            if blob.storage_key != key:
                self._store.delete(key)
        self._writer.close()
        return blob

    @contextmanager
    def _unknown_when_lost(self) -> Iterator[None]:
        """An upload whose bytes are lost cannot continue: delete it, so that the client begins a new one."""
        try:
            yield
        except UploadLost as error:
            self._drop()
            raise UploadUnknown(f"{error}") from error

    def _drop(self) -> None:
        self._is_held = False
        self._forget()
        with _left_for_the_sweep(self._key):
            self._store.forget(self._key, parts=self._parts)

    @retried
    @transaction.atomic
    def _forget(self) -> None:
        upload_rows.delete(self._id, self._version)
        quota.charge(project_id=self._repository.project.id, delta_bytes=-self._reserved_bytes)

    def _store_blob(self, ours: BlobRef) -> BlobRef:
        fresh = store_fresh(
            repository=self._repository,
            blob=ours,
            upload=(self._id, self._version),
            reserved_bytes=self._reserved_bytes,
        )
        return fresh or self._store_blob_step_by_step(ours)

    @retried
    @transaction.atomic
    def _store_blob_step_by_step(self, ours: BlobRef) -> BlobRef:
        upload_rows.delete(self._id, self._version)
        return store_blob(repository=self._repository, blob=ours, reserved_bytes=self._reserved_bytes)

    def _verify(self, stated: Digest, known: RunningHash) -> None:
        computed = Digest(bytes([ALGORITHMS[stated.algorithm]]) + known.digest())
        if computed != stated:
            self.discard()
            raise DigestMismatch(stated, computed)

    def _read_back(self, key: str, algorithm: str) -> RunningHash:
        again = new_hash(algorithm)
        for chunk in self._store.read(key, end=self.offset_bytes):
            again.update(chunk)
        return again

    def _restore_hash(self, state: bytes | None) -> RunningHash:
        if self.offset_bytes == 0:
            return new_hash(self.algorithm)
        restored = restored_hash(self.algorithm, state) if state else None
        if restored is not None:
            return restored
        return self._read_back(self._key, self.algorithm)

    def _append(self, piece: bytes | bytearray) -> None:
        self._writer.write(piece)
        self._hash.update(piece)
        self.offset_bytes += len(piece)

    def _renew(self) -> None:
        """Renew the claim if it is old: a request that stalled may have lost the upload, and must not touch its bytes
        then."""
        if time.monotonic() - self._saved_at_s > RENEW_S:
            self._save(is_releasing=False)

    def _reserve(self, needed_bytes: int) -> None:
        if needed_bytes > self._reserved_bytes:
            self._reserved_bytes = reservations.reserve(
                upload=(self._id, self._version),
                project_id=self._repository.project.id,
                reserved_bytes=self._reserved_bytes,
                needed_bytes=needed_bytes,
            )

    def _begin_checkpoint(self) -> None:
        """Have the store make the bytes durable while more arrive; the row records it afterwards."""
        self._end_checkpoint()
        position = self.position()
        self._checkpoint = _Checkpoint(position, self._writer.begin_checkpoint())
        if self._checkpoint.notes.done():
            self._end_checkpoint()

    def _end_checkpoint(self) -> None:
        """Wait for the checkpoint in progress, and record in the row where it began. Raises as `write`."""
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is not None:
            self._parts = checkpoint.notes.result()
            self._keep(replace(checkpoint.position, parts=self._parts))

    def _save(self, *, is_releasing: bool) -> None:
        self._checkpoint = None  # the store waits for it, and fails where it did; what it would note is older
        # Only a file that is closed may leave bytes to the kernel: another machine may have to go on with it.
        is_handed_over = is_releasing and self._writer.until_checkpoint_bytes > 0
        self._parts = self._writer.hand_over() if is_handed_over else self._writer.checkpoint()
        if is_releasing:
            self._let_go(self.position())
        else:
            self._keep(self.position())

    def _keep(self, position: Position) -> None:
        upload_rows.keep(self._id, self._version, position)
        self._saved_at_s = time.monotonic()

    def _let_go(self, position: Position) -> None:
        self._reserved_bytes = reservations.keep(
            upload=(self._id, self._version),
            project_id=self._repository.project.id,
            reserved_bytes=self._reserved_bytes,
            position=position,
        )


def sweep_uploads(*, ttl_s: int, except_in: Collection[str] = ()) -> int:
    """Remove the uploads that nobody touched for `ttl_s` seconds, with their bytes; returns their number. Uploads in
    the stores `except_in` are skipped.

    An upload that a living process writes is skipped, however long that takes. The bytes do not go to the trash: they
    were never acknowledged as a blob.
    """
    idle = [upload for upload in upload_rows.idle(ttl_s) if upload.store not in except_in]
    swept = sum(_sweep_one(upload.id, upload.version) for upload in idle)
    staged = [store.staging for store in configured_stores() if store.staging]
    swept += sum(staging.sweep(ttl_s=ttl_s, memory_s=2 * upload_tokens.FRESH_S) for staging in staged)
    staged_quota.sweep()
    return swept


def _sweep_one(upload_id: int, version: int) -> bool:
    with transaction.atomic(), statements() as cursor:
        cursor.execute(
            """
            DELETE FROM content_upload AS upload USING content_repository AS repository
            WHERE upload.id = (SELECT id FROM content_upload WHERE id = %s AND version = %s FOR UPDATE SKIP LOCKED)
            AND repository.id = upload.repository_id
            RETURNING upload.store, upload.storage_key, upload.reserved_bytes, repository.project_id, upload.parts::text
            """,
            [upload_id, version],
        )
        row = cursor.fetchone()
        if row is None:
            return False
        quota.charge(project_id=row[3], delta_bytes=-row[2])
    with suppress(StoreNotConfigured):
        store_named(row[0]).forget(row[1], parts=json.loads(row[4]))
    _log.info("an abandoned upload was removed", upload=upload_id, store=row[0], key=row[1])
    return True
