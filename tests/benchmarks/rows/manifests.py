"""Manifests: what every pull begins with."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.contents import COLD, HOT
from tests.benchmarks.contestants import PROJECT
from tests.benchmarks.loads import finished, loadgen, loadgen_command, wrk
from tests.benchmarks.rows.base import ACCEPT, GOAL_REGISTRIES, REGISTRIES, Goal, Sample, WrkRow, with_value
from tests.benchmarks.scale import MOST_ROUNDS

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_PULL_HOT = f"repository:{HOT}:pull"
_PUSHES_PER_S = 20
_CONNECTIONS = 16


def _by_tag(_bench: Bench, _who: str) -> str:
    return f"/v2/{HOT}/manifests/t0"


def _by_digest(bench: Bench, _who: str) -> str:
    return f"/v2/{HOT}/manifests/{bench.contents.digests['hot']}"


@dataclass(frozen=True)
class HeadRow:
    """The hot manifest by digest, by HEAD."""

    name: str = "manifest-digest-head"
    what: str = "HEAD of one manifest by digest, 16 connections"
    unit: str = "requests/s"
    who: tuple[str, ...] = REGISTRIES
    needs: tuple[str, ...] = ("hot",)
    goals: tuple[Goal, ...] = (Goal("v3", least=5),)
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        contestant = bench.on(who)
        signed_in = contestant.headers(_PULL_HOT).get("Authorization", "")
        target = ["-url", contestant.url + _by_digest(bench, who), "-authorization", signed_in]
        load = ["-connections", str(_CONNECTIONS), "-for", f"{bench.scale.seconds}s"]
        return bench.load(who, lambda: loadgen("head", *target, *load))


@dataclass(frozen=True)
class ColdRow:
    """Every tag of many once, in random order, just after a start: nothing is remembered in any process."""

    name: str = "manifest-cold"
    what: str = "GET of 10,000 manifests by tag, each once at random, after a restart, 16 connections"
    unit: str = "requests/s"
    who: tuple[str, ...] = GOAL_REGISTRIES
    needs: tuple[str, ...] = ("cold",)
    goals: tuple[Goal, ...] = (Goal("v3", least=1.2),)
    is_comparable: bool = False  # the first answers after a start take as long as all the others of a short run
    most_rounds: int = 5  # each with a restart

    def measure(self, bench: Bench, who: str) -> Sample:
        contestant = bench.on(who)
        contestant.restart()
        paths = [f"/v2/{COLD}/manifests/t{number}" for number in range(bench.scale.cold_tags)]
        random.Random(1).shuffle(paths)
        target = [*contestant.sign_in(), "-repository", COLD, "-parallel", str(_CONNECTIONS)]
        return bench.load(who, lambda: loadgen("get", *target, lines=paths), counted=1)


@dataclass(frozen=True)
class WhilePushingRow:
    """The hot manifest by tag, while others push small images into the same project; and while nobody does."""

    name: str = "manifest-tag-while-pushing"
    what: str = f"GET of one manifest by tag while {_PUSHES_PER_S} small images/s are pushed into its project"
    unit: str = "requests/s"
    who: tuple[str, ...] = ("portolan", "portolan:quiet", "v3", "v3:quiet")
    needs: tuple[str, ...] = ("hot",)
    goals: tuple[Goal, ...] = (Goal("portolan:quiet", least=0.7),)
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        if who.endswith(":quiet"):
            return self._read(bench, who)
        pushing = subprocess.Popen(
            self._pushes(bench, who),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        sample = self._read(bench, who)
        pushed = finished(pushing)
        notes = {"images_pushed_per_s": pushed.done / pushed.elapsed_s, "push_p99_ms": pushed.p99_ms}
        failed = Sample(**{**sample.__dict__, "errors": sample.errors + pushed.errors})
        return with_value(failed, sample.value, **notes)

    def _read(self, bench: Bench, who: str) -> Sample:
        contestant = bench.on(who)
        headers, url = {**ACCEPT, **contestant.headers(_PULL_HOT)}, contestant.url + _by_tag(bench, who)
        seconds = bench.scale.seconds
        return bench.load(who, lambda: wrk(url, connections=_CONNECTIONS, seconds=seconds, headers=headers), counted=1)

    def _pushes(self, bench: Bench, who: str) -> list[str]:
        seed, count = bench.seed(), round(_PUSHES_PER_S * (bench.scale.seconds + 0.5))
        return loadgen_command(
            "push", *bench.on(who).sign_in(), "-repository", f"{PROJECT}/beside-{seed}-%d", "-seed", seed,
            "-images", str(count), "-rate", str(_PUSHES_PER_S), "-parallel", "8", "-layers", "3",
        )  # fmt: skip


ROWS = (
    WrkRow(
        name="manifest-tag-hot-16",
        what="GET of one manifest by tag, 16 connections",
        needs=("hot",),
        path=_by_tag,
        scope=_PULL_HOT,
        connections=16,
        is_pull=True,
        goals=(Goal("v3", least=5),),
    ),
    WrkRow(
        name="manifest-tag-hot-256",
        what="GET of one manifest by tag, 256 connections",
        needs=("hot",),
        path=_by_tag,
        scope=_PULL_HOT,
        connections=256,
        is_pull=True,
        is_comparable=False,  # the first answers to so many take as long as all of a short load
        goals=(Goal("v3", least=5),),
    ),
    WrkRow(
        name="manifest-digest-hot",
        what="GET of one manifest by digest, 16 connections",
        needs=("hot",),
        path=_by_digest,
        scope=_PULL_HOT,
        connections=16,
        is_pull=True,
        goals=(Goal("v3", least=5),),
    ),
    HeadRow(),
    ColdRow(),
    WhilePushingRow(),
)
