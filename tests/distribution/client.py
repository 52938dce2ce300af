"""A small OCI client for the tests: it does what they say and hides nothing of the answer."""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from registry_core.content.parsing import OCI_INDEX, OCI_MANIFEST
from registry_core.digests import Digest
from tests.support.people import Account

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY_CONFIG = b"{}"


def digest_of(content: bytes) -> str:
    return str(Digest.of(content))


def descriptor(content: bytes, media_type: str = LAYER, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)} | more


def image(*layers: bytes, **more: Any) -> bytes:
    """An image manifest, another one at each call."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(EMPTY_CONFIG, CONFIG),
        "layers": [descriptor(layer) for layer in layers],
        "annotations": {"nonce": secrets.token_hex(8)},
    }
    return json.dumps(document | more).encode()


def index(*manifests: bytes, **more: Any) -> bytes:
    entries = [descriptor(manifest, OCI_MANIFEST) for manifest in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries} | more).encode()


def error_code(response: httpx.Response) -> str:
    """The first error's code; the answer is checked to be an OCI error of the 4xx class."""
    assert 400 <= response.status_code < 500, (response.status_code, response.text)
    return str(response.json()["errors"][0]["code"])


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, error_code(response)


class Client:
    """One caller (None: nobody) on one registry. `repository` is where it works unless told otherwise."""

    def __init__(
        self, url: str, account: Account | None, repository: str = "", *, verify: ssl.SSLContext | bool = True
    ) -> None:
        self.repository = repository
        self.account = account
        self.http = httpx.Client(
            base_url=url,
            auth=(account.name, account.password) if account else None,
            timeout=30,
            verify=verify,
            event_hooks={"response": [_check_version]},
        )

    def path(self, rest: str, repository: str | None = None) -> str:
        return f"/v2/{repository or self.repository}/{rest}"

    def get(self, rest: str, *, on: str | None = None, **more: Any) -> httpx.Response:
        return self.http.get(self.path(rest, on), **more)

    def head(self, rest: str, *, on: str | None = None, **more: Any) -> httpx.Response:
        return self.http.head(self.path(rest, on), **more)

    def delete(self, rest: str, *, on: str | None = None) -> httpx.Response:
        return self.http.delete(self.path(rest, on))

    def start_upload(self, *, on: str | None = None, **params: str) -> httpx.Response:
        return self.http.post(self.path("blobs/uploads/", on), params=params)

    def push_blob(self, content: bytes, *, digest: str | None = None, on: str | None = None) -> httpx.Response:
        """In one POST."""
        params = {"digest": digest or digest_of(content)}
        return self.http.post(self.path("blobs/uploads/", on), params=params, content=content)

    def put_manifest(
        self,
        content: bytes | Iterator[bytes],
        reference: str = "",
        *,
        on: str | None = None,
        content_type: str = OCI_MANIFEST,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """By `reference`, or by the digest that the content has."""
        reference = reference or digest_of(content if isinstance(content, bytes) else b"")
        sent = {"content-type": content_type} | dict(headers or {})
        return self.http.put(self.path(f"manifests/{reference}", on), content=content, headers=sent)

    def push_image(self, *layers: bytes, tag: str = "", on: str | None = None, **more: Any) -> bytes:
        """Blobs and manifest; the manifest's bytes."""
        for blob in (EMPTY_CONFIG, *layers):
            assert self.push_blob(blob, on=on).status_code == 201
        manifest = image(*layers, **more)
        answer = self.put_manifest(manifest, tag, on=on)
        assert answer.status_code == 201, answer.text
        return manifest

    def token(self, *scopes: str) -> str:
        """A bearer token for the scopes."""
        params = {"service": "harbor-registry", "scope": list(scopes)}
        answer = self.http.get("/service/token", params=params)
        return str(answer.json()["token"])


def _check_version(response: httpx.Response) -> None:
    if response.request.url.path.startswith("/v2"):
        assert response.headers["docker-distribution-api-version"] == "registry/2.0"
