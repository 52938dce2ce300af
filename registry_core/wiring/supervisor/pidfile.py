"""DATA/run/portolan.pid: ensures one `portolan up` per data directory, and records its children."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from registry_core.machine.processes import started_at
from registry_core.wiring.supervisor.errors import AlreadyRunning


class PidFile:
    """Locked with flock for the life of the process, so that a killed run leaves no lock behind.

    First line: pid and start time of the holder. Then one line per child: its name and process group.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self.leftover_groups: list[int] = []

    def __enter__(self) -> Self:
        """Take the lock over from a dead holder, or raise AlreadyRunning."""
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._lines()[0].split() or ["?"]
            os.close(self._descriptor)
            raise AlreadyRunning(
                f"`portolan up` already runs as process {holder[0]} (see {self._path}): "
                f"end it with `kill {holder[0]}`, or set PORTOLAN_DATA to another directory for a second one"
            ) from None
        self.leftover_groups = [int(line.split()[1]) for line in self._lines()[1:] if line]
        self.record({})
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def record(self, groups: dict[str, int]) -> None:
        """Record the process groups of the children, for the clean-up after a kill -9 of this process."""
        lines = [f"{os.getpid()} {started_at(os.getpid())}", *(f"{name} {group}" for name, group in groups.items())]
        content = ("\n".join(lines) + "\n").encode()
        # Overwrites in place: a truncated file would need new space, which a full disk does not have.
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))

    def _lines(self) -> list[str]:
        return os.pread(self._descriptor, 65_536, 0).decode("utf-8", "replace").split("\n")
