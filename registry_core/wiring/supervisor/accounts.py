"""The account of the embedded PostgreSQL: it refuses root, so root starts it under an unprivileged account."""

import contextlib
import os
import pwd
from pathlib import Path

from registry_core.config.accounts import Account
from registry_core.wiring.supervisor.errors import SupervisorError

_CANDIDATES = ("postgres", "nobody")


def unprivileged_account(*, owner_of: Path, preferred: Account | None = None) -> Account | None:
    """The account to switch to, or None if this process is not root.

    That is the owner of `owner_of` if it exists (created by a normal user, later run by root), else `preferred`, else a
    system account.
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
    """Raise SupervisorError if `account` cannot reach `data` because of a directory above it, which is not ours."""
    closed = account.first_closed(data.parent)
    if closed is not None:
        raise SupervisorError(
            f"the embedded PostgreSQL cannot run as root, and the account {account.name!r} may not enter {closed}: "
            f"set PORTOLAN_DATA (now {data}) to a directory that others may pass to, such as /var/lib/portolan, "
            "or set PORTOLAN_DATABASE_URL to a PostgreSQL of your own"
        )
