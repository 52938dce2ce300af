"""The registry of events: whatever is in it can be stored, read again and described, and is in the documentation."""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec
import pytest

from projects.audit.consumer import write_entries
from projects.audit.models import AuditEntry
from registry_core.access import SYSTEM, Cause
from registry_core.content.events import ArtifactPushed, TagCreated
from registry_core.events.kinds import Kind, Operation, Payload, all_kinds, event_kind, kind_of, payload_of
from registry_core.events.models import Event
from registry_core.events.outbox import emit
from registry_core.events.relay import relay
from registry_core.wiring import event_reference


@dataclass
class Names:
    """Names of everything, as a consumer looks them up."""

    project: str = "library"
    repository: str = "library/app"

    def user(self, number: int) -> str:
        return f"user {number}"

    def group(self, number: int) -> str:
        return f"group {number}"

    def artifact(self, number: int) -> str:
        return f"sha256:{number}"


def kinds() -> list[Kind]:
    found = all_kinds()
    assert {kind.name for kind in found} >= {"artifact.pushed", "project.member.added", "user.sign_in_failed"}
    return found


def test_every_kind_can_be_stored_read_and_described() -> None:
    for kind in kinds():
        payload = kind.payload()  # every field has a default
        assert payload_of(kind.name, json.loads(msgspec.json.encode(payload))) == payload
        assert isinstance(payload.resource(Names()), str)
        assert all(isinstance(detail, str) for detail in payload.details(Names()))
        assert kind.summary.endswith("."), kind


def test_the_documentation_has_every_kind() -> None:
    assert event_reference.PAGE.read_text() == event_reference.markdown()


@pytest.mark.parametrize("name", ["artifact", "Artifact.pushed", "artifact..pushed", "a.b.c.d", "artifact.pushed", ""])
def test_a_name_that_is_none_or_is_taken_is_refused(name: str) -> None:
    class Nothing(Payload):
        """Nothing happened."""

    with pytest.raises(ValueError, match=r"does not name a kind|already"):
        event_kind(name, Operation.CREATE)(Nothing)
    with pytest.raises(KeyError):
        kind_of(Nothing)


def test_events_of_an_earlier_release_are_read_under_their_former_names() -> None:
    former = [(kind, name) for kind in kinds() for name in kind.former_names]
    assert former
    for kind, name in former:
        assert type(payload_of(name, {})) is kind.payload


def test_an_event_says_who_from_where_and_by_which_request(db: None) -> None:
    emit(ArtifactPushed(artifact=1, digest="sha256:1"), cause=Cause(SYSTEM, "192.0.2.1", "client", "request-1"))
    event = Event.objects.get()
    assert (event.kind, event.client, event.request_id, event.result) == (
        "artifact.pushed", "192.0.2.1", "request-1", "success",
    )  # fmt: skip
    relay()
    write_entries()
    assert AuditEntry.objects.get().description.endswith("at the address 192.0.2.1; request request-1")


@pytest.mark.parametrize("payload", [{"tag": ["no text"]}, {"tag": "v1", "digest": 5}])
def test_an_event_that_this_release_cannot_read_is_in_the_log_all_the_same(
    db: None, payload: dict[str, object]
) -> None:
    """A later release wrote it, while both run."""
    emit(TagCreated(tag="v1"), cause=Cause(SYSTEM, "", "client", ""))
    Event.objects.update(payload=payload)
    emit(TagCreated(tag="v1"), cause=Cause(SYSTEM, "", "client", ""))
    Event.objects.filter(payload={"tag": "v1"}).update(kind="moon.landed", payload={"crew": 3})
    relay()
    assert write_entries() == 2
    entries = AuditEntry.objects.order_by("event_id")
    assert [(entry.resource_type, entry.operation) for entry in entries] == [("tag", "create"), ("moon", "update")]
