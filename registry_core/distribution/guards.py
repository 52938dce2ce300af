"""What stands above a handler: the name is one, the caller is known, and may do this here.

A token narrows what its subject may do, it never widens it: the grant must be in the token *and* the subject must
have the right now.
"""

from __future__ import annotations

from collections.abc import Collection

from registry_core import threads
from registry_core.access import NO_ACTIONS, PULL, PUSH, Unauthenticated, authority
from registry_core.content.errors import RepositoryUnknown, UploadUnknown
from registry_core.content.repositories import ProjectRef, RepositoryRef, ensure_repository, name_key
from registry_core.digests import Digest
from registry_core.distribution.errors import NOT_KNOWN, OciError, unauthorized
from registry_core.distribution.hooks import PullContext, hooks
from registry_core.distribution.identity import Identity, identify
from registry_core.distribution.reads import Located
from registry_core.distribution.services import Services
from registry_core.http.messages import Request
from registry_core.names import RepositoryName
from registry_core.settings_store.read_only import admit_writing


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
    located = await locate(services, RepositoryName.parse(name))
    if located.repository is None or located.project is None:
        return None
    is_allowed = PULL in await actions(services, identity, located.project)
    return located.repository if is_allowed else None


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


async def locate(services: Services, name: RepositoryName) -> Located:
    """What a name means now, from memory where that is still true."""
    key = str(name)
    located = services.names.get(key)
    if located is None:
        seen = services.names.begin([name_key(key), name_key(name.project)])
        located = await services.reads.locate(name)
        if located.repository is not None:
            services.names.put(key, located, seen=seen)
    return located


async def locate_all(services: Services, names: Collection[RepositoryName]) -> dict[RepositoryName, Located]:
    """What each of the names means now; all that is not remembered, by one statement."""
    found = {name: known for name in names if (known := services.names.get(str(name))) is not None}
    missing = [name for name in names if name not in found]
    if not missing:
        return found
    seen = {name: services.names.begin([name_key(str(name)), name_key(name.project)]) for name in missing}
    for name, located in (await services.reads.locate_all(missing)).items():
        found[name] = located
        if located.repository is not None:
            services.names.put(str(name), located, seen=seen[name])
    return found


async def actions(services: Services, identity: Identity, project: ProjectRef) -> frozenset[str]:
    """What the subject may do now in the project, whatever its token says."""
    subject = identity.subject
    key = (subject.kind, subject.id, project.id)
    known = services.actions.get(key)
    if known is None:
        seen = services.actions.begin([subject.key, f"project:{project.id}"])
        known = await threads.run(authority().repository_actions, subject=subject, project_id=project.id)
        services.actions.put(key, known, seen=seen)
    return known


async def actions_by_project(
    services: Services, identity: Identity, projects: Collection[int]
) -> dict[int, frozenset[str]]:
    """What the subject may do now in each of the projects; all that is not remembered, by one operation."""
    subject = identity.subject
    keys = {project_id: (subject.kind, subject.id, project_id) for project_id in projects}
    found = {i: known for i, key in keys.items() if (known := services.actions.get(key)) is not None}
    missing = [project_id for project_id in keys if project_id not in found]
    if missing:
        seen = {i: services.actions.begin([subject.key, f"project:{i}"]) for i in missing}
        held = await threads.run(authority().actions_by_project, subject=subject, project_ids=missing)
        for project_id in missing:
            found[project_id] = held.get(project_id, NO_ACTIONS)
            services.actions.put(keys[project_id], found[project_id], seen=seen[project_id])
    return found


async def is_pushing(services: Services, identity: Identity, repository: RepositoryRef) -> bool:
    """Whether the caller could push to the repository with what it came with: then it asks to find out what it need not
    push."""
    if identity.claims is not None and not identity.claims.grants_push(str(repository.name)):
        return False
    return PUSH in await actions(services, identity, repository.project)


async def _admitted(request: Request, services: Services, name: str, action: str) -> tuple[Identity, Located]:
    request.repository = name
    parsed = RepositoryName.parse(name)
    try:
        identity = await identify(request, services)
    except Unauthenticated:
        raise unauthorized(request, f"{_refused(name, action)}: {NOT_KNOWN}", scope=_scope(name, action)) from None
    located = await locate(services, parsed)
    allowed = await actions(services, identity, located.project) if located.project else NO_ACTIONS
    if action not in allowed or not _token_allows(identity, located, name, action):
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
    reason = "" if identity.claims is None else "insufficient_scope"
    if identity.subject.is_anonymous:
        message = f"{_refused(name, action)}: authentication required: log in first"
        return unauthorized(request, message, scope=_scope(name, action), reason=reason)
    if action in allowed:
        message = f"{_refused(name, action)}: the token does not allow it: fetch one for that"
        return unauthorized(request, message, scope=_scope(name, action), reason=reason, code="DENIED")
    return OciError(403, "DENIED", _refusal_message(name, action, allowed))


def _scope(name: str, action: str) -> str:
    return f"repository:{name}:" + ("pull" if action == PULL else "pull,push" if action == PUSH else action)


def _refused(name: str, action: str) -> str:
    """What every refusal begins with: scripts and clients look for these words, which are Harbor's."""
    return f"unauthorized to access repository: {name}, action: {action}"


def _refusal_message(name: str, action: str, allowed: frozenset[str]) -> str:
    return f"{_refused(name, action)}: {_advice(name, action, allowed)}"


def _advice(name: str, action: str, allowed: frozenset[str]) -> str:
    project = name.partition("/")[0]
    if PULL in allowed and action != PULL:
        return f"you may pull from {name} but not {action}: ask an administrator of project {project} for more rights"
    if action != PUSH:
        return f"{name} does not exist or you may not {action} it"
    return (
        f"project {project} does not exist or you may not push to it; "
        "create it in the console or with POST /api/v2.0/projects"
    )
