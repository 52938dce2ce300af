"""Builds the schema for `/api/v2.0/openapi.json`. Imported on the first request for it, because it imports half of
Django's test tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.utils import extend_schema

from registry_core.api.openapi import OPTIONS, Options


class _WithHead(EndpointEnumerator):
    """Lists HEAD as well, for views that implement it separately."""

    def get_allowed_methods(self, callback: Any) -> list[str]:
        methods: list[str] = super().get_allowed_methods(callback)  # type: ignore[no-untyped-call]
        access: Mapping[str, Any] = getattr(callback.cls, "access", {})
        return [*methods, "HEAD"] if "HEAD" in access else methods


class Generator(SchemaGenerator):
    """The generator of the schema."""

    endpoint_inspector_cls = _WithHead

    def create_view(self, callback: Any, method: str, request: Any = None) -> Any:
        """A view to describe: passes the recorded options of its method to drf-spectacular."""
        function: Any = getattr(callback.cls, method.lower(), None)
        options: Options | None = getattr(function, OPTIONS, None)
        if options is not None and not hasattr(function, "kwargs"):  # where extend_schema stores its arguments
            extend_schema(**options())(function)
        return super().create_view(callback, method, request)  # type: ignore[no-untyped-call]


class _Basic(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "registry_core.api.authentication.BasicAuthentication"
    name = "basic"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "basic"}


class _Session(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "registry_core.api.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


class _Bearer(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "registry_core.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
