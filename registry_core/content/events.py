"""The events of content: artifacts, tags, blobs, repositories, policies and stores."""

from __future__ import annotations

from collections.abc import Iterable

from registry_core.events.kinds import Ids, Names, Operation, Payload, Result, event_kind


def artifact_in(names: Names, *, tag: str = "", digest: str = "") -> str:
    """An artifact, for people: by its tag, or else by its digest."""
    return f"{names.repository}:{tag}" if tag else f"{names.repository}@{digest}" if digest else names.repository


@event_kind("artifact.pushed", Operation.CREATE)
class ArtifactPushed(Payload):
    """A manifest was put into a repository, perhaps under tags. `reason`: what the push belongs to (`client`,
    `copy`)."""

    artifact: int = 0
    digest: str = ""
    tags: list[str] = []
    reason: str = ""

    def resource(self, names: Names) -> str:
        return artifact_in(names, tag=self.tags[0] if self.tags else "", digest=self.digest)

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"digest {self.digest}"
        if len(self.tags) > 1:
            yield f"tags {', '.join(self.tags)}"


@event_kind("artifact.pulled", Operation.PULL)
class ArtifactPulled(Payload):
    """An artifact was pulled `pulls` times within some seconds, by one account. `tag` is empty for pulls by digest."""

    artifact: int = 0
    tag: str = ""
    pulls: int = 1

    def ids(self) -> Ids:
        return Ids(artifacts=[self.artifact])

    def resource(self, names: Names) -> str:
        return artifact_in(names, tag=self.tag, digest=names.artifact(self.artifact))

    def details(self, names: Names) -> Iterable[str]:
        del names
        if self.pulls > 1:
            yield f"{self.pulls} times within some seconds"


@event_kind("artifact.deleted", Operation.DELETE)
class ArtifactDeleted(Payload):
    """An artifact was deleted, with its tags and with what is deleted along with it. `deletion`: its row in the trash;
    `artifacts`: all that went with it."""

    digest: str = ""
    deletion: int = 0
    artifacts: list[int] = []
    reason: str = ""

    def resource(self, names: Names) -> str:
        return artifact_in(names, digest=self.digest)

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"digest {self.digest}"


@event_kind("tag.created", Operation.CREATE)
class TagCreated(Payload):
    """A tag was made for an artifact that was there, or moved to it."""

    tag: str = ""
    digest: str = ""
    reason: str = ""

    def resource(self, names: Names) -> str:
        return artifact_in(names, tag=self.tag)

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"digest {self.digest}"


@event_kind("tag.deleted", Operation.DELETE)
class TagDeleted(Payload):
    """A tag was deleted; its artifact stays."""

    tag: str = ""
    deletion: int = 0

    def resource(self, names: Names) -> str:
        return artifact_in(names, tag=self.tag)


@event_kind("blob.mounted", Operation.CREATE)
class BlobMounted(Payload):
    """A blob of the repository `source` was linked into another one, without an upload."""

    digest: str = ""
    source: str = ""

    def resource(self, names: Names) -> str:
        return artifact_in(names, digest=self.digest)

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"digest {self.digest}"
        if self.source:
            yield f"from {self.source}"


@event_kind("blob.deleted", Operation.DELETE)
class BlobDeleted(Payload):
    """The link of a blob to a repository was removed; no manifest there used it."""

    digest: str = ""

    def resource(self, names: Names) -> str:
        return artifact_in(names, digest=self.digest)


@event_kind("blob.links.expired", Operation.DELETE)
class LinksExpired(Payload):
    """The links of `blobs` blobs to a repository were removed, so many: no manifest had used them for an hour."""

    blobs: int = 0

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"{self.blobs} blobs that no manifest used"


@event_kind("blob.quarantined", Operation.UPDATE)
class BlobQuarantined(Payload):
    """A blob was taken out of service, because its object is missing or damaged. `repositories`: those that link it."""

    digest: str = ""
    reason: str = ""
    repositories: list[int] = []

    def resource(self, names: Names) -> str:
        del names
        return self.digest

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield self.reason


@event_kind("blob.healed", Operation.UPDATE)
class BlobHealed(Payload):
    """A quarantined blob has a sound object again, under `key`."""

    digest: str = ""
    key: str = ""

    def resource(self, names: Names) -> str:
        del names
        return self.digest


@event_kind("tag.restored", Operation.UPDATE)
class TagRestored(Payload):
    """A deleted tag was restored. `deletion`: the one that was undone."""

    tag: str = ""
    digest: str = ""
    deletion: int = 0

    def resource(self, names: Names) -> str:
        return artifact_in(names, tag=self.tag)

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"digest {self.digest}"


