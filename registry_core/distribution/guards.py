"""Checks before a handler runs: the name is valid, the caller is authenticated, and has permission here.

A token restricts its subject's permissions and never extends them: the grant must be in the token *and* the subject
must have the permission now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from registry_core.access import (
    NO_ACTIONS,
    NO_PROJECT,
    PULL,
    PUSH,
    Cause,
    Subject,
    Unauthenticated,
    authority,
    cacheable_for_s,
    ends_at_s,
)
from registry_core.caching.cache import LIFE_S, NOT_CACHED, Cache
from registry_core.content.errors import RepositoryUnknown, UploadUnknown
from registry_core.content.policies import Missing, policies
from registry_core.content.read_only import admit_writing
from registry_core.content.repositories import ProjectRef, RepositoryRef, ensure_repository, name_key, project_key
from registry_core.digests import Digest
from registry_core.distribution.errors import NOT_KNOWN, OciError, unauthorized
from registry_core.distribution.identity import Identity, identify
from registry_core.distribution.pull_policies import cause_of, is_supplied
from registry_core.distribution.reads import Located
from registry_core.distribution.services import Services
from registry_core.http import threads
from registry_core.http.cross_site import FOREIGN, is_foreign
from registry_core.http.messages import Request
from registry_core.names import RepositoryName

ACTIONS_CACHED_S: Final = 3600.0
NOWHERE: Final = Located(None, None, None)
name_cache: Cache[Located] = Cache("names", share=1 / 8)
"""What the full names of repositories refer to."""
project_cache: Cache[ProjectRef] = Cache("projects by name", share=1 / 32)
action_cache: Cache[frozenset[str]] = Cache("actions", share=1 / 8)
"""By kind and id of the subject, and project."""
absence_cache: Cache[frozenset[Any]] = Cache("absences", share=1 / 32)
"""The names under which there is no project, and what somebody may do there, which is nothing. Apart from the existing
ones, which nobody shall push out by asking for names that it makes up."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A project (None: none with that name) and the subject's actions there now."""

    project: ProjectRef | None
    actions: frozenset[str]


@dataclass(slots=True)
class Target:
    """The target of a push; `repository` is None if there is none with that name yet."""

    project: ProjectRef
    name: RepositoryName
    repository: RepositoryRef | None
    cause: Cause

    async def made(self, ask_for_content: Callable[[RepositoryRef], None]) -> RepositoryRef:
        """The repository, created if necessary. `ask_for_content`: asks whether policies allow the content that is
        about to be stored. Raises Refused."""
        if self.repository is None:
            self.repository = await threads.run(
                ensure_repository,
                project=self.project,
                name=self.name,
                cause=self.cause,
                ask_for_content=ask_for_content,
            )
        return self.repository


class _Place(NamedTuple):
    """Where the actions of a subject in a project are cached, and which generation they depend on."""

    cache: Cache[frozenset[str]]
    key: tuple[int, int, int | str]
    generation: str
    project_id: int


async def readable_project(request: Request, services: Services, name: str) -> tuple[Identity, Located]:
    """The caller and the meaning of `name`, if the caller may pull there; the repository need not exist."""
    return await _admitted(request, services, name, PULL)


async def readable(request: Request, services: Services, name: str) -> tuple[Identity, RepositoryRef]:
    """The caller and the repository, if the caller may pull from it. Raises RepositoryUnknown."""
    identity, located = await _admitted(request, services, name, PULL)
    return identity, _existing(located, name)


async def existing(
    request: Request,
    services: Services,
    identity: Identity,
    located: Located,
    kind: Literal["manifest", "blob"],
    reference: str | Digest,
) -> RepositoryRef:
    """The repository that content is requested from; a provider of the project may create it with that content. Raises
    RepositoryUnknown."""
    project, name = located.project, RepositoryName.parse(request.repository)
    if located.repository is None and project is not None and policies.providers(project):
        missing = Missing(cause_of(request, identity), project, name, None, kind, reference)
        if await is_supplied(services, missing):
            located = await locate(services, name, project)
    return _existing(located, request.repository)


async def deletable(request: Request, services: Services, name: str) -> tuple[Identity, RepositoryRef]:
    """The caller and the repository, if the caller may delete from it. Raises RepositoryUnknown."""
    identity, located = await _admitted(request, services, name, "delete")
    return identity, _existing(located, name)


async def writable(request: Request, services: Services, name: str) -> tuple[Identity, Target]:
    """The caller and the target of its push. Raises RepositoryUnknown."""
    identity, located = await _admitted(request, services, name, PUSH)
    if located.project is None:
        raise RepositoryUnknown(f"there is no project for {name}")
    cause = cause_of(request, identity)
    return identity, Target(located.project, RepositoryName.parse(name), located.repository, cause)


