"""Pushes: a large blob, and small images alone, side by side, and all to one tag."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.contestants import PROJECT
from tests.benchmarks.loads import Load, loadgen
from tests.benchmarks.rows.base import REGISTRIES, Goal, Sample, with_value
from tests.benchmarks.scale import LARGE_BYTES, MOST_ROUNDS

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_SMALL = ("-layers", "3", "-layer-bytes", "65536")


@dataclass(frozen=True)
class LargePushRow:
    """One blob of 256 MiB; beside it what the disk alone needs: hash the bytes, copy them, flush the copy."""

    name: str = "push-256m"
    what: str = "push of one blob of 256 MiB"
    unit: str = "MiB/s"
    who: tuple[str, ...] = (*REGISTRIES, "disk")
    needs: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = (Goal("v3", least=1.0), Goal("disk", least=0.7))
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        sample = bench.load(who, lambda: _hash_copy_flush(bench) if who == "disk" else push_large(bench, who))
        return with_value(sample, sample.mib_per_s)


def push_large(bench: Bench, who: str) -> Load:
    """Push one blob of 256 MiB that no registry has."""
    seed = bench.seed()
    blob = ["-bare", "-layers", "1", "-layer-bytes", str(LARGE_BYTES), "-seed", seed]
    return loadgen("push", *bench.on(who).sign_in(), "-repository", f"{PROJECT}/large-{seed}", *blob)


@dataclass(frozen=True)
class SmallPushRow:
    """Images of three layers of 64 KiB, each in a repository of a new name."""

    parallel: int
    unit: str = "images/s"
    who: tuple[str, ...] = REGISTRIES
    needs: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = (Goal("v3", least=1.0),)
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS

    @property
    def name(self) -> str:
        return f"push-small-{self.parallel}"

    @property
    def what(self) -> str:
        return f"push of images of 3 layers of 64 KiB, each to a new repository, {self.parallel} at a time"

    def measure(self, bench: Bench, who: str) -> Sample:
        seed = bench.seed()
        return push_small(bench, who, f"{PROJECT}/small-{seed}-%d", "latest", self.parallel, seed)


@dataclass(frozen=True)
class SamePushRow:
    """Eight at a time into one repository under one tag; beside it eight repositories."""

    name: str = "push-same"
    what: str = "push of small images, 8 at a time, all to one repository and tag; apart: to 8 repositories"
    unit: str = "images/s"
    who: tuple[str, ...] = ("portolan", "portolan:apart", "v3", "v3:apart")
    needs: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = (Goal("portolan:apart", least=0.9),)
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        seed = bench.seed()
        if not who.endswith(":apart"):
            return push_small(bench, who, f"{PROJECT}/same-{seed}", "latest", 8, seed)
        return push_small(bench, who, f"{PROJECT}/apart-{seed}-%m", "latest", 8, seed)


def push_small(bench: Bench, who: str, repository: str, tag: str, parallel: int, seed: str) -> Sample:
    """Push images of three layers of 64 KiB; `repository` has the seed in its name."""
    target = ["-repository", repository, "-tag", tag, "-seed", seed]
    count = ["-images", str(bench.scale.pushed_images), "-parallel", str(parallel)]
    return bench.load(who, lambda: loadgen("push", *bench.on(who).sign_in(), *target, *count, *_SMALL))


def _hash_copy_flush(bench: Bench) -> Load:
    source = bench.contents.file("blob-256m")
    target = bench.work / "copy"
    started_s = time.monotonic()
    for command in (["sha256sum", str(source)], ["cp", str(source), str(target)], ["sync", str(target)]):
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    elapsed_s = time.monotonic() - started_s
    target.unlink()
    return Load(1, 0, LARGE_BYTES, elapsed_s, elapsed_s * 1000, elapsed_s * 1000)


ROWS = (LargePushRow(), SmallPushRow(1), SmallPushRow(8), SamePushRow())
