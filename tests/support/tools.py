"""Where the real client programs are, and what happens when one is missing.

`tests/tools/build.sh` builds those written in Go into a cache outside the clone; the others come from the system's
packages. A test that needs one asks here, so that "not installed" is said in one way.
"""

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

BUILD_SCRIPT = Path(__file__).parents[1] / "tools" / "build.sh"
REQUIRE_TOOLS = os.environ.get("TEST_REQUIRE_TOOLS") == "1"  # set by tests.support.environment


@dataclass(frozen=True)
class Outcome:
    """What a client did: its exit code, and everything it printed to the person (stdout, then stderr)."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout + self.stderr

    @property
    def is_success(self) -> bool:
        return self.code == 0


def tool(name: str) -> Path:
    """The path of the client program `name`.

    Missing: the test is skipped with the reason, or fails when PORTOLAN_REQUIRE_TOOLS=1 (as in CI).
    """
    found = _built(name) or shutil.which(name)
    if found:
        return Path(found)
    return missing(f"{name} is not here: run `make tools`, or install it from the system's packages")


def missing(reason: str) -> NoReturn:
    """Skip the test because of what this machine does not have, or fail when PORTOLAN_REQUIRE_TOOLS=1 (as in CI)."""
    if REQUIRE_TOOLS:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def run(
    program: Path,
    *arguments: str,
    env: Mapping[str, str],
    stdin: str | None = None,
    timeout_s: float = 60,
    folder: Path | None = None,
) -> Outcome:
    """Run a client to its end, in `folder` if given. Raises subprocess.TimeoutExpired when it hangs for `timeout_s`."""
    command: Sequence[str] = [str(program), *arguments]
    done = subprocess.run(
        command, env=dict(env), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=folder
    )
    return Outcome(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


@functools.cache
def _built_folder() -> Path:
    shown = subprocess.run([str(BUILD_SCRIPT), "--path"], capture_output=True, text=True, check=True)
    return Path(shown.stdout.strip())


def _built(name: str) -> Path | None:
    path = _built_folder() / name
    return path if os.access(path, os.X_OK) else None
