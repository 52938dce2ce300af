"""Blobs in an object store: MinIO, one for each registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.contents import IMAGE
from tests.benchmarks.loads import loadgen
from tests.benchmarks.rows.base import Goal, Sample, with_value
from tests.benchmarks.rows.pushes import push_large
from tests.benchmarks.scale import MOST_ROUNDS

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_CLIENTS = "8"
_WHO = ("portolan:s3", "v3:s3")


@dataclass(frozen=True)
class PullByRedirectRow:
    """Both registries answer with the address of the object; the bytes come from MinIO."""

    name: str = "s3-pull"
    what: str = "8 clients pull one image of 5 layers of 20 MiB at once, blobs by redirect to MinIO"
    unit: str = "images/s"
    who: tuple[str, ...] = _WHO
    needs: tuple[str, ...] = ("image",)
    goals: tuple[Goal, ...] = (Goal("v3:s3", least=1.0),)
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        target = [*bench.on(who).sign_in(), "-repository", IMAGE]
        return bench.load(who, lambda: loadgen("pull", *target, "-clients", _CLIENTS))


@dataclass(frozen=True)
class PushToStoreRow:
    """One large blob, through the registry into MinIO."""

    name: str = "s3-push-256m"
    what: str = "push of one blob of 256 MiB, kept in MinIO"
    unit: str = "MiB/s"
    who: tuple[str, ...] = _WHO
    needs: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = (Goal("v3:s3", least=1.0),)
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        sample = bench.load(who, lambda: push_large(bench, who))
        return with_value(sample, sample.mib_per_s)


ROWS = (PullByRedirectRow(), PushToStoreRow())
