"""`…/artifacts`: list, get, copy and delete them; the artifacts of a whole project; their accessories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.lookups import GreaterThanOrEqual
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from projects.api.artifact_messages import Accessory, ArtifactAnswer, accessory_answer, incomplete, present_artifacts
from projects.api.content import ArtifactView, ContentView, find_artifact, is_asked
from projects.artifact_lists import (
    LABELS_KEY,
    With,
    accessory_details,
    artifact_counts,
    artifact_rows,
    details_of,
    listed_artifacts,
)
from projects.copying import REASON, Source, copy_artifact, parse_source
from projects.immutability.rules import Protection
from projects.models import ArtifactLabel
from projects.repository_lists import named
from registry_core.access import PULL
from registry_core.api.base import ApiView, created, done, find_project
from registry_core.api.messages import parameters_of
from registry_core.api.openapi import IS_NAME, PAGED, header, operation, query
from registry_core.api.paging import Count as Counting
from registry_core.api.paging import ListRules, counted, keys_listed, page_response
from registry_core.api.permissions import in_project, permissions_in
from registry_core.api.query import (
    AllOf,
    AnyOf,
    Condition,
    Exact,
    Fuzzy,
    Match,
    choice_key,
    folded,
    number_key,
    parse_q,
    text_key,
    time_key,
)
from registry_core.caching.cache import Cache
from registry_core.content.manifests import delete_manifest
from registry_core.content.models import Artifact, Project, Repository, Tag
from registry_core.content.repositories import RepositoryRef, project_key, project_ref, repository_ref
from registry_core.digests import Digest
from registry_core.distribution.rights import is_sysadmin
from registry_core.errors import InvalidInput, NotFound
from registry_core.names import RepositoryName

TAG: Final = "artifact"
PAGE_CACHED_S: Final = 5.0
"""Pull times change without a change of generation, so a cached page may be this old."""


def _digest_key(match: Match) -> Q:
    if isinstance(match, Exact | AnyOf):
        texts = (match.value,) if isinstance(match, Exact) else match.values
        return Q(digest__in=[Digest.parse(text).raw for text in texts])
    raise InvalidInput("use digest=sha256:…")


def _repository_name_key(match: Match) -> Q:
    if isinstance(match, Exact | AnyOf):
        names = (match.value,) if isinstance(match, Exact) else match.values
        return named(*names, prefix="repository__")
    raise InvalidInput("use repository_name=project/repository")


def _tags_key(match: Match) -> Q:
    """`nil`: artifacts without a tag; `*`: with any tag; otherwise those with the exact tag, or with a tag that
    contains the text."""
    tags = Tag.objects.filter(artifact=OuterRef("pk"), deleted_at=None)
    match match:
        case Exact("nil"):
            return ~Q(Exists(tags))
        case Exact("*"):
            return Q(Exists(tags))
        case Exact(name):
            return Q(Exists(tags.filter(name=name)))
        case Fuzzy(part):
            return Q(Exists(tags.filter(name__contains=part)))
        case AnyOf(names):
            return Q(Exists(tags.filter(name__in=names)))
    raise InvalidInput("use tags=name, tags=~part, tags=nil or tags=*")


def _labels_key(match: Match) -> Q:
    """`(1 2)`: artifacts with all of these labels, counted in one scan of each artifact's labels, however many are
    named."""
    texts = (match.value,) if isinstance(match, Exact) else getattr(match, "values", ())
    if not texts or any(not text.isascii() or not text.isdigit() or len(text) > 18 for text in texts):
        raise InvalidInput("use labels=(1 2), with the labels' ids")
    wanted = {int(text) for text in texts}
    links = ArtifactLabel.objects.filter(artifact=OuterRef("pk"), label_id__in=wanted)
    if not isinstance(match, AllOf):
        return Q(Exists(links))
    held = links.order_by().values("artifact").annotate(number=Count("label_id")).values("number")
    return Q(GreaterThanOrEqual(Subquery(held), len(wanted)))


KEYS: Final[dict[str, Condition]] = {
    "id": number_key("pk"),
    "digest": _digest_key,
    "tags": _tags_key,
    "labels": _labels_key,
    "type": text_key("manifest__kind"),
    "media_type": text_key("manifest__config_type"),
    "manifest_media_type": text_key("media_type"),
    "repository_name": _repository_name_key,
    "project_id": number_key("repository__project_id"),
    "artifact_type": text_key("artifact_type"),
    "size": number_key("size_bytes"),
    "push_time": time_key("pushed_at"),
    "pull_time": time_key("pulled_at"),
    "repository_id": number_key("repository_id"),
}
RULES: Final = ListRules(
    keys=KEYS,
    sorts={
        "id": "pk",
        "push_time": "pushed_at",
        "pull_time": "pulled_at",
        "size": "size_bytes",
        "digest": "digest",
        "type": "manifest__kind",
        "media_type": "manifest__config_type",
        "manifest_media_type": "media_type",
        "artifact_type": "artifact_type",
        "repository_id": "repository_id",
    },
    nullable=frozenset({"pulled_at"}),
)
VULNERABILITIES: Final = header("X-Accept-Vulnerabilities", "The accepted media types of the vulnerability report.")
WITH: Final = (
    query("with_tag", "With the tags.", bool, default=True),
    query("with_label", "With the labels.", bool, default=False),
    query("with_scan_overview", "Include the result of the last scan, if there is one.", bool, default=False),
    query("with_sbom_overview", "Include the state of the SBOM, if there is one.", bool, default=False),
    query("with_immutable_status", "Ignored: the immutability of tags is always included.", bool, default=False),
    query("with_accessory", "Include the accessories.", bool, default=False),
    query("with_inherited_accessory", "Include the signatures of indexes that contain it.", bool, default=False),
)


@dataclass(frozen=True, slots=True)
class Page:
    """A rendered page."""

    body: bytes
    headers: Mapping[str, str]


_page_cache: Cache[Page] = Cache("artifact pages", share=1 / 8)


def page_bytes(page: Page, path: str, asked: str) -> int:
    """What a page takes in the cache. Its headers can repeat what was asked."""
    return 1024 + len(page.body) + sum(map(len, page.headers.values())) + 4 * (len(path) + len(asked))


class ArtifactsView(ContentView):
    """`…/artifacts`."""

    access = {"GET": in_project("artifact", "list"), "POST": in_project("artifact", "create")}

    @operation("listArtifacts", TAG, parameters=[*PAGED, VULNERABILITIES, *WITH], answer=list[ArtifactAnswer])
    def get(self, request: Request, project_name: str, repository_name: str) -> Response:
        """List the artifacts of the repository, the newest first."""
        repository = self.repository_ref
        asked = request.META.get("QUERY_STRING", "")
        key = (repository.id, asked, request.path, self.subject.is_anonymous)
        page = _page_cache.read_through(
            key,
            lambda: _page_of(request, self.repository_ref),  # read again: its policies are to be those of now
            depends_on=[repository.key, LABELS_KEY, project_key(repository.project.id)],
            size_bytes=lambda made: page_bytes(made, request.path, asked),
            ttl_s=PAGE_CACHED_S,
        )
        return _response(page)

    @operation(
        "CopyArtifact",
        TAG,
        parameters=[query("from", "project/repository:tag or project/repository@digest", required=True)],
        status=201,
        errors=(400, 401, 403, 404),
    )
    def post(self, request: Request, project_name: str, repository_name: str) -> Response:
        """Copy an artifact into this repository, with its children, accessories and tags. A copy may be repeated."""
        source = parse_source(parameters_of(request).get("from", ""))
        found = self._pullable(source)
        path = self.decoded_repository_name
        copy_artifact(
            source=found,
            artifact=find_artifact(found, source.reference),
            project=project_ref(self.project),
            name=RepositoryName.parse(f"{self.project.name}/{path}"),
            cause=self.cause.because(REASON),
        )
        return created(f"{request.path}/{source.reference}")

    def _pullable(self, source: Source) -> RepositoryRef:
        """The repository to copy from. One that the caller may not pull from is reported as nonexistent."""
        project = find_project(source.name.project, is_name=True)
        held = permissions_in(self.subject, project, named=source.name.project)
        if project is None or ("repository", PULL) not in held:
            if is_sysadmin(self.subject):
                raise NotFound(f"there is no project {source.name.project}")
            raise PermissionDenied(f"{source.name} does not exist, or you may not pull from it")
        living = Repository.objects.filter(project=project, name=source.name.path, deleted_at=None)
        repository = living.select_related("project").first()
        if repository is None:
            raise NotFound(f"there is no repository {source.name}")
        return repository_ref(repository)


class ArtifactOfReferenceView(ArtifactView):
    """`…/artifacts/{reference}`."""

    access = {"GET": in_project("artifact", "read"), "DELETE": in_project("artifact", "delete")}

    @operation(
        "getArtifact",
        TAG,
        parameters=[
            query("page", "Not looked at.", int),
            query("page_size", "Not looked at.", int),
            query("with_signature", "Ignored; accepted for compatibility. Signatures are accessories.", bool),
            VULNERABILITIES,
            *WITH,
        ],
        answer=ArtifactAnswer,
    )
    def get(self, request: Request, project_name: str, repository_name: str, reference: str) -> Response:
        """Get an artifact."""
        wanted = _wanted(request)
        rows = artifact_rows([self.artifact.pk])
        if not rows:
            raise NotFound(f"there is no artifact {reference}")
        details = details_of(rows, wanted)
        return Response(
            present_artifacts(rows, details, _protection(self.project))[0], headers=_warning(incomplete(rows, details))
        )

    @operation("deleteArtifact", TAG, errors=(400, 401, 403, 404, 412))
    def delete(self, _request: Request, project_name: str, repository_name: str, reference: str) -> Response:
        """Delete an artifact with its tags and accessories. Refused while an index refers to it."""
        delete_manifest(repository=self.repository_ref, digest=self.digest, cause=self.cause)
        return done()


ACCESSORY_RULES: Final = ListRules(
    keys={
        "id": number_key("pk"),
        "artifact_id": number_key("pk"),
        "digest": _digest_key,
        "type": choice_key("accessory_kind", {kind.label: kind.value for kind in Artifact.Accessory}),
        "size": number_key("size_bytes"),
        "creation_time": time_key("pushed_at"),
    },
    sorts={"id": "pk", "creation_time": "pushed_at", "size": "size_bytes"},
    order=("pk",),
)


class AccessoriesView(ArtifactView):
    """`…/artifacts/{reference}/accessories`."""

    access = {"GET": in_project("accessory", "list")}

    @operation("listAccessories", TAG, parameters=PAGED, answer=list[Accessory])
    def get(self, request: Request, project_name: str, repository_name: str, reference: str) -> Response:
        """List the accessories of the artifact: signatures, SBOMs, accelerated images."""
        subject, repository = self.artifact, self.repository_ref
        rows = Artifact.objects.filter(repository_id=repository.id, accessory_of=bytes(subject.digest), deleted_at=None)
        page = keys_listed(request, rows, ACCESSORY_RULES)
        found = {detail.id: detail for detail in accessory_details(subject.pk, page.keys)}
        answers = [accessory_answer(found[key], str(repository.name)) for key in page.keys if key in found]
        return page_response(request, page, answers)


class ProjectArtifactsView(ApiView):
    """`/projects/{project_name_or_id}/artifacts`."""

    access = {"GET": in_project("artifact", "list")}

    @operation(
        "listArtifactsOfProject",
        "project",
        parameters=[
            IS_NAME,
            *PAGED,
            VULNERABILITIES,
            *WITH,
            query("latest_in_repository", "Only the newest artifact of each repository; q must name a type.", bool),
        ],
        answer=list[ArtifactAnswer],
    )
    def get(self, request: Request, project_name_or_id: str) -> Response:
        """List the artifacts of all repositories of the project, the newest first."""
        rows = listed_artifacts().filter(repository__project=self.project, repository__deleted_at=None)
        if is_asked(parameters_of(request).get("latest_in_repository")):
            rows = _latest(request, rows)
        return _response(_page(request, rows, _protection(self.project)))


def _latest(request: Request, rows: QuerySet[Artifact]) -> QuerySet[Artifact]:
    """The newest artifact of each repository, of the type that `q` must name."""
    asked = parse_q(request.query_params.get("q", ""))
    types = {key: asked[folded(key)] for key in ("artifact_type", "media_type") if folded(key) in asked}
    if not types:
        return rows
    for key, match in types.items():
        rows = rows.filter(KEYS[key](match))
    newest = rows.order_by().values("repository").annotate(newest=Max("pk")).values("newest")
    return rows.filter(pk__in=newest)


def _protection(project: Project) -> Protection:
    return Protection(project.pk, project.policies)


def _page_of(request: Request, repository: RepositoryRef) -> Page:
    def count(rows: QuerySet[Any], q: str) -> int:
        return counted(rows) if q else artifact_counts([repository.id])[repository.id]

    protection = Protection(repository.project.id, repository.project.policies)
    return _page(request, listed_artifacts().filter(repository_id=repository.id), protection, count)


def _page(request: Request, rows: QuerySet[Artifact], protection: Protection, count: Counting = counted) -> Page:
    wanted = _wanted(request)
    page = keys_listed(request, rows, RULES, count=count)
    found = artifact_rows(page.keys) if page.keys else []
    details = details_of(found, wanted)
    answers: list[Any] = list(present_artifacts(found, details, protection))
    response = page_response(request, page, answers)
    headers = {name: response[name] for name in ("X-Total-Count", "Link") if name in response}
    return Page(msgspec.json.encode(answers), headers | _warning(incomplete(found, details)))


def _warning(text: str) -> dict[str, str]:
    """A `Warning` header that clients may show to their users (as in OCI distribution-spec 1.1, "Warnings")."""
    return {"Warning": f'299 - "{text}"'} if text else {}


def _response(page: Page) -> Response:
    return Response(msgspec.Raw(page.body), headers=dict(page.headers))


def _wanted(request: Request) -> With:
    given = parameters_of(request)
    return With(
        tags=is_asked(given.get("with_tag"), default=True),
        labels=is_asked(given.get("with_label")),
        accessories=is_asked(given.get("with_accessory")),
        inherited_accessories=is_asked(given.get("with_inherited_accessory")),
    )
