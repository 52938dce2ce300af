"""Child processes that never outlive this one: own process group, a death signal from the kernel, and an end in
steps."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from registry_core.config.accounts import Account

_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
_PR_SET_NAME = 15
_KILL_WAIT_S = 5.0
_POLL_S = 0.02

# loaded before any fork, since a child between fork and exec must not import or allocate much
_prctl: Callable[..., int] | None = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def spawn(
    command: Sequence[str | Path],
    *,
    death_signal: signal.Signals,
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
    log: IO[bytes] | None = None,
    input_text: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in its own process group; when this process dies, the kernel sends it `death_signal`.

    Its output goes to `log`, else to our stderr. It sees `input_text` on stdin, else nothing. Raises OSError.
    """
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL if input_text is None else subprocess.PIPE,
        stdout=log or sys.stderr.fileno(),
        stderr=log or sys.stderr.fileno(),
        env=None if env is None else dict(env),
        process_group=0,
        preexec_fn=death_pact(death_signal, parent=os.getpid()),
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=list(account.groups) if account else None,
    )
    if input_text is not None and process.stdin is not None:
        with process.stdin:
            process.stdin.write(input_text.encode())
    return process


class Child(Protocol):
    """The interface needed to end a child; `subprocess.Popen` has it."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: signal.Signals, /) -> None: ...


def end(process: Child, *, steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """End `process` and its group: each signal in turn with the seconds to wait for it, then SIGKILL."""
    for step, patience_s in steps:
        if process.poll() is not None:
            break
        process.send_signal(step)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    kill_group(process.pid)
    process.wait()


def kill_group(group: int) -> None:
    """Send SIGKILL to what is left of process group `group`."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether a process `pid` exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    state = _stat_fields(pid)
    return not state or state[0] != "Z"


def wait_gone(pid: int, *, patience_s: float) -> bool:
    """Wait until `pid`, which need not be a child, has ended. False if it still exists after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def started_at(pid: int) -> str:
    """When `pid` was started, in the kernel's ticks: distinguishes a process from a later one with the same number."""
    fields = _stat_fields(pid)
    return fields[19] if len(fields) > 19 else ""


def end_leftovers(groups: Sequence[int], *, data: Path) -> list[int]:
    """Kill what a killed run on `data` left in process groups `groups`; returns the pids that were ended.

    Group numbers are reused, so only processes whose environment names `data` are killed.
    """
    mark = f"PORTOLAN_DATA={data}\0".encode()
    ended: list[int] = []
    # Repeat until nothing is left: a running server may start a worker while its processes are listed.
    while found := [pid for pid in _pids() if _group(pid) in groups and mark in _environment(pid)]:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            wait_gone(pid, patience_s=_KILL_WAIT_S)
        ended += found
    return ended


def death_pact(death_signal: signal.Signals, *, parent: int) -> Callable[[], None]:
    """Called by a child right after its fork: the kernel will send it `death_signal` when the thread of `parent` that
    created it ends."""

    def enter() -> None:
        # runs after the change of account, which would have cleared the death signal
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:
            os._exit(1)

    return enter


@contextlib.contextmanager
def keeping_death_signal() -> Iterator[None]:
    """Preserve the death signal of `death_pact` over a change of account, which clears it."""
    number = ctypes.c_int(0)
    if _prctl is not None:
        _prctl(_PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
    yield
    if _prctl is not None and number.value:
        _prctl(_PR_SET_PDEATHSIG, number.value)


def name_process(name: str) -> None:
    """Name this process `name` (at most 15 letters) in `ps -o comm`, `top` and `pstree`; for information only."""
    if _prctl is not None:
        _prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on (proc(5) field 3); empty if there is no such file."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()] if sys.platform == "linux" else []


def _group(pid: int) -> int:
    fields = _stat_fields(pid)
    return int(fields[2]) if fields else 0


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
    except OSError:
        return b""
