"""Pulls of whole images by many clients at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.contents import IMAGE
from tests.benchmarks.loads import loadgen
from tests.benchmarks.rows.base import REGISTRIES, Goal, Sample
from tests.benchmarks.scale import MOST_ROUNDS

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench


@dataclass(frozen=True)
class PullImageRow:
    """A new version reaches a cluster: every node pulls it at the same moment."""

    name: str = "pull-image-50"
    what: str = "50 clients pull one image of 5 layers of 20 MiB at once"
    unit: str = "images/s"
    who: tuple[str, ...] = REGISTRIES
    needs: tuple[str, ...] = ("image",)
    goals: tuple[Goal, ...] = (Goal("v3", least=1.0),)
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        target = [*bench.on(who).sign_in(), "-repository", IMAGE]
        clients = ["-clients", str(bench.scale.pull_clients)]
        return bench.load(who, lambda: loadgen("pull", *target, *clients), counted=1)


ROWS = (PullImageRow(),)
