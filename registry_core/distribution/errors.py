"""Errors of the OCI endpoint: the one place where an exception becomes a status, a code and a body.

OCI distribution-spec 1.1 §error-codes.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from registry_core.access import TooManyAttempts, Unauthenticated
from registry_core.content import errors as content
from registry_core.digests import DigestError
from registry_core.http.messages import BodyTooLarge, Header, Request, Response, TooManyParameters, json_response
from registry_core.names import InvalidName
from registry_core.storage.outages import Outage, outage_of

NOT_KNOWN: Final = "the user name or password, or the token, is wrong or has expired"

_log = structlog.get_logger(__name__)


class OciError(Exception):
    """An error response: raised in a handler, sent as it is."""

    def __init__(
        self, status: int, code: str, message: str, detail: Any = None, headers: list[Header] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.headers = headers or []


_CONTENT: dict[type[content.ContentError], tuple[int, str]] = {
    content.RepositoryUnknown: (404, "NAME_UNKNOWN"),
    content.ManifestUnknown: (404, "MANIFEST_UNKNOWN"),
    content.BlobUnknown: (404, "BLOB_UNKNOWN"),
    content.UploadUnknown: (404, "BLOB_UPLOAD_UNKNOWN"),
    content.TooManyUploads: (429, "TOOMANYREQUESTS"),
    content.UploadBusy: (409, "BLOB_UPLOAD_INVALID"),
    content.DigestMismatch: (400, "DIGEST_INVALID"),
    content.ManifestInvalid: (400, "MANIFEST_INVALID"),
    content.ManifestTooLarge: (413, "MANIFEST_INVALID"),
    content.ReferenceMissing: (400, "MANIFEST_BLOB_UNKNOWN"),
    content.ContentInUse: (409, "DENIED"),
    content.QuotaExceeded: (403, "DENIED"),
    content.Refused: (403, "DENIED"),
    content.Protected: (412, "PRECONDITION"),
}


def respond(request: Request, error: Exception) -> Response | None:
    """The response for an expected error; None for an unexpected one."""
    known = _translate(request, error)
    if known is None:
        return None
    body: dict[str, Any] = {"code": known.code, "message": known.message}
    if known.detail:
        body["detail"] = known.detail
    return json_response(known.status, {"errors": [body]}, known.headers)


def unforeseen(request: Request) -> Response:
    """The response while an unexpected exception is handled, which is logged."""
    _log.exception("a request failed unexpectedly", request_id=request.id, path=request.path)
    message = f"the registry failed: ask its administrator, the log has the reason under {request.id}"
    return json_response(500, {"errors": [{"code": "UNKNOWN", "message": message}]})


def _translate(request: Request, error: Exception) -> OciError | None:
    match error:
        case OciError():
            return error
        case content.UploadOutOfOrder():
            return _out_of_order(request, error)
        case content.ContentError():
            status, code = next(_CONTENT[kind] for kind in type(error).__mro__ if kind in _CONTENT)
            return OciError(status, code, error.message, error.detail)
        case InvalidName():
            return OciError(400, "NAME_INVALID", str(error))
        case DigestError():
            return OciError(400, "DIGEST_INVALID", str(error))
        case BodyTooLarge():
            return OciError(413, "SIZE_INVALID", "the request body is too large")
        case TooManyParameters():
            return OciError(400, "UNSUPPORTED", "the query has too many parameters")
        case Unauthenticated():
            return unauthorized(request, NOT_KNOWN)
        case TooManyAttempts():
            wait = [("retry-after", str(error.retry_after_s))]
            return OciError(429, "TOOMANYREQUESTS", str(error), headers=wait)
    return _outage(outage_of(error))


def _outage(outage: Outage | None) -> OciError | None:
    if outage is None:
        return None
    wait = [("retry-after", str(outage.retry_after_s))] if outage.retry_after_s is not None else []
    return OciError(outage.status, "UNAVAILABLE", outage.message, headers=wait)


def _out_of_order(request: Request, error: content.UploadOutOfOrder) -> OciError:
    location = f"/v2/{request.repository}/blobs/uploads/{error.token}"
    headers = [("location", location), ("range", f"0-{max(0, error.offset_bytes - 1)}")]
    return OciError(416, "BLOB_UPLOAD_INVALID", error.message, error.detail, headers)


def unauthorized(
    request: Request, message: str, *, scope: str = "", reason: str = "", code: str = "UNAUTHORIZED"
) -> OciError:
    """A 401 that names the token endpoint (with the required scope, and why the present token is insufficient)."""
    challenge = f'Bearer realm="{request.base_url}/service/token",service="harbor-registry"'
    challenge += f',scope="{scope}"' if scope else ""
    challenge += f',error="{reason}"' if reason else ""
    return OciError(401, code, message, headers=[("www-authenticate", challenge)])
