"""The schema that everybody may ask for costs its making once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.test import Client

from registry_core.api import published_schema as module
from tests.support.server import Server


def test_the_schema_is_known_again_by_its_tag(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        first = client.get("/api/v2.0/openapi.json")
        assert first.status_code == 200
        assert first.json()["openapi"].startswith("3.1")
        assert "max-age=" in first.headers["cache-control"]
        tag = first.headers["etag"]
        for known in (tag, f'"x", W/{tag}', "*"):
            again = client.get("/api/v2.0/openapi.json", headers={"if-none-match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert client.get("/api/v2.0/openapi.json", headers={"if-none-match": '"other"'}).status_code == 200
        assert {client.get("/api/v2.0/openapi.json").headers["etag"] for _ in range(6)} == {tag}  # of every worker


def test_the_schema_is_made_once_however_many_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, everybody = [], threading.Barrier(8)

    def described() -> bytes:
        made.append(1)
        return b"{}"

    monkeypatch.setattr(module, "_described", described)
    once = module._Once()

    def ask() -> bytes:
        everybody.wait()
        return once().content

    with ThreadPoolExecutor(8) as pool:
        assert {answer.result() for answer in [pool.submit(ask) for _ in range(8)]} == {b"{}"}
    assert len(made) == 1


def test_the_schema_does_not_depend_on_who_asks_first(client: Client) -> None:
    one = client.get("/api/v2.0/openapi.json")
    other = client.get("/api/v2.0/openapi.json?lang=de", headers={"accept-language": "de"})
    assert one.content == other.content
