"""Reads that the audit log records: settings, users, the log itself. A subject's first read is recorded, then the
number of reads per minute."""

from __future__ import annotations

from typing import cast

from registry_core.access import SYSTEM, Subject, of_many, subject_with_key
from registry_core.events.kinds import kind_named, kind_of
from registry_core.events.outbox import emit
from registry_core.events.reads import Read, RecordsRead
from registry_core.events.repeated import Place, Repeated

_MANY = "many things"


def note_read(subject: Subject, read: Read) -> None:
    """Record that the subject read something."""
    _reads.note(origin=subject.key, name=f"{kind_of(type(read)).name} {read.name}")


def _write(place: Place, times: int) -> None:
    kind_name, _, name = place.name.partition(" ")
    kind = kind_named(kind_name)
    event = cast("type[Read]", kind.payload) if kind else RecordsRead
    subject = subject_with_key(place.origin) if place.origin else SYSTEM  # empty: of many subjects
    emit(event(name=name or _MANY, times=times), cause=of_many(subject))


_reads = Repeated(_write)
