"""What the commands share: exit codes, and access to operations."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import django

from registry_core import logs
from registry_core.config import Config, ConfigError, get_config
from registry_core.machine.run_as import become, hand_over

EXIT_FAILED = 1
EXIT_CONFIGURATION = 3
EXIT_ALREADY_RUNNING = 4
EXIT_PORT_BUSY = 5


def operation(module: str) -> Any:
    """The module of an operation, with Django set up. By name, because commands are in a layer below the apps.

    Raises ConfigError without a database.
    """
    from registry_core.database.preflight import require_database

    config = get_config()
    require(config.database_dsn, "PORTOLAN_DATABASE_URL")
    logs.configure()
    drop_root(config)
    django.setup()
    require_database(config, wait_s=0)
    return import_module(module)


def drop_root(config: Config) -> None:
    """Switch to the account of the setting `run_as`, after giving it its folders."""
    hand_over(config)
    become(config)


def require(url: str | None, variable: str) -> None:
    """Raises ConfigError if a server is neither configured nor run by `portolan up`."""
    if url is None:
        raise ConfigError(
            f"{variable} is not set and no `portolan up` runs on {get_config().data.absolute()}: set it, start "
            "`portolan up`, or set PORTOLAN_DATA to the folder of a running one"
        )
