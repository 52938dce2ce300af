"""A layer far larger than the memory that may be spent on it, pushed and pulled as streams."""

import hashlib
import random
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest

from tests.support.extent import IS_FULL
from tests.support.people import admin, create_project
from tests.support.registry import TIMEOUT_S, push_blob, sign_in
from tests.support.server import Server

LAYER_BYTES = 3 << 30 if IS_FULL else 512 << 20
GROWTH_LIMIT_BYTES = 64 << 20
SAMPLE_S = 0.1
BLOCK_BYTES = 1 << 20


class Layer:
    """Pseudo-random bytes made as they are sent: one random block, its first bytes another in each repetition."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._block = random.Random(size_bytes).randbytes(BLOCK_BYTES - 16)
        self._seed = secrets.token_bytes(8)
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """The digest of what was sent so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.size_bytes // BLOCK_BYTES):
            block = self._seed + number.to_bytes(8, "big") + self._block
            self._hash.update(block)
            yield block


class Memory:
    """The server's memory, summed over its processes (proportional set size: shared pages count once)."""

    def __init__(self, server: Server) -> None:
        self._processes = [psutil.Process(pid) for pid in server.pids()]
        self.before_bytes = self.now_bytes()
        self.peak_bytes = self.before_bytes

    @property
    def growth_bytes(self) -> int:
        return self.peak_bytes - self.before_bytes

    def now_bytes(self) -> int:
        return sum(process.memory_full_info().pss for process in self._processes)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take samples while the block runs."""
        over = threading.Event()
        sampler = threading.Thread(target=self._sample_until, args=(over,))
        sampler.start()
        try:
            yield
        finally:
            over.set()
            sampler.join()

    def _sample_until(self, over: threading.Event) -> None:
        while not over.wait(SAMPLE_S):
            self.peak_bytes = max(self.peak_bytes, self.now_bytes())


@pytest.mark.slow
def test_a_large_layer_goes_through_in_little_memory(server: Server, unique: str) -> None:
    create_project(server, unique)
    repository = f"{unique}/big"
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push")
    layer = Layer(LAYER_BYTES)
    with httpx.Client(base_url=server.url, headers=headers, timeout=TIMEOUT_S) as client:
        push_blob(client, repository, secrets.token_bytes(4 << 20))  # what the first push loads is not the layer's
        memory = Memory(server)

        with memory.watched():
            push_stream(client, repository, layer)
            after_push_bytes = memory.growth_bytes
            pulled, size_bytes = pull_stream(client, repository, layer.digest)

    assert (pulled, size_bytes) == (layer.digest, LAYER_BYTES)
    print(
        f"\nlayer {LAYER_BYTES >> 20} MiB; memory before {memory.before_bytes / 2**20:.1f} MiB,"
        f" growth {after_push_bytes / 2**20:.1f} MiB after the push, {memory.growth_bytes / 2**20:.1f} MiB at most:"
        f" the layer is {LAYER_BYTES / max(1, memory.growth_bytes):.0f} times as large"
    )
    assert memory.growth_bytes < GROWTH_LIMIT_BYTES


def push_stream(client: httpx.Client, repository: str, layer: Layer) -> None:
    begun = client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
    sent = client.patch(begun.headers["location"], content=layer).raise_for_status()
    client.put(sent.headers["location"], params={"digest": layer.digest}).raise_for_status()


def pull_stream(client: httpx.Client, repository: str, digest: str) -> tuple[str, int]:
    received, size_bytes = hashlib.sha256(), 0
    with client.stream("GET", f"/v2/{repository}/blobs/{digest}") as answer:
        answer.raise_for_status()
        for chunk in answer.iter_raw(BLOCK_BYTES):
            received.update(chunk)
            size_bytes += len(chunk)
    return f"sha256:{received.hexdigest()}", size_bytes