async def uploading(request: Request, services: Services, name: str) -> tuple[Identity, RepositoryRef]:
    """The caller and the target repository of an upload in progress. Raises UploadUnknown if the repository does not
    exist."""
    identity, located = await _admitted(request, services, name, PUSH)
    if located.repository is None:
        raise UploadUnknown("this upload does not exist: begin one first")
    return identity, located.repository


async def source_of_mount(services: Services, identity: Identity, name: str) -> RepositoryRef | None:
    """The repository to mount from, if the subject may pull from it; None otherwise, for any reason.

    The subject's own permissions decide, not its token's scopes: clients request a token for the repository that they
    push to.
    """
    parsed = RepositoryName.parse(name)
    standing = await standing_in(services, identity, parsed.project)
    if PULL not in standing.actions:
        return None
    return (await locate(services, parsed, standing.project)).repository


async def locate(services: Services, name: RepositoryName, project: ProjectRef | None) -> Located:
    """The current meaning of a name, from the cache while that is valid, for a subject with permissions in `project`.

    Empty if the name belongs to another project by now: the permissions are not for that one.
    """
    located = name_cache.get(str(name))  # most names are cached: without the dictionaries of `locate_all`
    if located is None:
        return (await locate_all(services, {name: project}))[name]
    return located if _is_in(located, project) else NOWHERE


async def locate_all(
    services: Services, projects: Mapping[RepositoryName, ProjectRef | None]
) -> dict[RepositoryName, Located]:
    """The same for several names, each with its project; all that are not cached, by one statement."""
    names = {str(name): name for name in projects}

    async def read(missing: list[str]) -> dict[str, Located]:
        found = await services.reads.locate_all([names[text] for text in missing])
        return {str(name): located for name, located in found.items()}

    found = await name_cache.aread_each(
        names,
        read,
        depends_on=lambda text: [name_key(text), name_key(names[text].project)],
        ttl_s=lambda located: LIFE_S if located.repository is not None else NOT_CACHED,
    )
    return {name: found[text] if _is_in(found[text], projects[name]) else NOWHERE for text, name in names.items()}


def _is_in(located: Located, project: ProjectRef | None) -> bool:
    return project is not None and located.project is not None and located.project.id == project.id


async def standing_in(services: Services, identity: Identity, project: str) -> Standing:
    """The subject's actions in the project of this name now, regardless of its token.

    The look-ups and the caching are the same whether the project does not exist or the subject has no permission in it.
    Nothing below the project is looked up for subjects without permission: the response time reveals no names.
    """
    found = project_cache.get(project)  # as in `locate`
    place = _place(identity.subject, project, found)
    actions = place.cache.get(place.key)
    if actions is None:
        return (await standings_in(services, identity, [project]))[project]
    return Standing(found, actions)


async def standings_in(services: Services, identity: Identity, projects: Collection[str]) -> dict[str, Standing]:
    """The same for several projects by name; for all that are not cached, as many statements as for one."""
    found = await _projects_named(services, projects)
    held = await _actions(identity, found)
    return {name: Standing(project, held[name]) for name, project in found.items()}


async def is_pushing(services: Services, identity: Identity, repository: RepositoryRef) -> bool:
    """Whether the caller could push to the repository with its credentials: its requests may then be checks of what it
    need not push."""
    if identity.claims is not None and not identity.claims.grants_push(str(repository.name)):
        return False
    project = repository.project
    return PUSH in (await _actions(identity, {project.name: project}))[project.name]


async def _projects_named(services: Services, names: Collection[str]) -> dict[str, ProjectRef | None]:
    """The existing project of each name, or None."""
    found: dict[str, ProjectRef | None] = {name: project_cache.get(name) for name in names}
    missing = [name for name, project in found.items() if project is None and absence_cache.get(name) is None]
    if not missing:
        return found
    # Which of two caches a name belongs to is known only after the one statement for all.
    seen = {name: project_cache.begin([name_key(name)]) for name in missing}
    for name, project in (await services.reads.projects(missing)).items():
        found[name] = project
        if project is not None:
            project_cache.put(name, project, seen=seen[name])
        else:
            # In a cache of its own: made-up names must not displace existing ones.
            absence_cache.put(name, NO_ACTIONS, seen=seen[name])
    return found


