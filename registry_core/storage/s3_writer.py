"""An upload into an object store: collected into parts, and able to continue in another process at any byte.

The bytes are either in a part of the multipart upload, or in the tail: pieces smaller than a part, each an object of
its own that is stored when the upload is handed over and read back when its part is full, or in memory. If a blob
consists of one piece, that object becomes the blob: nothing is sent twice.

Every object has a name of its own, the upload's key with a random suffix. So a writer that has lost its claim without
noticing cannot affect what the next one writes, let alone a finished blob. See docs/adr/0003-object-storage.md.
"""

from __future__ import annotations

import hashlib
import secrets
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from registry_core.storage.interface import ObjectMissing, StorageError, UploadLost
from registry_core.storage.s3_bucket import Bucket, md5
from registry_core.storage.s3_parts import PARTS_MAX, PartBuffer, PartPlan

FOLDER = "objects/"


class Part(NamedTuple):
    """A part that the store has; its position in the list is its number."""

    etag: str
    size_bytes: int


class Piece(NamedTuple):
    """A piece of the tail, an object under `key`."""

    key: str
    size_bytes: int


@dataclass(slots=True)
class Notes:
    """The notes with which another process continues; stored as JSON in the upload's row."""

    key: str = ""
    upload_id: str = ""
    parts: list[Part] = field(default_factory=list)
    tail: list[Piece] = field(default_factory=list)
    spent: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, stored: list[Any]) -> Notes:
        """From the row."""
        if not stored:
            return cls()
        values = dict(stored[0])
        values["parts"] = [Part(*part) for part in values["parts"]]
        values["tail"] = [Piece(*piece) for piece in values["tail"]]
        return cls(**values)

    def stored(self) -> list[Any]:
        """For the row."""
        return [asdict(self)]


class S3Writer:
    """Appends to one object."""

    def __init__(self, bucket: Bucket, plan: PartPlan, key: str, *, offset: int, parts: list[Any]) -> None:
        self.offset = offset
        self._bucket = bucket
        self._plan = plan
        self._upload_key = key
        self._notes = Notes.of(parts)
        # These were already used when the row was written, so they are not needed any more.
        self._garbage, self._notes.spent = self._notes.spent, []
        self._buffer = PartBuffer()
        self._committed_key = ""

    @property
    def until_checkpoint_bytes(self) -> int:
        return self._plan.size_bytes(self._next_number) - self._tail_bytes

    @property
    def _next_number(self) -> int:
        return len(self._notes.parts) + 1

    @property
    def _tail_bytes(self) -> int:
        return sum(piece.size_bytes for piece in self._notes.tail) + len(self._buffer)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        try:
            self._buffer.append(chunk)
        except OSError as error:
            raise StorageError(f"gathering a part in {error.filename or 'a temporary file'}: {error}") from error
        self.offset += len(chunk)

    def hand_over(self) -> list[Any]:
        self._collect_garbage()
        if self._tail_bytes >= self._least_part_bytes():
            self._store_part()
        elif len(self._buffer):
            self._store_piece()
        return self._notes.stored()

    def checkpoint(self) -> list[Any]:
        return self.hand_over()

    def begin_checkpoint(self) -> Future[list[Any]]:
        # It has ended already: while a part is sent, the next one would need as much memory again.
        ended: Future[list[Any]] = Future()
        ended.set_result(self.checkpoint())
        return ended

    def commit(self) -> str:
        if self._tail_bytes + sum(part.size_bytes for part in self._notes.parts) != self.offset:
            raise StorageError("some of the upload's parts are missing: upload it again")
        key = self._commit_parts() if self._notes.upload_id else self._commit_piece()
        self._committed_key = key
        return key

    def settle(self) -> None:
        pieces = [piece.key for piece in self._notes.tail]
        self._garbage += [key for key in (*self._notes.spent, *pieces) if key != self._committed_key]
        self._collect_garbage()

    def close(self) -> None:
        self._buffer.clear()

    def _least_part_bytes(self) -> int:
        # A blob that may still fit into one piece is not cut into parts before it must be.
        if not self._notes.upload_id:
            return self._plan.size_bytes(1)
        return self._plan.least_bytes(self._next_number)

    def _store_part(self) -> None:
        number = self._next_number
        if number > PARTS_MAX:
            raise StorageError(f"the object has more than {PARTS_MAX} parts: raise PORTOLAN_S3_PART_BYTES")
        if not self._notes.upload_id:
            key = self._fresh_key()
            self._notes.upload_id = self._bucket.begin_parts(FOLDER + key)
            self._notes.key = key
        self._load_tail()
        etag = self._bucket.put_part(FOLDER + self._notes.key, self._notes.upload_id, number, self._buffer.body())
        self._notes.parts.append(Part(etag, len(self._buffer)))
        self._buffer.clear()

    def _store_piece(self) -> None:
        piece = Piece(self._fresh_key(), len(self._buffer))
        self._bucket.put(FOLDER + piece.key, self._buffer.body())
        self._notes.tail.append(piece)
        self._buffer.clear()

    def _load_tail(self) -> None:
        """Bring the pieces of the tail back into the buffer, before its present content."""
        if not self._notes.tail:
            return
        whole = PartBuffer()
        for piece in self._notes.tail:
            self._load_piece(piece, whole)
        body = self._buffer.body()
        whole.append(body if isinstance(body, bytearray) else body.read())
        self._notes.spent += [piece.key for piece in self._notes.tail]
        self._notes.tail = []
        self._buffer.clear()
        self._buffer = whole

    def _load_piece(self, piece: Piece, whole: PartBuffer) -> None:
        try:
            for chunk in self._bucket.read(FOLDER + piece.key, end=piece.size_bytes):
                whole.append(chunk)
        except ObjectMissing as error:
            raise UploadLost("reading the end of an upload: it is lost, upload it again") from error

    def _commit_piece(self) -> str:
        """The only piece, or all pieces combined into one; it is also the tail, in case the row fails."""
        if len(self._notes.tail) != 1 or len(self._buffer):
            self._load_tail()
            self._store_piece()
        return self._notes.tail[0].key

    def _commit_parts(self) -> str:
        name = FOLDER + self._notes.key
        try:
            if self._tail_bytes:
                self._store_part()
            self._bucket.finish_parts(name, self._notes.upload_id, [part.etag for part in self._notes.parts])
        except UploadLost:
            # The answer to an earlier attempt was lost, or its row failed.
            if not self._is_made():
                raise
        head = self._bucket.head(name)
        if head is None or head.size_bytes != self.offset:
            raise StorageError("the store joined the parts of an object, but the result differs from what was sent")
        return self._notes.key

    def _is_made(self) -> bool:
        """Whether the object exists and consists of exactly these parts, by the ETag that S3 gives it then (not with
        KMS)."""
        try:
            sums = [bytes.fromhex(part.etag) for part in self._notes.parts]
        except ValueError:
            return False
        if len(self._buffer):
            sums.append(md5(self._buffer.body()))
        expected = f"{hashlib.md5(b''.join(sums), usedforsecurity=False).hexdigest()}-{len(sums)}"
        head = self._bucket.head(FOLDER + self._notes.key)
        return head is not None and head.etag == expected

    def _collect_garbage(self) -> None:
        while self._garbage:
            self._bucket.delete(FOLDER + self._garbage[-1])
            self._garbage.pop()

    def _fresh_key(self) -> str:
        return f"{self._upload_key}-{secrets.token_hex(8)}"
