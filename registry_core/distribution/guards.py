"""What stands above a handler: the name is one, the caller is known, and may do this here.

A token narrows what its subject may do, it never widens it: the grant must be in the token *and* the subject must
have the right now.
"""

from __future__ import annotations

from typing import Final

from registry_core import threads
from registry_core.access import NO_ACTIONS, PULL, PUSH, Subject, authority, ends_at_s, remembered_for_s
from registry_core.content.errors import RepositoryUnknown, UploadUnknown
from registry_core.content.repositories import ProjectRef, RepositoryRef, ensure_repository, name_key
from registry_core.cross_site import FOREIGN, is_foreign
from registry_core.digests import Digest
from registry_core.distribution.cache import GenerationCache
from registry_core.distribution.errors import OciError, unauthorized
from registry_core.distribution.hooks import PullContext, hooks
from registry_core.distribution.identity import Identity, identify
from registry_core.distribution.reads import Located
from registry_core.distribution.services import Services
from registry_core.http.messages import Request
from registry_core.names import RepositoryName
from registry_core.settings_store.read_only import admit_writing

ACTIONS_REMEMBERED_S: Final = 3600.0
NOWHERE: Final = Located(None, None, None)
NO_PROJECT: Final = 0
"""The id of no project: what may be done in it is nothing, and is looked up as in any other."""


async def readable_project(request: Request, services: Services, name: str) -> tuple[Identity, Located]:
    """The caller and what `name` means, when the caller may pull there; the repository need not exist."""
    return await _admitted(request, services, name, PULL)


async def readable(request: Request, services: Services, name: str) -> tuple[Identity, RepositoryRef]:
    """The caller and the repository, when the caller may pull from it. Raises RepositoryUnknown."""
    identity, located = await _admitted(request, services, name, PULL)
    return identity, _existing(located, name)


async def deletable(request: Request, services: Services, name: str) -> tuple[Identity, RepositoryRef]:
    """The caller and the repository, when the caller may delete from it. Raises RepositoryUnknown."""
    identity, located = await _admitted(request, services, name, "delete")
    return identity, _existing(located, name)


async def writable(request: Request, services: Services, name: str) -> tuple[Identity, RepositoryRef]:
    """The caller and the repository, made by this if need be, when the caller may push to it."""
    identity, located = await _admitted(request, services, name, PUSH)
    if located.repository is not None:
        return identity, located.repository
    if located.project is None:
        raise RepositoryUnknown(f"there is no project for {name}")
    made = await threads.run(ensure_repository, project=located.project, name=RepositoryName.parse(name))
    return identity, made


async def uploading(request: Request, services: Services, name: str) -> tuple[Identity, RepositoryRef]:
    """The caller and the repository that an upload of his may be going to. Raises UploadUnknown when there is none."""
    identity, located = await _admitted(request, services, name, PUSH)
    if located.repository is None:
        raise UploadUnknown("there is no such upload: begin one first")
    return identity, located.repository


async def source_of_mount(services: Services, identity: Identity, name: str) -> RepositoryRef | None:
    """The repository to mount from, when the subject may pull from it; None otherwise, whatever the reason.

    The subject's own rights decide, not its token's scopes: clients ask for a token of the repository that they push
    to.
    """
    parsed = RepositoryName.parse(name)
    project, allowed = await actions_in(services, identity, parsed.project)
    if PULL not in allowed:
        return None
    return (await locate(services, parsed, project)).repository


async def admit_pull(
    request: Request, services: Services, identity: Identity, repository: RepositoryRef, digest: Digest, tag: str
) -> None:
    """Ask the hooks whether this may be served; what they allowed is remembered for as long as they said. Raises
    Refused."""
    if not hooks.pull:
        return
    context = PullContext(identity.subject, request.address, repository, digest, tag)
    if services.verdicts.get(context) is not None:
        return
    # What a verdict depends on is known only with it: remember it only if nothing changed while it was made.
    before = services.generations.total()
    verdict = await threads.run(hooks.before_pull, context)
    seen = services.verdicts.begin([*verdict.depends_on, repository.key])
    if services.generations.total() == before:
        services.verdicts.put(context, verdict, seen=seen, size_bytes=1024, ttl_s=verdict.hold_s)


async def locate(services: Services, name: RepositoryName, project: ProjectRef | None) -> Located:
    """What a name means now, from memory where that is still true, for somebody with rights in `project`.

    Nothing when the name belongs to another project by now: the rights are not for that one.
    """
    located = await _located(services, name)
    is_the_same = project is not None and located.project is not None and located.project.id == project.id
    return located if is_the_same else NOWHERE


