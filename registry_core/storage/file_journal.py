"""The journal of a folder of objects: one file of lines per month; each line is appended immediately."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from registry_core.machine.durable import give_to_owner, make_folder
from registry_core.storage.local_files import translated


class FileJournal:
    """The folder of the journal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Create the folder, if necessary."""
        make_folder(self._folder)

    def append(self, lines: Iterable[str]) -> None:
        """Append lines, each ending with a line break. Raises StorageError."""
        path = self._folder / f"{time.strftime('%Y-%m', time.gmtime())}.jsonl"
        with translated("writing the journal"):
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(fd).st_size == 0:
                    give_to_owner(path)
                for line in lines:
                    os.write(fd, line.encode())
            finally:
                os.close(fd)

    def lines(self) -> Iterator[bytes]:
        """All lines, from the oldest file on. Raises StorageError."""
        with translated("reading the journal"):
            for path in sorted(self._folder.glob("*.jsonl")):
                with path.open("rb") as file:
                    yield from file
