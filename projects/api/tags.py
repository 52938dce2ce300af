"""`…/artifacts/{reference}/tags`: list, create and delete them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response

from projects.api.artifact_messages import NewTag, TagAnswer
from projects.api.content import ArtifactView
from projects.immutability.rules import Protection
from registry_core.api.base import created, done
from registry_core.api.messages import NEVER, api_time, parse_body
from registry_core.api.openapi import PAGED, operation, query
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import in_project
from registry_core.api.query import Match, number_key, text_key, time_key, truth
from registry_core.content.models import Tag
from registry_core.content.tags import create_tag, delete_tag
from registry_core.errors import InvalidInput, NotFound
from registry_core.names import is_tag

TAG: Final = "artifact"
RULES: Final = ListRules(
    keys={
        "id": number_key("pk"),
        "name": text_key("name"),
        "push_time": time_key("pushed_at"),
        "pull_time": time_key("pulled_at"),
        "artifact_id": number_key("artifact_id"),
        "repository_id": number_key("repository_id"),
    },
    sorts={"id": "pk", "name": "name", "push_time": "pushed_at", "pull_time": "pulled_at"},
    nullable=frozenset({"pulled_at"}),
)


class TagsView(ArtifactView):
    """`…/tags`."""

    access = {"GET": in_project("tag", "list"), "POST": in_project("tag", "create")}

    @operation(
        "listTags",
        TAG,
        parameters=[
            *PAGED,
            query("with_signature", "Ignored; accepted for compatibility. Signatures are accessories.", bool),
            query("with_immutable_status", "Ignored: the tags' immutability is always included.", bool, default=False),
        ],
        answer=list[TagAnswer],
    )
    def get(self, request: Request, project_name: str, repository_name: str, reference: str) -> Response:
        """List the tags of the artifact, the newest first."""
        rows = Tag.objects.filter(artifact=self.artifact, deleted_at=None)
        repository = self.repository_ref
        protection = Protection(repository.project.id, repository.project.policies)
        path = repository.name.path
        keys = dict(RULES.keys) | {"immutable": lambda match: _immutable_key(match, protection.condition(path))}

        def present(tags: Sequence[Tag]) -> list[Any]:
            return [_answer(tag, is_immutable=protection.covers(path, tag.name)) for tag in tags]

        return listed(request, rows, replace(RULES, keys=keys), present)

    @operation("createTag", TAG, body=NewTag, status=201, errors=(400, 401, 403, 404, 409))
    def post(self, request: Request, project_name: str, repository_name: str, reference: str) -> Response:
        """Create a tag. 409 if the repository already has it."""
        name = parse_body(request, NewTag).name
        if not is_tag(name):
            raise InvalidInput("a tag has at most 128 letters, digits, _ . and -, and does not begin with . or -")
        create_tag(repository=self.repository_ref, tag=name, digest=self.digest, cause=self.cause)
        return created(f"{request.path}/{name}")


class TagView(ArtifactView):
    """`…/tags/{tag_name}`."""

    access = {"DELETE": in_project("tag", "delete")}

    @operation("deleteTag", TAG, errors=(400, 401, 403, 404, 412))
    def delete(
        self, _request: Request, project_name: str, repository_name: str, reference: str, tag_name: str
    ) -> Response:
        """Delete a tag; its artifact stays."""
        tags = Tag.objects.filter(artifact=self.artifact, deleted_at=None)
        if not is_tag(tag_name) or not tags.filter(name=tag_name).exists():
            raise NotFound(f"the artifact has no tag {tag_name}")
        delete_tag(repository=self.repository_ref, tag=tag_name, cause=self.cause)
        return done()


def _immutable_key(match: Match, immutable: Q) -> Q:
    return immutable if truth(match) else ~immutable


def _answer(tag: Tag, *, is_immutable: bool) -> TagAnswer:
    return TagAnswer(
        id=tag.pk,
        repository_id=tag.repository_id,
        artifact_id=tag.artifact_id,
        name=tag.name,
        push_time=api_time(tag.pushed_at),
        pull_time=api_time(tag.pulled_at) if tag.pulled_at else NEVER,
        immutable=is_immutable,
    )
