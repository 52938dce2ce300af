"""The server adapter: translates between the server's interface (RSGI) and our requests and responses.

See docs/adr/0002-server-interface.md for the reasons, and for what this adapter must guard against.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import secrets
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import django
from granian._granian import RSGIHTTPProtocol, RSGIProtocolClosed
from granian.rsgi import Scope

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry_core.wiring.settings")
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402 Django must be set up first
from django.db import Error as DatabaseError  # noqa: E402

from registry_core import logs  # noqa: E402
from registry_core.config import get_config  # noqa: E402
from registry_core.content.policies import load_plugins  # noqa: E402
from registry_core.database import outage  # noqa: E402
from registry_core.distribution import cached_answers  # noqa: E402
from registry_core.distribution import errors as oci_errors  # noqa: E402
from registry_core.distribution.app import answer  # noqa: E402
from registry_core.distribution.services import Services, make_services  # noqa: E402
from registry_core.distribution.token import service_token  # noqa: E402
from registry_core.events import repeated  # noqa: E402
from registry_core.http import (  # noqa: E402
    callers,
    draining,
    forwarded,
    hosts,
    outgoing,
    plain,
    relays,
    threads,
)
from registry_core.http.answers import under_prefix  # noqa: E402
from registry_core.http.bodies import Body, BodyMemory  # noqa: E402
from registry_core.http.crowding import Crowding  # noqa: E402
from registry_core.http.fairness import Shared  # noqa: E402
from registry_core.http.messages import (  # noqa: E402
    BodyTooSlow,
    ClientGone,
    FilePart,
    Header,
    Request,
    Response,
    TooManyBodies,
)
from registry_core.http.refusals import refusal  # noqa: E402
from registry_core.machine.sockets import local_end  # noqa: E402
from registry_core.processes import heartbeats  # noqa: E402
from registry_core.storage.stores import default_store, flush_stores  # noqa: E402
from registry_core.wiring import cache_report, django_mount  # noqa: E402
from registry_core.wiring.loop_watch import LoopWatch  # noqa: E402

_django = get_wsgi_application()  # here, for all workers to share
_logger = logs.get_logger("portolan.serve")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
CLEAR_DEAD_S = 1.0
TELL_REPEATED_S = 5.0
FLUSH_LOG_S = 0.05
FLUSH_LOG_AT_REST_S = 0.2
UNREAD_MAX_BYTES = 1 << 20
UNREAD_S = 5.0
_SPECIAL = frozenset({"if-none-match", "content-length", "transfer-encoding", "x-request-id"})
"""Headers with which the response to a pull may differ from the cached one."""
WORKER = "x-portolan-worker"
"""While the event loop is watched, asks which process answers."""
_ALL_ADDRESSES = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 not to listen there
_BODILESS = frozenset({204, 304})


class Registry:
    """One worker of `portolan serve`."""

    def __init__(self) -> None:
        self._django = _django
        self._services: Services | None = None
        self._background: list[asyncio.Task[None]] = []
        self._plain: asyncio.Server | None = None
        self._is_draining = False
        self._crowding = Crowding()
        self._body_memory = Shared(get_config().body_memory_bytes)
        # Trusted proxies send the client's address in headers.
        self._may_answer_again = False
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        logs.configure()
        load_plugins()
        loop.run_until_complete(self._open())
        assert self._services is not None  # noqa: S101 for the type checker
        self._background = [
            loop.create_task(self._in_background(task))
            for task in (
                self._services.pulls.run(),
                self._services.tail.run(),
                self._clear_dead_marks(),
                outage.watch(self._services.generations.unreachable_for_s),
                heartbeats.beat_for_ever(heartbeats.SERVE, self._services.pool),
                self._crowding.run(),
                _tell_repeated_events(),
                _flush_access_log(),
            )
        ]
        loop.add_signal_handler(draining.SIGNAL, self._drain)
        loop.add_signal_handler(cache_report.SIGNAL, cache_report.log_caches)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(self._close())

    async def __rsgi__(self, scope: Scope, protocol: RSGIHTTPProtocol) -> None:
        started_s = time.perf_counter()
        lines = scope.headers.items()
        headers = dict(lines)
        if not self._answer_again(scope, lines, headers, protocol, started_s):
            await self._answer(scope, lines, headers, protocol, started_s)

    def _answer_again(
        self,
        scope: Scope,
        lines: Sequence[Header],
        headers: dict[str, str],
        protocol: RSGIHTTPProtocol,
        started_s: float,
    ) -> bool:
        """Answer a plain request for a manifest or a blob from the cache; returns whether it did.

        Does what `_answer` would do, without its objects and coroutines: nearly all requests are of this kind, and
        those took half of Python's time.
        """
        if not self._may_answer_again or len(lines) != len(headers) or not _SPECIAL.isdisjoint(headers):
            return False
        services, method, path, host = self._services, scope.method, scope.path, headers.get("host", "")
        assert services is not None  # noqa: S101 for the type checker
        if not hosts.is_valid(host) or services.generations.unreachable_for_s():
            return False
        cached = cached_answers.get(method, path, headers, services)
        client = scope.client
        if cached is None or self._crowding.must_end(client):
            return False
        request_id = f"{self._id_prefix}{next(self._ids):08x}"
        is_secure = scope.scheme == "https" and outgoing.is_secure("https", host)
        sent = outgoing.of_class(cached.headers, outgoing.REGISTRY)
        sent += outgoing.of_connection(request_id, is_secure=is_secure)
        if WORKER in headers:
            sent += _own_process()
        size_bytes = _send_at_once(method, cached.status, sent, cached.content, cached.file, protocol)
        logs.access(
            request_id=request_id,
            method=method,
            path=path,
            status=cached.status,
            size_bytes=size_bytes,
            duration_ms=(time.perf_counter() - started_s) * 1000,
            client=forwarded.written(client),
            user=cached.user,
            action=cached.action,
            repository=cached.repository,
        )
        return True

    async def _answer(
        self,
        scope: Scope,
        lines: Sequence[Header],
        headers: dict[str, str],
        protocol: RSGIHTTPProtocol,
        started_s: float,
    ) -> None:
        peer = scope.client
        body = self._crowding.in_progress[peer] = Body(protocol, headers, scope)
        memory = None
        try:
            named, problem = _host(scope, lines, headers)
            headers["host"] = named or await _came_to(scope, peer)
            request = _request(scope, peer, lines, headers, body, new_id=f"{self._id_prefix}{next(self._ids):08x}")
            request.problem = problem
            if body.is_there:
                memory = body.memory = BodyMemory(self._body_memory)
                request.keep = memory.take
            callers.begin(request.address, headers.get("authorization", "") or headers.get("cookie", ""))
            response = await self._response(request)
            is_last = self._is_draining or self._crowding.must_end(peer) or not await _is_body_done(request, body)
            self._complete(request, response, is_last=is_last)
            size_bytes = await _send(request, response, protocol)
            _log(request, response, size_bytes, started_s)
        finally:
            if memory is not None:
                memory.give_back()
            self._crowding.in_progress.pop(peer, None)

    async def _response(self, request: Request) -> Response:
        """The response, including for unexpected errors."""
        try:
            if request.problem:
                return refusal(request.path, 400, request.problem)
            response = await self._route(request)
            if response.relay is not None and request.method != "HEAD":
                await relays.gather(response)
            return response
        except BodyTooSlow:
            message = "the request's body arrived too slowly: check the network, then try again"
            return refusal(request.path, 408, message)
        except ClientGone:
            message = "the request's body was incomplete: send it again"
            return refusal(request.path, 400, message)
        except TooManyBodies as error:
            wait = ("retry-after", str(error.RETRY_AFTER_S))
            return refusal(request.path, error.status, str(error), wait)
        except Exception as error:
            return oci_errors.respond(request, error) or oci_errors.unforeseen(request)

    def _complete(self, request: Request, response: Response, *, is_last: bool) -> None:
        """Add the headers that every response gets."""
        is_secure = outgoing.is_secure(request.scheme, request.host)
        if WORKER in request.headers:
            response.headers += _own_process()
        response.headers = [
            *outgoing.of_class(response.headers, outgoing.class_of(request.path)),
            *outgoing.of_connection(request.id, is_secure=is_secure, is_last=is_last),
        ]

    async def _in_background(self, task: Coroutine[Any, Any, None]) -> None:
        try:
            await task
        except Exception:  # the task is not awaited, so only this line reports its end
            _logger.exception("a task of this worker has ended: restart the registry, and report this")
            raise

    async def _route(self, request: Request) -> Response:
        assert self._services is not None  # noqa: S101 for the type checker
        if request.path == "/v2" or request.path.startswith("/v2/"):
            return under_prefix(await answer(request, self._services), get_config().url_prefix)
        if request.path == "/service/token":
            request.action = "token"
            return await service_token(request, self._services)
        return await django_mount.call(self._django, request, self._services, prefix=get_config().url_prefix)

    async def _open(self) -> None:
        await threads.run_plain(default_store)
        self._services = make_services()
        await self._services.pool.open(wait=False)
        self._may_answer_again = not get_config().trusted_proxies
        self._plain = await plain.listen(get_config())

    def _drain(self) -> None:
        """Accept no new connections, and close each one after its next response: another worker has taken over."""
        self._is_draining, self._may_answer_again = True, False
        if self._plain is not None:
            self._plain.close()
        draining.stop_accepting()

    async def _close(self) -> None:
        if self._plain is not None:
            self._plain.close()
        for task in self._background:
            task.cancel()
        logs.flush_access()
        if self._services is not None:
            await self._services.pulls.flush()
            with contextlib.suppress(DatabaseError):
                await threads.run_plain(repeated.flush_all)
            await self._services.pool.close()
        await threads.run_plain(flush_stores)

    async def _clear_dead_marks(self) -> None:
        while True:
            assert self._services is not None  # noqa: S101 for the type checker
            self._services.generations.clear_dead()
            await asyncio.sleep(CLEAR_DEAD_S)


class WatchedRegistry(Registry):
    """One worker that logs what blocks its event loop."""

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watch = LoopWatch(get_config().watch_event_loop_ms / 1000)
        super().__rsgi_init__(loop)

    async def __rsgi__(self, scope: Scope, protocol: RSGIHTTPProtocol) -> None:
        await self._watch.watched(super().__rsgi__(scope, protocol), f"{scope.method} {scope.path}")

    async def _in_background(self, task: Coroutine[Any, Any, None]) -> None:
        await super()._in_background(self._watch.watched(task, getattr(task, "__qualname__", "a background task")))


def _own_process() -> list[Header]:
    return [(WORKER, str(os.getpid()))] if get_config().watch_event_loop_ms else []


async def _tell_repeated_events() -> None:
    while True:
        await asyncio.sleep(TELL_REPEATED_S)
        if repeated.is_due():
            with contextlib.suppress(DatabaseError):  # they stay counted, and are written with the next
                await threads.run(repeated.flush_due)


async def _flush_access_log() -> None:
    was_asked = False
    while True:
        await asyncio.sleep(FLUSH_LOG_S if was_asked else FLUSH_LOG_AT_REST_S)
        was_asked = logs.flush_access()


def _request(
    scope: Scope, peer: str, lines: Sequence[Header], headers: dict[str, str], body: Body, *, new_id: str
) -> Request:
    config = get_config()
    given = headers.get("x-request-id", "")
    if config.trusted_proxies:
        headers |= forwarded.joined(lines)
    origin = forwarded.origin_of(peer=peer, scheme=scope.scheme, headers=headers, trusted=config.trusted_proxies)
    return Request(
        method=scope.method,
        path=scope.path,
        query_string=scope.query_string,
        headers=headers,
        address=origin.address,
        scheme=origin.scheme,
        host=origin.host,
        id=given if _REQUEST_ID.fullmatch(given) else new_id,
        base_url=config.external_url or f"{origin.scheme}://{origin.host}",
        chunks=body,
    )


async def _came_to(scope: Scope, peer: str) -> str:
    """The address that the connection was made to: the server only tells the one that it listens on, which may be
    all."""
    address, _, port = scope.server.rpartition(":")
    if address not in _ALL_ADDRESSES:
        return scope.server
    return await threads.run_plain(local_end, peer, int(port)) or scope.server


def _host(scope: Scope, lines: Sequence[Header], headers: Mapping[str, str]) -> tuple[str | None, str]:
    """The host of the request, and any problem with how it is stated."""
    try:
        return hosts.named_host(lines, headers, target=scope.authority, version=scope.http_version), ""
    except hosts.BadHost as error:
        return None, str(error)


async def _is_body_done(request: Request, body: Body) -> bool:
    """Whether the connection can carry another request: the body was read, or is short enough to be read now.

    Clients that send a body before they know that it is refused read the response only after sending; closing the
    connection early looks like a network failure to them.
    """
    if body.is_ended or not body.is_there:
        return True
    length = body.declared_bytes
    if body.is_read or length is None or length > UNREAD_MAX_BYTES or "expect" in request.headers:
        return False
    try:
        async with asyncio.timeout(UNREAD_S):
            async for _ in body():
                pass
    except (ClientGone, TimeoutError, TooManyBodies):
        return False
    return True


async def _send(request: Request, response: Response, protocol: RSGIHTTPProtocol) -> int:
    """Send the response; returns the size of its body."""
    if request.method != "HEAD" and response.relay is not None:
        return await relays.send(response, response.relay, protocol)
    return _send_at_once(request.method, response.status, response.headers, response.body, response.file, protocol)


def _send_at_once(
    method: str, status: int, headers: list[Header], body: bytes, part: FilePart | None, protocol: RSGIHTTPProtocol
) -> int:
    """Send a response with its body in memory or in a file; returns the body's size."""
    if method == "HEAD" or status in _BODILESS:
        protocol.response_empty(status, headers)
        return 0
    try:
        if part is None or part.length_bytes == 0:
            protocol.response_bytes(status, headers, body)
            return len(body)
        protocol.response_file_range(status, headers, str(part.path), part.start, part.start + part.length_bytes)
    except RSGIProtocolClosed:
        return 0
    return part.length_bytes


def _log(request: Request, response: Response, size_bytes: int, started_s: float) -> None:
    logs.access(
        request_id=request.id,
        method=request.method,
        path=request.path,
        status=response.status,
        size_bytes=size_bytes,
        duration_ms=(time.perf_counter() - started_s) * 1000,
        client=request.address,
        user=request.user,
        action=request.action or None,
        repository=request.repository or None,
    )


def __getattr__(name: str) -> Any:
    """Create the app when the server asks for it, in the worker's own process."""
    if name == "app":
        return WatchedRegistry() if get_config().watch_event_loop_ms else Registry()
    raise AttributeError(name)
