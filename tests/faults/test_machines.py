"""Two machines on one database and one shared folder: what the one changes, the other no longer serves from memory."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import httpx
import psycopg

from registry_core.distribution.tail import APPLICATION_NAME
from tests.conftest import ServerFactory
from tests.support.machines import other_machine
from tests.support.people import admin, create_project
from tests.support.registry import Image, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

ROUNDS = 60
SELDOM_PER_S = 3  # once, and by whom reads the statistics twice
BELLS = 5


def client_of(server: Server, repository: str) -> httpx.Client:
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push,delete")
    return httpx.Client(base_url=server.url, headers=headers, timeout=30)


def push(client: httpx.Client, repository: str, image: Image, tag: str) -> None:
    for blob in image.blobs:
        push_blob(client, repository, blob)
    put_manifest(client, repository, tag, image)


def served(client: httpx.Client, repository: str, tag: str) -> str | None:
    answer = client.get(f"/v2/{repository}/manifests/{tag}")
    return answer.headers.get("docker-content-digest") if answer.status_code == 200 else None


def wait_until_served(client: httpx.Client, repository: str, image: Image) -> None:
    wait_until(lambda: served(client, repository, "latest") == image.digest, what="the move is seen", within_s=5)


def test_a_tag_moved_on_one_machine_is_soon_moved_on_the_other(server: Server, other: Server, repository: str) -> None:
    here, there = client_of(server, repository), client_of(other, repository)
    images = [make_image(layer_bytes=64) for _ in range(2)]
    for image in images:
        push(here, repository, image, "latest")
    stale_for_s: list[float] = []
    for number in range(ROUNDS):
        image = images[number % 2]
        served(there, repository, "latest")  # so that the other machine remembers what was before
        put_manifest(here, repository, "latest", image)
        acknowledged_s = time.monotonic()
        wait_until_served(there, repository, image)
        stale_for_s.append(time.monotonic() - acknowledged_s)
    stale_for_s.sort()
    print(f"stale for {stale_for_s[ROUNDS // 2] * 1000:.0f} ms (median), {stale_for_s[-1] * 1000:.0f} ms (longest)")
    assert stale_for_s[-1] < 1.0


def test_a_deleted_tag_is_soon_gone_on_the_other_machine(server: Server, other: Server, repository: str) -> None:
    here, there = client_of(server, repository), client_of(other, repository)
    push(here, repository, make_image(layer_bytes=64), "gone")
    assert served(there, repository, "gone") is not None

    here.delete(f"/v2/{repository}/manifests/gone").raise_for_status()

    wait_until(lambda: served(there, repository, "gone") is None, what="the tag is gone there too", within_s=5)


def looks_per_s(server: Server) -> float:
    """How often a machine's tail asks the database: what it asked last is read as often as possible for a second."""
    asked: set[tuple[int, object]] = set()
    with psycopg.connect(server.database_url, autocommit=True) as database:
        until_s = time.monotonic() + 1
        while time.monotonic() < until_s:
            asked.update(
                database.execute(
                    "SELECT pid, query_start FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = %s",
                    [APPLICATION_NAME],
                )
            )
    return len(asked) / len({pid for pid, _ in asked}) if asked else 0.0


def test_a_machine_looks_seldom_at_rest_and_at_once_when_another_changes_something(
    start_server: ServerFactory, tmp_path: Path
) -> None:
    server = start_server(PORTOLAN_WORKERS="1")
    second = other_machine(server, tmp_path, PORTOLAN_WORKERS="1")
    second.start()
    try:
        wait_until(lambda: looks_per_s(server) < SELDOM_PER_S, what="both look seldom", within_s=30)
        began_s = time.monotonic()
        asked = 0
        with psycopg.connect(server.database_url, autocommit=True) as database:
            for number in range(BELLS):
                before = looked_at(database)
                create_project(server, f"told{number}")
                wait_until(lambda before=before: looked_at(database) > before, what="both looked", within_s=5)  # type: ignore[misc]
                asked += 1
        print(f"{asked} changes were looked for within {time.monotonic() - began_s:.1f} s")
    finally:
        second.stop()


def looked_at(database: psycopg.Connection) -> float:
    """When the machine that looked the longest time ago did, by the database's clock in seconds."""
    row = database.execute(
        "SELECT extract(epoch FROM min(query_start)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = %s",
        [APPLICATION_NAME],
    ).fetchone()
    return float(row[0]) if row and row[0] else 0.0


def test_a_machine_whose_tail_is_cut_off_trusts_nothing_that_it_remembers(
    server: Server, other: Server, repository: str
) -> None:
    here, there = client_of(server, repository), client_of(other, repository)
    first, second = make_image(layer_bytes=64), make_image(layer_bytes=64)
    push(here, repository, first, "latest")
    assert served(there, repository, "latest") == first.digest

    with psycopg.connect(server.database_url, autocommit=True) as database:
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s",
            [APPLICATION_NAME],
        )
    push(here, repository, second, "latest")

    wait_until(lambda: served(there, repository, "latest") == second.digest, what="it is seen", within_s=2)


def test_a_token_of_one_machine_is_good_on_the_other(server: Server, other: Server, repository: str) -> None:
    here = client_of(server, repository)
    push(here, repository, make_image(layer_bytes=64), f"v{secrets.token_hex(2)}")

    answer = httpx.get(f"{other.url}/v2/{repository}/tags/list", headers=dict(here.headers), timeout=30)

    assert answer.status_code == 200