async def _located(services: Services, name: RepositoryName) -> Located:
    key = str(name)
    located = services.names.get(key)
    if located is None:
        seen = services.names.begin([name_key(key), name_key(name.project)])
        located = await services.reads.locate(name)
        if located.repository is not None:
            services.names.put(key, located, seen=seen)
    return located


async def actions_in(services: Services, identity: Identity, project: str) -> tuple[ProjectRef | None, frozenset[str]]:
    """The project of this name, and what the subject may do there now, whatever its token says.

    It takes the same look-ups, and they are remembered alike, whether there is no such project or the subject may do
    nothing there. Nothing below the project is looked up for those who may do nothing: how long the answer takes tells
    them no name.
    """
    found = await project_named(services, project)
    if found is not None:
        return found, await _actions(services, identity, found.id, services.actions, f"project:{found.id}")
    return None, await _actions(services, identity, NO_PROJECT, services.absences, name_key(project))


async def project_named(services: Services, name: str) -> ProjectRef | None:
    """The living project of a name, from memory where that is still true; that there is none is remembered as well."""
    found = services.projects.get(name)
    if found is not None or services.absences.get(name) is not None:
        return found
    seen = services.projects.begin([name_key(name)])
    found = await services.reads.project(name)
    if found is not None:
        services.projects.put(name, found, seen=seen)
    else:  # apart from the living, which nobody shall be able to push out by asking for names that he makes up
        services.absences.put(name, NO_ACTIONS, seen=seen)
    return found


async def _actions(
    services: Services, identity: Identity, project_id: int, cache: GenerationCache[frozenset[str]], key: str
) -> frozenset[str]:
    subject = identity.subject
    place = (subject.kind, subject.id, project_id if project_id != NO_PROJECT else key)
    known = cache.get(place)
    if known is not None:
        return known
    seen = cache.begin([subject.key, key])
    allowed, life_s = await threads.run(_rights, subject, project_id)
    cache.put(place, allowed, seen=seen, ttl_s=life_s)
    return allowed


def _rights(subject: Subject, project_id: int) -> tuple[frozenset[str], float]:
    """The actions, and for how many seconds they may be remembered."""
    allowed = authority().repository_actions(subject=subject, project_id=project_id)
    return allowed, remembered_for_s(ends_at_s(subject), at_most_s=ACTIONS_REMEMBERED_S)


async def _admitted(request: Request, services: Services, name: str, action: str) -> tuple[Identity, Located]:
    request.repository = name
    parsed = RepositoryName.parse(name)
    if action != PULL and is_foreign(request.headers, own_origins=request.own_origins):
        raise OciError(403, "DENIED", FOREIGN)
    identity = await identify(request, services)
    project, allowed = await actions_in(services, identity, parsed.project)
    if action not in allowed:
        raise _refusal(request, identity, name, action, allowed=allowed)
    located = await locate(services, parsed, project)
    if not _token_allows(identity, located, name, action):
        raise _refusal(request, identity, name, action, allowed=allowed)
    if action != PULL:
        await admit_writing()
    return identity, located


def _existing(located: Located, name: str) -> RepositoryRef:
    if located.repository is None:
        raise RepositoryUnknown(f"there is no repository {name}: nothing was pushed to it yet", {"name": name})
    return located.repository


def _token_allows(identity: Identity, located: Located, name: str, action: str) -> bool:
    """Whether the token grants the action on what the name means now, which may be another than when it was issued."""
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
    """The answer for someone who may not do this here.

    401 where logging in or another token would help, 403 where only another role would. Who is about to push gets 404
    for HEAD, whose answer has no body: the client then goes on to the request whose answer says what to do.
    """
    if request.method == "HEAD" and identity.claims is not None and identity.claims.is_push_refused(name):
        return OciError(404, "NAME_UNKNOWN", _refusal_message(name, action, allowed))
    scope = f"repository:{name}:" + ("pull" if action == PULL else "pull,push" if action == PUSH else action)
    reason = "" if identity.claims is None else "insufficient_scope"
    if identity.subject.is_anonymous:
        return unauthorized(request, "authentication required: log in first", scope=scope, reason=reason)
    if action in allowed:
        message = f"the token does not allow to {action} {name}: fetch one for that"
        return unauthorized(request, message, scope=scope, reason=reason, code="DENIED")
    return OciError(403, "DENIED", _refusal_message(name, action, allowed))


def _refusal_message(name: str, action: str, allowed: frozenset[str]) -> str:
    project = name.partition("/")[0]
    if PULL in allowed and action != PULL:
        return f"you may pull from {name} but not {action}: ask an administrator of project {project} for more rights"
    if action != PUSH:
        return f"{name} does not exist or you may not {action} it"
    return (
        f"project {project} does not exist or you may not push to it; "
        "create it in the console or with POST /api/v2.0/projects"
    )
