"""The ways in which companies set up their store: TLS by their own CA, encryption, credentials that nobody typed in."""

from __future__ import annotations

import base64
import re
import secrets
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry_core.storage.interface import SignedUrl, StorageError
from registry_core.storage.s3 import S3Store
from tests.conftest import ServerFactory
from tests.storage.conftest import PART_BYTES
from tests.storage.test_driver import MIB, content_of, read, stored
from tests.support.aws import IdentityProvider, InstanceMetadata
from tests.support.minio import Minio
from tests.support.people import admin
from tests.support.registry import digest_of, push_blob, sign_in
from tests.support.tools import tool
from tests.support.waiting import wait_until
from tests.tls.certificates import issue

DOMAIN = "store.example.test"
KEY = "registry-key"
NOBODY: dict[str, Any] = {"s3_access_key": None, "s3_secret_key": None}
_FOUND_ELSEWHERE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN")


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as running:
        yield running


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory, provider: IdentityProvider) -> Iterator[Minio]:
    """A MinIO with a key to encrypt by, a certificate of a private CA, buckets in host names, workload identities."""
    folder = tmp_path_factory.mktemp("company")
    root = issue("Example Root", is_ca=True)
    served = issue("store", by=root, names=("127.0.0.1", "localhost", DOMAIN, f"*.{DOMAIN}"))
    certificates = folder / "certs"
    certificates.mkdir()
    (folder / "ca.crt").write_bytes(root.pem)
    (certificates / "public.crt").write_bytes(served.pem)
    (certificates / "private.key").write_bytes(served.key_pem)
    environment = {
        "MINIO_KMS_SECRET_KEY": f"{KEY}:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        "MINIO_DOMAIN": DOMAIN,
        "MINIO_IDENTITY_OPENID_CONFIG_URL": provider.discovery_url,
        "MINIO_IDENTITY_OPENID_CLIENT_ID": provider.client_id,
        "MINIO_IDENTITY_OPENID_ROLE_POLICY": "readwrite",
    }
    store = Minio(tool("minio"), folder, environment=environment, certificates=certificates, ca=folder / "ca.crt")
    store.start()
    yield store
    store.stop()


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No AWS credentials of whoever runs the tests."""
    for name in _FOUND_ELSEWHERE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def bucket_of(company: Minio) -> str:
    return str(company.settings()["s3_bucket"])


def assert_stores(store: S3Store) -> None:
    """A small object, and one of parts that two writers made, read back."""
    small, large = content_of(1000), content_of(11 * MIB)
    assert read(store, stored(store, small)) == small
    assert read(store, stored(store, large[: 6 * MIB], large[6 * MIB :])) == large


@pytest.mark.parametrize(
    ("settings", "algorithm", "key"),
    [
        ({"s3_sse": "AES256"}, "AES256", None),
        ({"s3_sse": "aws:kms"}, "aws:kms", KEY),
        ({"s3_sse": "aws:kms", "s3_kms_key_id": KEY}, "aws:kms", KEY),
    ],
    ids=["SSE-S3", "SSE-KMS with the default key", "SSE-KMS with a key of one's own"],
)
def test_objects_are_encrypted_in_the_store(
    company: Minio, settings: dict[str, str], algorithm: str, key: str | None
) -> None:
    bucket = bucket_of(company)
    store = S3Store(company.config(bucket=bucket, s3_part_bytes=PART_BYTES, **settings))
    secret = b"that nobody reads from the disk " * 4
    assert_stores(store)
    made = stored(store, secret)

    head = company.client().head_object(Bucket=bucket, Key=f"objects/{made}")
    assert head["ServerSideEncryption"] == algorithm
    assert key is None or head["SSEKMSKeyId"].endswith(key)
    signed = store.locate(made)
    assert isinstance(signed, SignedUrl)
    assert httpx.get(signed.url, verify=trusting(company)).content == secret
    written = [path.read_bytes() for path in (company.objects / bucket).rglob("*") if path.is_file()]
    assert written
    assert not any(secret in content for content in written)


def test_a_bucket_without_encryption_shows_that_the_test_would_see_it(company: Minio) -> None:
    bucket, secret = bucket_of(company), b"that everybody reads from the disk " * 4
    stored(S3Store(company.config(bucket=bucket)), secret)
    written = [path.read_bytes() for path in (company.objects / bucket).rglob("*") if path.is_file()]
    assert any(secret in content for content in written)


def test_a_key_that_the_store_does_not_know_is_an_error(company: Minio) -> None:
    store = S3Store(company.config(s3_sse="aws:kms", s3_kms_key_id="another-key"))
    with pytest.raises(StorageError):
        stored(store, b"x")


def test_a_store_with_a_certificate_of_a_private_ca_needs_that_ca(company: Minio) -> None:
    assert_stores(S3Store(company.config(s3_part_bytes=PART_BYTES)))
    with pytest.raises(StorageError, match=r"SSLError.*set s3_ca_file"):
        stored(S3Store(company.config(s3_ca_file=None, s3_attempts=1)), b"x")


def test_a_registry_pushes_to_and_redirects_to_an_encrypting_store_over_tls(
    start_server: ServerFactory, company: Minio
) -> None:
    server = start_server(**company.environment(s3_sse="aws:kms", s3_part_bytes=PART_BYTES), PORTOLAN_WORKERS="1")
    content, repository = content_of(12 * MIB, seed=5), "library/app"
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push")
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        digest = push_blob(client, repository, content)
        sent = client.get(f"/v2/{repository}/blobs/{digest_of(content)}")
    assert (digest, sent.status_code) == (digest_of(content), 307)
    assert httpx.get(sent.headers["location"], verify=trusting(company)).content == content


def test_the_bucket_may_be_part_of_the_hosts_name(company: Minio, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    asked: list[str] = []

    def resolve_here(host: Any, *arguments: Any, **more: Any) -> Any:
        asked.append(str(host))
        return resolve("127.0.0.1" if str(host).endswith(DOMAIN) else host, *arguments, **more)

    bucket = bucket_of(company)
    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    endpoint = f"https://{DOMAIN}:{company.port}"
    store = S3Store(company.config(bucket=bucket, s3_endpoint=endpoint, s3_path_style=False, s3_part_bytes=PART_BYTES))

    assert_stores(store)

    assert set(asked) == {f"{bucket}.{DOMAIN}"}
    signed = store.locate(stored(store, b"signed"))
    assert isinstance(signed, SignedUrl)
    assert signed.url.startswith(f"https://{bucket}.{DOMAIN}:{company.port}/objects/")
    assert httpx.get(signed.url, verify=trusting(company)).content == b"signed"
    assert len(list(store.objects())) == 3


def test_credentials_come_from_the_environment(company: Minio, no_credentials: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="NoCredentialsError"):
        stored(S3Store(company.config(**NOBODY)), b"x")
    no_credentials.setenv("AWS_ACCESS_KEY_ID", company.access_key)
    no_credentials.setenv("AWS_SECRET_ACCESS_KEY", company.secret_key)
    assert_stores(S3Store(company.config(s3_part_bytes=PART_BYTES, **NOBODY)))


def test_credentials_come_from_the_instance(company: Minio, no_credentials: pytest.MonkeyPatch) -> None:
    def issue_for_a_while() -> dict[str, str]:
        answer = company.service("sts").assume_role(
            RoleArn="arn:aws:iam::123456789012:role/registry", RoleSessionName="instance", DurationSeconds=900
        )
        return dict(answer["Credentials"])

    with InstanceMetadata(issue_for_a_while) as metadata:
        assert httpx.get(f"{metadata.url}/latest/meta-data/iam/security-credentials/").status_code == 401
        no_credentials.delenv("AWS_EC2_METADATA_DISABLED")
        no_credentials.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
        no_credentials.setenv("AWS_METADATA_SERVICE_TIMEOUT", "20")  # a second, by itself: too short among other tests
        store = S3Store(company.config(s3_part_bytes=PART_BYTES, **NOBODY))
        assert_stores(store)
        assert metadata.issued == 1, "they are asked for once, not for each request"
        signed = store.locate(stored(store, b"signed"))
        assert isinstance(signed, SignedUrl)
        assert "X-Amz-Security-Token=" in signed.url
        assert httpx.get(signed.url, verify=trusting(company)).content == b"signed"


def test_credentials_come_from_a_web_identity(
    company: Minio, provider: IdentityProvider, no_credentials: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    role = re.compile(r"arn:minio:iam:::role/[\w-]+")
    wait_until(lambda: role.search(company.log) is not None, what="MinIO names the role")
    found = role.search(company.log)
    assert found
    token = tmp_path / "token"
    token.write_text(provider.token("system:serviceaccount:registry:portolan"))
    no_credentials.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    no_credentials.setenv("AWS_ROLE_ARN", found.group())
    no_credentials.setenv("AWS_ENDPOINT_URL_STS", company.url)
    no_credentials.setenv("AWS_CA_BUNDLE", str(company.ca))
    no_credentials.setenv("AWS_DEFAULT_REGION", "us-east-1")

    assert_stores(S3Store(company.config(s3_part_bytes=PART_BYTES, **NOBODY)))

    with IdentityProvider() as stranger:
        token.write_text(stranger.token("system:serviceaccount:registry:portolan"))
        with pytest.raises(StorageError):
            stored(S3Store(company.config(**NOBODY)), b"x")


def trusting(store: Minio) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(store.ca))
