"""Uploads: a blob on its way in, from its first byte to its row.

An upload belongs to one repository and one subject. A request that writes it claims it (a lease and a fencing
version), so that no two write at once; a claim whose process died is taken over. What is durable is known by the row:
offset, hash state and the store's notes.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import connection, transaction

from registry_core.access import Subject
from registry_core.content import quota
from registry_core.content.blobs import BlobRef, store_blob
from registry_core.content.errors import DigestMismatch, QuotaExceeded, UploadBusy, UploadUnknown
from registry_core.content.repositories import RepositoryRef, retried
from registry_core.digests import ALGORITHMS, Digest
from registry_core.distribution.hooks import UploadContext, hooks
from registry_core.generations import process_start_time
from registry_core.state import machine_id
from registry_core.storage.hashing import RunningHash, new_hash, restored_hash
from registry_core.storage.interface import StorageError, UploadLost
from registry_core.storage.stores import default_store, store_named

RESERVATION_BYTES = 64 << 20
LEASE_S = 120
RENEW_S = 30
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UploadState:
    """How far an upload is."""

    token: str
    offset_bytes: int


def _process() -> str:
    return _process_of(os.getpid())


@functools.lru_cache(maxsize=1)
def _process_of(pid: int) -> str:
    return f"{machine_id()[:16]}:{pid}:{process_start_time(pid)}"


def _is_dead(writer: str) -> bool:
    """Whether a claim's process is known to be gone; of another machine's process nothing is known."""
    machine, pid, started = writer.split(":")
    return machine == machine_id()[:16] and process_start_time(int(pid)) != int(started)


# An upload's row may be lost with the machine's power: the client begins again. Content never is. Within the statement,
# because SET LOCAL would be one more on the way there and back, and so would be the transaction around both.
_BOOKKEEPING = "set_config('synchronous_commit', 'off', true) AS bookkeeping"


@retried
def start_upload(
    *,
    repository: RepositoryRef,
    by: Subject,
    algorithm: str = "sha256",
    client: str = "",
    size_bytes: int | None = None,
) -> UploadState:
    """Begin an upload of a blob whose digest will be by `algorithm`. Raises Refused by a hook."""
    hooks.before_upload(UploadContext(by, client, repository, size_bytes, "client"))
    store = default_store()
    token = secrets.token_urlsafe(32)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO content_upload (token, repository_id, subject_kind, subject_id, store, storage_key, algorithm,
                                        offset_bytes, parts, reserved_bytes, version, writer)
            SELECT %s, %s, %s, %s, %s, %s, %s, 0, '[]', 0, 0, '' FROM {_BOOKKEEPING}
            """,  # noqa: S608 a constant
            [token, repository.id, int(by.kind), by.id, store.name, store.new_key(), algorithm],
        )
    return UploadState(token, 0)


def upload_state(*, repository: RepositoryRef, by: Subject, token: str) -> UploadState:
    """How far the upload is. Raises UploadUnknown."""
    return UploadState(token, _row(repository, by, token)["offset_bytes"])


def cancel_upload(*, repository: RepositoryRef, by: Subject, token: str) -> None:
    """Forget the upload and its bytes. Raises UploadUnknown or UploadBusy."""
    session = claim_upload(repository=repository, by=by, token=token)
    session.discard()


def claim_upload(*, repository: RepositoryRef, by: Subject, token: str) -> UploadSession:
    """Claim an upload for writing. Raises UploadUnknown (also when the store has lost its bytes), or UploadBusy while
    another request writes it."""
    row = _claim(repository, by, token) or _claim_from_dead(repository, by, token)
    return UploadSession(repository, by, row)


@retried
def _claim(repository: RepositoryRef, by: Subject, token: str, former_writer: str = "") -> dict[str, Any] | None:
    """Claim an upload that nobody writes, or only `former_writer`; None when there is no such."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE content_upload SET version = version + 1, writer = %s, updated_at = now(),
                   writer_until = now() + interval '{LEASE_S} seconds'
            FROM {_BOOKKEEPING}
            WHERE {_OWN} AND (writer IN ('', %s) OR coalesce(writer_until <= now(), true))
            RETURNING {", ".join(_COLUMNS)}
            """,  # noqa: S608 constants
            [_process(), *_own(repository, by, token), former_writer],
        )
        row = cursor.fetchone()
    return None if row is None else dict(zip(_KEYS, row, strict=True))


