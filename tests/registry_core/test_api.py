"""The REST endpoints that ask nobody who they are, and the form of errors under `/api`."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis
from django.db import connection
from django.test import Client
from rest_framework import exceptions

from registry_core.access import TooManyAttempts, Unauthenticated
from registry_core.api.errors import exception_handler
from registry_core.api.health import (
    FRESH_S,
    LATEST_S,
    TIMEOUT_S,
    HealthProbe,
    Unhealthy,
    check_database,
    check_redis,
    check_storage,
)
from registry_core.processes.heartbeats import CLOCK, WORKER, beat
from tests.support.poolers import pooler
from tests.support.waiting import wait_until

NOT_FOUND = {"errors": [{"code": "NOT_FOUND", "message": "there is nothing at this address"}]}


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html", "nonsense"])
def test_ping_answers_pong_whatever_is_accepted(client: Client, accept: str) -> None:
    answer = client.get("/api/v2.0/ping", headers={"Accept": accept})
    assert (answer.status_code, answer.content) == (200, b"Pong")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.django_db(transaction=True)
def test_health_asks_everything_that_the_registry_stands_on(client: Client) -> None:
    for role in (WORKER, CLOCK):
        beat(role)
    answer = client.get("/api/v2.0/health")
    names = ("database", "redis", "storage", "disk", "worker", "clock", "keys")
    assert answer.json() == {
        "status": "healthy",
        "components": [{"name": name, "status": "healthy"} for name in names],
    }


def test_one_ill_component_makes_the_whole_unhealthy_and_says_no_address() -> None:
    def refuse() -> None:
        raise ConnectionError("10.0.0.7 refused")

    ill, well = HealthProbe({"redis": refuse, "database": lambda: None}).components()
    assert (ill.is_healthy, well.is_healthy) == (False, True)
    assert "10.0.0.7" not in ill.error


def test_health_with_silent_servers_is_200_and_unhealthy_in_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        checks = {
            "database": lambda: check_database(f"postgresql://u@{address}/x"),
            "redis": lambda: check_redis(f"redis://{address}/0"),
            "storage": check_storage,
        }
        monkeypatch.setattr("registry_core.api.views.probe", HealthProbe(checks))
        started = time.monotonic()
        answer = client.get("/api/v2.0/health")
    assert time.monotonic() - started < TIMEOUT_S + 2
    assert answer.status_code == 200
    assert answer.json()["status"] == "unhealthy"
    assert [part["status"] for part in answer.json()["components"]] == ["unhealthy", "unhealthy", "healthy"]


def test_health_asks_through_a_pooler_too() -> None:
    with pooler(os.environ["PORTOLAN_DATABASE_URL"]) as url:
        check_database(url)


def test_prepared_statements_are_planned_once(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW plan_cache_mode")
        assert cursor.fetchone() == ("force_generic_plan",)


def test_a_pooler_that_is_not_configured_lets_us_connect_and_is_reported() -> None:
    with pooler(os.environ["PORTOLAN_DATABASE_URL"]) as url:
        code = (
            "import django; django.setup(); from django.db import connection; connection.cursor().execute('SELECT 1')"
        )
        settings = {"PORTOLAN_DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "registry_core.wiring.settings"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env=os.environ | settings, check=True, timeout=60, capture_output=True, text=True
        )
    assert (done.stdout + done.stderr).count("set database_direct_url") == 1


def test_a_broker_that_takes_nothing_is_unhealthy() -> None:
    url = os.environ["PORTOLAN_REDIS_URL"]
    name = f"reader-{secrets.token_hex(4)}"
    with redis.Redis.from_url(url) as client:
        client.acl_setuser(name, enabled=True, passwords=["+x"], categories=["+@all"], commands=["-set"], keys=["*"])
        parts = urlsplit(url)
        limited = urlunsplit(parts._replace(netloc=f"{name}:x@{parts.hostname}:{parts.port}"))
        with pytest.raises(redis.ResponseError, match="no permissions"):
            check_redis(limited)
        client.acl_deluser(name)


def test_a_database_that_takes_no_writes_is_unhealthy() -> None:
    url = os.environ["PORTOLAN_DATABASE_URL"]
    separator = "&" if urlsplit(url).query else "?"
    with pytest.raises(Unhealthy, match="is read-only"):
        check_database(f"{url}{separator}options=-c%20default_transaction_read_only%3Don")


def test_health_of_many_callers_is_asked_once_in_its_time() -> None:
    asked: list[float] = []
    probe = HealthProbe({"database": lambda: asked.append(time.monotonic())})
    until = time.monotonic() + FRESH_S / 2
    while time.monotonic() < until:
        probe.components()
    assert len(asked) == 1


def test_health_of_silent_parts_takes_as_long_as_of_one() -> None:
    end = threading.Event()

    def part() -> None:
        end.wait()

    started = time.monotonic()
    try:
        components = HealthProbe({f"part {number}": part for number in range(4)}).components()
        assert time.monotonic() - started < 2 * TIMEOUT_S + 1
        assert [part.error for part in components] == [f"no answer within {TIMEOUT_S} s"] * 4
    finally:
        end.set()


def test_who_asks_for_health_while_a_part_is_silent_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_core.api.health.TIMEOUT_S", 600)
    entered, end, now_s = threading.Event(), threading.Event(), [0.0]

    def part() -> None:
        if now_s[0]:
            entered.set()
            end.wait()

    probe = HealthProbe({"part": part}, clock=lambda: now_s[0])
    before = probe.components()
    now_s[0] = FRESH_S
    with ThreadPoolExecutor(2) as pool:
        asking = pool.submit(probe.components)
        assert entered.wait(60)
        assert probe.components() is before
        now_s[0] = LATEST_S  # by now that is too old an answer
        waiting = pool.submit(probe.components)
        end.set()
        assert waiting.result(60) == asking.result(60) == before


def test_a_part_that_has_not_answered_yet_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time would be one more thread that waits for it, perhaps for ever."""
    monkeypatch.setattr("registry_core.api.health.TIMEOUT_S", 0)
    end, asked, now_s = threading.Event(), list[float](), [0.0]

    def part() -> None:
        asked.append(now_s[0])
        end.wait()

    probe = HealthProbe({"part": part}, clock=lambda: now_s[0])
    for now_s[0] in (0.0, FRESH_S, 2 * FRESH_S):
        assert not probe.components()[0].is_healthy
    assert asked == [0.0]
    end.set()

    def is_well() -> bool:
        now_s[0] += FRESH_S
        return probe.components()[0].is_healthy

    wait_until(is_well, what="the part is asked again, and answers")


