"""Errors of requests about content. Raised where they are detected; each endpoint translates them once."""

from __future__ import annotations

from typing import Any

from registry_core.digests import Digest


class ContentError(Exception):
    """Base: a message for people, and details for programs."""

    def __init__(self, message: str, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail or {}


class RepositoryUnknown(ContentError):
    """There is no such repository (or none that the caller may see)."""


class ManifestUnknown(ContentError):
    """The repository has no such manifest or tag."""


class BlobUnknown(ContentError):
    """The repository has no such blob."""


class UploadUnknown(ContentError):
    """This repository and subject have no such upload."""


class TooManyUploads(ContentError):
    """The project or repository (`where`) has too many unfinished uploads."""

    def __init__(self, where: str, limit: int) -> None:
        super().__init__(
            f"the {where} has {limit} unfinished uploads: finish or cancel some, or wait until they expire",
            {"limit": limit},
        )


class UploadBusy(ContentError):
    """Another request is writing this upload."""


class UploadOutOfOrder(ContentError):
    """The chunk does not begin where the upload ends (`offset_bytes`)."""

    def __init__(self, token: str, offset_bytes: int) -> None:
        super().__init__(f"the upload has {offset_bytes} bytes: continue from there", {"offset": offset_bytes})
        self.token = token
        self.offset_bytes = offset_bytes


class DigestMismatch(ContentError):
    """The digest of the content differs from the one that the client stated."""

    def __init__(self, stated: Digest, computed: Digest) -> None:
        super().__init__(
            "the content does not have the given digest: send it again",
            {"stated": str(stated), "computed": str(computed)},
        )


class ManifestInvalid(ContentError):
    """The manifest is invalid."""


class ManifestTooLarge(ContentError):
    """The manifest is larger than the limit."""


class ReferenceMissing(ContentError):
    """A manifest refers to a blob or manifest that the repository does not have."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(
            f"the manifest refers to {digest}, which this repository does not have: push it first",
            {"digest": str(digest)},
        )


class ContentInUse(ContentError):
    """A living manifest or index still refers to it."""


class QuotaExceeded(ContentError):
    """The project's storage quota is exceeded."""

    def __init__(self, limit_bytes: int, used_bytes: int, asked_bytes: int) -> None:
        super().__init__(
            f"the project's storage quota of {limit_bytes} bytes would be exceeded: "
            f"{used_bytes} bytes are used, {asked_bytes} more are needed",
            {"limit": limit_bytes, "used": used_bytes, "asked": asked_bytes},
        )


class Refused(ContentError):
    """A policy forbids it; the message says why, and what to do next."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class Protected(Refused):
    """The content is protected from change or deletion by every subject: an immutable tag, or an artifact under
    retention."""
