"""Repair: what `check` finds is put right as far as that can be done without guessing, and nothing is deleted.

A blob without its object is quarantined. An object without a row is hashed: when it is what a quarantined blob lacks,
the blob gets it; any other is left for the sweep, which waits until no upload can need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from registry_core.content.check import StorageReport, compare
from registry_core.content.quarantine import quarantine, relink
from registry_core.digests import ALGORITHMS, Digest
from registry_core.storage.hashing import new_hash
from registry_core.storage.interface import ObjectMissing, ObjectStore, StoredObject
from registry_core.storage.stores import configured_stores


@dataclass(slots=True)
class RepairReport:
    """What was done."""

    quarantined: list[str] = field(default_factory=list)
    healed: list[str] = field(default_factory=list)
    left: int = 0

    def __str__(self) -> str:
        lines = [f"quarantined {digest}: push it again to heal it" for digest in self.quarantined]
        lines += [f"healed {digest}: its bytes were found" for digest in self.healed]
        return "\n".join([*lines, f"{self.left} objects without a row are left for `portolan storage sweep`"])


def repair_storage() -> RepairReport:
    """Quarantine blobs without their object, and give back what lies in the stores under no name. Raises
    StorageError."""
    done = RepairReport()
    for store in configured_stores():
        found = StorageReport()
        compare(store, found)
        done.quarantined += _quarantine_all(store, found.rows_without_object)
        for stored in found.objects_without_row:
            healed = _relink(store, stored)
            if healed is None:
                done.left += 1
            else:
                done.healed.append(str(healed))
    done.quarantined = [digest for digest in done.quarantined if digest not in done.healed]
    return done


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
    return relink(digests=digests, store=store.name, key=stored.key, size_bytes=stored.size_bytes)
