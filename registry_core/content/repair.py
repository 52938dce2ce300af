"""Repair: fixes what `check` finds as far as possible without guessing, and deletes nothing.

A blob whose object is in the trash gets it back; one without any object is quarantined. An object without a row is
hashed: if a quarantined blob needs it, the blob gets it; otherwise it is left for the sweep, which waits until no
upload can need it. The object of a quarantined blob is hashed too: it may have come back with a disk that was not
mounted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from registry_core.content import installation
from registry_core.content.compare import StorageReport, compare
from registry_core.content.objects import note
from registry_core.content.quarantine import quarantine, relink
from registry_core.content.trash import give_back_missing
from registry_core.digests import ALGORITHMS, Digest
from registry_core.storage.hashing import new_hash
from registry_core.storage.interface import ObjectMissing, ObjectStore, StoredObject
from registry_core.storage.stores import configured_stores


@dataclass(slots=True)
class RepairReport:
    """What the repair did."""

    given_back: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    healed: list[str] = field(default_factory=list)
    left: int = 0

    def __str__(self) -> str:
        lines = [f"restored from the trash: {key}" for key in self.given_back]
        lines += [f"quarantined {digest}: push it again to heal it" for digest in self.quarantined]
        lines += [f"healed {digest}: its bytes were found" for digest in self.healed]
        return "\n".join([*lines, f"{self.left} objects without a row are left for `portolan storage sweep`"])


def repair_storage() -> RepairReport:
    """Restore objects from the trash, find objects without a row that blobs need, and quarantine blobs without an
    object.

    Raises StorageError, also if a store is not the one that the database belongs to: objects that are missing there are
    not lost.
    """
    done = RepairReport()
    for store in configured_stores():
        installation.refuse_unless_ours(store)
        _repair(store, done)
    done.quarantined = [digest for digest in done.quarantined if digest not in done.healed]
    return done


def _repair(store: ObjectStore, done: RepairReport) -> None:
    found = _compared(store)
    lacking = [*found.rows_without_object, *found.quarantined_without_object]
    given_back = give_back_missing(store, lacking) if lacking else []
    if given_back:
        done.given_back += [trashed.key for trashed in given_back]
        found = _compared(store)
    done.quarantined += _quarantine_all(store, found.rows_without_object)
    for stored in found.objects_without_row:
        healed = _relink(store, stored)
        if healed is None:
            done.left += 1
        else:
            done.healed.append(str(healed))
    done.healed += [str(healed) for stored in found.quarantined_with_object if (healed := _relink(store, stored))]


def _compared(store: ObjectStore) -> StorageReport:
    found = StorageReport()
    compare(store, found)
    return found


def digests_of(content: Iterator[bytes]) -> list[Digest]:
    """The content's digest by each algorithm."""
    hashes = {algorithm: new_hash(algorithm) for algorithm in ALGORITHMS}
    for chunk in content:
        for running in hashes.values():
            running.update(chunk)
    return [Digest(bytes([ALGORITHMS[algorithm]]) + running.digest()) for algorithm, running in hashes.items()]


def _quarantine_all(store: ObjectStore, keys: list[str]) -> list[str]:
    found = [quarantine(store=store.name, key=key, reason="its object is missing or has another size") for key in keys]
    return [str(digest) for digest in found if digest is not None]


def _relink(store: ObjectStore, stored: StoredObject) -> Digest | None:
    try:
        digests = digests_of(store.read(stored.key))
    except ObjectMissing:
        return None
    healed = relink(digests=digests, store=store.name, key=stored.key, size_bytes=stored.size_bytes)
    if healed is not None:
        note(store, healed, key=stored.key, size_bytes=stored.size_bytes)
    return healed
