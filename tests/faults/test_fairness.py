"""Many share one server: a large push holds nobody up, and takes no more memory than there is disk to write to."""

from __future__ import annotations

import os
import secrets
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from registry_core.distribution.uploads import PIECE_BYTES
from tests.conftest import ServerFactory
from tests.support.extent import IS_FULL
from tests.support.people import admin, create_project
from tests.support.registry import TIMEOUT_S, digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.tools import tool
from tests.support.waiting import wait_until

WHOLE_BYTES, SHORTENED = 10 << 30, 40
PUSHED_BYTES = WHOLE_BYTES if IS_FULL else WHOLE_BYTES // SHORTENED
P99_FACTOR = 3
ROUNDS, GETS = 5, 1000
WRITE_TAKES_US = 150_000
SLOW_UPLOADS = 4
PIECES_BYTES = 4 << 20  # of one upload, in the server
GROWTH_LIMIT_BYTES = 64 << 20

# A process of its own: a thread of this one would measure how Python shares itself among threads.
_PUSH = """
import http.client, sys
host, path, authorization, size = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
block = bytes(range(256)) * 4096
connection = http.client.HTTPConnection(host)
headers = {"authorization": authorization, "content-length": str(size)}
connection.request("PATCH", path, body=(block for _ in range(size // len(block))), headers=headers)
print(connection.getresponse().status)
"""


@dataclass(frozen=True)
class Site:
    """A server with one image, and the headers of who may do everything there."""

    server: Server
    repository: str
    headers: dict[str, str]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.server.url, headers=self.headers, timeout=TIMEOUT_S)

    def get(self, client: httpx.Client) -> None:
        client.get(f"/v2/{self.repository}/manifests/latest").raise_for_status()

    @contextmanager
    def pushing(self, size_bytes: int) -> Iterator[subprocess.Popen[str]]:
        """Somebody pushes a blob meanwhile, as fast as it goes; killed when it is not through at the end."""
        with self.client() as client:
            path = client.post(f"/v2/{self.repository}/blobs/uploads/").raise_for_status().headers["location"]
        arguments = [self.server.host, path, self.headers["authorization"], str(size_bytes)]
        with subprocess.Popen([sys.executable, "-c", _PUSH, *arguments], stdout=subprocess.PIPE, text=True) as push:
            try:
                yield push
            finally:
                push.kill()


@pytest.fixture(scope="module")
def site(start_server: ServerFactory) -> Site:
    """One worker, so that the push and the pulls meet in it."""
    server = start_server(PORTOLAN_WORKERS="1", PORTOLAN_WATCH_EVENT_LOOP_MS="50")
    create_project(server, "site")
    headers = sign_in(server, admin(server), "repository:site/app:pull,push")
    site = Site(server, "site/app", headers)
    image = make_image(layer_bytes=1000)
    with site.client() as client:
        for content in image.blobs:
            push_blob(client, site.repository, content)
        put_manifest(client, site.repository, "latest", image)
    return site


def test_nothing_holds_up_the_event_loop_while_much_is_pushed_and_pulled(site: Site) -> None:
    before = site.server.log_size_bytes()
    is_over = threading.Event()
    counts: list[int] = []

    def busy(act: Callable[[httpx.Client], None]) -> None:
        count = 0
        with site.client() as client:
            while not is_over.is_set():
                act(client)
                count += 1
        counts.append(count)

    def push_small(client: httpx.Client) -> None:
        content = secrets.token_bytes(100_000)
        push_blob(client, site.repository, content)
        client.get(f"/v2/{site.repository}/blobs/{digest_of(content)}").raise_for_status()
        client.get(f"/v2/{site.repository}/tags/list").raise_for_status()

    threads = [threading.Thread(target=busy, args=(act,)) for act in (site.get, site.get, push_small, push_small)]
    with site.pushing(PUSHED_BYTES) as push:
        for thread in threads:
            thread.start()
        assert push.stdout is not None
        status = push.stdout.readline().strip()
        is_over.set()
        for thread in threads:
            thread.join()

    print(f"{PUSHED_BYTES >> 20} MiB pushed{'' if IS_FULL else f' (shortened {SHORTENED} times)'}, beside it {counts}")
    assert status == "202"
    assert min(counts) > 0
    assert site.server.held_up(since=before) == []


