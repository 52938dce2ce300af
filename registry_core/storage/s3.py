"""Blobs in an object store that speaks S3 (AWS, MinIO, Ceph, R2, OSS, COS). See docs/adr/0003-object-storage.md."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from registry_core.config import Config
from registry_core.digests import Digest
from registry_core.storage.interface import (
    ObjectMissing,
    ObjectWriter,
    Removal,
    SignedUrl,
    StorageError,
    StoredObject,
    TrashedObject,
)
from registry_core.storage.object_keys import FILE_NAME
from registry_core.storage.s3_bucket import Bucket, Listed
from registry_core.storage.s3_journal import DELAY_S, Journal
from registry_core.storage.s3_parts import PartPlan
from registry_core.storage.s3_trash import S3Trash
from registry_core.storage.s3_writer import FOLDER, Notes, S3Writer

DELETE_ATTEMPTS = 3
LOOKERS = 4
MARK = "installation.json"
_STILL_THERE = "the store reports success, but the object is still there: check its retention rules, locks and versions"
_NO_RULE = (
    "the bucket has no lifecycle rule that aborts incomplete multipart uploads after some days: uploads that break off "
    "before they are recorded cost space for ever (MinIO removes them by itself after a day)"
)
_ADDRESS = (
    "clients are redirected to an IP address for blobs, and some refuse private ones: put the store's host name "
    "into PORTOLAN_S3_PUBLIC_ENDPOINT, or set PORTOLAN_S3_REDIRECT=false"
)


class S3Store:
    """The folder objects/ of a bucket: an object's name is its upload's key, a dash, and a random end."""

    name = "s3"
    staging = None
    journal_delay_s = DELAY_S

    def __init__(self, config: Config) -> None:
        self._bucket = Bucket(config)
        self._plan = PartPlan(config.s3_part_bytes, is_equal=config.s3_equal_parts)
        self._journal = Journal(self._bucket)
        self._trash = S3Trash(self._bucket, FOLDER, self.delete)
        self._is_redirecting = config.s3_redirect
        self._url_ttl_s = config.s3_redirect_ttl_s
        self._public_endpoint = config.s3_public_endpoint or config.s3_endpoint or ""

    def new_key(self) -> str:
        return secrets.token_hex(16)

    def key_for(self, name: str) -> str:
        return name

    def staged(self) -> dict[str, bool]:
        return {}

    def writer(self, key: str, *, offset: int, parts: list[Any]) -> ObjectWriter:
        return S3Writer(self._bucket, self._plan, key, offset=offset, parts=parts)

    def locate(self, key: str) -> SignedUrl | None:
        if not self._is_redirecting:
            return None
        return SignedUrl(self._bucket.signed_url(FOLDER + key, ttl_s=self._url_ttl_s))

    def read(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        return self._bucket.read(FOLDER + key, start=start, end=end)

    def size_bytes(self, key: str) -> int | None:
        head = self._bucket.head(FOLDER + key)
        return None if head is None else head.size_bytes

    def delete(self, key: str) -> None:
        for attempt in range(DELETE_ATTEMPTS):
            self._bucket.delete(FOLDER + key)
            if self._bucket.head(FOLDER + key) is None:
                return
            time.sleep(random.uniform(0, 2.0**attempt / 4))  # noqa: S311 not a secret
        raise StorageError(f"the store did not delete {key}: check its retention rules and locks")

    def delete_batch(self, keys: Sequence[str], *, is_stopping: Callable[[], bool]) -> list[Removal]:
        sizes = self._sizes(keys, is_stopping)
        there = [key for key in sizes if sizes[key] is not None]
        failures = self._bucket.delete_many([FOLDER + key for key in there]) if there and not is_stopping() else {}
        left = self._sizes(there, is_stopping)
        gone = [Removal(key, 0) for key in sizes if sizes[key] is None]
        return gone + [
            Removal(key, sizes[key] or 0, "" if size is None else failures.get(FOLDER + key) or _STILL_THERE)
            for key, size in left.items()
        ]

    def _sizes(self, keys: Sequence[str], is_stopping: Callable[[], bool]) -> dict[str, int | None]:
        """The size of each object, None for those that do not exist, asked for one by one: a listing may be stale.
        Leaves out those that it was too late for."""

        def look(key: str) -> tuple[str, int | None] | None:
            return None if is_stopping() else (key, self.size_bytes(key))

        with ThreadPoolExecutor(LOOKERS, thread_name_prefix="look") as pool:
            return dict(found for found in pool.map(look, keys) if found is not None)

    def forget(self, key: str, *, parts: list[Any]) -> None:
        notes = Notes.of(parts)
        if notes.upload_id:
            self._bucket.abort_parts(FOLDER + notes.key, notes.upload_id)
        self._abort_all(f"{FOLDER}{key}-")
        for stored in self._bucket.objects(f"{FOLDER}{key}-"):
            self.delete(stored.name.removeprefix(FOLDER))

    def abort(self, key: str) -> None:
        self._abort_all(FOLDER + key)

    def objects(self) -> Iterator[StoredObject]:
        return (stored for stored in map(_stored, self._bucket.objects(FOLDER)) if FILE_NAME.fullmatch(stored.key))

    def unfinished(self) -> Iterator[StoredObject]:
        return (stored for stored in map(_stored, self._bucket.multiparts(FOLDER)) if FILE_NAME.fullmatch(stored.key))

    def note(self, digest: Digest, key: str, size_bytes: int) -> None:
        self._journal.note(digest, key, size_bytes)

    def withdraw(self, keys: Iterable[str], *, known_at_s: float = 0.0) -> None:
        self._journal.withdraw(keys, known_at_s=known_at_s)

    def journal(self) -> Iterator[bytes]:
        return self._journal.lines()

    def read_mark(self) -> bytes | None:
        try:
            return b"".join(self._bucket.read(MARK))
        except ObjectMissing:
            return None

    def write_mark(self, content: bytes) -> None:
        self._bucket.put(MARK, content)

    def trash(self, key: str) -> TrashedObject | None:
        return self._trash.add(key)

    def trashed(self) -> Iterator[TrashedObject]:
        return self._trash.list()

    def give_back(self, trashed: TrashedObject) -> bool:
        return self._trash.give_back(trashed)

    def purge(self, trashed: TrashedObject) -> None:
        self._trash.purge(trashed)

    def flush(self) -> None:
        self._journal.flush()

    def hints(self) -> list[str]:
        hints = []
        if self._bucket.is_cleaning_up_parts() is False:
            hints.append(_NO_RULE)
        if self._is_redirecting and _is_address(self._public_endpoint):
            hints.append(_ADDRESS)
        return hints

    def _abort_all(self, start: str) -> None:
        for listed in self._bucket.multiparts(start):
            self._bucket.abort_parts(listed.name, listed.upload_id)


def _stored(listed: Listed) -> StoredObject:
    key = listed.name.removeprefix(FOLDER)
    return StoredObject(key, key.partition("-")[0], listed.size_bytes, listed.modified_at_s)


def _is_address(url: str) -> bool:
    try:
        ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    return True
