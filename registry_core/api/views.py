"""Public views of `/api/v2.0`: ping, health, the schema, and 404 for unknown URLs."""

from __future__ import annotations

from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.http import parse_etags
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry_core.api.errors import NOT_FOUND_MESSAGE, SERVER_ERROR_MESSAGE, Failure, error_response
from registry_core.api.health import HEALTHY, UNHEALTHY, probe
from registry_core.api.messages import JsonRenderer
from registry_core.api.negotiation import PlainText
from registry_core.api.openapi import described
from registry_core.api.published_schema import MEDIA_TYPE, published_schema
from registry_core.storage.outages import Outage

SCHEMA_MAX_AGE_S: Final = 300


class PublicView(APIView):
    """A view without authentication."""

    authentication_classes = ()
    permission_classes = (AllowAny,)


class PingView(PublicView):
    """`GET /ping`: the process answers. It checks nothing else; `health` does."""

    renderer_classes = (PlainText,)

    @described(
        lambda: {"operation_id": "getPing", "tags": ["ping"], "responses": {(200, "text/plain"): OpenApiTypes.STR}}
    )
    def get(self, _request: Request) -> Response:
        """Answer `Pong`."""
        return Response("Pong")


class ComponentSerializer(serializers.Serializer[Any]):
    """One component of the health answer; `error` is there only when it is unhealthy."""

    name = serializers.CharField()
    status = serializers.ChoiceField(choices=[HEALTHY, UNHEALTHY])
    error = serializers.CharField(required=False)


class HealthSerializer(serializers.Serializer[Any]):
    """The health of the whole and of each part."""

    status = serializers.ChoiceField(choices=[HEALTHY, UNHEALTHY])
    components = ComponentSerializer(many=True)


class HealthView(PublicView):
    """`GET /health`: the state of database, Redis and storage. Always 200, as in Harbor: the body says whether it is
    healthy."""

    @described(lambda: {"operation_id": "getHealth", "tags": ["health"], "responses": HealthSerializer})
    def get(self, _request: Request) -> Response:
        """Query every component and report."""
        components = probe.components()
        return Response(
            {
                "status": _status(all(component.is_healthy for component in components)),
                "components": [
                    {"name": component.name, "status": _status(component.is_healthy)}
                    | ({"error": component.error} if component.error else {})
                    for component in components
                ],
            }
        )


class SchemaView(PublicView):
    """`GET /openapi.json`: the description of this API, built from the views once per process."""

    schema = None

    def get(self, request: Request) -> HttpResponse:
        """Describe all views; 304 for clients that have the current description."""
        known = published_schema()
        headers = {"ETag": known.etag, "Cache-Control": f"public, max-age={SCHEMA_MAX_AGE_S}"}
        wanted = {tag.removeprefix("W/") for tag in parse_etags(request.headers.get("If-None-Match", ""))}
        if wanted & {known.etag, "*"}:
            return HttpResponse(status=304, headers=headers)
        return HttpResponse(known.content, content_type=MEDIA_TYPE, headers=headers)


class VersionView(PublicView):
    """`GET /api/version`: the version of the API. A Harbor asks for it before it replicates from or to this
    registry."""

    renderer_classes = (JsonRenderer,)
    schema = None

    def get(self, _request: Request) -> Response:
        """Name the version."""
        return Response({"version": "v2.0"})


class UnknownView(PublicView):
    """Any other URL under `/api/v2.0`, with any method."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse before the method is checked: an unknown URL has no methods. Raises Http404."""
        raise Http404


def not_found(_request: HttpRequest) -> HttpResponse:
    """404 in the form of this API, for unknown paths."""
    return error_response(Failure(404, [NOT_FOUND_MESSAGE]))


def server_error(_request: HttpRequest) -> HttpResponse:
    """500 in the form of this API."""
    return error_response(Failure(500, [SERVER_ERROR_MESSAGE]))


def bad_request(_request: HttpRequest, reason: str) -> HttpResponse:
    """400 in the form of this API."""
    return error_response(Failure(400, [reason]))


def out_of_order(outage: Outage) -> HttpResponse:
    """An outage in the form of this API."""
    return error_response(Failure(outage.status, [outage.message]))


def _status(is_healthy: bool) -> str:
    return HEALTHY if is_healthy else UNHEALTHY
