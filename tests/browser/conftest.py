"""A real Chromium against a running registry, and an image pushed into it the way clients push."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.people import Account, create_project, create_user
from tests.support.server import Server
from tests.support.tools import tool

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Pushed:
    """What the console should show: an image in a private project, and its owner."""

    owner: Account
    project: str
    repository: str
    tag: str
    digest: str


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a module; each gets a profile of its own.

    Playwright keeps an event loop running in this thread, in which no other test could run one of its own.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(tool("chromium")), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, server: Server) -> Iterator[Page]:
    """A fresh profile; every message of the console about a fault of the page or its policy fails the test."""
    context = chromium.new_context(base_url=server.url, permissions=["clipboard-read", "clipboard-write"])
    faults: list[str] = []
    shown = context.new_page()
    shown.on("pageerror", lambda error: faults.append(str(error)))
    shown.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    yield shown
    context.close()
    assert faults == []


@pytest.fixture(scope="module")
def pushed(server: Server) -> Pushed:
    """An image with one layer, pushed through the distribution endpoint."""
    name = f"t{secrets.token_hex(4)}"
    owner = create_user(server, name)
    create_project(server, name, by=owner.name)
    repository, tag = "deep/app", "1.0"
    return Pushed(owner, name, repository, tag, _push(server, owner, f"{name}/{repository}", tag))


def _push(server: Server, owner: Account, name: str, tag: str) -> str:
    scope = {"service": "harbor-registry", "scope": f"repository:{name}:pull,push"}
    with httpx.Client(base_url=server.url, timeout=30) as client:
        token = client.get("/service/token", params=scope, auth=(owner.name, owner.password)).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        config = _push_blob(client, name, b"{}", "application/vnd.oci.image.config.v1+json")
        layer = _push_blob(client, name, secrets.token_bytes(2000), "application/vnd.oci.image.layer.v1.tar")
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}).encode()
        answer = client.put(f"/v2/{name}/manifests/{tag}", content=manifest, headers={"Content-Type": MANIFEST})
        assert answer.status_code == 201, answer.text
        return answer.headers["Docker-Content-Digest"]


def _push_blob(client: httpx.Client, name: str, content: bytes, media_type: str) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    answer = client.post(f"/v2/{name}/blobs/uploads/", params={"digest": digest}, content=content)
    if answer.status_code == 202:
        answer = client.put(
            httpx.URL(answer.headers["Location"]).copy_merge_params({"digest": digest}), content=content
        )
    assert answer.status_code == 201, answer.text
    return {"mediaType": media_type, "digest": digest, "size": len(content)}
