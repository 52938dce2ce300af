"""The programs that make the load: wrk for reading, our loadgen for the rest. Both on the last core, for every server.

A load generator that may run everywhere takes the more of a server's time the faster that server is.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.benchmarks import programs

LOAD_CORE = (os.cpu_count() or 1) - 1
_PINNED = ("taskset", "-c", str(LOAD_CORE))
_LUA = programs.HERE / "lua"
_PATIENCE_S = 1200
_WRK_TIMEOUT_S = 60


class LoadFailed(Exception):
    """A load generator did not come to its end."""


@dataclass(frozen=True)
class Load:
    """What a load did: whole operations (requests, images), bytes, errors with reasons. `cut`: requests that may have
    been answered although they are not in `done`, because the load ended first."""

    done: int
    errors: int
    bytes: int
    elapsed_s: float
    p50_ms: float
    p99_ms: float
    reasons: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    p95_ms: float = 0.0  # wrk says it, our load generator does not


def wrk(
    url: str,
    *,
    connections: int,
    seconds: float,
    headers: Mapping[str, str],
    script: str = "hot.lua",
    arguments: Sequence[str] = (),
) -> Load:
    """GET by `connections` clients at once for some seconds (wrk takes whole ones)."""
    said = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    command = [
        *_PINNED, programs.system("wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s",
        "--timeout", f"{_WRK_TIMEOUT_S}s", "-s", str(_LUA / script), *said, url,
    ]  # fmt: skip
    output = _run([*command, "--", *arguments] if arguments else command)
    return _parse(output.splitlines()[-1], cut=connections)


def loadgen(*arguments: str, lines: Sequence[str] = ()) -> Load:
    """Run our load generator to its end."""
    return _parse(_run(loadgen_command(*arguments), stdin="\n".join(lines)))


def loadgen_command(*arguments: str) -> list[str]:
    """How our load generator is called."""
    return [*_PINNED, str(programs.loadgen()), *arguments]


def finished(process: subprocess.Popen[str]) -> Load:
    """The outcome of a load generator that was started with `loadgen_command`. Raises LoadFailed."""
    output, errors = process.communicate(timeout=_PATIENCE_S)
    if process.returncode != 0:
        raise LoadFailed(errors[-2000:])
    return _parse(output)


def _run(command: Sequence[str], stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise LoadFailed(f"{command[3]} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return done.stdout


def _parse(line: str, cut: int = 0) -> Load:
    said: dict[str, Any] = msgspec.json.decode(line)
    return Load(**said, cut=cut)
