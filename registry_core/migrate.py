"""Bringing the database up to date: migrations and the rows of the first start, by one process at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import django
import psycopg
from django.core.management import call_command
from django.utils.module_loading import import_string

from registry_core.config import ConfigError, get_config

_LOCK_KEY = 0x706F72746F6C616E  # "portolan"


def migrate_database() -> None:
    """Apply migrations and make the administrator and the first project where they are missing.

    A second process that comes at the same time waits and finds nothing to do. Works on the direct connection, as a
    pooler would lose the lock. Raises ConfigError without a database, psycopg.OperationalError when it is away.
    """
    dsn = get_config().database_direct_dsn
    if dsn is None:
        raise ConfigError("no database: set PORTOLAN_DATABASE_URL, or start `portolan up`")
    with _only_one(dsn):
        _set_up_django(dsn)
        call_command("migrate", interactive=False, verbosity=1)
        _first_rows()


@contextmanager
def _only_one(dsn: str) -> Iterator[None]:
    """Hold the session lock; it goes with the connection, however this process ends."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10, application_name="portolan migrate") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
        yield


def _set_up_django(dsn: str) -> None:
    os.environ["PORTOLAN_DATABASE_URL"] = dsn
    get_config.cache_clear()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry_core.settings")
    django.setup()


def _first_rows() -> None:
    """What no migration can hold: rows of apps above this one, which are therefore called by name."""
    import_string("rbac.bootstrap.ensure_admin")()
    import_string("projects.bootstrap.ensure_library")()
    import_string("registry_core.content.installation.begin")()
