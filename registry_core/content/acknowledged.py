"""What the store's journal says about objects that are about to be removed: was any of them a blob in some database?

A journal line is written after the transaction that creates a blob. An object that has a line, and whose digest this
database has never had, was therefore a blob in a newer or in another database. A push that died has no line, so its
object is removed. Earlier releases wrote the line before the transaction: a few of their lines may belong to pushes
that died in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from django.db import connection

from registry_core.content.models import Blob
from registry_core.digests import Digest, DigestError
from registry_core.storage.interface import ObjectStore
from registry_core.storage.journal_lines import JournalLine, parse_line

OLD_LINES_MAX = 10


@dataclass(slots=True)
class Acknowledged:
    """Object keys by what the journal and the database say about them.

    `unknown`: of blobs that the database does not have. `unsure`: the same, from lines of earlier releases. `awaited`:
    of blobs that are quarantined here and need exactly these bytes. `latest_s`: the time of the latest of these lines,
    in seconds since the epoch.
    """

    unknown: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    awaited: set[str] = field(default_factory=set)
    latest_s: float = 0.0

    @property
    def is_database_older(self) -> bool:
        """Whether the database lacks blobs that it should have."""
        return bool(self.unknown) or len(self.unsure) > OLD_LINES_MAX


def acknowledged(store: ObjectStore, *, keys: Collection[str], upload_keys: Collection[str] = ()) -> Acknowledged:
    """Look up objects in the journal by their keys, and what their uploads became. The journal is read only if there
    are keys to look up. Raises StorageError."""
    found = Acknowledged()
    if not keys and not upload_keys:
        return found
    lines = _lines_of(store.journal(), set(keys), set(upload_keys))
    states = _states({digest for _, digest in lines})
    found.latest_s = max((line.at for line, _ in lines), default=0.0)
    for line, digest in lines:
        state = states.get(digest)
        if state == Blob.State.QUARANTINED:
            found.awaited.add(line.key)
        elif state is None:
            (found.unknown if line.at else found.unsure).add(line.key)
    return found


def _lines_of(journal: Iterable[bytes], keys: set[str], upload_keys: set[str]) -> list[tuple[JournalLine, Digest]]:
    """The lines of these objects that were not withdrawn since, with their digests."""
    lines: list[JournalLine] = []
    withdrawn: dict[str, float] = {}
    for text in journal:
        line = parse_line(text)
        if line is None:
            continue
        if line.withdrawn:
            withdrawn[line.withdrawn] = max(line.at, withdrawn.get(line.withdrawn, 0.0))
        elif line.key in keys or line.key.partition("-")[0] in upload_keys:
            lines.append(line)
    valid = (line for line in lines if line.key not in withdrawn or line.at > withdrawn[line.key])
    return [(line, digest) for line in valid if (digest := _digest(line)) is not None]


def _digest(line: JournalLine) -> Digest | None:
    try:
        return Digest.parse(line.digest)
    except DigestError:
        return None


def _states(digests: set[Digest]) -> dict[Digest, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT digest, state FROM content_blob WHERE digest = ANY(%s)", [[digest.raw for digest in digests]]
        )
        return {Digest(bytes(raw)): state for raw, state in cursor.fetchall()}