def _claim_from_dead(repository: RepositoryRef, by: Subject, token: str) -> dict[str, Any]:
    """Claim an upload whose writer has not let go of it, but is gone."""
    writer = _row(repository, by, token)["writer"]
    row = _claim(repository, by, token, writer) if _is_free(writer) else None
    if row is None:
        raise UploadBusy("another request is writing this upload: wait for it, then ask for its state")
    return row


_COLUMNS = (
    "id",
    "token",
    "store",
    "storage_key",
    "algorithm",
    "offset_bytes",
    "hash_state",
    "parts::text",
    "reserved_bytes",
    "version",
    "writer",
)
_KEYS = tuple(column.removesuffix("::text") for column in _COLUMNS)
_OWN = "token = %s AND repository_id = %s AND subject_kind = %s AND subject_id = %s"


def _own(repository: RepositoryRef, by: Subject, token: str) -> list[Any]:
    return [token, repository.id, int(by.kind), by.id]


def _row(repository: RepositoryRef, by: Subject, token: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM content_upload WHERE {_OWN}",  # noqa: S608 constants
            _own(repository, by, token),
        )
        row = cursor.fetchone()
    if row is None:
        raise UploadUnknown("there is no such upload: it was finished, cancelled or has expired; begin a new one")
    return dict(zip(_KEYS, row, strict=True))


@contextmanager
def _left_for_the_sweep(key: str) -> Iterator[None]:
    """Clean-up after what is already decided: when the store fails here, the sweep finds what stayed."""
    try:
        yield
    except StorageError as error:
        _log.warning("leftovers of an upload stay for the sweep", key=key, reason=str(error))


@dataclass(frozen=True, slots=True)
class Position:
    """How far an upload is, with what is needed to go on from there."""

    offset_bytes: int
    hash_state: bytes | None
    parts: list[Any]


