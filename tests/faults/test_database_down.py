"""Postgres goes away and comes back: what is known is served for a while, the rest is refused with a time to wait."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from registry_core.wiring.supervisor.postgres import EmbeddedPostgres
from tests.support.extent import IS_FULL
from tests.support.people import Account, admin
from tests.support.registry import Image, digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

STALE_S = 12
KILLS = 30 if IS_FULL else 3
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

        def begin_upload() -> httpx.Response:
            return client.post(f"/v2/{REPOSITORY}/blobs/uploads/")

        wait_until(lambda: begin_upload().status_code == 503, what="no more uploads are begun", within_s=STALE_S)
        refused = begin_upload()
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


def test_who_pulled_before_may_fetch_a_new_token_and_pull_meanwhile(
    registry: Server, postgres: EmbeddedPostgres
) -> None:
    """Clients fetch a token for each pull. So it must be known whom one is for that was never seen before."""
    image = make_image(layer_bytes=1000)
    with httpx.Client(base_url=registry.url, timeout=20) as client:
        client.headers = sign_in(registry, admin(registry), SCOPE)
        layer = push_blob(client, REPOSITORY, image.blobs[1])
        push_blob(client, REPOSITORY, image.blobs[0])
        put_manifest(client, REPOSITORY, "v1", image)
        secret = registry.manage(
            "from rbac.models import RobotPermission\n"
            "from rbac.services.robots import RobotGrant, create_robot\n"
            "from registry_core.access import of_system\n"
            "grants = [RobotGrant(RobotPermission.Kind.PROJECT, 'repository', 'pull')]\n"
            "print(create_robot(name='ci', grants=grants, cause=of_system('test'))[1])"
        ).strip()

        def pull(account: Account) -> tuple[int, int]:
            client.headers = sign_in(registry, account, f"repository:{REPOSITORY}:pull")
            manifest = client.get(f"/v2/{REPOSITORY}/manifests/v1").status_code
            return manifest, client.get(f"/v2/{REPOSITORY}/blobs/{layer}").status_code

        accounts = (admin(registry), Account("robot$ci", secret))
        assert [pull(account) for account in accounts] == [(200, 200)] * 2

        postgres.stop()

        assert [pull(account) for account in accounts] == [(200, 200)] * 2


def test_a_database_that_takes_no_more_connections_is_waited_for(registry: Server, postgres: EmbeddedPostgres) -> None:
    headers = sign_in(registry, admin(registry), SCOPE)
    with (
        httpx.Client(base_url=registry.url, headers=headers, timeout=20) as client,
        psycopg.connect(registry.database_url, autocommit=True) as database,
    ):
        assert client.post(f"/v2/{REPOSITORY}/blobs/uploads/").status_code == 202
        database.execute("ALTER DATABASE portolan CONNECTION LIMIT 1")
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = current_user AND pid <> pg_backend_pid()"
        )

        refused = client.post(f"/v2/{REPOSITORY}/blobs/uploads/")

        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        database.execute("ALTER DATABASE portolan CONNECTION LIMIT -1")
        wait_until(
            lambda: client.post(f"/v2/{REPOSITORY}/blobs/uploads/").status_code == 202, what="pushes are taken again"
        )


def test_what_was_acknowledged_outlives_a_postgres_that_is_killed(registry: Server, postgres: EmbeddedPostgres) -> None:
    headers = sign_in(registry, admin(registry), SCOPE)
    acknowledged: list[tuple[str, Image]] = []
    is_over = threading.Event()

    def push_for_ever() -> None:
        with httpx.Client(base_url=registry.url, headers=headers, timeout=30) as client:
            while not is_over.is_set():
                image, tag = make_image(layer_bytes=3000), f"v{secrets.token_hex(6)}"
                try:
                    for blob in image.blobs:
                        push_blob(client, REPOSITORY, blob)
                    put_manifest(client, REPOSITORY, tag, image)
                except httpx.HTTPError:
                    continue
                acknowledged.append((tag, image))

    with ThreadPoolExecutor(4) as pool:
        pushers = [pool.submit(push_for_ever) for _ in range(4)]
        try:
            for _ in range(KILLS):
                enough = len(acknowledged) + 10
                wait_until(lambda enough=enough: len(acknowledged) >= enough, what="some are acknowledged")  # type: ignore[misc]
                os.kill(postgres.group, signal.SIGKILL)
                postgres.stop()
                postgres.start()
        finally:
            is_over.set()
        for pusher in pushers:
            pusher.result()

    with httpx.Client(base_url=registry.url, headers=headers, timeout=30) as client:
        wait_until(lambda: client.get(f"/v2/{REPOSITORY}/tags/list").status_code == 200, what="pulls are served again")
        for tag, image in acknowledged:
            assert client.get(f"/v2/{REPOSITORY}/manifests/{tag}").content == image.manifest
            for blob in image.blobs:
                assert client.get(f"/v2/{REPOSITORY}/blobs/{digest_of(blob)}").content == blob
    print(f"{KILLS} kills, {len(acknowledged)} acknowledged pushes, none lost")
