"""Postgres goes away and comes back: what is known is served for a while, the rest is refused with a time to wait."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from registry_core.supervisor.postgres import EmbeddedPostgres
from tests.support.people import admin
from tests.support.registry import make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

STALE_S = 4
REPOSITORY = "library/app"
SCOPE = f"repository:{REPOSITORY}:pull,push"


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="portolan-down-"))
    folder.chmod(0o711)  # Postgres runs as a user of its own when the tests run as root
    with (folder / "postgres.log").open("wb") as log:
        running = EmbeddedPostgres(folder, log=log)
        yield running
        running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def registry(postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[Server]:
    server = Server(
        data=tmp_path / "data",
        database_url=postgres.start(),
        redis_url=os.environ["PORTOLAN_REDIS_URL"],
        admin_password="Admin-of-one-test-1",
        environment={"PORTOLAN_STALE_IF_DOWN_S": str(STALE_S), "PORTOLAN_WORKERS": "1"},
    )
    server.migrate()
    server.start()
    yield server
    server.stop()


def test_hot_pulls_go_on_for_a_while_and_everything_recovers_by_itself(
    registry: Server, postgres: EmbeddedPostgres
) -> None:
    image = make_image(layer_bytes=1000)
    headers = sign_in(registry, admin(registry), SCOPE)
    with httpx.Client(base_url=registry.url, headers=headers, timeout=20) as client:
        layer = push_blob(client, REPOSITORY, image.blobs[1])
        push_blob(client, REPOSITORY, image.blobs[0])
        put_manifest(client, REPOSITORY, "v1", image)

        def pull() -> tuple[int, int]:
            manifest = client.get(f"/v2/{REPOSITORY}/manifests/v1").status_code
            return manifest, client.get(f"/v2/{REPOSITORY}/blobs/{layer}").status_code

        assert pull() == (200, 200)

        postgres.stop()

        refused = client.post(f"/v2/{REPOSITORY}/blobs/uploads/")
        assert pull() == (200, 200)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["errors"][0]["code"] == "UNAVAILABLE"
        unknown = client.get(f"/v2/{REPOSITORY}/manifests/never-pulled")
        assert unknown.status_code == 503
        wait_until(lambda: pull() == (503, 503), what="the patience with the database ends", within_s=STALE_S + 10)

        postgres.start()

        wait_until(lambda: pull() == (200, 200), what="pulls are served again")
        wait_until(
            lambda: client.post(f"/v2/{REPOSITORY}/blobs/uploads/").status_code == 202, what="pushes are taken again"
        )
