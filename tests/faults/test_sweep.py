"""What dead processes leave in the object store, and the sweep that removes it."""

import os
import subprocess
from pathlib import Path

import httpx

from tests.support.people import admin, create_project
from tests.support.registry import push_blob, sign_in
from tests.support.server import PORTOLAN, Server


def storage(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `portolan storage …` on the server's data."""
    command = [str(PORTOLAN), "storage", *arguments]
    return subprocess.run(command, env=server.environment, capture_output=True, text=True, timeout=60, check=False)


def _leave_object(server: Server, name: str) -> Path:
    path = server.data / "objects" / name[:2] / name
    path.write_bytes(b"left behind")
    return path


def test_sweep_removes_an_old_object_without_a_row_and_nothing_else(server: Server, unique: str) -> None:
    create_project(server, unique)
    repository = f"{unique}/app"
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push")
    with httpx.Client(base_url=server.url, headers=headers) as client:
        digest = push_blob(client, repository, b"kept")
        old, young = _leave_object(server, "aa" * 16), _leave_object(server, "bb" * 16)
        os.utime(old, (0, 0))

        assert storage(server, "check").returncode == 1
        swept = storage(server, "sweep")

        assert swept.returncode == 0, swept.stderr
        assert (old.exists(), young.exists()) == (False, True)
        assert storage(server, "sweep", "--idle=0").returncode == 0
        assert not young.exists()
        assert storage(server, "check").returncode == 0
        assert client.get(f"/v2/{repository}/blobs/{digest}").content == b"kept"


def test_sweep_removes_an_abandoned_upload_and_its_bytes(server: Server, unique: str) -> None:
    storage(server, "sweep", "--idle=0")
    create_project(server, unique)
    repository = f"{unique}/app"
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push")
    with httpx.Client(base_url=server.url, headers=headers) as client:
        begun = client.post(f"/v2/{repository}/blobs/uploads/")
        client.patch(begun.headers["location"], content=b"half of it").raise_for_status()
        assert "1 uploads under way" in storage(server, "check").stdout

        assert storage(server, "sweep", "--idle=0").stdout == "removed 1 uploads and 0 objects without a row\n"

        assert client.get(begun.headers["location"]).status_code == 404
    assert "0 uploads under way" in storage(server, "check").stdout


def test_the_trash_is_listed_restored_and_emptied_by_who_means_it(server: Server) -> None:
    storage(server, "sweep", "--idle=0")
    storage(server, "trash", "empty", "--yes")
    left = _leave_object(server, "cc" * 16)
    assert "an object was removed" in storage(server, "sweep", "--idle=0").stderr
    key = f"cc/{'cc' * 16}"

    assert f"11  filesystem  {key}\n1 objects, 11 bytes" in storage(server, "trash", "list").stdout
    assert storage(server, "trash", "restore").returncode == 2
    assert storage(server, "trash", "restore", "no/such-key").returncode == 1
    assert storage(server, "trash", "restore", key).stdout.endswith("restored 1 objects\n")
    assert left.exists()

    storage(server, "sweep", "--idle=0")
    refused = storage(server, "trash", "empty")
    assert (refused.returncode, "use --yes" in refused.stderr) == (1, True)
    assert storage(server, "trash", "empty", "--older-than=1", "--yes").stdout == "deleted 0 objects, restored 0\n"
    assert storage(server, "trash", "empty", "--yes").stdout == "deleted 1 objects, restored 0\n"
    assert storage(server, "trash", "list").stdout == "0 objects, 0 bytes\n"
