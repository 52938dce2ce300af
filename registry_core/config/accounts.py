"""Unix accounts in the configuration."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Account:
    """A Unix account and its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    def can_enter(self, directory: Path) -> bool:
        """Whether the account may pass through `directory`, judged by its mode."""
        return self._may(directory, 0o1)

    def can_read(self, file: Path) -> bool:
        """Whether the account may read `file`, judged by its mode."""
        return self._may(file, 0o4)

    def _may(self, path: Path, bit: int) -> bool:
        status = path.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & bit << 6)
        if status.st_gid in (self.gid, *self.groups):
            return bool(status.st_mode & bit << 3)
        return bool(status.st_mode & bit)

    def first_closed(self, path: Path) -> Path | None:
        """The outermost directory on the way to `path`, itself included, that exists and is closed to the account."""
        steps = (step for step in (*reversed(path.parents), path) if step.exists())
        return next((step for step in steps if not self.can_enter(step)), None)


def parse_account(text: str) -> Account:
    """The account in `USER` or `USER:GROUP`, by name or number. Raises ValueError if there is none, and for root."""
    user, colon, group = text.partition(":")
    entry = _user(user)
    gid = _group(group) if colon else entry.pw_gid
    if entry.pw_uid == 0:
        raise ValueError("is root: name an account without special rights, or leave it out")
    groups = {gid, *os.getgrouplist(entry.pw_name, gid)}
    return Account(entry.pw_name, entry.pw_uid, gid, tuple(sorted(groups)))


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise ValueError(
            f"there is no account {name!r} on this machine: create it (`useradd --system {name}`)"
        ) from None


def _group(name: str) -> int:
    try:
        return (grp.getgrgid(int(name)) if name.isdecimal() else grp.getgrnam(name)).gr_gid
    except (KeyError, OverflowError):
        raise ValueError(
            f"there is no group {name!r} on this machine: create it (`groupadd --system {name}`)"
        ) from None
