"""Postgres ends a transaction for another's sake: a deadlock's victim, a serialization failure. Pushes get through."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
from psycopg import sql

from registry_core.content.repositories import RETRIES
from tests.conftest import ServerFactory
from tests.support.extent import IS_FULL
from tests.support.people import admin
from tests.support.registry import Image, digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

DEADLOCKS = 20 if IS_FULL else 3
REPOSITORY = "library/app"
SCOPE = f"repository:{REPOSITORY}:pull,push,delete"
FOR_EVER = 1_000_000
# What a push writes, from its first request to its last.
TABLES = (
    "content_repository", "content_upload", "content_blob", "content_repositoryblob", "content_projectblob",
    "content_quotastripe", "content_quotaentry", "content_manifest", "content_manifestdescriptor", "content_artifact",
    "content_artifactblob", "content_tag", "content_taghistory", "events_event",
)  # fmt: skip
# The sequence counts what a rollback does not take back: how many statements met the trigger.
_INJECT = """
CREATE SEQUENCE met;
CREATE FUNCTION inject() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('met') <= TG_ARGV[1]::bigint THEN
        RAISE EXCEPTION 'injected' USING ERRCODE = TG_ARGV[0];
    END IF;
    RETURN NULL;
END $$
"""


class Conflicts:
    """Errors of a code from the first statements that write a table."""

    def __init__(self, database: psycopg.Connection[tuple[object, ...]]) -> None:
        self._database = database
        database.execute(_INJECT)

    def inject(self, table: str, code: str, *, times: int) -> None:
        self._database.execute("ALTER SEQUENCE met RESTART")
        self._database.execute(
            sql.SQL(
                "CREATE TRIGGER conflict AFTER INSERT OR UPDATE OR DELETE ON {}"
                " FOR EACH STATEMENT EXECUTE FUNCTION inject({}, {})"
            ).format(sql.Identifier(table), sql.Literal(code), sql.Literal(str(times)))
        )

    def heal(self, table: str) -> int:
        """No more errors; how many statements met the trigger."""
        self._database.execute(sql.SQL("DROP TRIGGER conflict ON {}").format(sql.Identifier(table)))
        row = self._database.execute("SELECT last_value - 1 + is_called::int FROM met").fetchone()
        assert row is not None
        return int(str(row[0]))


@pytest.fixture(scope="module")
def registry(start_server: ServerFactory) -> Server:
    return start_server(PORTOLAN_WORKERS="1")


@pytest.fixture(scope="module")
def database(registry: Server) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(registry.database_url, autocommit=True) as connected:
        yield connected


@pytest.fixture(scope="module")
def conflicts(database: psycopg.Connection[tuple[object, ...]]) -> Conflicts:
    return Conflicts(database)


@pytest.fixture
def client(registry: Server) -> Iterator[httpx.Client]:
    headers = sign_in(registry, admin(registry), SCOPE)
    with httpx.Client(base_url=registry.url, headers=headers, timeout=60) as connected:
        yield connected


def push(client: httpx.Client, tag: str, repository: str = REPOSITORY) -> Image:
    image = make_image(layer_bytes=2000)
    for blob in image.blobs:
        push_blob(client, repository, blob, pieces=2)
    put_manifest(client, repository, tag, image)
    return image


@pytest.mark.parametrize("code", ["40P01", "40001"], ids=["deadlock", "serialization failure"])
@pytest.mark.parametrize("table", TABLES)
def test_a_conflict_that_passes_is_not_seen_by_who_pushes(
    registry: Server, conflicts: Conflicts, table: str, code: str
) -> None:
    repository = f"library/{secrets.token_hex(6)}"  # also its making is tried
    headers = sign_in(registry, admin(registry), f"repository:{repository}:pull,push")
    with httpx.Client(base_url=registry.url, headers=headers, timeout=60) as client:
        conflicts.inject(table, code, times=RETRIES)
        try:
            image = push(client, "v1", repository)
        finally:
            met = conflicts.heal(table)

        assert met > RETRIES, "the errors were met, and then a statement without one"
        assert client.get(f"/v2/{repository}/manifests/v1").content == image.manifest
        for blob in image.blobs:
            assert client.get(f"/v2/{repository}/blobs/{digest_of(blob)}").content == blob


@pytest.mark.parametrize("table", TABLES[1:])
def test_a_conflict_that_stays_is_a_503_with_a_time_to_wait(
    client: httpx.Client, conflicts: Conflicts, table: str
) -> None:
    push(client, "v1")
    conflicts.inject(table, "40P01", times=FOR_EVER)
    try:
        with pytest.raises(httpx.HTTPStatusError) as refused:
            push(client, "v2")
    finally:
        met = conflicts.heal(table)

    answer = refused.value.response
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
    assert met > RETRIES, "it was tried again"
    push(client, "v2")


def test_the_victim_of_a_real_deadlock_is_pushed_nevertheless(
    client: httpx.Client, registry: Server, database: psycopg.Connection[tuple[object, ...]]
) -> None:
    push(client, "v1")
    before = deadlocks(database)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(registry.database_url) as rival:
        victims = 0
        while victims < DEADLOCKS:
            image = make_image(layer_bytes=2000)
            for blob in image.blobs:
                push_blob(client, REPOSITORY, blob)
            # Who waits first looks for a deadlock first and gives way: the push, which comes to its tag last.
            rival.execute("SELECT FROM content_tag WHERE name = 'v1' FOR UPDATE")
            pushing = pool.submit(put_manifest, client, REPOSITORY, "v1", image)
            wait_until(lambda: is_waiting(database), what="the push waits for the tag")
            try:
                rival.execute("SELECT FROM content_repositoryblob FOR UPDATE")
            except psycopg.errors.DeadlockDetected:  # a machine that stalls: the push looked before there was one
                rival.rollback()
            else:
                rival.commit()
                victims += 1
            pushing.result()
            assert client.get(f"/v2/{REPOSITORY}/manifests/v1").content == image.manifest
    wait_until(lambda: deadlocks(database) >= before + DEADLOCKS, what="Postgres has counted the deadlocks")
    print(f"{DEADLOCKS} deadlocks, each with a push as its victim; all pushed")


def is_waiting(database: psycopg.Connection[tuple[object, ...]]) -> bool:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return database.execute(waiting).fetchone() is not None


def deadlocks(database: psycopg.Connection[tuple[object, ...]]) -> int:
    row = database.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row is not None
    return int(str(row[0]))
