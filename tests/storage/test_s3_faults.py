"""What goes wrong between us and an object store, and what the driver makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from registry_core.config import Config
from registry_core.digests import Digest
from registry_core.storage.interface import StorageError
from registry_core.storage.s3 import S3Store
from registry_core.storage.s3_bucket import Bucket
from registry_core.storage.s3_journal import Journal
from registry_core.wiring.supervisor.ports import free_port
from tests.storage.conftest import PART_BYTES
from tests.storage.test_driver import MIB, content_of, feed, read, stored
from tests.support.faults import (
    LIE,
    RESET_AFTER,
    RESET_BEFORE,
    SERVER_ERROR,
    SLOW,
    SLOW_DOWN,
    TRICKLE,
    TRUNCATED,
    FaultyStore,
)
from tests.support.minio import Minio
from tests.support.waiting import wait_until


@pytest.fixture
def shaky(minio: Minio, faulty: FaultyStore) -> S3Store:
    """A store behind the proxy, that waits for a second and tries four times."""
    return S3Store(
        minio.config(s3_endpoint=faulty.url, s3_part_bytes=PART_BYTES, s3_timeout_s=1, s3_attempts=4, s3_redirect=True)
    )


@pytest.mark.parametrize("fault", [SERVER_ERROR, SLOW_DOWN, RESET_BEFORE, RESET_AFTER, SLOW])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_object_of_parts_is_stored_through_passing_faults(
    shaky: S3Store, faulty: FaultyStore, fault: str, method: str
) -> None:
    content = content_of(11 * MIB)
    faulty.fail(fault, method=method, times=2)
    key = stored(shaky, content[: 6 * MIB], content[6 * MIB :])
    assert faulty.hits == 2
    assert read(shaky, key) == content
    assert [found.key for found in shaky.objects()] == [key]


@pytest.mark.parametrize("fault", [RESET_AFTER, SLOW])
def test_answer_to_joining_that_was_lost_is_found_out(shaky: S3Store, faulty: FaultyStore, fault: str) -> None:
    content = content_of(11 * MIB)
    faulty.fail(fault, method="POST", matches=lambda path: "uploadId" in path, times=1)
    assert read(shaky, stored(shaky, content)) == content
    assert faulty.hits == 1


@pytest.mark.parametrize("fault", [SERVER_ERROR, SLOW_DOWN, RESET_BEFORE, TRUNCATED, TRICKLE])
def test_object_is_read_through_passing_faults(shaky: S3Store, faulty: FaultyStore, fault: str) -> None:
    content = content_of(3 * MIB)
    key = stored(shaky, content)
    times = 1 if fault == TRICKLE else 2  # what only comes slowly is not asked for again
    faulty.fail(fault, method="GET", times=times)
    assert read(shaky, key, start=10, end=3 * MIB - 10) == content[10:-10]
    assert faulty.hits == times


def test_read_that_is_cut_again_and_again_goes_on_where_it_was_cut(shaky: S3Store, faulty: FaultyStore) -> None:
    content = content_of(9 * MIB)
    key = stored(shaky, content)
    faulty.fail(TRUNCATED, method="GET", times=4)  # as often as it tries; but each time it gets on
    assert read(shaky, key) == content


def test_store_that_stays_down_is_an_error_after_its_attempts(shaky: S3Store, faulty: FaultyStore) -> None:
    faulty.fail(SLOW_DOWN, method="PUT", times=-1)
    writer = shaky.writer(shaky.new_key(), offset=0, parts=[])
    writer.write(b"more")
    started = time.monotonic()
    with pytest.raises(StorageError, match="SlowDown"):
        writer.commit()
    assert faulty.seen["PUT"] == 4
    assert time.monotonic() - started < 1 + 2 + 4 + 2, "three pauses, of at most 1, 2 and 4 seconds"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_every_request_to_a_store_that_is_down_is_an_error(minio: Minio, faulty: FaultyStore, method: str) -> None:
    store = S3Store(minio.config(s3_endpoint=faulty.url, s3_attempts=2))
    key = stored(store, b"here")
    faulty.fail(RESET_BEFORE, method=method, times=-1)
    requests: dict[str, Callable[[], object]] = {
        "GET": lambda: read(store, key),
        "HEAD": lambda: store.size_bytes(key),
        "DELETE": lambda: store.delete(key),
    }
    with pytest.raises(StorageError):
        requests[method]()


def test_upload_goes_on_after_the_store_was_down(shaky: S3Store, faulty: FaultyStore) -> None:
    content = content_of(6 * MIB)
    writer = shaky.writer(shaky.new_key(), offset=0, parts=[])
    feed(writer, content)
    faulty.fail(SERVER_ERROR, method="PUT", times=-1)
    for _ in range(2):
        with pytest.raises(StorageError):
            writer.hand_over()
    faulty.heal()
    assert read(shaky, writer.commit()) == content


def test_delete_that_was_not_done_is_noticed(shaky: S3Store, faulty: FaultyStore) -> None:
    key = stored(shaky, b"still here")
    faulty.fail(LIE, method="DELETE", times=2)
    shaky.delete(key)
    assert faulty.hits == 2
    key = stored(shaky, b"still here")
    faulty.fail(LIE, method="DELETE", times=-1)
    with pytest.raises(StorageError, match="the store did not delete"):
        shaky.delete(key)
    assert read(shaky, key) == b"still here"


def test_joining_that_was_not_done_is_noticed(shaky: S3Store, faulty: FaultyStore) -> None:
    writer = shaky.writer(shaky.new_key(), offset=0, parts=[])
    feed(writer, content_of(11 * MIB))
    faulty.fail(LIE, method="POST", matches=lambda path: "uploadId" in path, times=-1)
    with pytest.raises(StorageError):
        writer.commit()
    faulty.heal()
    assert read(shaky, writer.commit()) == content_of(11 * MIB)


def test_bucket_that_does_not_exist_is_said(minio: Minio) -> None:
    store = S3Store(minio.config(bucket="b-missing"))
    with pytest.raises(StorageError, match="bucket does not exist: make it, or correct s3_bucket"):
        stored(store, b"x")


def test_wrong_key_is_said_without_showing_it(minio: Minio) -> None:
    store = S3Store(minio.config(bucket="b-any", s3_secret_key="not the secret"))
    with pytest.raises(StorageError, match=r"SignatureDoesNotMatch: .* correct s3_secret_key") as caught:
        stored(store, b"x")
    assert "not the secret" not in str(caught.value)
    with pytest.raises(StorageError, match="correct s3_access_key"):
        stored(S3Store(minio.config(bucket="b-any", s3_access_key="nobody")), b"x")


def test_store_that_is_not_there_is_said_with_its_setting() -> None:
    config = {"s3_bucket": "b-any", "s3_access_key": "k", "s3_secret_key": "s", "s3_attempts": 1}
    with pytest.raises(StorageError, match="nothing answers at the endpoint: correct s3_endpoint"):
        stored(S3Store(Config.model_validate(config | {"s3_endpoint": f"http://127.0.0.1:{free_port()}"})), b"x")


def test_journal_writes_many_lines_as_one_object_and_keeps_them_while_the_store_is_down(
    minio: Minio, faulty: FaultyStore
) -> None:
    bucket = Bucket(minio.config(s3_endpoint=faulty.url, s3_attempts=1))
    journal = Journal(bucket)
    faulty.fail(SERVER_ERROR, method="PUT", times=1)
    for number in range(50):
        journal.note(Digest.of(str(number).encode()), f"key{number}", number)
    journal.flush()
    assert list(bucket.objects("journal/")) == []
    journal.note(Digest.of(b"50"), "key50", 50)
    journal.flush()
    (written,) = bucket.objects("journal/")
    lines = b"".join(bucket.read(written.name)).decode().splitlines()
    assert [f'"key{number}"' in line for number, line in enumerate(lines)] == [True] * 51


def test_journal_is_written_without_being_asked(minio: Minio) -> None:
    bucket = Bucket(minio.config())
    Journal(bucket).note(Digest.of(b"1"), "key", 1)
    wait_until(lambda: len(list(bucket.objects("journal/"))) == 1, what="the journal is written")


def test_what_an_operator_should_change_is_said(minio: Minio) -> None:
    rule, address = S3Store(minio.config()).hints()
    assert "incomplete multipart uploads" in rule
    assert "IP address" in address
    for more in ({"s3_redirect": False}, {"s3_public_endpoint": "http://store.example.org"}):
        assert len(S3Store(minio.config(**more)).hints()) == 1


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"s3_path_style": True}, "https://s3.example.org/depot/a/objects/k?"),
        ({"s3_path_style": False}, "https://depot.s3.example.org/a/objects/k?"),
        ({"s3_public_endpoint": "https://cdn.example.org"}, "https://depot.cdn.example.org/a/objects/k?"),
    ],
)
def test_signed_url_names_the_bucket_where_the_store_wants_it(
    minio: Minio, settings: dict[str, object], start: str
) -> None:
    common = {"s3_endpoint": "https://s3.example.org", "s3_prefix": "a", "s3_path_style": False}
    where = S3Store(minio.config(bucket="depot", **(common | settings))).locate("k")
    assert where is not None
    assert where.url.startswith(start)
    assert "X-Amz-Expires=1200" in where.url


def test_encryption_is_asked_for(minio: Minio) -> None:
    # MinIO without a key server refuses it, which shows that it was asked.
    for sse in ("AES256", "aws:kms"):
        store = S3Store(minio.config(s3_sse=sse))
        with pytest.raises(StorageError, match="NotImplemented"):
            stored(store, b"x")
