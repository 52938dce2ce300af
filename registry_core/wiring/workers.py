"""Worker processes: how granian runs them, and how one replaces another without dropping connections.

granian replaces its workers on SIGHUP. By default that resets connections that wait to be accepted or are in their TLS
handshake, closes others in use, and ends long responses after the grace period of a shutdown: see
docs/adr/0004-https.md. So the listening sockets belong to the parent here, and a worker is drained before it ends.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from granian import Granian
from granian._granian import ListenerSpec
from granian.constants import SSLProtocols

from registry_core import logs
from registry_core.http import draining
from registry_core.machine.processes import death_pact
from registry_core.tls.errors import CertificateRefused
from registry_core.tls.served import ServedFiles

DRAIN_S = 2.0  # for handshakes in progress to end, and busy clients to move to the new worker
YOUNG_S = 5.0
# How often in a row a worker may die young: one that runs out of memory now and then must not end the others, but one
# that cannot start ends the server, with a reason in the log.
YOUNG_DEATHS = 10
RETIRE_WITHIN_S = 3600.0  # how long a response in progress may take after its worker was replaced

_logger = logs.get_logger("portolan.serve")


class Workers(Granian):  # type: ignore[misc,valid-type] # a name for one of several classes, chosen by the platform
    """granian's server with `reload`, which replaces all workers; new workers serve the current certificate."""

    def __init__(
        self,
        *arguments: Any,
        certificate: Callable[[], ServedFiles | None],
        on_bound: Callable[[], None],
        **options: Any,
    ) -> None:
        """`certificate` returns what to serve, now and at each reload; it raises CertificateRefused or OSError.
        `on_bound` is called when the port is open, before there is any worker."""
        super().__init__(*arguments, **options)
        self._certificate = certificate
        self._on_bound = on_bound
        self._retiring: list[Any] = []
        self._young_deaths: dict[int, int] = {}
        self._read_certificate()

    def reload(self) -> None:
        """Request new workers, as SIGHUP does. Returns at once; may be called from any thread."""
        self.signal_handler_reload()

    def _reload(self, spawn_target: Any, target_loader: Any) -> None:
        try:
            self._read_certificate()
        except (CertificateRefused, OSError) as error:
            _logger.error("workers are not replaced, the certificate cannot be served", reason=str(error))
            self.reload_signal = False
            self.main_loop_interrupt.clear()
        else:
            super()._reload(spawn_target, target_loader)

    def _read_certificate(self) -> None:
        """Read what the paths refer to now, which may be links, for the next workers."""
        files = self._certificate()
        if files is not None:
            self.build_ssl_context(files.certificate, files.key, None, SSLProtocols.tls12, None, [], False)

    def _write_pidfile(self) -> None:
        """We have our own pidfile. granian's code for it also visits all processes of the machine, for a memory limit
        that we do not set, which takes more than a MiB."""

    def _init_shared_socket(self) -> None:
        if sys.platform != "linux":
            super()._init_shared_socket()  # one socket for all workers, already owned by the parent
            self._on_bound()
            return
        specification = ListenerSpec(self.bind_addr, self.bind_port, self.backlog)
        # One per worker, so that the kernel distributes connections; created once, so that a queue outlives its worker.
        self._listeners = [specification.build() for _ in range(self.workers)]
        self._sso = None
        self._on_bound()

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Any) -> Any:
        if sys.platform == "linux":
            self._shd = self._listeners[idx]
        target = _dying_with(os.getpid(), target)
        return super()._spawn_worker(idx=idx, target=target, callback_loader=callback_loader)

    def _respawn_workers(self, workers: Sequence[int], spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        for idx in workers:
            if self._is_hopeless(self.wrks[idx]):
                self.respawned_wrks[idx] = time.monotonic()  # granian ends the server at the next death of this one
            old, new = self.wrks[idx], self._spawn_worker(idx=idx, target=spawn_target, callback_loader=target_loader)
            new.start()
            self.wrks[idx] = new
            if old.is_alive():
                self._retiring.append(old)
                threading.Thread(target=self._retire, args=(old, delay), daemon=True).start()
        self._metrics.incr_spawn(len(workers))

    def _is_hopeless(self, worker: Any) -> bool:
        """Whether a worker that is to be replaced died young, as did those before it."""
        died_young = not worker.is_alive() and time.monotonic() - worker.birth < YOUNG_S
        deaths = self._young_deaths.get(worker.idx, 0) + 1 if died_young else 0
        self._young_deaths[worker.idx] = deaths
        return deaths >= YOUNG_DEATHS

    def _retire(self, worker: Any, delay_s: float) -> None:
        """Let a worker end once its successor, started `delay_s` earlier, accepts connections."""
        worker.interrupt_by_parent = True
        time.sleep(delay_s)
        self._unless_gone(lambda: os.kill(worker.inner.pid, draining.SIGNAL))
        time.sleep(DRAIN_S)
        worker.terminate()
        worker.join(RETIRE_WITHIN_S)
        if worker.is_alive():
            _logger.warning("a replaced worker still answers, ending it", pid=worker.inner.pid)
            worker.kill()
        self._retiring.remove(worker)

    def _stop_workers(self) -> None:
        retiring = list(self._retiring)
        for worker in retiring:
            worker.terminate()
        super()._stop_workers()
        for worker in retiring:
            if worker.is_alive():
                worker.kill()

    @staticmethod
    def _unless_gone(action: Callable[[], None]) -> None:
        try:
            action()
        except ProcessLookupError:
            return


def _dying_with(parent: int, target: Callable[..., None]) -> Callable[..., None]:
    """`target` in a worker that dies with its parent: otherwise it would keep the port, which the next parent needs."""
    pact = death_pact(signal.SIGKILL, parent=parent)

    @functools.wraps(target)
    def mortal(*arguments: Any) -> None:
        pact()
        target(*arguments)

    return mortal
