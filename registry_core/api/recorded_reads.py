"""Reads that the audit log records: settings, users, the log itself. A subject's first read is recorded, then the
number of reads per minute."""

from __future__ import annotations

from typing import Final

from registry_core.access import SYSTEM, Subject, SubjectKind
from registry_core.events.outbox import emit
from registry_core.events.repeated import Place, Repeated

CONFIGURATION: Final = "configuration"
USER: Final = "user"
AUDIT_LOG: Final = "audit_log"


def note_read(subject: Subject, thing: str, name: str) -> None:
    """Record that the subject read something: a kind of thing, and which."""
    _reads.note(origin=subject.key, name=f"{thing} {name}")


def _write(place: Place, times: int) -> None:
    thing, _, name = place.name.partition(" ")
    payload = {"name": name or "many things", "times": times}
    emit(kind=f"{thing or AUDIT_LOG}.read", subject=_subject(place.origin), payload=payload)


def _subject(key: str) -> Subject:
    kind, _, number = key.partition(":")
    return Subject(SubjectKind[kind.upper()], int(number), "") if number else SYSTEM


_reads = Repeated(_write)
