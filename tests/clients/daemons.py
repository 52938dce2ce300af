"""The daemons that some clients need: started, waited for until they answer, and stopped."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.support.tools import missing, tool
from tests.support.waiting import wait_until

STOPPING_S = 20


def roots_tool(name: str) -> Path:
    """The path of a daemon that only root can run. For others the test is skipped, as for a missing tool."""
    if os.geteuid() != 0:
        missing(f"{name} has to be run by root")
    return tool(name)


@contextlib.contextmanager
def running(
    program: Path, *arguments: str, is_up: Callable[[], bool], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A daemon that answers, for as long as the block takes. What it prints goes to `log`."""
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [str(program), *arguments], env=None if env is None else dict(env), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(is_up, what=f"{program.name} answers")
        yield
    finally:
        daemon.terminate()
        daemon.wait(STOPPING_S)
