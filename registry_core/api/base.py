"""The base of REST views: authenticates, resolves the project of the URL, and checks permissions.

A view is one URL. It states in `access` which permission each of its methods requires, parses the request, calls one
operation or query, and presents the result.
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
from registry_core.api.permissions import Computed, MeetsRule, Rule
from registry_core.api.recorded_reads import note_read
from registry_core.content.models import Project
from registry_core.content.read_only import check_writable
from registry_core.errors import NotFound
from registry_core.events.reads import Read

OK: Final = 200


class ApiView(APIView):
    """One URL of the REST API."""

    authentication_classes = (BasicAuthentication, SessionAuthentication, BearerAuthentication)
    permission_classes = (MeetsRule,)
    renderer_classes = (JsonRenderer,)
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]
    access: ClassVar[Mapping[str, Rule | Computed]] = {}
    works_read_only: ClassVar[bool] = False

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Admit the caller. Raises what `admit` raises, or Refused for a change while the registry is read only."""
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS and not self.works_read_only:
            check_writable()

    def recorded_read(self) -> Read | None:
        """The event that a read here writes for the audit log; None: it is not recorded."""
        return None

    @property
    def subject(self) -> Subject:
        """The subject of the request."""
        return subject_of(self.request)

    @property
    def client(self) -> str:
        """The client's address."""
        return client_of(self.request)

    @cached_property
    def cause(self) -> Cause:
        """The cause for every operation that it calls."""
        return cause_of(self.request, self.subject)

    @property
    def named_project(self) -> str:
        """The project as the request names it, by name or id; empty if it names none."""
        return str(self.kwargs.get("project_name_or_id") or self.kwargs.get("project_name") or "")

    @cached_property
    def found_project(self) -> Project | None:
        """The living project of the request, by its URL; None if there is none. Where the URL names another resource of
        a project, or the body names the project, the view overrides this: rules are checked in this project.

        A number is an id unless the header `X-Is-Resource-Name` says that it is a name.
        """
        return find_project(self.named_project, is_name="project_name" in self.kwargs or self._is_resource_name())

    @property
    def project(self) -> Project:
        """The project of the URL. Raises NotFound."""
        if self.found_project is None:
            raise NotFound("this project does not exist")
        return self.found_project

    def finalize_response(self, request: HttpRequest | Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Forbids caching of answers to one caller, and gives a session its next CSRF token."""
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
    """The living project with a name or, for a number that is not declared to be a name, with an id."""
    living = Project.objects.filter(deleted_at=None)
    if "\x00" in name_or_id:
        return None
    if not is_name and name_or_id.isascii() and name_or_id.isdigit():
        return living.filter(pk=int(name_or_id)).first() if len(name_or_id) < 19 else None
    return living.filter(name=name_or_id).first()


def created(location: str) -> Response:
    """201 with the URL of what was created."""
    return Response(None, status=201, headers={"Location": location})


def done() -> Response:
    """200 without a body: a change or a deletion."""
    return Response(None)
