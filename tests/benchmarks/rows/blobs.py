"""Blobs on their way out, beside nginx sending the same file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.benchmarks.contents import BLOBS
from tests.benchmarks.rows.base import EVERYONE, Goal, WrkRow
from tests.benchmarks.scale import MIB

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_PULL = f"repository:{BLOBS}:pull"
_AT_LEAST_AS_FAST = (Goal("v3", least=1.0), Goal("nginx", least=0.8))


def _path(name: str) -> Callable[[Bench, str], str]:
    def path(bench: Bench, who: str) -> str:
        return f"/{name}" if who == "nginx" else f"/v2/{BLOBS}/blobs/{bench.contents.digests[name]}"

    return path


ROWS = (
    WrkRow(
        name="blob-64k",
        what="GET of a blob of 64 KiB, 16 connections",
        needs=("blobs",),
        path=_path("blob-64k"),
        scope=_PULL,
        connections=16,
        who=EVERYONE,
        goals=(Goal("v3", least=5),),
    ),
    WrkRow(
        name="blob-64m",
        what="GET of a blob of 64 MiB, 4 connections",
        needs=("blobs",),
        path=_path("blob-64m"),
        scope=_PULL,
        connections=4,
        unit="MiB/s",
        who=EVERYONE,
        goals=_AT_LEAST_AS_FAST,
    ),
    WrkRow(
        name="blob-1g",
        what="GET of a blob of 1 GiB, 2 connections",
        needs=("blobs",),
        path=_path("blob-huge"),
        scope=_PULL,
        connections=2,
        unit="MiB/s",
        who=EVERYONE,
        goals=_AT_LEAST_AS_FAST,
    ),
    WrkRow(
        name="blob-range-1m",
        what="GET of 1 MiB at random places of a blob of 1 GiB, 16 connections",
        needs=("blobs",),
        path=_path("blob-huge"),
        scope=_PULL,
        connections=16,
        unit="MiB/s",
        who=EVERYONE,
        goals=_AT_LEAST_AS_FAST,
        script="ranges.lua",
        arguments=lambda bench: [str(bench.contents.sizes_bytes["blob-huge"]), str(MIB)],
    ),
)
