"""What the commands share: exit codes, and how they come to an operation."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import django

from registry_core import logs
from registry_core.config import ConfigError, get_config

EXIT_FAILED = 1
EXIT_CONFIGURATION = 3
EXIT_ALREADY_RUNNING = 4
EXIT_PORT_BUSY = 5


def operation(module: str) -> Any:
    """The module of an operation, with Django ready. By name: the commands are below the apps that they call.

    Raises ConfigError without a database.
    """
    require(get_config().database_dsn, "PORTOLAN_DATABASE_URL")
    logs.configure()
    django.setup()
    return import_module(module)


def require(url: str | None, variable: str) -> None:
    """Raises ConfigError when a server is neither configured nor run by `portolan up`."""
    if url is None:
        raise ConfigError(f"{variable} is not set and no `portolan up` runs on {get_config().data}")
