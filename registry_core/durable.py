"""Folders whose names outlive a power cut: a new name is kept once the folder that it stands in was flushed (POSIX)."""

from __future__ import annotations

import os
from pathlib import Path


def make_folder(path: Path, *, mode: int = 0o777) -> None:
    """Make `path` with `mode`, and its missing parents, each flushed into its own parent. Raises OSError."""
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
    if not path.exists():
        path.mkdir(mode=mode, exist_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flush the names in the folder. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
