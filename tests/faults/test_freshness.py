"""Who was answered is right: what changed is seen by the next request, whichever worker gets it."""

import random
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import ServerFactory
from tests.support.machines import WATCHED
from tests.support.people import admin, create_project
from tests.support.registry import TIMEOUT_S, Image, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

WORKERS = 2
THREADS = 6
ROUNDS = 300
_TLS = ssl.create_default_context()  # unused, but each client would make one of its own, which is slow


@pytest.fixture(scope="module")
def crowd(start_server: ServerFactory) -> Server:
    """A server of several workers, each with memories of its own."""
    return start_server(PORTOLAN_WORKERS=str(WORKERS), **WATCHED)


class Visitor:
    """Asks on a new connection each time, and notes which workers answered."""

    def __init__(self, server: Server, headers: dict[str, str]) -> None:
        self._url = server.url
        self._headers = {**headers, "x-portolan-worker": "1"}
        self.workers: set[str] = set()
        self._lock = threading.Lock()

    def ask(self, method: str, path: str) -> httpx.Response:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=TIMEOUT_S, verify=_TLS) as client:
            answer = client.request(method, path)
        with self._lock:
            self.workers.add(answer.headers["x-portolan-worker"])
        return answer

    def put(self, repository: str, tag: str, image: Image) -> None:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=TIMEOUT_S, verify=_TLS) as client:
            put_manifest(client, repository, tag, image)


@pytest.mark.slow
def test_a_tag_is_seen_and_gone_at_the_very_next_request(crowd: Server, unique: str) -> None:
    create_project(crowd, unique)
    repository = f"{unique}/app"
    images = (make_image(layer_bytes=64), make_image(layer_bytes=64))
    headers = sign_in(crowd, admin(crowd), f"repository:{repository}:pull,push,delete")
    visitor = Visitor(crowd, headers)
    _push_blobs(crowd, headers, repository, images)

    with ThreadPoolExecutor(THREADS) as pool:
        work = [
            pool.submit(_move_and_delete, visitor, repository, f"tag-{number}", images, ROUNDS // THREADS)
            for number in range(THREADS)
        ]
        for done in work:
            done.result()

    print(f"\n{ROUNDS} rounds, answered by {len(visitor.workers)} workers")
    assert len(visitor.workers) == WORKERS


def _move_and_delete(visitor: Visitor, repository: str, tag: str, images: tuple[Image, ...], rounds: int) -> None:
    path = f"/v2/{repository}/manifests/{tag}"
    for _ in range(rounds):
        for image in random.sample(images, len(images)):
            visitor.put(repository, tag, image)
            seen = visitor.ask("GET", path)
            assert (seen.status_code, seen.content) == (200, image.manifest)
        assert visitor.ask("DELETE", path).status_code == 202
        assert visitor.ask("GET", path).status_code == 404


def _push_blobs(server: Server, headers: dict[str, str], repository: str, images: tuple[Image, ...]) -> None:
    with httpx.Client(base_url=server.url, headers=headers, timeout=TIMEOUT_S) as client:
        for image in images:
            for content in image.blobs:
                push_blob(client, repository, content)
