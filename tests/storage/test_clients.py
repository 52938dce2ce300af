"""Real clients against a registry that sends them to an object store for blobs."""

import json
import os
import tarfile
from base64 import b64encode
from io import BytesIO
from pathlib import Path

from tests.conftest import ServerFactory
from tests.storage.conftest import PART_BYTES
from tests.storage.test_driver import MIB
from tests.support.minio import Minio
from tests.support.people import admin, create_project
from tests.support.tools import run, tool


def test_crane_and_skopeo_push_and_follow_the_redirect(
    start_server: ServerFactory, minio: Minio, tmp_path: Path, unique: str
) -> None:
    # crane follows no redirect from a name to an address of a private network.
    public = minio.url.replace("127.0.0.1", "localhost")
    server = start_server(**minio.environment(s3_part_bytes=PART_BYTES, s3_public_endpoint=public))
    create_project(server, unique)
    owner = admin(server)
    auth = b64encode(f"{owner.name}:{owner.password}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": auth}}}))
    environment = {"DOCKER_CONFIG": str(tmp_path), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    reference = f"{server.host}/{unique}/app:1"

    pushed = run(tool("crane"), "append", "-f", str(_layer(tmp_path)), "-t", reference, env=environment)
    assert pushed.is_success, pushed.text
    validated = run(tool("crane"), "validate", "--remote", reference, env=environment)
    assert "PASS" in validated.text, validated.text

    options = ["--src-tls-verify=false", "--dest-tls-verify=false", "--authfile", str(tmp_path / "config.json")]
    copy = ["copy", *options, f"docker://{reference}", f"docker://{server.host}/{unique}/copy:1"]
    copied = run(tool("skopeo"), *copy, env=environment)
    assert copied.is_success, copied.text
    validated = run(tool("crane"), "validate", "--remote", f"{server.host}/{unique}/copy:1", env=environment)
    assert "PASS" in validated.text, validated.text


def _layer(folder: Path) -> Path:
    """A layer of several parts."""
    path, content = folder / "layer.tar", os.urandom(12 * MIB)
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("content")
        entry.size = len(content)
        archive.addfile(entry, BytesIO(content))
    return path
