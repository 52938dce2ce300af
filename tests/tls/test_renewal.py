"""A new certificate is served while requests run, and nobody notices but by its date."""

from __future__ import annotations

import collections
import http.client
import os
import secrets
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_core.machine.processes import wait_gone
from tests.conftest import ServerFactory
from tests.support.extent import IS_FULL
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.tls.certificates import Company, issue, write

LIFETIME_S = 15  # renewed after ten seconds of it
WITHIN_S = 90.0
LOOKS_EACH_SECOND = """
from registry_core.tls import served
from registry_core.wiring.cli import main
served._LOOK_EVERY_S = 1.0
main()
"""


def trusting(authority: bytes | Path) -> ssl.SSLContext:
    if isinstance(authority, bytes):
        return ssl.create_default_context(cadata=authority.decode())
    return ssl.create_default_context(cafile=authority)


def serial_of(server: Server, context: ssl.SSLContext) -> str:
    """The serial number of the certificate that a new connection is shown."""
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        certificate = secured.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


class Clients:
    """Clients that ask without a pause: two with a new connection each time, two that keep theirs."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self._server, self._context = server, context
        self._is_over = threading.Event()
        self.outcomes: collections.Counter[str] = collections.Counter()
        self._threads = [threading.Thread(target=self._ask, args=(keeps,)) for keeps in (True, True, False, False)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, keeps_connection: bool) -> None:
        connection = self._connect()
        while not self._is_over.is_set():
            try:
                connection.request("GET", "/v2/")
                answer = connection.getresponse()
                answer.read()
                self.outcomes[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[f"{type(error).__name__}: {error}"] += 1
                connection.close()
            if not keeps_connection:
                connection.close()  # http.client connects anew for the next request

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self._server.port, context=self._context, timeout=30)


def test_two_renewals_drop_no_request(start_server: ServerFactory) -> None:
    server = start_server(PORTOLAN_TLS="true", PORTOLAN_TLS_LIFETIME_S=str(LIFETIME_S), PORTOLAN_LOG_LEVEL="warning")
    context = trusting(server.authority)
    seen = {serial_of(server, context)}

    def is_new() -> bool:
        seen.add(serial_of(server, context))
        return len(seen) >= 4

    with Clients(server, context) as clients:
        wait_until(is_new, what="three renewals", within_s=WITHIN_S)
    assert set(clients.outcomes) == {"401"}, clients.outcomes
    assert clients.outcomes["401"] > 100


def test_an_upload_that_began_before_a_renewal_ends_after_it(start_server: ServerFactory) -> None:
    server = start_server(PORTOLAN_TLS="true", PORTOLAN_TLS_LIFETIME_S="3600", PORTOLAN_WORKERS="1")
    context = trusting(server.authority)
    old = server.pids()[1]
    body = b"username=" + b"a" * 2000
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        head = f"POST /service/token HTTP/1.1\r\nhost: {server.host}\r\ncontent-length: {len(body)}\r\n\r\n"
        secured.sendall(head.encode() + body[:1000])
        os.kill(server.pids()[0], signal.SIGHUP)
        wait_until(lambda: len(server.pids()) > 2, what="a new worker", within_s=WITHIN_S)
        wait_until(lambda: "Stopping worker-1" in server.log_tail(), what="the old worker is told to end", within_s=30)
        assert old in server.pids()
        secured.sendall(body[1000:])
        assert secured.makefile().readline().startswith("HTTP/1.1 400")  # grant_type is missing, the rest was read
    wait_until(lambda: old not in server.pids(), what="the old worker ends", within_s=WITHIN_S)


@pytest.fixture
def given(start_server: ServerFactory, company: Company, tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """A server of a given certificate behind a link, as certbot and Kubernetes lay them out; and the link."""
    link = tmp_path / "live"
    write(tmp_path / "one", [company.server(), company.intermediate])
    link.symlink_to(tmp_path / "one")
    server = start_server(PORTOLAN_TLS_CERT=str(link / "tls.crt"), PORTOLAN_TLS_KEY=str(link / "tls.key"))
    if not IS_FULL:
        server.stop()
        server.command = [sys.executable, "-c", LOOKS_EACH_SECOND, "serve"]
        server.start()
    yield server, link
    server.stop()


def swing(link: Path, target: Path) -> None:
    draft = link.with_name(secrets.token_hex(4))
    draft.symlink_to(target)
    draft.replace(link)


def test_a_given_certificate_is_served_anew_and_a_bad_one_is_not(
    given: tuple[Server, Path], company: Company, tmp_path: Path
) -> None:
    server, link = given
    context = trusting(company.root.pem)
    first = serial_of(server, context)

    write(tmp_path / "bad", [company.server(), company.intermediate], key=issue("other").key_pem)
    swing(link, tmp_path / "bad")
    wait_until(lambda: "the previous one is still served" in server.log_tail(), what="the log tells", within_s=WITHIN_S)
    assert "does not belong to the certificate" in server.log_tail()
    assert serial_of(server, context) == first

    old = set(server.pids()[1:])
    write(tmp_path / "two", [company.server(), company.intermediate])
    with Clients(server, context) as clients:
        swing(link, tmp_path / "two")
        wait_until(lambda: serial_of(server, context) != first, what="the new one is served", within_s=WITHIN_S)
        wait_until(lambda: not old & set(server.pids()), what="the old workers are gone", within_s=WITHIN_S)
    assert set(clients.outcomes) == {"401"}, clients.outcomes


def test_no_worker_outlives_its_parent(start_server: ServerFactory) -> None:
    server = start_server()
    parent, *workers = server.pids()
    os.kill(parent, signal.SIGKILL)
    for pid in workers:
        assert wait_gone(pid, patience_s=WITHIN_S)
    server.kill()
    server.start()
