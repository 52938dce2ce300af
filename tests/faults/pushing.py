"""Clients that push images until they are told to stop, and what must be true of their images whatever happened."""

from __future__ import annotations

import random
import secrets
import threading
from dataclasses import dataclass, field

import httpx

from tests.support.registry import TIMEOUT_S, Image, digest_of, make_image, push_blob, put_manifest
from tests.support.server import Server

LAYER_BYTES = (1 << 10, 3 << 20)


@dataclass
class Log:
    """What the pushers tried: each image under a tag of its own, and what the registry acknowledged of it."""

    tried: dict[str, Image] = field(default_factory=dict)
    blobs: list[bytes] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


def push_until(over: threading.Event, server: Server, repository: str, headers: dict[str, str], log: Log) -> None:
    """Push one image after the other until `over`; what breaks off is not tried again."""
    while not over.is_set():
        tag, image = f"v-{secrets.token_hex(8)}", make_image(layer_bytes=random.randint(*LAYER_BYTES))
        log.tried[tag] = image
        try:
            _push(server, repository, headers, tag, image, log)
        except httpx.ConnectError:
            over.wait(0.5)
        except httpx.HTTPError:
            over.wait(0.05)


def _push(server: Server, repository: str, headers: dict[str, str], tag: str, image: Image, log: Log) -> None:
    with httpx.Client(base_url=server.url, headers=headers, timeout=TIMEOUT_S) as client:
        for content in image.blobs:
            push_blob(client, repository, content)
            log.blobs.append(content)
        put_manifest(client, repository, tag, image)
        log.tags.append(tag)


def assert_all_or_nothing(server: Server, repository: str, headers: dict[str, str], log: Log) -> int:
    """What was acknowledged reads back, and every visible manifest is whole; how many are visible."""
    visible = 0
    with httpx.Client(base_url=server.url, headers=headers, timeout=TIMEOUT_S) as client:
        for content in log.blobs:
            assert_blob(client, repository, content)
        for tag, image in log.tried.items():
            visible += _assert_whole_or_absent(client, repository, tag, image, is_acknowledged=tag in log.tags)
    return visible


def _assert_whole_or_absent(
    client: httpx.Client, repository: str, tag: str, image: Image, *, is_acknowledged: bool
) -> bool:
    by_tag = client.get(f"/v2/{repository}/manifests/{tag}")
    by_digest = client.get(f"/v2/{repository}/manifests/{image.digest}")
    assert by_tag.status_code == by_digest.status_code, "a tag and its manifest come together"
    if by_tag.status_code == 404:
        assert not is_acknowledged, f"{tag} was acknowledged and is gone"
        return False
    assert by_tag.content == by_digest.content == image.manifest
    for content in image.blobs:
        assert_blob(client, repository, content)
    return True


def assert_blob(client: httpx.Client, repository: str, content: bytes) -> None:
    """It reads back byte for byte."""
    answer = client.get(f"/v2/{repository}/blobs/{digest_of(content)}")
    assert answer.status_code == 200, answer.text
    assert answer.content == content