async def _actions(identity: Identity, projects: Mapping[str, ProjectRef | None]) -> dict[str, frozenset[str]]:
    """The subject's actions in each of the projects now, by its name."""
    subject = identity.subject
    places = {name: _place(subject, name, project) for name, project in projects.items()}
    found = {name: actions for name, place in places.items() if (actions := place.cache.get(place.key)) is not None}
    missing = {name: place for name, place in places.items() if name not in found}
    if missing:
        # One look-up for projects that exist and that do not, so that both take the same time; in two caches.
        seen = {name: place.cache.begin([subject.key, place.generation]) for name, place in missing.items()}
        allowed, life_s = await threads.run(_rights, subject, {place.project_id for place in missing.values()})
        for name, place in missing.items():
            found[name] = allowed.get(place.project_id, NO_ACTIONS)
            place.cache.put(place.key, found[name], seen=seen[name], ttl_s=life_s)
    return found


def _place(subject: Subject, name: str, project: ProjectRef | None) -> _Place:
    if project is None:
        return _Place(absence_cache, (subject.kind, subject.id, name), name_key(name), NO_PROJECT)
    return _Place(action_cache, (subject.kind, subject.id, project.id), project_key(project.id), project.id)


def _rights(subject: Subject, project_ids: Collection[int]) -> tuple[dict[int, frozenset[str]], float]:
    """The actions by project, and for how many seconds they may be cached."""
    allowed = authority().actions_by_project(subject=subject, project_ids=project_ids)
    return allowed, cacheable_for_s(ends_at_s(subject), at_most_s=ACTIONS_CACHED_S)


async def _admitted(request: Request, services: Services, name: str, action: str) -> tuple[Identity, Located]:
    request.repository = name
    parsed = RepositoryName.parse(name)
    if action != PULL and is_foreign(request.headers, own_origins=request.own_origins):
        raise OciError(403, "DENIED", FOREIGN)
    try:
        identity = await identify(request, services)
    except Unauthenticated:
        raise unauthorized(request, f"{_refused(name, action)}: {NOT_KNOWN}", scope=_scope(name, action)) from None
    standing = await standing_in(services, identity, parsed.project)
    if action not in standing.actions:
        raise _refusal(request, identity, name, action, allowed=standing.actions)
    located = await locate(services, parsed, standing.project)
    if not _token_allows(identity, located, name, action):
        raise _refusal(request, identity, name, action, allowed=standing.actions)
    if action != PULL:
        await admit_writing()
    return identity, located


def _existing(located: Located, name: str) -> RepositoryRef:
    if located.repository is None:
        raise RepositoryUnknown(f"there is no repository {name}: nothing was pushed to it yet", {"name": name})
    return located.repository


def _token_allows(identity: Identity, located: Located, name: str, action: str) -> bool:
    """Whether the token grants the action on the current meaning of the name, which may have changed since it was
    issued."""
    if identity.claims is None:
        return True
    if located.project is None:
        return False
    return action in identity.claims.actions_on(
        name=name,
        project_id=located.project.id,
        repository_id=located.repository.id if located.repository else None,
        created_at=located.created_at,
    )


def _refusal(request: Request, identity: Identity, name: str, action: str, *, allowed: frozenset[str]) -> OciError:
    """The error for a caller without permission.

    401 if signing in or another token would help, 403 if only another role would. A caller that is about to push gets
    404 for HEAD, whose response has no body: the client then sends the request whose error says what to do.
    """
    if request.method == "HEAD" and identity.claims is not None and identity.claims.is_push_refused(name):
        return OciError(404, "NAME_UNKNOWN", _refusal_message(name, action, allowed))
    reason = "" if identity.claims is None else "insufficient_scope"
    if identity.subject.is_anonymous:
        message = f"{_refused(name, action)}: authentication required: log in first"
        return unauthorized(request, message, scope=_scope(name, action), reason=reason)
    if action in allowed:
        message = f"{_refused(name, action)}: the token does not grant it: fetch a token for this scope"
        return unauthorized(request, message, scope=_scope(name, action), reason=reason, code="DENIED")
    return OciError(403, "DENIED", _refusal_message(name, action, allowed))


def _scope(name: str, action: str) -> str:
    return f"repository:{name}:" + ("pull" if action == PULL else "pull,push" if action == PUSH else action)


def _refused(name: str, action: str) -> str:
    """The beginning of every refusal: scripts and clients look for these words, which are Harbor's."""
    return f"unauthorized to access repository: {name}, action: {action}"


def _refusal_message(name: str, action: str, allowed: frozenset[str]) -> str:
    return f"{_refused(name, action)}: {_advice(name, action, allowed)}"


def _advice(name: str, action: str, allowed: frozenset[str]) -> str:
    project = name.partition("/")[0]
    if PULL in allowed and action != PULL:
        return f"you may pull from {name} but not {action}: ask an administrator of project {project} for more rights"
    if action != PUSH:
        return f"{name} does not exist or you may not {action} it"
    return f"project {project} does not exist or you may not push to it; create it with POST /api/v2.0/projects"
