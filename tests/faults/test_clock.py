"""Clocks that disagree: what decides is the database's clock, and a token's time is believed within a minute."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.support.people import admin, create_project
from tests.support.registry import digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
REQUIRE_TOOLS = os.environ.get("TEST_REQUIRE_TOOLS") == "1"


@pytest.fixture(scope="module", params=["-10m", "+10m"])
def skewed(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A second machine whose clock is wrong by ten minutes."""
    if LIBRARY is None:
        assert not REQUIRE_TOOLS, "faketime is not here: install it from the system's packages"
        pytest.skip("faketime is not here: install it from the system's packages")
    second = Server(
        data=server.data,
        database_url=server.database_url,
        redis_url=os.environ["PORTOLAN_REDIS_URL"],
        admin_password=server.admin_password,
        environment={
            "PORTOLAN_MACHINE": str(tmp_path_factory.mktemp("skewed")),
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME": request.param,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    second.log_path = Path(f"{second.log_path}.skewed")
    second.start()
    yield second
    second.stop()


def test_machines_whose_clocks_disagree_keep_one_history_by_the_databases_clock(
    server: Server, skewed: Server, unique: str
) -> None:
    create_project(server, unique)
    repository = f"{unique}/app"
    images = [make_image(layer_bytes=200) for _ in range(4)]
    for number, image in enumerate(images):
        here = (server, skewed)[number % 2]
        headers = sign_in(here, admin(here), f"repository:{repository}:pull,push")
        with httpx.Client(base_url=here.url, headers=headers, timeout=30) as client:
            for blob in image.blobs:
                push_blob(client, repository, blob)
            put_manifest(client, repository, "latest", image)
            assert client.get(f"/v2/{repository}/manifests/latest").headers["docker-content-digest"] == image.digest

    with psycopg.connect(server.database_url) as database:
        rows = database.execute(
            """
            SELECT encode(substring(new_digest FROM 2), 'hex'), at <= now() FROM content_taghistory AS history
            JOIN content_repository AS repository ON repository.id = history.repository_id
            WHERE repository.name = 'app' AND repository.project_id = (SELECT id FROM content_project WHERE name = %s)
            ORDER BY at
            """,
            [unique],
        ).fetchall()
    assert [f"sha256:{digest}" for digest, _ in rows] == [digest_of(image.manifest) for image in images]
    assert all(is_past for _, is_past in rows)


def test_a_token_from_the_future_or_the_past_is_no_error_of_the_server(
    server: Server, skewed: Server, unique: str
) -> None:
    create_project(server, unique)
    for issuer, other in ((server, skewed), (skewed, server)):
        headers = sign_in(issuer, admin(issuer), f"repository:{unique}/app:pull,push")
        answer = httpx.get(f"{other.url}/v2/", headers=headers, timeout=30)
        assert answer.status_code in {200, 401}