class UploadSession:
    """A claimed upload: takes bytes, then is released, discarded, or committed as a blob."""

    def __init__(self, repository: RepositoryRef, by: Subject, row: dict[str, Any]) -> None:
        self.token: str = row["token"]
        self.offset_bytes: int = row["offset_bytes"]
        self.algorithm: str = row["algorithm"]
        self._repository = repository
        self._by = by
        self._id: int = row["id"]
        self._version: int = row["version"]
        self._store = store_named(row["store"])
        self._key: str = row["storage_key"]
        self._reserved_bytes: int = row["reserved_bytes"]
        self._saved_at_s = time.monotonic()
        self._is_held = True
        self._parts: list[Any] = json.loads(row["parts"])
        with self._unknown_when_lost():
            self._writer = self._store.writer(self._key, offset=self.offset_bytes, parts=self._parts)
            self._hash = self._restore_hash(row["hash_state"])

    def write(self, chunk: bytes | bytearray) -> None:
        """Append bytes. Raises StorageFull or StorageError (what came before is kept), UploadUnknown when the store has
        lost what came before, QuotaExceeded, UploadBusy when fenced."""
        with self._unknown_when_lost():
            self._renew()
            self._reserve(self.offset_bytes + len(chunk))
            while chunk:
                if self._writer.until_checkpoint_bytes <= 0:
                    self._save(is_releasing=False)
                piece = chunk[: self._writer.until_checkpoint_bytes]
                self._append(piece)
                chunk = chunk[len(piece) :]

    def release(self) -> None:
        """Keep what was written and let another request go on. Raises StorageError when the store does not keep it;
        the upload then ends at its last checkpoint. Raises UploadUnknown as `write`."""
        self._is_held = False
        try:
            with self._unknown_when_lost():
                self._save(is_releasing=True)
        except StorageError:
            self._update("writer = ''", [])
            raise
        finally:
            self._writer.close()

    def position(self) -> Position:
        """Where the upload is now; for `go_back`."""
        return Position(self.offset_bytes, self._hash.export(), list(self._parts))

    def go_back(self, position: Position) -> None:
        """Release the upload as it was at an earlier position: what came since does not count."""
        self._is_held = False
        self._writer.close()
        self._keep(position, writer="")

    def end_after(self, error: BaseException) -> None:
        """End a session whose work failed: what came is kept to go on from, unless the quota does not allow it anyway.

        A session that has ended, or was taken over, is left alone.
        """
        if self._is_held:
            with suppress(UploadBusy):
                if isinstance(error, QuotaExceeded):
                    self.discard()
                else:
                    self.release()

    def discard(self) -> None:
        """Forget the upload, its bytes and its reservation."""
        self._writer.close()
        self._drop()

    def commit(self, stated: Digest) -> BlobRef:
        """Make the bytes the blob `stated`: durable, then one transaction. Raises DigestMismatch (the upload is gone
        then), or UploadUnknown as `write`."""
        with self._unknown_when_lost():
            self._renew()
            if stated.algorithm == self.algorithm:
                self._verify(stated, self._hash)
            key = self._writer.commit()
        if stated.algorithm != self.algorithm:
            self._verify(stated, self._read_back(key, stated.algorithm))
        self._store.note(stated, key, self.offset_bytes)
        blob = self._store_blob(BlobRef(0, stated, self.offset_bytes, self._store.name, key))
        self._is_held = False
        with _left_for_the_sweep(self._key):
            self._writer.settle()
            if blob.storage_key != key:
                self._store.delete(key)
        self._writer.close()
        return blob

    @contextmanager
    def _unknown_when_lost(self) -> Iterator[None]:
        """Nobody can go on with an upload whose bytes are gone: forget it, and the client begins a new one."""
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
        self._delete_row()
        quota.charge(project_id=self._repository.project.id, delta_bytes=-self._reserved_bytes)

    @retried
    @transaction.atomic
    def _store_blob(self, ours: BlobRef) -> BlobRef:
        self._delete_row()
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
        restored = restored_hash(self.algorithm, bytes(state)) if state else None
        if restored is not None:
            return restored
        return self._read_back(self._key, self.algorithm)

    def _append(self, piece: bytes | bytearray) -> None:
        self._writer.write(piece)
        self._hash.update(piece)
        self.offset_bytes += len(piece)

    def _renew(self) -> None:
        """Prove the claim again when that was a while ago: a request that stalled may have lost the upload, and must
        not touch its bytes then."""
        if time.monotonic() - self._saved_at_s > RENEW_S:
            self._save(is_releasing=False)

    def _reserve(self, needed_bytes: int) -> None:
        if needed_bytes <= max(self._reserved_bytes, RESERVATION_BYTES):
            return
        more = RESERVATION_BYTES * -(-(needed_bytes - self._reserved_bytes) // RESERVATION_BYTES)
        self._charge_reservation(more)
        self._reserved_bytes += more

    @retried
    @transaction.atomic
    def _charge_reservation(self, more_bytes: int) -> None:
        self._update("reserved_bytes = %s", [self._reserved_bytes + more_bytes])
        quota.charge(project_id=self._repository.project.id, delta_bytes=more_bytes)

    def _save(self, *, is_releasing: bool) -> None:
        # Only a file that is closed may leave bytes to the kernel: another machine may have to go on with it.
        is_handed_over = is_releasing and self._writer.until_checkpoint_bytes > 0
        self._parts = self._writer.hand_over() if is_handed_over else self._writer.checkpoint()
        self._keep(self.position(), writer="" if is_releasing else _process())
        self._saved_at_s = time.monotonic()

    @retried
    def _keep(self, position: Position, *, writer: str) -> None:
        self._update(
            "offset_bytes = %s, hash_state = %s, parts = %s::jsonb, writer = %s",
            [position.offset_bytes, position.hash_state, json.dumps(position.parts), writer],
        )

    def _update(self, assignments: str, values: list[Any]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                UPDATE content_upload SET {assignments}, updated_at = now(),
                       writer_until = now() + interval '{LEASE_S} seconds'
                FROM {_BOOKKEEPING} WHERE id = %s AND version = %s
                """,  # noqa: S608 the assignments are constants
                [*values, self._id, self._version],
            )
            if cursor.rowcount != 1:
                raise UploadBusy("another request has taken this upload over")

    def _delete_row(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM content_upload WHERE id = %s AND version = %s", [self._id, self._version])
            if cursor.rowcount != 1:
                raise UploadBusy("another request has taken this upload over")


def sweep_uploads(*, ttl_s: int) -> int:
    """Remove the uploads that nobody touched for `ttl_s` seconds, with their bytes; how many there were.

    One that a living process writes is left alone, however long it takes.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, version, CASE WHEN writer_until > now() THEN writer ELSE '' END FROM content_upload
            WHERE updated_at < now() - make_interval(secs => %s) ORDER BY updated_at
            """,
            [ttl_s],
        )
        idle = [(upload_id, version) for upload_id, version, writer in cursor.fetchall() if _is_free(writer)]
    return sum(_sweep_one(upload_id, version) for upload_id, version in idle)


def _is_free(writer: str) -> bool:
    return not writer or _is_dead(writer)


def _sweep_one(upload_id: int, version: int) -> bool:
    with transaction.atomic(), connection.cursor() as cursor:
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
    with suppress(LookupError):
        store_named(row[0]).forget(row[1], parts=json.loads(row[4]))
    return True
