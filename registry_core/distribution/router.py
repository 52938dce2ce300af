"""The routes of /v2/. A repository's name may itself contain `blobs` or `manifests`, so the end of the path decides."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from registry_core.caches import cached
from registry_core.distribution import blobs, catalog, manifests, referrers, tags, uploads
from registry_core.distribution.services import Services
from registry_core.http.messages import Request, Response

Handler = Callable[..., Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """A resource: its methods, and their names in the access log."""

    pattern: re.Pattern[str]
    handlers: Mapping[str, tuple[str, Handler]]


@dataclass(frozen=True, slots=True)
class Match:
    """A handler with its arguments."""

    action: str
    handler: Handler
    arguments: tuple[str, ...] = field(default=())

    async def __call__(self, request: Request, services: Services) -> Response:
        return await self.handler(request, services, *self.arguments)


class NotFound(Exception):
    """No resource of the API has this path."""


class MethodNotAllowed(Exception):
    """The resource does not have this method; `allowed` are those that it has."""

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(", ".join(allowed))
        self.allowed = allowed


ROUTES: Final = (
    Route(
        re.compile(r"/v2/(.+)/manifests/([^/]*)"),
        {
            "GET": ("pull", manifests.get),
            "HEAD": ("head", manifests.get),
            "PUT": ("push", manifests.put),
            "DELETE": ("delete", manifests.delete),
        },
    ),
    Route(re.compile(r"/v2/(.+)/blobs/uploads/?"), {"POST": ("upload.start", uploads.start)}),
    Route(
        re.compile(r"/v2/(.+)/blobs/uploads/([^/]+)"),
        {
            "GET": ("upload.status", uploads.status),
            "PATCH": ("upload.append", uploads.patch),
            "PUT": ("upload.finish", uploads.put),
            "DELETE": ("upload.cancel", uploads.cancel),
        },
    ),
    Route(
        re.compile(r"/v2/(.+)/blobs/([^/]*)"),
        {"GET": ("blob.pull", blobs.get), "HEAD": ("blob.head", blobs.get), "DELETE": ("blob.delete", blobs.delete)},
    ),
    Route(re.compile(r"/v2/(.+)/tags/list"), {"GET": ("tags", tags.list_tags), "HEAD": ("tags", tags.list_tags)}),
    Route(
        re.compile(r"/v2/(.+)/referrers/([^/]*)"),
        {"GET": ("referrers", referrers.list_referrers), "HEAD": ("referrers", referrers.list_referrers)},
    ),
    Route(
        re.compile(r"/v2/_catalog"),
        {"GET": ("catalog", catalog.list_repositories), "HEAD": ("catalog", catalog.list_repositories)},
    ),
    Route(re.compile(r"/v2/?"), {"GET": ("base", catalog.base), "HEAD": ("base", catalog.base)}),
)


@cached("routes", share=1 / 32, entry_bytes=2048, longest=512)
def find(method: str, path: str) -> Match:
    """The handler for a request. Raises NotFound or MethodNotAllowed."""
    for route in ROUTES:
        match = route.pattern.fullmatch(path)
        if match is None:
            continue
        found = route.handlers.get(method)
        if found is None:
            raise MethodNotAllowed(sorted(route.handlers))
        return Match(*found, match.groups())
    raise NotFound
