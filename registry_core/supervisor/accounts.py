"""As whom the embedded PostgreSQL runs: it refuses root, so root starts it as an unprivileged account."""

import contextlib
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from registry_core.supervisor.errors import SupervisorError

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """A Unix account and the groups that it is in."""

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
        """The outermost directory on the way to `path`, itself included, that is there and closed to the account."""
        steps = (step for step in (*reversed(path.parents), path) if step.exists())
        return next((step for step in steps if not self.can_enter(step)), None)


def unprivileged_account(*, owner_of: Path, preferred: Account | None = None) -> Account | None:
    """The account to drop to, or None when this process is not root and stays who it is.

    That is the owner of `owner_of` when it exists (made by a normal user, later run by root), else `preferred`, else
    one of the system.
    """
    if os.geteuid() != 0:
        return None
    candidates = list(_CANDIDATES)
    with contextlib.suppress(FileNotFoundError, KeyError):
        candidates.insert(0, pwd.getpwuid(owner_of.stat().st_uid).pw_name)
    if preferred is not None and not owner_of.exists():
        return preferred
    for name in candidates:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid != 0:
                return Account(name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))
    raise SupervisorError(
        "the embedded PostgreSQL refuses to run as root and there is neither an account `postgres` nor `nobody`: "
        "start portolan as a normal user, or set PORTOLAN_DATABASE_URL"
    )


def require_reachable(account: Account, data: Path) -> None:
    """Raise SupervisorError when `account` cannot come to `data` because of a directory above it, which is not ours."""
    closed = account.first_closed(data.parent)
    if closed is not None:
        raise SupervisorError(
            f"the embedded PostgreSQL cannot run as root, and the account {account.name!r} may not enter {closed}: "
            f"set PORTOLAN_DATA (now {data}) to a directory that others may pass to, such as /var/lib/portolan, "
            "or set PORTOLAN_DATABASE_URL to a PostgreSQL of your own"
        )
