"""What can be wrong with a request about content. Raised where it is known; each door translates it once."""

from __future__ import annotations

from typing import Any

from registry_core.digests import Digest


class ContentError(Exception):
    """Base: a message for the person, and details for the program."""

    def __init__(self, message: str, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail or {}


class RepositoryUnknown(ContentError):
    """There is no such repository (or none that the caller may know of)."""


class ManifestUnknown(ContentError):
    """There is no such manifest or tag in the repository."""


class BlobUnknown(ContentError):
    """There is no such blob in the repository."""


class UploadUnknown(ContentError):
    """There is no such upload of this repository and subject."""


class TooManyUploads(ContentError):
    """More uploads were begun and not finished than are kept of one project or repository (`where`)."""

    def __init__(self, where: str, limit: int) -> None:
        super().__init__(
            f"the {where} has {limit} uploads that were begun and not finished: finish or cancel some, or wait until "
            "they expire",
            {"limit": limit},
        )


class UploadBusy(ContentError):
    """Another request is writing this upload."""


class UploadOutOfOrder(ContentError):
    """The chunk does not begin where the upload ends (`offset_bytes`)."""

    def __init__(self, token: str, offset_bytes: int) -> None:
        super().__init__(f"the upload has {offset_bytes} bytes: go on from there", {"offset": offset_bytes})
        self.token = token
        self.offset_bytes = offset_bytes


class DigestMismatch(ContentError):
    """The content has another digest than the client says."""

    def __init__(self, stated: Digest, computed: Digest) -> None:
        super().__init__(
            "the content does not have the digest that was given: send it again",
            {"stated": str(stated), "computed": str(computed)},
        )


class ManifestInvalid(ContentError):
    """The manifest is not one that can be stored."""


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
    """Something living still refers to it."""


class QuotaExceeded(ContentError):
    """The project's storage quota does not allow it."""

    def __init__(self, limit_bytes: int, used_bytes: int, asked_bytes: int) -> None:
        super().__init__(
            f"the project's storage quota of {limit_bytes} bytes does not allow it: "
            f"{used_bytes} bytes are used, {asked_bytes} more were asked for",
            {"limit": limit_bytes, "used": used_bytes, "asked": asked_bytes},
        )


class Refused(ContentError):
    """A policy does not allow it; the message says why, and what to do next."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class Protected(Refused):
    """What was to be changed or deleted is protected, whoever asks: an immutable tag, an artifact that is held."""
