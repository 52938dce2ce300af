"""The database takes too long for what REST and the console read: 503 after the time limit; changes are let wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import psycopg
import pytest

from tests.conftest import ServerFactory
from tests.support.people import admin, api_of
from tests.support.poolers import pooler
from tests.support.server import Server
from tests.support.waiting import wait_until

LIMIT_S = 1
ENDED_WITHIN_S = 10  # of a busy machine


@pytest.fixture(scope="module", params=["direct", "behind a pooler", "behind a pooler that is not configured"])
def slow(request: pytest.FixtureRequest, start_server: ServerFactory) -> Iterator[Server]:
    """A registry whose reads may take LIMIT_S, by a setting of the connection or within a transaction."""
    server = start_server(PORTOLAN_READ_TIMEOUT_S=str(LIMIT_S), PORTOLAN_WORKERS="1")
    if request.param == "direct":
        yield server
        return
    server.stop()
    if request.param == "behind a pooler":
        server.environment["PORTOLAN_DATABASE_DIRECT_URL"] = server.database_url
        server.start()
        yield server
        return
    with pooler(server.database_url) as url:
        server.environment["PORTOLAN_DATABASE_URL"] = url
        server.start()
        yield server
        server.stop()


@contextmanager
def locked(server: Server, table: str) -> Iterator[None]:
    """Nobody can read the table while the block runs."""
    with psycopg.connect(server.database_url) as database:
        database.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_list_that_takes_too_long_is_503_and_then_works_again(slow: Server) -> None:
    with httpx.Client(base_url=f"{slow.url}/api/v2.0", timeout=60) as anonymous:
        # Of repositories, how many of a name there are is remembered; how many were never pulled is not.
        never_pulled = "repositories?q=pull_count=0&"
        for path in (never_pulled, "search?q=a&", f"projects/library/{never_pulled}", "projects/library/artifacts?"):
            anonymous.get(path).raise_for_status()
            with locked(slow, "content_repository"):
                started = time.monotonic()
                refused = anonymous.get(f"{path}page_size=7")
            assert refused.status_code == 503, (path, refused.text)
            assert LIMIT_S * 0.9 <= time.monotonic() - started < ENDED_WITHIN_S
            assert refused.headers["retry-after"]
            assert refused.json()["errors"][0]["code"] == "SERVICE_UNAVAILABLE"
            assert "took too long" in refused.json()["errors"][0]["message"]
            assert anonymous.get(path).status_code == 200


def test_a_page_that_takes_too_long_says_so(slow: Server) -> None:
    with httpx.Client(base_url=slow.url, timeout=60, follow_redirects=True) as browser:
        form = {"principal": "admin", "password": slow.admin_password}
        browser.post("/c/login", data=form).raise_for_status()
        browser.get("/projects").raise_for_status()
        with locked(slow, "content_repository"):
            page = browser.get("/projects/library")
        assert page.status_code == 503
        assert page.headers["retry-after"]
        assert "this took too long" in page.text
        assert browser.get("/projects/library").status_code == 200


def test_a_change_waits_for_as_long_as_it_must(slow: Server, unique: str) -> None:
    with api_of(slow, admin(slow)) as api, ThreadPoolExecutor(1) as other:
        api.get("labels?scope=g").raise_for_status()
        with locked(slow, "projects_label"):
            started = time.monotonic()
            made = other.submit(api.post, "labels", json={"name": unique, "scope": "g"})
            wait_until(lambda: time.monotonic() - started > LIMIT_S * 2, what="twice the limit has passed")
            assert not made.done()
        assert made.result().status_code == 201


def test_who_asks_the_database_nothing_waits_for_nothing(slow: Server) -> None:
    with locked(slow, "content_project"):
        assert httpx.get(f"{slow.url}/api/v2.0/ping", timeout=5).text == "Pong"
        assert httpx.get(f"{slow.url}//api//version/", timeout=5).json() == {"version": "v2.0"}
