"""Content negotiation: the view alone decides the format, as in Harbor.

Clients send all kinds of `Accept` headers to these paths, and none should get 406 for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class FirstRenderer(BaseContentNegotiation):
    """Uses the view's first renderer and, for a body, the parser that fits its content type."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """The parser for the request's body: the one named by its content type, else the first."""
        content_type = (request.content_type or "").partition(";")[0].strip()
        known = list(parsers)
        return next((parser for parser in known if parser.media_type == content_type), next(iter(known), None))

    def select_renderer(
        self, _request: Request, renderers: Iterable[BaseRenderer], _format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The view's first renderer, whatever the client accepts."""
        first = next(iter(renderers))
        return first, str(first.media_type)


class PlainText(BaseRenderer):
    """A plain text answer."""

    media_type = "text/plain"
    format = "txt"
    charset = "utf-8"

    def render(self, data: Any, _accepted_media_type: str | None = None, _context: Any = None) -> bytes:
        """The text as bytes."""
        return str(data).encode()