@pytest.mark.skipif(not IS_FULL, reason="compares times, for which the machine must be quiet: PORTOLAN_TEST_FULL=1")
def test_a_large_push_hardly_slows_the_pulls_of_others(site: Site) -> None:
    idle_s, loaded_s = [], []
    for _ in range(ROUNDS):
        idle_s.append(_p99_s(site))
        with site.pushing(WHOLE_BYTES):
            loaded_s.append(_p99_s(site))

    idle, loaded = statistics.median(idle_s), statistics.median(loaded_s)
    print(f"p99 of a manifest GET: {idle * 1000:.2f} ms idle, {loaded * 1000:.2f} ms beside a push")
    assert loaded <= P99_FACTOR * idle


def _in_kernel_bytes() -> int:
    """What one connection's buffers on both sides may grow to: as much as the kernel is set to allow."""
    limits = [Path(f"/proc/sys/net/ipv4/{name}").read_text().split()[2] for name in ("tcp_wmem", "tcp_rmem")]
    return sum(map(int, limits))


def test_clients_wait_while_the_disk_is_slow_and_memory_stays_bounded(site: Site) -> None:
    worker = psutil.Process(site.server.pids()[-1])
    with _slow_disk(site.server.pids()), site.client() as client:
        paths = [
            client.post(f"/v2/{site.repository}/blobs/uploads/").raise_for_status().headers["location"]
            for _ in range(SLOW_UPLOADS)
        ]
        before_bytes = worker.memory_info().rss
        senders = [Sender(site, path) for path in paths]
        wait_until(lambda: all(sender.is_long_at_it() for sender in senders), what="the disk writes", within_s=60)
        grown_bytes = worker.memory_info().rss - before_bytes
        ahead_bytes = [sender.ahead_bytes() for sender in senders]
        for sender in senders:
            sender.stop()

    print(f"grown by {grown_bytes >> 20} MiB, sent {[ahead >> 20 for ahead in ahead_bytes]} MiB ahead of the disk")
    assert max(ahead_bytes) <= PIECES_BYTES + _in_kernel_bytes()
    assert grown_bytes <= GROWTH_LIMIT_BYTES


class Sender:
    """Sends an upload's body as fast as the server takes it, on a thread, and counts what went out."""

    SETTLED_S = 6.0

    def __init__(self, site: Site, path: str) -> None:
        self.sent_bytes = 0
        self._began_at_s = time.monotonic()
        self._is_over = threading.Event()
        self._site, self._path = site, path
        threading.Thread(target=self._send, daemon=True).start()

    def is_long_at_it(self) -> bool:
        """So long that a server that reads on regardless would have taken far more than it may."""
        return self.sent_bytes > 0 and time.monotonic() - self._began_at_s > self.SETTLED_S

    def ahead_bytes(self) -> int:
        """What was sent beyond what the disk can have written by now."""
        writes = (time.monotonic() - self._began_at_s) * 1_000_000 / WRITE_TAKES_US
        return self.sent_bytes - int(writes * PIECE_BYTES)

    def stop(self) -> None:
        self._is_over.set()

    def _send(self) -> None:
        with self._site.client() as client:
            try:
                client.patch(self._path, content=self._body(), headers={"content-length": str(PUSHED_BYTES)})
            except httpx.HTTPError:
                return  # it was stopped

    def _body(self) -> Iterator[bytes]:
        block = bytes(64 << 10)
        while not self._is_over.is_set():
            yield block
            self.sent_bytes += len(block)
        raise httpx.WriteError("stopped")


@contextmanager
def _slow_disk(pids: list[int]) -> Iterator[None]:
    """Every write to an object takes long, as on a disk that is busy."""
    which = [argument for pid in pids for argument in ("-p", str(pid))]
    delay = ["-e", "trace=pwrite64", "-e", f"inject=pwrite64:delay_enter={WRITE_TAKES_US}", "-o", os.devnull]
    command = [str(tool("strace")), "-f", *delay, *which]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        for _ in pids:
            assert "attached" in strace.stderr.readline()
        drain = threading.Thread(target=strace.stderr.read, daemon=True)
        drain.start()
        try:
            yield
        finally:
            strace.send_signal(signal.SIGINT)


def _p99_s(site: Site) -> float:
    taken_s = []
    with site.client() as client:
        for _ in range(GETS):
            began_s = time.perf_counter()
            site.get(client)
            taken_s.append(time.perf_counter() - began_s)
    return sorted(taken_s)[int(GETS * 0.99)]
