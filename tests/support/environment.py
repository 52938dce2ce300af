"""pytest plugin that is loaded before Django's settings (`-p tests.support.environment` in pyproject.toml).

It starts one Postgres and one Valkey for the whole run and points the settings at them. Under xdist the controller
starts them, and the workers inherit its environment; each worker then gets a database and a data folder of its own.
A PORTOLAN_* variable or a portolan.yml of the developer's own is not looked at: tests never touch a real registry.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from registry_core.wiring.supervisor.postgres import EmbeddedPostgres
from registry_core.wiring.supervisor.valkey import EmbeddedValkey

_running: list[EmbeddedPostgres | EmbeddedValkey] = []
_folders: list[Path] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before pytest-django reads the settings."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        _forget_own_environment()
        # Each server is several processes, and none should compile all that it imports.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        _start_servers()
    os.environ["PORTOLAN_DATA"] = str(Path(os.environ["TEST_FOLDER"]) / (worker or "main"))


def pytest_unconfigure() -> None:
    """Stop what this process started, the last first."""
    while _running:
        _running.pop().stop()
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)


def _forget_own_environment() -> None:
    """Keep only the switches of the tests, under names that the registry does not take for settings of its own."""
    for switch in ("REQUIRE_TOOLS", "TEST_FULL"):
        if os.environ.pop(f"PORTOLAN_{switch}", "") == "1":
            os.environ[f"TEST_{switch.removeprefix('TEST_')}"] = "1"
    for name in [name for name in os.environ if name.startswith("PORTOLAN_")]:
        del os.environ[name]
    os.environ["PORTOLAN_CONFIG"] = os.devnull


def _start_servers() -> None:
    folder = Path(tempfile.mkdtemp(prefix="portolan-tests-"))
    folder.chmod(0o711)  # Postgres runs as a user of its own when the tests run as root, and must reach its folder
    _folders.append(folder)
    os.environ["TEST_FOLDER"] = str(folder)
    with (folder / "servers.log").open("wb") as log:
        postgres, valkey = EmbeddedPostgres(folder, log=log), EmbeddedValkey(folder, log=log)
        _running.extend([postgres, valkey])
        os.environ["PORTOLAN_DATABASE_URL"] = postgres.start()
        os.environ["PORTOLAN_REDIS_URL"] = valkey.start()
