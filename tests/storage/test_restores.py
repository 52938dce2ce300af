"""Restoring, in each way, on each kind of store, with old objects: nothing is lost, and sweeping goes on afterwards.

The commands that the guide gives are run by tests/docs/test_backup_guide.py; here the database comes and goes by dumps.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest

from registry_core.wiring.supervisor.pgbinaries import server_programs
from tests.conftest import ServerFactory
from tests.support.databases import create_database, drop_database
from tests.support.minio import Minio
from tests.support.people import admin
from tests.support.registry import make_image, push_blob, put_manifest, sign_in
from tests.support.server import PORTOLAN, Server

REPOSITORY = "library/restored"


@dataclass
class House:
    """An installation whose database can be exchanged, with its command line; its store stays."""

    server: Server
    environment: dict[str, str]
    folder: Path
    minio: Minio | None = None
    databases: list[str] = field(default_factory=list)

    def push(self, tag: str) -> None:
        """An image of two blobs."""
        image = make_image(layer_bytes=3000)
        headers = sign_in(self.server, admin(self.server), f"repository:{REPOSITORY}:pull,push")
        with httpx.Client(base_url=self.server.url, headers=headers) as client:
            for blob in image.blobs:
                push_blob(client, REPOSITORY, blob)
            put_manifest(client, REPOSITORY, tag, image)

    def storage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(PORTOLAN), "storage", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    def sweep(self, *options: str) -> subprocess.CompletedProcess[str]:
        """What the hourly job does, to objects that are all older than an upload may be idle."""
        if self.minio is None:
            for path in (self.server.data / "objects").glob("[0-9a-f][0-9a-f]/*"):
                os.utime(path, (0, 0))
        return self.storage("sweep", *(["--idle=0"] if self.minio else []), *options)

    def objects(self) -> set[str]:
        if self.minio is None:
            return {path.name for path in (self.server.data / "objects").glob("[0-9a-f][0-9a-f]/*")}
        bucket = self.server.environment["PORTOLAN_S3_BUCKET"]
        listed = self.minio.client().list_objects_v2(Bucket=bucket, Prefix="objects/")
        return {entry["Key"].removeprefix("objects/") for entry in listed.get("Contents", [])}

    def dump(self) -> Path:
        path = self.folder / f"{secrets.token_hex(4)}.dump"
        _postgres("pg_dump", "--format=custom", f"--file={path}", self.environment["PORTOLAN_DATABASE_URL"])
        return path

    def use_new_database(self) -> None:
        """A database server's new database, as a first start makes it."""
        name = f"portolan_restored_{secrets.token_hex(4)}"
        self.environment["PORTOLAN_DATABASE_URL"] = create_database(os.environ["PORTOLAN_DATABASE_URL"], name)
        self.databases.append(name)
        subprocess.run([str(PORTOLAN), "migrate"], env=self.environment, check=True, capture_output=True, timeout=120)

    def use_former_database(self) -> None:
        self.environment["PORTOLAN_DATABASE_URL"] = self.server.database_url

    def load(self, dump: Path) -> None:
        url = self.environment["PORTOLAN_DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        _postgres("pg_restore", "--single-transaction", f"--dbname={url}", str(dump))

    def copy_database(self) -> None:
        """The files of the database, copied while its server was stopped."""
        name = f"portolan_restored_{secrets.token_hex(4)}"
        parts = urlsplit(self.server.database_url)
        with psycopg.connect(os.environ["PORTOLAN_DATABASE_URL"], autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {parts.path.lstrip('/')}")
        self.databases.append(name)
        self.environment["PORTOLAN_DATABASE_URL"] = urlunsplit(parts._replace(path=f"/{name}"))

    def is_refused(self, *options: str) -> str:
        """Why nothing was swept; all objects are where they were."""
        before = self.objects()
        swept = self.sweep(*options)
        assert (swept.returncode, self.objects()) == (1, before), swept.stdout
        assert "was not swept" in swept.stderr
        return swept.stderr

    def works(self) -> None:
        """The check is clean, and the sweep removes what a push leaves that died, and nothing else."""
        checked = self.storage("check")
        assert checked.returncode == 0, checked.stdout
        before = self.objects()
        self._leave_something()
        swept = self.sweep()
        assert (swept.returncode, self.objects()) == (0, before), swept.stderr
        assert "removed 0 uploads and 1 objects without a row" in swept.stdout

    def _leave_something(self) -> None:
        name = secrets.token_hex(16)
        if self.minio is None:
            (self.server.data / "objects" / name[:2] / name).write_bytes(b"left behind")
        else:
            bucket = self.server.environment["PORTOLAN_S3_BUCKET"]
            self.minio.client().put_object(Bucket=bucket, Key=f"objects/{name}-1", Body=b"left behind")


def _postgres(program: str, *arguments: str) -> None:
    path = server_programs(run_dir=Path(), account=None) / program
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["files", "s3"])
def house(request: pytest.FixtureRequest, start_server: ServerFactory, tmp_path: Path) -> Iterator[House]:
    """A new installation with an image in it."""
    minio: Minio | None = request.getfixturevalue("minio") if request.param == "s3" else None
    server = start_server(**(minio.environment() if minio else {}), PORTOLAN_WORKERS="1")
    made = House(server, dict(server.environment), tmp_path, minio)
    made.push("first")
    yield made
    server.stop()
    for name in made.databases:
        drop_database(os.environ["PORTOLAN_DATABASE_URL"], name)


def test_a_dump_that_is_loaded_late_finds_everything(house: House) -> None:
    dump = house.dump()
    house.use_new_database()
    assert "this database to none" in house.is_refused()
    assert "this database to none" in house.is_refused("--force")
    assert house.storage("check").returncode == 1
    house.load(dump)
    house.works()


def test_a_copy_of_files_works_on(house: House) -> None:
    house.sweep()
    house.server.stop()
    house.copy_database()
    house.works()


def test_an_older_database_loses_nothing_and_goes_on_after_somebody_has_looked(house: House) -> None:
    dump = house.dump()
    house.push("second")
    everything = house.objects()
    house.use_new_database()
    house.load(dump)

    assert "2 objects" in house.is_refused()
    assert "storage adopt" in house.is_refused("--force")
    checked = house.storage("check")
    assert (checked.returncode, checked.stdout.count("object without a row")) == (1, 2)
    looked = house.storage("adopt")
    assert (looked.returncode, "2 objects" in looked.stdout) == (1, True)
    house.is_refused()

    assert house.storage("adopt", "--yes").returncode == 0
    assert "removed 0 uploads and 2 objects" in house.sweep("--force").stdout
    house.works()
    assert "restored 3 objects" in house.storage("trash", "restore", "--all").stdout
    assert house.objects() > everything


def test_the_newer_database_comes_back_and_nothing_is_missing(house: House) -> None:
    older = house.dump()
    house.push("second")
    newer = house.dump()
    house.use_new_database()
    house.load(older)
    house.storage("adopt", "--yes")
    house.sweep("--force")

    house.load(newer)
    missing = house.storage("check")
    assert (missing.returncode, "2 of these are in the trash" in missing.stdout) == (1, True)
    assert house.sweep().returncode == 0, "the sweep gives them back before it compares"
    house.works()


def test_a_database_that_is_loaded_over_itself_is_noticed(house: House) -> None:
    house.sweep()
    dump = house.dump()
    house.push("second")
    house.server.stop()
    house.load(dump)
    assert "was restored, copied or moved; 2 objects" in house.is_refused()


def test_objects_of_an_older_backup_are_said_to_be_missing(house: House) -> None:
    if house.minio is not None:
        pytest.skip("a bucket is not copied back")
    backup = house.folder / "objects"
    shutil.copytree(house.server.data / "objects", backup)
    house.push("second")
    for _ in range(2):
        house.sweep()
    shutil.rmtree(house.server.data / "objects")
    shutil.copytree(backup, house.server.data / "objects")

    assert "2 blobs no object" in house.is_refused()
    repaired = house.storage("check", "--repair")
    assert (repaired.returncode, repaired.stdout.count("quarantined sha256:")) == (0, 2)
    house.works()


def test_two_installations_on_one_store_leave_each_other_s_blobs_alone(house: House) -> None:
    house.sweep()
    second = House(house.server, dict(house.environment), house.folder, house.minio, house.databases)
    second.use_new_database()
    assert "this database to none" in second.is_refused("--force")
    # It takes what is pushed to it all the same, into the same store.
    house.server.environment["PORTOLAN_DATABASE_URL"] = second.environment["PORTOLAN_DATABASE_URL"]
    house.server.restart()
    second.push("of-the-second")

    assert "another installation writes to the store" in house.is_refused("--force")
    assert "this database to none" in second.is_refused("--force")
