"""The stores under test: a folder, and a real MinIO with and without faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_core.storage.filesystem import FilesystemStore
from registry_core.storage.interface import ObjectStore
from registry_core.storage.s3 import S3Store
from tests.support.faults import FaultyStore
from tests.support.minio import Minio
from tests.support.tools import tool

PART_BYTES = 5 << 20


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    """A MinIO for the tests of one process; each test takes a bucket of its own."""
    store = Minio(tool("minio"), tmp_path_factory.mktemp("minio"))
    store.start()
    yield store
    store.stop()


@pytest.fixture
def s3(minio: Minio) -> S3Store:
    return S3Store(minio.config(s3_part_bytes=PART_BYTES))


@pytest.fixture(params=["filesystem", "s3", "s3 with a prefix and equal parts"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Each store in turn."""
    if request.param == "filesystem":
        folder = FilesystemStore(tmp_path)
        folder.prepare()
        return folder
    minio: Minio = request.getfixturevalue("minio")
    more = {"s3_prefix": "/a/b/", "s3_equal_parts": True} if "prefix" in request.param else {}
    return S3Store(minio.config(s3_part_bytes=PART_BYTES, **more))


@pytest.fixture
def faulty(minio: Minio) -> Iterator[FaultyStore]:
    """A proxy before MinIO; it does what it should until it is told otherwise."""
    with FaultyStore(minio.port) as proxy:
        yield proxy
