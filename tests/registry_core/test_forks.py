"""A forked child has the memory of its parent, and nothing else of it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from registry_core.machine.processes import wait_gone

FORKED = """
import os, signal, sys
from registry_core.wiring.supervisor.forks import Fork
from registry_core.machine.processes import end

held = open(sys.argv[1], "w")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
{main}
child = Fork(main, name="child", death_signal=signal.SIGKILL)
{then}
"""


def run(tmp_path: Path, *, main: str, then: str) -> str:
    """What a process prints that forks `main` and then does `then`; pytest itself has threads."""
    command = [sys.executable, "-c", FORKED.format(main=main, then=then), str(tmp_path / "held")]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("end", "code"),
    [("return None", 0), ("return 3", 3), ("sys.exit(4)", 4), ("raise ValueError", 1), ("os.kill(os.getpid(), 9)", -9)],
)
def test_exit_code_is_that_of_main(tmp_path: Path, end: str, code: int) -> None:
    assert run(tmp_path, main=f"def main():\n    {end}", then="print(child.wait(30))") == f"{code}\n"


def test_child_has_no_file_handler_or_group_of_its_parent(tmp_path: Path) -> None:
    main = (
        "def main():\n"
        "    open_files = [fd for fd in range(3, 64) if os.path.exists(f'/proc/self/fd/{fd}')]\n"
        "    is_default = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
        "    shown = open('/proc/self/comm').read().strip()\n"
        "    print(open_files, is_default, os.getpgrp() == os.getpid(), shown, file=sys.stderr)"
    )
    command = [sys.executable, "-c", FORKED.format(main=main, then="child.wait(30)"), str(tmp_path / "held")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    assert shown == "[] True True child\n"


def test_child_is_ended_in_steps(tmp_path: Path) -> None:
    main = "def main():\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    while True:\n        signal.pause()"
    then = "end(child, steps=[(signal.SIGTERM, 0.2)]); print(child.poll())"
    assert run(tmp_path, main=main, then=then) == f"{-signal.SIGKILL}\n"


def test_child_dies_with_its_parent(tmp_path: Path) -> None:
    main = "def main():\n    signal.pause()"
    pid = int(run(tmp_path, main=main, then="print(child.pid, flush=True); os._exit(0)"))
    assert wait_gone(pid, patience_s=30)
