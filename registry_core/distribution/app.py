"""The OCI endpoint as a whole: from a request to a response, including errors."""

from __future__ import annotations

from registry_core.config import get_config
from registry_core.distribution import cached_answers
from registry_core.distribution.errors import OciError, respond, unforeseen
from registry_core.distribution.router import MethodNotAllowed, NotFound, find
from registry_core.distribution.services import Services
from registry_core.http.messages import ClientGone, Request, Response, TooManyBodies


async def answer(request: Request, services: Services) -> Response:
    """Answer a request to /v2/. Raises ClientGone and TooManyBodies, which the server adapter handles."""
    try:
        return await _handle(request, services)
    except (ClientGone, TooManyBodies):
        raise
    except Exception as error:
        return respond(request, error) or unforeseen(request)


async def _handle(request: Request, services: Services) -> Response:
    _refuse_during_outage(services)
    cached = cached_answers.get(request.method, request.path, request.headers, services)
    if cached is not None:
        request.action, request.repository, request.user = cached.action, cached.repository, cached.user
        return Response(cached.status, [*cached.headers], cached.content, cached.file)
    try:
        match = find(request.method, request.path)
    except NotFound:
        raise OciError(404, "UNSUPPORTED", "the registry API has no such path") from None
    except MethodNotAllowed as error:
        allowed = ", ".join(error.allowed)
        raise OciError(405, "UNSUPPORTED", f"this path allows {allowed}", headers=[("allow", allowed)]) from None
    request.action = match.action
    return await match(request, services)


def _refuse_during_outage(services: Services) -> None:
    if services.generations.unreachable_for_s() > get_config().stale_if_down_s:
        wait = [("retry-after", "5")]
        raise OciError(503, "UNAVAILABLE", "the registry's database is not available: try again", headers=wait)
