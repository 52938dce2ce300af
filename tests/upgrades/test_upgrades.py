"""Data of earlier versions, brought up to date and served.

Each archive here is named after the commit that made it and holds what an administrator backs up: `database.sql` (by
`pg_dump --no-owner`), `objects`, `journal` and `secrets`. One image was pushed into `library/app` of each
under the tags `v1` and `stable`; the password of `admin` is below. Add one with each release.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from registry_core.wiring.supervisor.pgbinaries import server_programs
from tests.support.databases import create_database, create_empty_database, drop_database
from tests.support.people import Account
from tests.support.registry import digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

REPOSITORY = "library/app"
PASSWORD = "History-1"
ARCHIVES = sorted(Path(__file__).parent.glob("*.tar.gz"))
COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name !~ '_[0-9]{6}$' ORDER BY 1, 2
"""
INDEXES = """
    SELECT class.relname, index.indrelid::regclass::text, index.indisunique, index.indisvalid
    FROM pg_index AS index JOIN pg_class AS class ON class.oid = index.indexrelid
    WHERE class.relnamespace = 'public'::regnamespace AND class.relname !~ '[0-9]{6}_' ORDER BY 1
"""


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def upgraded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A registry of today on the data of then."""
    cluster, name = os.environ["PORTOLAN_DATABASE_URL"], f"portolan_upgrade_{secrets.token_hex(4)}"
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path / "data", filter="data")
    url = create_empty_database(cluster, name)
    psql = server_programs(run_dir=tmp_path, account=None) / "psql"
    dump = tmp_path / "data" / "database.sql"
    command: list[str | Path] = [psql, url, "--quiet", "--set", "ON_ERROR_STOP=1", "--file", dump]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    server = Server(
        data=tmp_path / "data", database_url=url, redis_url=os.environ["PORTOLAN_REDIS_URL"], admin_password=PASSWORD
    )
    server.migrate()
    server.start()
    yield server
    server.stop()
    drop_database(cluster, name)


def test_what_was_pushed_then_is_served_now_and_more_can_be_pushed(upgraded: Server) -> None:
    headers = sign_in(upgraded, Account("admin", PASSWORD), f"repository:{REPOSITORY}:pull,push")
    with httpx.Client(base_url=upgraded.url, headers=headers, timeout=60) as client:
        manifest = client.get(f"/v2/{REPOSITORY}/manifests/v1")
        assert manifest.status_code == 200
        assert client.get(f"/v2/{REPOSITORY}/tags/list").json()["tags"] == ["stable", "v1"]
        for descriptor in (manifest.json()["config"], *manifest.json()["layers"]):
            assert (
                digest_of(client.get(f"/v2/{REPOSITORY}/blobs/{descriptor['digest']}").content) == descriptor["digest"]
            )
        image = make_image(layer_bytes=500)
        for blob in image.blobs:
            push_blob(client, REPOSITORY, blob)
        put_manifest(client, REPOSITORY, "v2", image)
        assert client.get(f"/v2/{REPOSITORY}/manifests/v2").content == image.manifest
    listed = httpx.get(
        f"{upgraded.url}/api/v2.0/projects/library/repositories/app/artifacts", auth=("admin", PASSWORD), timeout=60
    )
    assert {tag["name"] for artifact in listed.json() for tag in artifact["tags"] or []} >= {"v1", "v2"}
    check = "from registry_core.content.check import check_storage; print(check_storage().is_clean)"
    assert upgraded.manage(check) == "True\n"


def test_tables_are_those_of_a_new_installation(upgraded: Server) -> None:
    cluster, name = os.environ["PORTOLAN_DATABASE_URL"], f"portolan_new_{secrets.token_hex(4)}"
    with psycopg.connect(create_database(cluster, name)) as new, psycopg.connect(upgraded.database_url) as old:
        for statement in (COLUMNS, INDEXES):
            assert old.execute(statement).fetchall() == new.execute(statement).fetchall()
    drop_database(cluster, name)
