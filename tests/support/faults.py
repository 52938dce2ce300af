"""An HTTP proxy in front of an object store that makes requests fail in the ways that stores and networks do."""

import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

SERVER_ERROR = "500"
SLOW_DOWN = "503"
RESET_BEFORE = "reset before the store has seen the request"
RESET_AFTER = "reset after the store has served the request"
TRUNCATED = "half of the answer's body, then the end"
SLOW = "no answer for a while"
TRICKLE = "the answer's body piece by piece"
LIE = "200 without doing anything"

SLOW_S = 3.0
_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>"
_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "expect"}


@dataclass
class Rule:
    """Which requests fail, in which way, and how often (-1: always)."""

    fault: str
    method: str
    matches: Callable[[str], bool]
    times: int


class FaultyStore:
    """The proxy. `fail(…)` adds a rule; `seen` counts the requests by method, `hits` the faults that were injected."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.hits = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(
        self, fault: str, *, method: str, matches: Callable[[str], bool] = lambda path: True, times: int = 1
    ) -> None:
        """From now on, the next `times` requests that match fail so."""
        with self._lock:
            self._rules.append(Rule(fault, method, matches, times))

    def heal(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._rules.clear()

    def fault_for(self, method: str, path: str) -> str:
        with self._lock:
            self.seen[method] += 1
            for rule in self._rules:
                if rule.times and rule.method == method and rule.matches(path):
                    rule.times -= 1
                    self.hits += 1
                    return rule.fault
        return ""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store, port = self, self._target_port

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                fault = store.fault_for(self.command, self.path)
                if fault == RESET_BEFORE:
                    return self._reset()
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if fault in {SERVER_ERROR, SLOW_DOWN}:
                    code = "InternalError" if fault == SERVER_ERROR else "SlowDown"
                    return self._answer(int(fault), {}, _ERROR.format(code=code).encode())
                if fault == LIE:
                    return self._answer(200, {}, b"")
                if fault == SLOW:
                    time.sleep(SLOW_S)  # being slow is what this is about
                status, headers, answer = self._forward(body)
                if fault == RESET_AFTER:
                    return self._reset()
                self._answer(status, headers, answer, fault)
                return None

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

            def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_HEADERS}
                upstream.request(self.command, self.path, body=body, headers=headers)
                answer = upstream.getresponse()
                kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_HEADERS}
                content = answer.read()
                upstream.close()
                return answer.status, kept, content

            def _answer(self, status: int, headers: dict[str, str], body: bytes, fault: str = "") -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in {"content-length", "date", "server"}:
                        self.send_header(name, value)
                length = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
                self.send_header("content-length", length)
                self.end_headers()
                self._send_body(body, fault)

            def _send_body(self, body: bytes, fault: str) -> None:
                if self.command == "HEAD":
                    return
                if fault == TRUNCATED:
                    self.wfile.write(body[: len(body) // 2])
                    self.close_connection = True
                elif fault == TRICKLE:
                    for at in range(0, len(body), 1 + len(body) // 5):
                        self.wfile.write(body[at : at + 1 + len(body) // 5])
                        time.sleep(SLOW_S / 30)  # being slow is what this is about
                else:
                    self.wfile.write(body)

            def _reset(self) -> None:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True

            def log_message(self, format: str, *arguments: object) -> None:
                """The tests have their own."""

        return Handler
