"""Secrets that Portolan generates for itself: one file each, mode 0600, written once and completely.

Not for secrets of users or robots: those are rows in Postgres.
"""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from registry_core.machine.durable import give_to_owner, make_folder, sync_folder

SECRET_MODE = 0o600
SECRET_DIRECTORY_MODE = 0o700


def read_or_create_secret(path: Path, *, make: Callable[[], str]) -> str:
    """The secret in `path`; if there is none yet, `make()` is written there first.

    Two processes that start at once agree: one file wins and both read it. Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        return path.read_text("utf-8").strip()
    make_folder(path.parent, mode=SECRET_DIRECTORY_MODE)
    with contextlib.suppress(FileExistsError):
        write_secret(path, make(), is_replacing=False)
    return path.read_text("utf-8").strip()


def write_secret(path: Path, secret: str, *, is_replacing: bool = True) -> None:
    """Write `secret` to `path` with mode 0600, so that a reader sees all of it or nothing.

    It belongs to the owner of the folder, even if root writes it. Raises FileExistsError if the file exists and
    `is_replacing` is false, OSError otherwise.
    """
    make_folder(path.parent, mode=SECRET_DIRECTORY_MODE)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        _write_new(draft, secret)
        give_to_owner(draft)
        if is_replacing:
            draft.replace(path)
        else:
            os.link(draft, path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _write_new(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, SECRET_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