def test_storage_check_leaves_nothing_behind() -> None:
    from registry_core.storage.stores import default_store

    before = list(default_store().objects())
    check_storage()
    assert list(default_store().objects()) == before


def test_schema_is_public_and_names_its_paths(client: Client) -> None:
    schema = client.get("/api/v2.0/openapi.json").json()
    assert schema["openapi"].startswith("3.")
    assert {"/api/v2.0/ping", "/api/v2.0/health"} <= set(schema["paths"])


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options"])
@pytest.mark.parametrize("path", ["/api/v2.0/", "/api/v2.0/nothing/here", "/api/v2.0/pings/"])
def test_unknown_address_under_the_api_is_404_in_its_form(client: Client, method: str, path: str) -> None:
    answer = getattr(client, method)(path)
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_unknown_version_is_404_in_the_same_form(client: Client) -> None:
    answer = client.get("/api/v9/ping")
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_wrong_method_is_405_in_the_form_of_errors(client: Client) -> None:
    answer = client.post("/api/v2.0/ping")
    assert answer.status_code == 405
    assert answer.json()["errors"][0]["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("exception", "status", "code"),
    [
        (exceptions.ValidationError({"name": ["is too long"], "size": ["is negative"]}), 400, "BAD_REQUEST"),
        (exceptions.ParseError(), 400, "BAD_REQUEST"),
        (exceptions.UnsupportedMediaType("x/y"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (Unauthenticated("the user name or the password is wrong"), 401, "UNAUTHORIZED"),
        (exceptions.PermissionDenied(), 403, "FORBIDDEN"),
        (TooManyAttempts(7), 429, "TOO_MANY_REQUEST"),
    ],
)
def test_known_exception_becomes_its_status_and_code(exception: Exception, status: int, code: str) -> None:
    answer = exception_handler(exception, {})
    assert answer is not None
    assert answer.status_code == status
    assert {error["code"] for error in json.loads(answer.content)["errors"]} == {code}


def test_each_wrong_field_has_its_message() -> None:
    answer = exception_handler(exceptions.ValidationError({"name": ["is too long"], "size": ["is negative"]}), {})
    assert answer is not None
    assert [error["message"] for error in json.loads(answer.content)["errors"]] == [
        "name: is too long",
        "size: is negative",
    ]


def test_throttled_client_is_told_how_long_to_wait() -> None:
    answer = exception_handler(TooManyAttempts(7), {})
    assert answer is not None
    assert answer["Retry-After"] == "7"


def test_fault_of_ours_is_left_to_be_logged() -> None:
    assert exception_handler(ZeroDivisionError(), {}) is None
