"""The setting `run_as`: the account of the registry's processes if root starts them.

Root is needed for ports below 1024 and to prepare folders; nothing that answers requests or runs jobs needs it.
"""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import Final

from registry_core.config import Config
from registry_core.config.accounts import Account, parse_account
from registry_core.config.sources import ConfigError
from registry_core.machine.processes import keeping_death_signal

# They belong to the account of the embedded PostgreSQL, which may be another one.
_OF_POSTGRES: Final = frozenset({"postgres", ".postgres.new", "run/postgres"})


def account_of(config: Config) -> Account | None:
    """The account to switch to; None if this process is not root, or none is configured."""
    return parse_account(config.run_as) if config.run_as is not None and os.geteuid() == 0 else None


def hand_over(config: Config) -> None:
    """Give the folders of DATA to the account of `run_as`, if they are not its own yet, before root switches to it.

    Raises ConfigError if the account cannot access them, our own code or the Python that runs it, and OSError.
    """
    account = account_of(config)
    if account is None:
        return
    if closed := account.first_closed(config.data.parent):
        raise ConfigError(
            f"run_as: the account {account.name} may not enter {closed}, which is on the way to {config.data}: set "
            "PORTOLAN_DATA to a folder where it may, such as /var/lib/portolan"
        )
    # An environment's Python may be elsewhere: pyenv and uv put it into the home of the account that created the
    # environment.
    for path in (Path(sys.base_prefix).resolve(), Path(sys.prefix), Path(__file__).parents[1]):
        if closed := account.first_closed(path):
            raise ConfigError(
                f"run_as: the account {account.name} may not enter {closed}, which is on the way to {path}: install "
                "Portolan in a folder that everybody may enter, such as /opt, with a Python that is in one as well"
            )
    for file in (config.tls_cert, config.tls_key):
        if file is not None and file.exists() and (account.first_closed(file.parent) or not account.can_read(file)):
            raise ConfigError(
                f"run_as: the account {account.name} may not read {file}, of which it serves each renewal: "
                f"`chgrp {account.gid} {file}` and `chmod g+r {file}`"
            )
    for folder in dict.fromkeys((config.data, config.run_dir)):
        folder.mkdir(parents=True, exist_ok=True)
        for entry in folder.iterdir():
            if str(entry.relative_to(folder)) not in _OF_POSTGRES and entry.lstat().st_uid != account.uid:
                _give(entry, account)
        os.chown(folder, account.uid, account.gid)


def become(config: Config) -> None:
    """Switch from root to the account of `run_as`, irrevocably. Does nothing if this process is not root, or none is
    set."""
    account = account_of(config)
    if account is None:
        return
    with keeping_death_signal():
        os.setgroups(account.groups)
        os.setgid(account.gid)
        os.setuid(account.uid)
    os.environ["HOME"] = pwd.getpwuid(account.uid).pw_dir


def _give(path: Path, account: Account) -> None:
    """`path` last: its ownership indicates that everything below it is done."""
    if path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path, topdown=False):
            inside = Path(folder).relative_to(path.parent)
            if any(str(inside / "x").startswith(f"{theirs}/") for theirs in _OF_POSTGRES):
                continue
            for name in (*folders, *files):
                if str(inside / name) not in _OF_POSTGRES:
                    os.lchown(Path(folder, name), account.uid, account.gid)
    os.lchown(path, account.uid, account.gid)
