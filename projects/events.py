"""The events of projects: their settings, quotas and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from registry_core.content.events import artifact_in
from registry_core.events.kinds import Ids, Names, Operation, Payload, event_kind
from registry_core.events.reads import Read


class _ProjectEvent(Payload):
    """`name`: the project's name at the time."""

    name: str = ""

    def resource(self, names: Names) -> str:
        return self.name or names.project


@event_kind("project.created", Operation.CREATE)
class ProjectCreated(_ProjectEvent):
    """A project was made."""


@event_kind("project.updated", Operation.UPDATE)
class ProjectUpdated(_ProjectEvent):
    """The settings of a project were changed to the values in `metadata`. `deleted_metadata`: one that has its default
    again."""

    metadata: Mapping[str, str] = {}
    deleted_metadata: str = ""

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield from (f"{name} is {value}" for name, value in self.metadata.items())
        if self.deleted_metadata:
            yield f"{self.deleted_metadata} has its default again"


@event_kind("project.deleted", Operation.DELETE)
class ProjectDeleted(_ProjectEvent):
    """A project was deleted."""


@event_kind("project.restored", Operation.UPDATE)
class ProjectRestored(_ProjectEvent):
    """A deleted project was restored. `deletion`: the one that was undone."""

    deletion: int = 0


@event_kind("quota.updated", Operation.UPDATE)
class QuotaUpdated(_ProjectEvent):
    """A project may have `storage` bytes from now on; -1: as many as there are."""

    storage: int = -1

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"limit {self.storage} bytes"


class _LabelEvent(Payload):
    """`label`: its id; `name`: the label's name at the time."""

    label: int = 0
    name: str = ""

    def resource(self, names: Names) -> str:
        del names
        return self.name


@event_kind("label.created", Operation.CREATE)
class LabelCreated(_LabelEvent):
    """A label was made, for one project or for all."""


@event_kind("label.updated", Operation.UPDATE)
class LabelUpdated(_LabelEvent):
    """A label was changed."""


@event_kind("label.deleted", Operation.DELETE)
class LabelDeleted(_LabelEvent):
    """A label was deleted, and taken off all artifacts."""


class Labelling(Payload):
    artifact: int = 0
    label: int = 0

    def ids(self) -> Ids:
        return Ids(artifacts=[self.artifact])

    def resource(self, names: Names) -> str:
        return artifact_in(names, digest=names.artifact(self.artifact))

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"label {self.label}"


@event_kind("artifact.labelled", Operation.UPDATE)
class ArtifactLabelled(Labelling):
    """A label was put on an artifact."""


@event_kind("artifact.unlabelled", Operation.UPDATE)
class ArtifactUnlabelled(Labelling):
    """A label was taken off an artifact."""


class RuleEvent(Payload):
    """`rule`: its id; `selectors`: what it is about, such as `matches v*`."""

    rule: int = 0
    is_disabled: bool = False
    selectors: list[str] = []

    def resource(self, names: Names) -> str:
        return names.project

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"rule {self.rule}{' (disabled)' if self.is_disabled else ''}"
        yield from self.selectors


@event_kind("immutability_rule.created", Operation.CREATE)
class RuleCreated(RuleEvent):
    """An immutability rule was created: the tags that it selects can be neither moved nor deleted."""


@event_kind("immutability_rule.updated", Operation.UPDATE)
class RuleUpdated(RuleEvent):
    """An immutability rule was changed, enabled or disabled."""


@event_kind("immutability_rule.deleted", Operation.DELETE)
class RuleDeleted(RuleEvent):
    """An immutability rule was deleted."""


class _HoldEvent(Payload):
    """`hold_reason`: why the artifact was held."""

    artifact: int = 0
    digest: str = ""
    hold_reason: str = ""

    def resource(self, names: Names) -> str:
        return artifact_in(names, digest=self.digest)

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"reason: {self.hold_reason}"


@event_kind("artifact.held", Operation.UPDATE)
class ArtifactHeld(_HoldEvent):
    """A legal hold was set on an artifact, or its reason was changed."""


@event_kind("artifact.released", Operation.UPDATE)
class ArtifactReleased(_HoldEvent):
    """The legal hold of an artifact was released. `held_by`: who had set it."""

    held_by: str = ""

    def details(self, names: Names) -> Iterable[str]:
        yield from super().details(names)
        yield f"held by {self.held_by}"


@event_kind("audit_log.read", Operation.READ)
class AuditLogRead(Read):
    """The audit log was read."""


@event_kind("audit_log.purged", Operation.DELETE)
class AuditLogPurged(Payload):
    """Old entries of the audit log were deleted: so many, older than so many hours, of these types."""

    entries: int = 0
    hours: int = 0
    types: list[str] = []

    def resource(self, names: Names) -> str:
        del names
        return "audit log"

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"{self.entries} entries older than {self.hours} hours of the types {', '.join(self.types)}"


class RetentionEvent(Payload):
    """`policy`: its number; `name`: the project's name at the time."""

    policy: int = 0
    name: str = ""

    def resource(self, names: Names) -> str:
        return self.name or names.project


@event_kind("project.retention.created", Operation.CREATE, of="retention")
class RetentionCreated(RetentionEvent):
    """A project got a retention policy."""


@event_kind("project.retention.updated", Operation.UPDATE, of="retention")
class RetentionUpdated(RetentionEvent):
    """The rules or the schedule of a retention policy were changed."""


@event_kind("project.retention.deleted", Operation.DELETE, of="retention")
class RetentionDeleted(RetentionEvent):
    """A project's retention policy was removed. It deletes nothing from then on."""


@event_kind("repository.retention.applied", Operation.DELETE, of="retention")
class RetentionApplied(Payload):
    """A retention policy ran in a repository: so many artifacts were deleted, of so many bytes, and so many stayed.

    `artifacts`: the first of the deleted ones, each with its tags. `execution`: the run, whose log has them all.
    """

    policy: int = 0
    execution: int = 0
    deleted: int = 0
    retained: int = 0
    bytes: int = 0
    artifacts: list[str] = []

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield f"deleted {self.deleted} artifacts of {self.bytes} bytes that no rule retains, retained {self.retained}"
        yield from self.artifacts
        if self.deleted > len(self.artifacts):
            yield f"and {self.deleted - len(self.artifacts)} more: see the log of job {self.execution}"
