"""The OCI endpoint as a person's HTTP client sees it: sign in, push a blob, put a manifest."""

import hashlib
import json
import secrets
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx

from tests.support.people import Account
from tests.support.server import Server

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
TIMEOUT_S = 60


@dataclass(frozen=True)
class Image:
    """A manifest and the content of its blobs."""

    manifest: bytes
    blobs: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def make_image(*, layer_bytes: int) -> Image:
    """An image of one random layer, which no registry has yet."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "nonce": secrets.token_hex(8)}).encode()
    layer = secrets.token_bytes(layer_bytes)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, config),
        "layers": [_descriptor(LAYER_TYPE, layer)],
    }
    return Image(json.dumps(manifest).encode(), (config, layer))


def sign_in(server: Server, account: Account | None, *scopes: str) -> dict[str, str]:
    """The header with a bearer token for `scopes` such as `repository:a/b:pull,push` (account None: anonymous)."""
    answer = httpx.get(
        f"{server.url}/service/token",
        params=[("scope", scope) for scope in scopes],
        auth=None if account is None else (account.name, account.password),
        timeout=TIMEOUT_S,
    )
    answer.raise_for_status()
    return {"authorization": f"Bearer {answer.json()['token']}"}


def push_blob(client: httpx.Client, repository: str, content: bytes, *, pieces: int | None = None) -> str:
    """POST, PATCH (in `pieces`; None: in one or two, as its digest has it) and PUT; the digest. Raises httpx.HTTPError
    when it is not acknowledged.

    What comes in one short piece has no row before it is a blob, so both ways want to be gone.
    """
    digest = digest_of(content)
    answer = client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
    size = -(-len(content) // (pieces or 1 + int(digest[-1], 16) % 2)) or 1
    for begin in range(0, len(content) or 1, size):
        answer = client.patch(_location(answer), content=content[begin : begin + size]).raise_for_status()
    client.put(_location(answer), params={"digest": digest}).raise_for_status()
    return digest


def put_manifest(client: httpx.Client, repository: str, reference: str, image: Image) -> None:
    """Raises httpx.HTTPError when it is not acknowledged."""
    headers = {"content-type": MANIFEST_TYPE}
    path = f"/v2/{repository}/manifests/{reference}"
    client.put(path, content=image.manifest, headers=headers).raise_for_status()


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def _location(response: httpx.Response) -> str:
    return urljoin(str(response.url), response.headers["location"])
