"""The trash of an object store: the folder trash/ of the bucket, beside objects/.

Such a store cannot move an object: it is copied, the copy is checked, and then the original is deleted. If the process
is killed in between, the object is in both places, and the next attempt uses the existing copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from registry_core.storage.interface import StorageError, TrashedObject
from registry_core.storage.s3_bucket import Bucket
from registry_core.storage.trash_names import parse_trash_name, trash_name, trash_prefix

FOLDER = "trash/"
REUSED_S = 86_400  # an older copy would be deleted too soon
UNFINISHED_S = 86_400


class S3Trash:
    """The folder `trash/`. `objects`: the folder of the objects; `delete`: deletes an object by its key, and makes sure
    that it is gone."""

    def __init__(self, bucket: Bucket, objects: str, delete: Callable[[str], None]) -> None:
        self._bucket = bucket
        self._objects = objects
        self._delete = delete

    def add(self, key: str) -> TrashedObject | None:
        """Move the object to the trash; None if it does not exist. Raises StorageError."""
        head = self._bucket.head(self._objects + key)
        if head is None:
            return None
        trashed = self._copy_of(key, head.size_bytes)
        if trashed is None:
            trashed = parse_trash_name(trash_name(key), head.size_bytes)
            if trashed is None:
                raise StorageError(f"moving an object to the trash: {key!r} is not a key of this store")
            self._bucket.copy(self._objects + key, FOLDER + trashed.name)
        self._delete(key)
        return trashed

    def list(self) -> Iterator[TrashedObject]:
        """The content of the trash, in the order of keys. Raises StorageError."""
        return self._beginning_with("")

    def give_back(self, trashed: TrashedObject) -> bool:
        """Copy it back, then delete it here; False if it is gone or its key is taken. Raises StorageError."""
        head = self._bucket.head(self._objects + trashed.key)
        if head is not None or self._bucket.head(FOLDER + trashed.name) is None:
            return False
        self._bucket.copy(FOLDER + trashed.name, self._objects + trashed.key)
        self.purge(trashed)
        return True

    def purge(self, trashed: TrashedObject) -> None:
        """Delete it, and the parts of an interrupted copy. Raises StorageError."""
        self._bucket.delete(FOLDER + trashed.name)
        for unfinished in self._bucket.multiparts(FOLDER + trash_prefix(trashed.key)):
            if unfinished.modified_at_s < time.time() - UNFINISHED_S:
                self._bucket.abort_parts(unfinished.name, unfinished.upload_id)

    def _copy_of(self, key: str, size_bytes: int) -> TrashedObject | None:
        """The copy of an earlier attempt; the bytes under a key never change."""
        young = (copy for copy in self._beginning_with(trash_prefix(key)) if copy.size_bytes == size_bytes)
        return next((copy for copy in young if copy.trashed_at_s > time.time() - REUSED_S), None)

    def _beginning_with(self, prefix: str) -> Iterator[TrashedObject]:
        for listed in self._bucket.objects(FOLDER + prefix):
            trashed = parse_trash_name(listed.name.removeprefix(FOLDER), listed.size_bytes)
            if trashed is not None:
                yield trashed
