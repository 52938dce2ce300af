"""Forked children: they share the memory of everything that the parent has imported.

Only for a process with a single thread. Nothing else is inherited except our output: no open file, no signal handler,
no process group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Never

from registry_core.machine.processes import death_pact, name_process

_POLL_S = 0.02
_STDERR = 2


class Fork:
    """A forked child, with those methods of `subprocess.Popen` that ending it needs."""

    def __init__(self, main: Callable[[], object], *, name: str, death_signal: signal.Signals) -> None:
        """Fork; the child runs `main` and exits with what it returns or raises. When this process dies, the kernel
        sends it `death_signal`. Raises OSError."""
        self.returncode: int | None = None
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(main, name=name, pact=death_pact(death_signal, parent=parent))
        # In the parent too, for signals to the group before the child has done it.
        _lead_own_group(self.pid)

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it is running."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(_POLL_S)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the child has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _become(main: Callable[[], object], *, name: str, pact: Callable[[], None]) -> Never:
    code = 1
    try:
        _lead_own_group(0)
        pact()
        _forget_parent()
        name_process(name)
        code = _code(main())
    except SystemExit as error:
        code = _code(error.code)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # skips the parent's exit handlers and open files


def _lead_own_group(pid: int) -> None:
    try:
        os.setpgid(pid, 0)
    except OSError:  # it has ended, or already did this itself
        return


def _forget_parent() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.__stdin__.fileno() if sys.__stdin__ else 0)
    os.dup2(_STDERR, sys.__stdout__.fileno() if sys.__stdout__ else 1)
    os.closerange(_STDERR + 1, os.sysconf("SC_OPEN_MAX"))


def _code(result: object) -> int:
    if result is None or isinstance(result, int):
        return result or 0
    sys.stderr.write(f"{result}\n")
    return 1
