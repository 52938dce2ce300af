"""Searching by a part of a name works also where the database's user may not create an extension."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from tests.support.databases import create_database, drop_database
from tests.support.server import PORTOLAN

INDEXES = "SELECT count(*) FROM pg_indexes WHERE indexname IN ('project_name_part', 'repository_name_part')"


@pytest.mark.parametrize(("may_extend", "indexes"), [(False, 0), (True, 2)])
def test_the_migration_goes_without_the_indexes_and_says_so(tmp_path: Path, may_extend: bool, indexes: int) -> None:
    cluster_url = os.environ["PORTOLAN_DATABASE_URL"]
    name, password = f"limited_{secrets.token_hex(4)}", secrets.token_hex(8)
    url = create_database(cluster_url, name)
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            user = sql.Identifier(name)
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(user, sql.Literal(password)))
            connection.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(user))
            if may_extend:
                connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(user, user))
        said = migrate(as_user(url, name, password), tmp_path)
        with psycopg.connect(url) as connection:
            assert connection.execute(INDEXES).fetchone() == (indexes,)
        assert ("CREATE EXTENSION IF NOT EXISTS pg_trgm" in said) is not may_extend
    finally:
        drop_database(cluster_url, name)
        with psycopg.connect(cluster_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def as_user(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}"))


def migrate(url: str, data: Path) -> str:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PORTOLAN_")}
    done = subprocess.run(
        [PORTOLAN, "migrate"],
        env=inherited | {"PORTOLAN_DATABASE_URL": url, "PORTOLAN_DATA": str(data)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
