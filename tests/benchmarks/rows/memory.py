"""Memory: at rest, and while much comes in at once."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import measuring
from tests.benchmarks.contestants import PROJECT
from tests.benchmarks.loads import Load, loadgen
from tests.benchmarks.rows.base import REGISTRIES, Goal, Sample, with_value
from tests.benchmarks.scale import LARGE_BYTES, MIB

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_ROUNDS = 3  # each takes a restart or 20 s, and memory does not depend on the minute


@dataclass(frozen=True)
class IdleMemoryRow:
    """Proportional set size of all processes, just after a start; Postgres apart."""

    name: str = "memory-idle"
    what: str = "memory of all processes without Postgres, at rest after a start (PSS)"
    unit: str = "MiB"
    who: tuple[str, ...] = REGISTRIES
    needs: tuple[str, ...] = ("hot",)
    goals: tuple[Goal, ...] = (Goal("v3", most=4),)
    is_comparable: bool = True
    most_rounds: int = _ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        contestant = bench.on(who)
        with bench.without_twins(who):
            contestant.restart()
            used = measuring.memory(contestant.root)
        notes = {"rss_mib": used.rss_mib, "postgres_pss_mib": used.postgres_pss_mib}
        return Sample(value=used.pss_mib, notes=notes)


@dataclass(frozen=True)
class PushMemoryRow:
    """How much the fattest worker grows while large blobs come in, all at once."""

    name: str = "memory-push"
    what: str = "growth of the largest worker while 32 blobs of 256 MiB are pushed at once (RSS)"
    unit: str = "MiB"
    who: tuple[str, ...] = ("portolan",)  # the goal is a number of its own, and each writes 8 GiB a round
    needs: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = (Goal(None, most=128),)
    is_comparable: bool = False
    most_rounds: int = _ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        contestant = bench.on(who)
        kept = _blobs(contestant.folder)
        with measuring.peaks(contestant.workers()) as grown:
            sample = bench.load(who, lambda: self._push(bench, who))
        for blob in _blobs(contestant.folder) - kept:
            blob.unlink()  # nobody reads them, and all rounds of them fill a disk
        return with_value(sample, max(grown.values()) / MIB, mib_per_s=sample.mib_per_s)

    def _push(self, bench: Bench, who: str) -> Load:
        seed, count = bench.seed(), str(bench.scale.large_pushes)
        blobs = ["-bare", "-layers", "1", "-layer-bytes", str(LARGE_BYTES), "-images", count, "-parallel", count]
        target = ["-repository", f"{PROJECT}/wide-{seed}-%d", "-seed", seed]
        return loadgen("push", *bench.on(who).sign_in(), *target, *blobs)


def _blobs(folder: Path) -> set[Path]:
    """Files of such a blob's size. The server goes on meanwhile: other files come and go."""
    found = set()
    for name, _, files in os.walk(folder):
        for path in (Path(name, file) for file in files):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size == LARGE_BYTES:
                    found.add(path)
    return found


ROWS = (IdleMemoryRow(), PushMemoryRow())
