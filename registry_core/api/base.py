"""The base of the REST views: who asks, which project the address means, whether that is allowed.

A view is one address. It says in `access` which right each of its methods asks for, parses, calls one operation or
query, and presents.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Final

from django.http import HttpRequest
from django.utils.cache import patch_cache_control
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from registry_core.access import Cause, Subject
from registry_core.api.authentication import (
    CSRF_HEADER,
    IN_SESSION,
    BasicAuthentication,
    BearerAuthentication,
    SessionAuthentication,
    csrf_token,
    subject_of,
)
from registry_core.api.causes import cause_of, client_of
from registry_core.api.messages import JsonRenderer
from registry_core.api.permissions import MeetsRule, Rule
from registry_core.api.recorded_reads import note_read
from registry_core.content.models import Project
from registry_core.content.read_only import check_writable
from registry_core.errors import NotFound
from registry_core.events.reads import Read

OK: Final = 200


class ApiView(APIView):
    """One address of the REST API."""

    authentication_classes = (BasicAuthentication, SessionAuthentication, BearerAuthentication)
    permission_classes = (MeetsRule,)
    renderer_classes = (JsonRenderer,)
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]
    access: ClassVar[Mapping[str, Rule]] = {}
    works_read_only: ClassVar[bool] = False

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let the caller in. Raises what `admit` does, or Refused for a change while the registry is read only."""
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS and not self.works_read_only:
            check_writable()

    def recorded_read(self) -> Read | None:
        """The event of a read here, for the audit log; None: it tells of none."""
        return None

    @property
    def subject(self) -> Subject:
        """Who asks."""
        return subject_of(self.request)

    @property
    def client(self) -> str:
        """The address of who asks."""
        return client_of(self.request)

    @cached_property
    def cause(self) -> Cause:
        """On whose behalf the request is, for every operation that it calls."""
        return cause_of(self.request, self.subject)

    @property
    def named_project(self) -> str:
        """The project as the address names it: by its name or its id; empty where it names none."""
        return str(self.kwargs.get("project_name_or_id") or self.kwargs.get("project_name") or "")

    @cached_property
    def found_project(self) -> Project | None:
        """The living project that the address means; None when there is none.

        A number is an id unless the header `X-Is-Resource-Name` says that it is a name.
        """
        return find_project(self.named_project, is_name="project_name" in self.kwargs or self._is_resource_name())

    @property
    def project(self) -> Project:
        """The project of the address. Raises NotFound."""
        if self.found_project is None:
            raise NotFound("there is no such project")
        return self.found_project

    def finalize_response(self, request: HttpRequest | Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Nobody in between keeps what was answered to one caller; a session gets its next CSRF token."""
        final = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[arg-type]
        if request.method in SAFE_METHODS and final.status_code == OK and (read := self.recorded_read()):
            note_read(self.subject, read)
        patch_cache_control(final, no_store=True)
        if IN_SESSION in self.request.META:
            final[CSRF_HEADER] = csrf_token(self.request)
        return final

    def _is_resource_name(self) -> bool:
        return self.request.META.get("HTTP_X_IS_RESOURCE_NAME", "").lower() in {"true", "1"}


def find_project(name_or_id: str, *, is_name: bool = False) -> Project | None:
    """The living project of a name or, when it is a number and not said to be a name, of an id."""
    living = Project.objects.filter(deleted_at=None)
    if "\x00" in name_or_id:
        return None
    if not is_name and name_or_id.isascii() and name_or_id.isdigit():
        return living.filter(pk=int(name_or_id)).first() if len(name_or_id) < 19 else None
    return living.filter(name=name_or_id).first()


def created(location: str) -> Response:
    """201 with the address of what was made."""
    return Response(None, status=201, headers={"Location": location})


def done() -> Response:
    """200 without a body: a change or a deletion."""
    return Response(None)