@event_kind("artifact.restored", Operation.UPDATE)
class ArtifactRestored(Payload):
    """A deleted artifact was restored, with its tags and with what had been deleted along with it. `artifacts`: all
    that came back; `deletion`: the one that was undone."""

    digest: str = ""
    deletion: int = 0
    artifacts: list[int] = []
    tags: list[str] = []

    def resource(self, names: Names) -> str:
        return artifact_in(names, digest=self.digest)

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"digest {self.digest}"
        if self.tags:
            yield f"tags {', '.join(self.tags)}"


@event_kind("repository.restored", Operation.UPDATE)
class RepositoryRestored(Payload):
    """A deleted repository was restored, with the `artifacts` that were in it, so many. `deletion`: the one that was
    undone."""

    name: str = ""
    deletion: int = 0
    artifacts: int = 0

    def resource(self, names: Names) -> str:
        return self.name or names.repository


@event_kind("deletion.purged", Operation.DELETE)
class DeletionPurged(Payload):
    """Somebody had deleted content removed for good, before its time. `name`: what had been deleted; `kind`: tag,
    artifact, repository or project; `artifacts`: how many of them."""

    name: str = ""
    kind: str = ""
    deletion: int = 0
    artifacts: int = 0

    def resource(self, names: Names) -> str:
        return artifact_in(names, digest=self.name) if self.kind == "artifact" else self.name or names.repository

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"the deleted {self.kind} and its {self.artifacts} artifacts were removed from the trash"


@event_kind("storage.collected", Operation.DELETE)
class GarbageCollected(Payload):
    """Garbage collection removed something: so many of each sort. `bytes`: what the stores had for the objects that
    they no longer have."""

    deletions: int = 0
    artifacts: int = 0
    tags: int = 0
    links: int = 0
    manifests: int = 0
    repositories: int = 0
    projects: int = 0
    uploads: int = 0
    objects: int = 0
    bytes: int = 0
    untagged: int = 0
    left: int = 0

    def resource(self, names: Names) -> str:
        del names
        return "storage"

    def details(self, names: Names) -> Iterable[str]:
        del names
        return (f"{name} {getattr(self, name)}" for name in self.__struct_fields__ if getattr(self, name))


@event_kind("repository.updated", Operation.UPDATE)
class RepositoryUpdated(Payload):
    """The description of a repository was changed."""

    name: str = ""


@event_kind("repository.deleted", Operation.DELETE)
class RepositoryDeleted(Payload):
    """A repository was deleted with the `artifacts` in it, so many. `deletion`: its row in the trash."""

    name: str = ""
    deletion: int = 0
    artifacts: int = 0

    def resource(self, names: Names) -> str:
        return self.name or names.repository


@event_kind("project.policies.changed", Operation.UPDATE, of="project")
class ProjectPoliciesChanged(Payload):
    """Other policies apply in a project from now on: those of these names."""

    name: str = ""
    policies: list[str] = []

    def resource(self, names: Names) -> str:
        return self.name or names.project

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"policies {', '.join(self.policies) or 'none'}"


@event_kind("policy.refused", Operation.REFUSE, result=Result.FAILURE)
class PolicyRefused(Payload):
    """A policy refused something, `times` times within a minute. `name`: of many things, what they have in common."""

    policy: str = ""
    moment: str = ""
    reason: str = ""
    digest: str = ""
    tag: str = ""
    name: str = ""
    times: int = 1

    def resource(self, names: Names) -> str:
        if self.name:
            return self.name
        return artifact_in(names, tag=self.tag, digest=self.digest) if names.repository else names.project

    def details(self, names: Names) -> Iterable[str]:
        del names
        if self.policy:
            yield f"{self.moment} refused by the policy {self.policy}"
        if self.digest:
            yield f"digest {self.digest}"
        if self.times > 1:
            yield f"{self.times} times within a minute"


@event_kind("storage.swept", Operation.DELETE)
class StorageSwept(Payload):
    """A sweep of the stores removed something: so many of each sort, and so many bytes of objects."""

    uploads: int = 0
    objects: int = 0
    bytes: int = 0
    unfinished: int = 0
    purged: int = 0
    given_back: int = 0

    def resource(self, names: Names) -> str:
        del names
        return "storage"

    def details(self, names: Names) -> Iterable[str]:
        del names
        counts = ((name.replace("_", " "), getattr(self, name)) for name in self.__struct_fields__)
        return (f"{name} {count}" for name, count in counts if count)


@event_kind("storage.adopted", Operation.UPDATE)
class StorageAdopted(Payload):
    """An administrator declared that a store and this database belong together, whatever kept sweeps from it."""

    store: str = ""
    objects_without_row: int = 0
    reason: str = ""

    def resource(self, names: Names) -> str:
        del names
        return self.store

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"{self.objects_without_row} objects without a row"
        if self.reason:
            yield self.reason
