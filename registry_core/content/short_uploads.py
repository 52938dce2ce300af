"""Short uploads: those of one small piece, which need neither a row nor a claim until they become blobs.

The piece is stored in the store's staging folder. The blob is written from it under a key of its own, so two requests
that finish the same upload cannot affect each other's object. A second piece, or a long one, turns it into an upload
with a row (`uploads.claim_upload`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from django.db import InterfaceError, OperationalError, transaction

from registry_core.access import Subject
from registry_core.content import staged_quota, upload_tokens
from registry_core.content.blobs import BlobRef, store_blob, store_fresh
from registry_core.content.errors import DigestMismatch, QuotaExceeded, UploadBusy, UploadUnknown
from registry_core.content.healing import healed
from registry_core.content.objects import note
from registry_core.content.repositories import RepositoryRef, retried
from registry_core.content.staged_quota import StagedUpload, lease_returned
from registry_core.content.upload_tokens import UploadToken
from registry_core.digests import Digest
from registry_core.storage.interface import ObjectStore, StorageError, UploadLost
from registry_core.storage.staging import Place, Staging
from registry_core.storage.stores import default_store


@dataclass(frozen=True, slots=True)
class ShortUpload:
    """An upload that is not in the database. `content`: its bytes; None before the first byte."""

    repository: RepositoryRef
    token: UploadToken
    content: bytes | None
    _store: ObjectStore
    _staging: Staging

    @property
    def offset_bytes(self) -> int:
        return len(self.content or b"")

    def begin(self, content: bytes) -> bool:
        """Stage the first bytes; False, with nothing done, if another request has staged some. Raises QuotaExceeded,
        TooManyUploads, StorageFull or StorageError."""
        if self.content is not None:
            return False
        counted = self._counted(content)
        if not staged_quota.reserve(counted):
            return False
        is_begun = False
        try:
            is_begun = self._staging.add(self.token.name, content)
        finally:
            if not is_begun:
                staged_quota.end(counted)
        return is_begun

    def leave(self) -> bool:
        """Record that the upload is about to get a row or a blob; False if another request has already begun that.
        Raises StorageFull or StorageError."""
        if self.content is None:
            return self._staging.reserve(self.token.name)
        staged_quota.begin_leaving(self._counted(self.content))
        return True

    def come_back(self) -> None:
        """Undo `leave`: the next request begins the upload again."""
        if self.content is None:
            self._staging.forget(self.token.name)
        else:
            staged_quota.come_back(self._counted(self.content))

    def end(self) -> None:
        """Remove the bytes, and record that the upload is in the database or finished. Raises StorageError."""
        self._staging.end(self.token.name)
        if self.content is not None:
            staged_quota.end(self._counted(self.content))

    def _counted(self, content: bytes) -> StagedUpload:
        return StagedUpload(self.repository.project, self.token.name, len(content))

    def commit(self, last: bytes, stated: Digest) -> BlobRef:
        """Make the bytes, followed by `last`, the blob `stated`: first durable, then one transaction.

        Raises DigestMismatch or QuotaExceeded (the upload is then deleted), StorageFull, StorageError, or UploadBusy if
        another request has begun the upload.
        """
        content = (self.content or b"") + last
        computed = Digest.of(content, stated.algorithm)
        if computed != stated:
            self.end()
            raise DigestMismatch(stated, computed)
        # Until the blob exists, the staged upload's name keeps the sweep from removing the object.
        if not self.leave():
            raise UploadBusy("another request is using this upload: ask for its state")
        try:
            blob = self._stored(content, stated)
        except QuotaExceeded:
            self.end()
            raise
        except BaseException:
            self.come_back()
            raise
        with suppress(StorageError):  # the sweep removes it later
            self.end()
        return blob

    def _stored(self, content: bytes, digest: Digest) -> BlobRef:
        key = self._store.key_for(self.token.name)
        writer = self._store.writer(key, offset=0, parts=[])
        try:
            writer.write(content)
            key = writer.commit()
        finally:
            writer.close()
        ours = BlobRef(0, digest, len(content), self._store.name, key)
        try:
            fresh = store_fresh(repository=self.repository, blob=ours, upload=None)
            blob = fresh or _store_step_by_step(repository=self.repository, blob=ours)
        except (OperationalError, InterfaceError):
            raise  # the row may or may not exist: if not, the sweep removes the object
        except Exception:
            self._delete(key)
            raise
        blob = healed(stored=blob, pushed=ours)
        if blob.storage_key != key:
            self._delete(key)
        else:
            note(self._store, digest, key=key, size_bytes=len(content))
        return blob

    def _delete(self, key: str) -> None:
        with suppress(StorageError):  # the sweep removes it later
            self._store.delete(key)


@lease_returned
@retried
@transaction.atomic
def _store_step_by_step(*, repository: RepositoryRef, blob: BlobRef) -> BlobRef:
    return store_blob(repository=repository, blob=blob)


def find(*, repository: RepositoryRef, by: Subject, token: str) -> ShortUpload | None:
    """The upload, if it is not in the database: it has one staged piece, or no bytes yet. Raises UploadUnknown if its
    bytes are lost, or StorageError."""
    store = default_store()
    read = upload_tokens.read(token, repository_id=repository.id, by=by) if store.staging else None
    if store.staging is None or read is None or read.has_row:
        return None
    try:
        content = store.staging.read(read.name)
    except UploadLost as error:
        store.staging.end(read.name)
        raise UploadUnknown(f"{error}") from error
    if content is Place.ELSEWHERE or (content is Place.NOWHERE and not read.is_fresh):
        return None
    return ShortUpload(repository, read, content if isinstance(content, bytes) else None, store, store.staging)
