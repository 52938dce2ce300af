"""Memory: at rest, and while much comes in at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks import measuring
from tests.benchmarks.contestants import PROJECT
from tests.benchmarks.loads import Load, loadgen
from tests.benchmarks.rows.base import REGISTRIES, Goal, Sample, with_value
from tests.benchmarks.scale import MIB

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_BLOB_BYTES = 256 * MIB


@dataclass(frozen=True)
class IdleMemoryRow:
    """Proportional set size of all processes, just after a start; Postgres apart."""

    name: str = "memory-idle"
    what: str = "memory of all processes without Postgres, at rest after a start (PSS)"
    unit: str = "MiB"
    who: tuple[str, ...] = REGISTRIES
    needs: tuple[str, ...] = ("hot",)
    goals: tuple[Goal, ...] = (Goal("v3", most=3),)
    is_comparable: bool = True

    def measure(self, bench: Bench, who: str) -> Sample:
        contestant = bench.on(who)
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

    def measure(self, bench: Bench, who: str) -> Sample:
        with measuring.peaks(bench.on(who).workers()) as grown:
            sample = bench.load(who, lambda: self._push(bench, who))
        return with_value(sample, max(grown.values()) / MIB, mib_per_s=sample.mib_per_s)

    def _push(self, bench: Bench, who: str) -> Load:
        seed, count = bench.seed(), str(bench.scale.large_pushes)
        blobs = ["-bare", "-layers", "1", "-layer-bytes", str(_BLOB_BYTES), "-images", count, "-parallel", count]
        target = ["-repository", f"{PROJECT}/wide-{seed}-%d", "-seed", seed]
        return loadgen("push", *bench.on(who).sign_in(), *target, *blobs)


ROWS = (IdleMemoryRow(), PushMemoryRow())
