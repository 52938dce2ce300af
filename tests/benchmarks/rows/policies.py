"""Policies: what they cost where they apply, and elsewhere. Beside a Portolan without any."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.contents import HOT
from tests.benchmarks.contestants import PROJECT, GovernedPortolan, Portolan
from tests.benchmarks.loads import loadgen, wrk
from tests.benchmarks.policy_names import PULLS, TAGS
from tests.benchmarks.rows.base import ACCEPT, Goal, Sample
from tests.benchmarks.rows.pushes import push_small
from tests.benchmarks.scale import MOST_ROUNDS

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_WHO = ("portolan:policy", "portolan")
_CONNECTIONS = 16
_ADDRESSES = 1000
_REQUESTS_EACH = 40
_CHANGES_PER_S = 100
_PATH = f"/v2/{HOT}/manifests/t0"


@dataclass(frozen=True)
class HotRow:
    """The hot manifest by tag, with a policy about pulls in a project: in its own, or in another. `is_changing`: while
    other repositories change, as every process of the machine is told of it."""

    name: str
    what: str
    project: str
    least: float
    is_changing: bool = False
    unit: str = "requests/s"
    who: tuple[str, ...] = _WHO
    needs: tuple[str, ...] = ("hot",)
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS

    @property
    def goals(self) -> tuple[Goal, ...]:
        return (Goal("portolan", least=self.least),)

    def measure(self, bench: Bench, who: str) -> Sample:
        contestant = bench.on(who)
        _govern(bench, who, self.project, PULLS)
        headers = {**ACCEPT, **contestant.headers(f"repository:{HOT}:pull")}
        url, seconds = contestant.url + _PATH, bench.scale.seconds
        with _changes(bench, who) if self.is_changing else contextlib.nullcontext():
            return bench.load(
                who, lambda: wrk(url, connections=_CONNECTIONS, seconds=seconds, headers=headers), counted=1
            )


@dataclass(frozen=True)
class AddressesRow:
    """The same from many addresses, each with a connection of its own."""

    name: str = "policy-hot-addresses"
    what: str = f"GET of one manifest by tag from {_ADDRESSES} addresses, with a policy about pulls in its project"
    unit: str = "requests/s"
    who: tuple[str, ...] = _WHO
    needs: tuple[str, ...] = ("hot",)
    goals: tuple[Goal, ...] = (Goal("portolan", least=0.9),)
    is_comparable: bool = False  # the first answers to so many take as long as all of a short load
    most_rounds: int = MOST_ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        _govern(bench, who, PROJECT, PULLS)
        target = [*bench.on(who).sign_in(), "-repository", HOT]
        from_all = ["-parallel", str(_ADDRESSES), "-addresses", str(_ADDRESSES)]
        paths = [_PATH] * (_ADDRESSES * _REQUESTS_EACH)
        return bench.load(who, lambda: loadgen("get", *target, *from_all, lines=paths), counted=1)


@dataclass(frozen=True)
class PushRow:
    """Small images, with a policy about tags in their project."""

    name: str = "policy-push-small-8"
    what: str = "push of images of 3 layers of 64 KiB, 8 at a time, with a policy about tags in their project"
    unit: str = "images/s"
    who: tuple[str, ...] = _WHO
    needs: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = (Goal("portolan", least=0.9),)
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        _govern(bench, who, PROJECT, TAGS)
        seed = bench.seed()
        return push_small(bench, who, f"{PROJECT}/governed-{seed}-%d", "latest", 8, seed)


def _govern(bench: Bench, who: str, project: str, policy: str) -> None:
    contestant = bench.on(who)
    if isinstance(contestant, GovernedPortolan):
        contestant.govern(project, policy)
        contestant.settle()


@contextlib.contextmanager
def _changes(bench: Bench, who: str) -> Iterator[None]:
    """While the block runs, repositories change that nobody pulls from."""
    contestant = bench.on(who)
    assert isinstance(contestant, Portolan)
    ended, generations = threading.Event(), contestant.generations()

    def change() -> None:
        number = 0
        while not ended.wait(1 / _CHANGES_PER_S):
            number += 1
            with generations.changing([f"repository:{1_000_000 + number}"]):
                """The rows would change here."""

    changing = threading.Thread(target=change)
    changing.start()
    try:
        yield
    finally:
        ended.set()
        changing.join()


ROWS = (
    HotRow("policy-hot-elsewhere", "GET of one manifest by tag, with a policy about pulls in another project",
           GovernedPortolan.OTHER, 0.97),
    HotRow("policy-hot-here", "GET of one manifest by tag, with a policy about pulls in its project", PROJECT, 0.9),
    HotRow("policy-hot-changing", f"the same while {_CHANGES_PER_S} other repositories change a second", PROJECT, 0.9,
           is_changing=True),
    AddressesRow(),
    PushRow(),
)  # fmt: skip
