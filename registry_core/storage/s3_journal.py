"""The journal of an object store: which digest is under which key, in case the database is lost.

An object store cannot append, and an object per blob would double the writes. So lines are collected and written
together after a few seconds, when there are many, and when the process ends. A process that is killed loses its last
lines; their objects can still be identified by their hash.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import structlog

from registry_core.digests import Digest
from registry_core.storage.interface import ObjectMissing, StorageError
from registry_core.storage.journal_lines import blob_line, withdrawn_line
from registry_core.storage.s3_bucket import Bucket

FLUSH_S = 5.0
DELAY_S = FLUSH_S + 2.0  # including the time that the store takes
LINES_MAX = 1_000
READERS = 16
FOLDER = "journal/"
_log = structlog.get_logger(__name__)


class Journal:
    """Collects the lines of one process; shared by its threads."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._timer: threading.Timer | None = None

    def note(self, digest: Digest, key: str, size_bytes: int) -> None:
        """Add a line; it is written within FLUSH_S seconds."""
        line = blob_line(digest, key, size_bytes)
        with self._lock:
            self._lines.append(line)
            is_full = len(self._lines) >= LINES_MAX
            if self._timer is None:
                self._timer = self._start_timer()
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Write the collected lines; if the store fails they are kept for the next time."""
        with self._lock:
            lines, self._lines = self._lines, []
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        if not lines:
            return
        try:
            self._bucket.put(_name(), "".join(lines).encode())
        except StorageError as error:
            _log.warning("lines of the journal are kept for later", lines=len(lines), reason=str(error))
            with self._lock:
                self._lines = lines + self._lines
                self._timer = self._timer or self._start_timer()

    def withdraw(self, keys: Iterable[str], *, known_at_s: float) -> None:
        """Write at once that these keys are withdrawn. Raises StorageError."""
        lines = [withdrawn_line(key, known_at_s=known_at_s) for key in keys]
        for start in range(0, len(lines), LINES_MAX):
            self._bucket.put(_name(), "".join(lines[start : start + LINES_MAX]).encode())

    def lines(self) -> Iterator[bytes]:
        """All lines that any process has written, and those that this one has still to write. Raises StorageError."""
        self.flush()
        names = [listed.name for listed in self._bucket.objects(FOLDER)]
        with ThreadPoolExecutor(READERS, thread_name_prefix="journal") as readers:
            for start in range(0, len(names), LINES_MAX):
                for content in readers.map(self._read, names[start : start + LINES_MAX]):
                    yield from content.splitlines()

    def _read(self, name: str) -> bytes:
        try:
            return b"".join(self._bucket.read(name))
        except ObjectMissing:
            return b""

    def _start_timer(self) -> threading.Timer:
        timer = threading.Timer(FLUSH_S, self.flush)
        timer.daemon = True
        timer.start()
        return timer


def _name() -> str:
    now = time.gmtime()
    return f"{FOLDER}{time.strftime('%Y-%m/%dT%H%M%S', now)}-{secrets.token_hex(4)}.jsonl"
