"""Portolan's own processes (`serve`, `worker`) as children of `portolan up`, forked from it after `preload`."""

import signal
import sys
from collections.abc import Callable, Sequence

from registry_core.machine.processes import end
from registry_core.wiring.supervisor.forks import Fork

_KILL_MARGIN_S = 5.0


def portolan_command(verb: str) -> list[str]:
    """The command line of `portolan VERB` in this Python environment."""
    return [sys.executable, "-m", "registry_core.wiring.cli", verb]


class PortolanProcess:
    """One of our commands, ended by SIGTERM; work in progress gets `grace_s` seconds to finish."""

    def __init__(self, name: str, *, main: Callable[[], object], grace_s: float) -> None:
        self.name = name
        self._main = main
        self._grace_s = grace_s
        self._process: Fork | None = None

    def start(self) -> None:
        """Start the command. Raises OSError."""
        self._process = Fork(self._main, name=f"portolan-{self.name}", death_signal=signal.SIGTERM)

    def stop(self) -> None:
        """End the command and everything it started. Does nothing if it is not running."""
        if self._process is not None:
            end(self._process, steps=self._steps())
            self._process = None

    def reload(self) -> None:
        """Send SIGHUP to the command. Does nothing if it is not running."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def exit_code(self) -> int | None:
        """How the command ended, or None while it is running."""
        return self._process.poll() if self._process is not None else 0

    @property
    def group(self) -> int:
        """The command's process group, 0 if it is not running."""
        return self._process.pid if self._process is not None else 0

    def _steps(self) -> Sequence[tuple[signal.Signals, float]]:
        return [(signal.SIGTERM, self._grace_s + _KILL_MARGIN_S)]
