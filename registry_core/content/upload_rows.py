"""The rows of uploads: owner, current writer, and recorded position.

A request that writes an upload claims it (a lease and a fencing version), so that no two write at once; a claim whose
process died is taken over. A row may be lost in a power cut: the client begins again. Blobs never are.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from registry_core.access import Subject
from registry_core.content.errors import TooManyUploads, UploadBusy, UploadUnknown
from registry_core.content.repositories import RepositoryRef, retried
from registry_core.database.statements import LOSABLE, statements
from registry_core.machine.generations import process_start_time
from registry_core.machine.state import machine_id

LEASE_S = 120
UPLOADS_MAX = 10_000  # per repository: each is a row, even without a byte
_COLUMNS = (
    "id, token, store, storage_key, algorithm, offset_bytes, hash_state, parts::text, reserved_bytes, version, writer"
)
_OWN = "token = %s AND repository_id = %s AND subject_kind = %s AND subject_id = %s"


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An upload as stored in its row."""

    id: int
    token: str
    store: str
    storage_key: str
    algorithm: str
    offset_bytes: int
    hash_state: bytes | None
    parts: list[Any]
    reserved_bytes: int
    version: int
    writer: str

    @classmethod
    def of(cls, values: tuple[Any, ...]) -> UploadRow:
        """From the columns, in their order."""
        row = cls(*values)
        return replace(row, parts=json.loads(values[7]))


@dataclass(frozen=True, slots=True)
class Position:
    """The position of an upload, with everything needed to continue from there."""

    offset_bytes: int
    hash_state: bytes | None
    parts: list[Any]


def this_process() -> str:
    """The name of this process in a claim."""
    return _process(os.getpid())


@functools.lru_cache(maxsize=1)
def _process(pid: int) -> str:
    return f"{machine_id()[:16]}:{pid}:{process_start_time(pid)}"


def is_free(writer: str) -> bool:
    """Whether no process writes the upload, or only one that is known to be dead; processes of other machines count as
    alive."""
    if not writer:
        return True
    machine, pid, started = writer.split(":")
    return machine == machine_id()[:16] and process_start_time(int(pid)) != int(started)


def insert(*, repository: RepositoryRef, by: Subject, token: str, store: str, key: str, algorithm: str) -> None:
    """Insert the row of an upload that has no bytes yet. Raises TooManyUploads."""
    with statements() as cursor:
        cursor.execute(
            f"""
            INSERT INTO content_upload (token, repository_id, subject_kind, subject_id, store, storage_key, algorithm,
                                        offset_bytes, parts, reserved_bytes, version, writer)
            SELECT %s, %s, %s, %s, %s, %s, %s, 0, '[]'::jsonb, 0, 0, '' FROM {LOSABLE}
            WHERE (SELECT count(*) FROM (SELECT FROM content_upload WHERE repository_id = %s LIMIT %s) AS begun) < %s
            """,  # noqa: S608 a constant
            [
                *(token, repository.id, int(by.kind), by.id, store, key, algorithm),
                *(repository.id, UPLOADS_MAX, UPLOADS_MAX),
            ],
        )
        if cursor.rowcount == 0:
            raise TooManyUploads("repository", UPLOADS_MAX)


@retried
def begin(
    *, repository: RepositoryRef, by: Subject, token: str, store: str, key: str, algorithm: str
) -> UploadRow | None:
    """As `insert`, with a claim; None if the row exists and is being written."""
    with statements() as cursor:
        cursor.execute(
            f"""
            INSERT INTO content_upload AS upload
                   (token, repository_id, subject_kind, subject_id, store, storage_key, algorithm, offset_bytes, parts,
                    reserved_bytes, version, writer, writer_until)
            SELECT %s, %s, %s, %s, %s, %s, %s, 0, '[]'::jsonb, 0, 1, %s, now() + interval '{LEASE_S} seconds'
            FROM {LOSABLE}
            ON CONFLICT (token) DO UPDATE SET version = upload.version + 1, updated_at = now(),
                   writer = excluded.writer, writer_until = excluded.writer_until
            WHERE upload.writer = '' OR coalesce(upload.writer_until <= now(), true)
            RETURNING {_COLUMNS}
            """,  # noqa: S608 constants
            [token, repository.id, int(by.kind), by.id, store, key, algorithm, this_process()],
        )
        values = cursor.fetchone()
    return None if values is None else UploadRow.of(values)


