"""Mixed traffic on tags, recorded: who moved, deleted and read what, when, and which process answered.

Readers take a connection of their own for each request, so that any worker may answer.
"""

from __future__ import annotations

import secrets
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import psycopg

from tests.support.linearizability import GONE, Operation
from tests.support.people import admin
from tests.support.registry import TIMEOUT_S, Image, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server

_TLS = ssl.create_default_context()  # unused, but each client would make one of its own, which is slow


@dataclass
class TagRecord:
    """What happened to one tag."""

    writes: list[Operation] = field(default_factory=list)
    reads: list[Operation] = field(default_factory=list)


class TagTraffic:
    """Traffic on some tags of one repository: per tag two who move it, one who deletes it now and then, readers."""

    def __init__(
        self,
        repository: str,
        *,
        tags: int,
        write_to: Sequence[Server],
        read_from: Sequence[Server],
        readers: int,
        pause_s: float = 0,
    ) -> None:
        """`pause_s`: between the writes of one writer. What is read often between two writes is remembered, and so
        may be stale."""
        self.repository = repository
        self.tags = {f"tag-{number}": TagRecord() for number in range(tags)}
        self.workers: Counter[str] = Counter()
        self._write_to = write_to
        self._read_from = read_from
        self._readers = readers
        self._pause_s = pause_s
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        scope = f"repository:{repository}:pull,push,delete"
        # One token per server: each machine remembers for itself whom it belongs to.
        servers = {server.url: server for server in (*write_to, *read_from)}
        self._headers = {url: sign_in(server, admin(server), scope) for url, server in servers.items()}
        self._image = self._prepare()

    def run(self, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Let all act for some seconds, and `meanwhile` be done. Raises what any of them raised."""
        work = [
            *(lambda tag=tag, n=n: self._move(tag, n) for tag in self.tags for n in range(2)),
            *(lambda tag=tag: self._delete(tag) for tag in self.tags),
            *(lambda n=n: self._read(n) for n in range(self._readers)),
        ]
        with ThreadPoolExecutor(len(work)) as pool:
            running = [pool.submit(one) for one in work]
            try:
                until_s = time.monotonic() + seconds
                meanwhile()
                while time.monotonic() < until_s and not any(one.done() for one in running):
                    self._is_over.wait(0.05)
            finally:
                self._is_over.set()
            for one in running:
                one.result()

    def order(self, tag: str) -> list[str]:
        """In which order the writes took effect, by the registry's history."""
        project, _, name = self.repository.partition("/")
        with psycopg.connect(self._write_to[0].database_url) as database:
            rows = database.execute(
                """
                SELECT encode(substring(new_digest FROM 2), 'hex') FROM content_taghistory AS history
                JOIN content_repository AS repository ON repository.id = history.repository_id
                JOIN content_project AS project ON project.id = repository.project_id
                WHERE project.name = %s AND repository.name = %s AND tag = %s ORDER BY history.at
                """,
                [project, name, tag],
            ).fetchall()
        deletes = iter(range(1, len(rows) + 1))
        return [f"sha256:{row[0]}" if row[0] else f"{GONE}#{next(deletes)}" for row in rows]

    def _prepare(self) -> Image:
        image = make_image(layer_bytes=64)
        with self._client(self._write_to[0]) as client:
            for content in image.blobs:
                push_blob(client, self.repository, content)
            for tag in self.tags:
                put_manifest(client, self.repository, tag, image)
        return image

    def _client(self, server: Server) -> httpx.Client:
        headers = self._headers[server.url] | {"x-portolan-worker": "1"}
        return httpx.Client(base_url=server.url, headers=headers, timeout=TIMEOUT_S, verify=_TLS)

    def _move(self, tag: str, number: int) -> None:
        with self._client(self._write_to[number % len(self._write_to)]) as client:
            while not self._is_over.wait(self._pause_s):
                note = f', "annotations": {{"n": "{secrets.token_hex(8)}"}}}}'.encode()
                image = Image(self._image.manifest[:-1] + note, self._image.blobs)
                begin_s = time.monotonic()
                put_manifest(client, self.repository, tag, image)
                self.tags[tag].writes.append(Operation(begin_s, time.monotonic(), image.digest))

    def _delete(self, tag: str) -> None:
        deletes = 0
        with self._client(self._write_to[-1]) as client:
            while not self._is_over.wait(max(0.1, 3 * self._pause_s)):
                begin_s = time.monotonic()
                answer = client.delete(f"/v2/{self.repository}/manifests/{tag}")
                assert answer.status_code in {202, 404}, answer.text
                if answer.status_code == 202:
                    deletes += 1
                    self.tags[tag].writes.append(Operation(begin_s, time.monotonic(), f"{GONE}#{deletes}"))

    def _read(self, number: int) -> None:
        turn, names = number, list(self.tags)
        while not self._is_over.is_set():
            turn += 1
            tag, server = names[turn % len(names)], self._read_from[turn // len(names) % len(self._read_from)]
            with self._client(server) as client:
                begin_s = time.monotonic()
                answer = client.get(f"/v2/{self.repository}/manifests/{tag}")
                end_s = time.monotonic()
            assert answer.status_code in {200, 404}, answer.text
            seen = answer.headers["docker-content-digest"] if answer.status_code == 200 else GONE
            self.tags[tag].reads.append(Operation(begin_s, end_s, seen))
            with self._lock:
                self.workers[answer.headers["x-portolan-worker"]] += 1
