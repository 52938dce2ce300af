"""Tokens: what a fleet of robots asks for before everything else."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks import programs
from tests.benchmarks.contents import HOT
from tests.benchmarks.contestants import Portolan
from tests.benchmarks.loads import Load, wrk
from tests.benchmarks.rows.base import Goal, Sample
from tests.benchmarks.scale import MOST_ROUNDS

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_SERVER_CORE = 0


@dataclass(frozen=True)
class TokenRow:
    """A robot's token for one repository, with the whole server on one core; beside it what a core can sign at all."""

    name: str = "token-robot"
    what: str = "token of a robot for one repository, server on one core, 16 connections; openssl: Ed25519 signatures"
    unit: str = "tokens/s"
    who: tuple[str, ...] = ("portolan", "openssl")
    needs: tuple[str, ...] = ("hot",)
    goals: tuple[Goal, ...] = (Goal("openssl", least=0.1),)  # 2,000 where a core signs 20,000
    is_comparable: bool = True
    most_rounds: int = MOST_ROUNDS

    def measure(self, bench: Bench, who: str) -> Sample:
        return bench.load(who, lambda: _sign(bench.scale.seconds) if who == "openssl" else self._ask(bench))

    def _ask(self, bench: Bench) -> Load:
        portolan = bench.on("portolan")
        assert isinstance(portolan, Portolan)
        basic = base64.b64encode(f"{portolan.user}:{portolan.secret}".encode()).decode()
        url = f"{portolan.url}/service/token?service=harbor-registry&scope=repository:{HOT}:pull"
        portolan.pin([_SERVER_CORE])
        try:
            headers = {"Authorization": f"Basic {basic}"}
            return wrk(url, connections=16, seconds=bench.scale.seconds, headers=headers)
        finally:
            portolan.pin(range(os.cpu_count() or 1))


def _sign(seconds: float) -> Load:
    command = ["taskset", "-c", str(_SERVER_CORE), programs.system("openssl"), "speed", "-seconds"]
    shown = subprocess.run(
        [*command, str(max(1, round(seconds / 2))), "ed25519"], capture_output=True, text=True, check=True
    )
    found = re.search(r"EdDSA \(Ed25519\)\s+\S+\s+\S+\s+([0-9.]+)", shown.stdout)
    assert found is not None, shown.stdout
    return Load(round(float(found.group(1))), 0, 0, 1.0, 0, 0)


ROWS = (TokenRow(),)
