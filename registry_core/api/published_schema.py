"""The schema as shown at `/api/v2.0/openapi.json`: it takes a fifth of a second to build, so each process does it once.

It depends on the code alone. Requests that arrive while it is built wait for it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

MEDIA_TYPE: Final = "application/vnd.oai.openapi+json"


@dataclass(frozen=True, slots=True)
class PublishedSchema:
    """The JSON, and its entity tag."""

    content: bytes
    etag: str


class _Once:
    """Builds the schema on the first request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._schema: PublishedSchema | None = None

    def __call__(self) -> PublishedSchema:
        with self._lock:
            if self._schema is None:
                content = _described()
                self._schema = PublishedSchema(content, f'"{sha256(content).hexdigest()[:32]}"')
            return self._schema


published_schema = _Once()


def _described() -> bytes:
    # not before: see registry_core.api.openapi
    from drf_spectacular.renderers import OpenApiJsonRenderer

    from registry_core.api.openapi_generator import Generator

    schema = Generator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    content: bytes = OpenApiJsonRenderer().render(schema)
    return content
