"""`…/artifacts/{reference}/additions`: further content of an artifact."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from rest_framework.request import Request

from projects.additions import JSON, addition_of
from projects.api.artifacts import VULNERABILITIES
from projects.api.content import ArtifactView, find_artifact
from registry_core.api.openapi import operation
from registry_core.api.permissions import in_project
from registry_core.errors import NotFound
from registry_core.names import is_tag
from registry_core.sandbox.places import share_of

TAG: Final = "artifact"


class AdditionView(ArtifactView):
    """`…/additions/{addition}`."""

    access = {"GET": in_project("artifact-addition", "read")}

    @operation("getAddition", TAG, answer=str, media_type="text/plain", errors=(400, 401, 403, 404, 412, 429, 503))
    def get(
        self, _request: Request, project_name: str, repository_name: str, reference: str, addition: str
    ) -> HttpResponse:
        """An image's build_history; values.yaml, readme.md and dependencies of a chart; license, readme.md and files of
        a model. Texts are returned as they are, never rendered."""
        if addition.lower() == "sbom":
            raise NotFound("the artifact has no SBOM: this release does not generate any")
        found = addition_of(
            repository=self.repository_ref,
            artifact=self.artifact,
            tag=self.reference if is_tag(self.reference) else "",
            name=addition.lower(),
            cause=self.cause,
            share=share_of(self.subject, self.client),
        )
        return _text(found.content, found.media_type)


class VulnerabilitiesView(ArtifactView):
    """`…/additions/vulnerabilities`."""

    access = {"GET": in_project("artifact-addition", "read")}

    @operation("getVulnerabilitiesAddition", TAG, parameters=[VULNERABILITIES], answer=str, media_type="text/plain")
    def get(self, _request: Request, project_name: str, repository_name: str, reference: str) -> HttpResponse:
        """The vulnerability reports by media type; empty, because nothing scans yet."""
        find_artifact(self.repository_ref, self.reference)
        return _text(b"{}", JSON)


def _text(content: bytes, media_type: str) -> HttpResponse:
    """A text response; `registry_core.http.outgoing` keeps browsers from interpreting it as another type."""
    return HttpResponse(content, content_type=media_type)