def find(repository: RepositoryRef, by: Subject, token: str) -> UploadRow:
    """The upload. Raises UploadUnknown."""
    with statements() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM content_upload WHERE {_OWN}", _own(repository, by, token))  # noqa: S608
        values = cursor.fetchone()
    if values is None:
        raise UploadUnknown("this upload does not exist: it was finished, cancelled or has expired; begin a new one")
    return UploadRow.of(values)


@retried
def claim(repository: RepositoryRef, by: Subject, token: str, former_writer: str = "") -> UploadRow | None:
    """Claim an upload that nobody writes, or only `former_writer`; None if there is no such upload."""
    with statements() as cursor:
        cursor.execute(
            f"""
            UPDATE content_upload SET version = version + 1, writer = %s, updated_at = now(),
                   writer_until = now() + interval '{LEASE_S} seconds'
            FROM {LOSABLE}
            WHERE {_OWN} AND (writer IN ('', %s) OR coalesce(writer_until <= now(), true))
            RETURNING {_COLUMNS}
            """,  # noqa: S608 constants
            [this_process(), *_own(repository, by, token), former_writer],
        )
        values = cursor.fetchone()
    return None if values is None else UploadRow.of(values)


@retried
def keep(upload_id: int, version: int, position: Position) -> None:
    """Record the position of an upload that is still being written. Raises UploadBusy if it was taken over."""
    _update(
        upload_id,
        version,
        "offset_bytes = %s, hash_state = %s, parts = %s::jsonb, writer = %s",
        [position.offset_bytes, position.hash_state, json.dumps(position.parts), this_process()],
    )


def let_go(upload_id: int, version: int) -> None:
    """Release the claim without changing the position. Raises UploadBusy if it was taken over."""
    _update(upload_id, version, "writer = ''", [])


def reserve(upload_id: int, version: int, reserved_bytes: int) -> None:
    """Record what the project was charged for the upload. Raises UploadBusy if it was taken over."""
    _update(upload_id, version, "reserved_bytes = %s", [reserved_bytes])


def delete(upload_id: int, version: int) -> None:
    """Delete the row. Raises UploadBusy if the upload was taken over."""
    with statements() as cursor:
        cursor.execute("DELETE FROM content_upload WHERE id = %s AND version = %s", [upload_id, version])
        refuse_unless_one(cursor.rowcount)


class IdleUpload(NamedTuple):
    """An abandoned upload."""

    id: int
    version: int
    store: str
    storage_key: str


def idle(ttl_s: int) -> list[IdleUpload]:
    """Uploads that nobody touched for `ttl_s` seconds and no living process writes."""
    with statements() as cursor:
        cursor.execute(
            """
            SELECT id, version, store, storage_key, CASE WHEN writer_until > now() THEN writer ELSE '' END
            FROM content_upload WHERE updated_at < now() - make_interval(secs => %s) ORDER BY updated_at
            """,
            [ttl_s],
        )
        return [IdleUpload(*upload) for *upload, writer in cursor.fetchall() if is_free(writer)]


def _update(upload_id: int, version: int, assignments: str, values: list[Any]) -> None:
    with statements() as cursor:
        cursor.execute(
            f"""
            UPDATE content_upload SET {assignments}, updated_at = now(),
                   writer_until = now() + interval '{LEASE_S} seconds'
            FROM {LOSABLE} WHERE id = %s AND version = %s
            """,  # noqa: S608 the assignments are constants
            [*values, upload_id, version],
        )
        refuse_unless_one(cursor.rowcount)


def refuse_unless_one(rows: int) -> None:
    """Raises UploadBusy unless a statement with a version condition found the upload."""
    if rows != 1:
        raise UploadBusy("another request has taken this upload over")


def _own(repository: RepositoryRef, by: Subject, token: str) -> list[Any]:
    return [token, repository.id, int(by.kind), by.id]
