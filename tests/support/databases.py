"""Fresh databases on the test run's one Postgres."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

_MIGRATED = "portolan_migrated"


def create_database(server_url: str, name: str) -> str:
    """Create the database `name` with all tables and no rows, replacing one of that name; return its URL.

    It is a copy of one that was migrated before by whichever process needed it first: migrating takes seconds.
    """
    _make_migrated(server_url)
    return _create(server_url, name, template=_MIGRATED)


def create_empty_database(server_url: str, name: str) -> str:
    """Create the database `name` with nothing in it, replacing one of that name; return its URL."""
    return _create(server_url, name, template="template0")


def drop_database(server_url: str, name: str) -> None:
    """Drop the database `name`, also when something is still connected to it."""
    drop = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    with psycopg.connect(server_url, autocommit=True) as connection:
        try:
            connection.execute(drop + sql.SQL(" WITH (FORCE)"))
        except psycopg.errors.InsufficientPrivilege:
            # FORCE may not end an autovacuum worker; a plain DROP does that by itself.
            connection.execute(drop)


def _make_migrated(server_url: str) -> None:
    folder = Path(os.environ["TEST_FOLDER"])
    done = folder / "migrated"
    with (folder / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return
        url = _create(server_url, _MIGRATED, template="template0")
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--verbosity", "0"],
            env=os.environ | {"PORTOLAN_DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "registry_core.wiring.settings"},
            check=True,
            timeout=120,
        )
        done.touch()


def _create(server_url: str, name: str, *, template: str) -> str:
    drop_database(server_url, name)
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(create)
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
