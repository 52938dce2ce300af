"""The outbox: what happened, written in the transaction that did it, told once to whoever listens."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.functional import cached_property

from registry_core.events.kinds import Payload, Result, payload_of


class Event(models.Model):
    """Something that happened. `seq` is dense and in commit order; it is stamped after the commit, by the relay.

    `changed` names the generations that other machines must bump (`repository:12`); `origin` is the machine that
    wrote the event and has already bumped its own. `client` is the address of who caused it and `request_id` the id of
    its request or job in the logs; both are empty where there is none, or for what is reported in sum. `payload` is one
    of the structs in `registry_core.events.kinds`, by `kind`.
    """

    id = models.BigAutoField(primary_key=True)
    seq = models.BigIntegerField(null=True)
    kind = models.CharField(max_length=64)
    project_id = models.BigIntegerField(null=True)
    repository_id = models.BigIntegerField(null=True)
    subject_kind = models.PositiveSmallIntegerField()
    subject_id = models.BigIntegerField()
    client = models.TextField(default="")
    request_id = models.TextField(default="")
    result = models.TextField(default=Result.SUCCESS)
    payload = models.JSONField(default=dict)
    changed = ArrayField(models.TextField(), default=list)
    origin = models.TextField(default="")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        managed = False
        db_table = "events_event"

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @cached_property
    def struct(self) -> Payload | None:
        """The payload as its kind defines it; None if only a later release can read it."""
        return payload_of(self.kind, self.payload)


class Cursor(models.Model):
    """How far a consumer of the outbox has come; the row `relay` is the last `seq` given out, and its lock the
    fence."""

    name = models.CharField(max_length=64, primary_key=True)
    seq = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name} at {self.seq}"
