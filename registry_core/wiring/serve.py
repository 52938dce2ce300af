"""`portolan serve`: granian in front of the registry's RSGI application."""

import os
import resource
from typing import Any

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from registry_core import logs
from registry_core.config import Config
from registry_core.database.preflight import require_database
from registry_core.http import plain
from registry_core.machine.run_as import become, hand_over
from registry_core.machine.state import generations
from registry_core.processes.joining import join
from registry_core.tls.given import check_given
from registry_core.tls.names import is_for_this_machine_alone
from registry_core.tls.served import Renewal, ServedFiles, forget_note, note_served, prepare
from registry_core.wiring import cache_report, oddities
from registry_core.wiring.preload import preload
from registry_core.wiring.supervisor.ports import require_free
from registry_core.wiring.workers import Workers

BACKLOG = 2048
# The most per connection: the server reads a body in pieces of this size, and each is a switch between its threads and
# ours. It is larger than a piece of an upload (`distribution.uploads.PIECE_BYTES`), so that one read brings a whole
# piece. A client that does not read its response, or sends endless headers, occupies as much.
HTTP_BUFFER_BYTES = 640 << 10

_logger = logs.get_logger("portolan.serve")


def serve(config: Config) -> None:
    """Answer requests until SIGTERM or SIGINT; requests in progress get `shutdown_grace_s`. SIGHUP replaces the workers
    without dropping a connection.

    Raises PortBusy, ConfigError if a person must act first, psycopg.OperationalError if the database stays unreachable,
    OSError.
    """
    # granian shares the port with any process that asked for sharing (SO_REUSEPORT), so a second registry would go
    # unnoticed.
    require_free(config.host, config.port)
    logs.configure(config)
    _allow_open_files()
    if config.serves_tls and config.http_port is not None:
        require_free(config.host, config.http_port, key="http_port")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry_core.wiring.settings")
    preload()
    hand_over(config)
    if config.tls_cert is not None:
        check_given(config)  # what a person must mend is told without waiting for the database
    generations()  # here, so that a full disk is a message and not the end of each worker
    require_database(config)
    join(config)
    workers = _workers(config)
    if config.serves_tls:
        _warn_of_names(config)
        Renewal(config, on_change=workers.reload).start()
    cache_report.forward(lambda: [worker.inner.pid for worker in workers.wrks])
    workers.serve(target_loader=_app)


def _certificate(config: Config) -> ServedFiles | None:
    files = prepare(config)
    if files is None:
        forget_note(config)
    else:
        note_served(config, files)
    return files


def _bound(config: Config) -> None:
    plain.bind(config)
    become(config)
    oddities.log_oddities(config)


def _warn_of_names(config: Config) -> None:
    if config.tls_cert is None and is_for_this_machine_alone(config):
        _logger.warning(
            "the certificate is for localhost only, but other machines can connect: set PORTOLAN_HOSTNAME to the "
            "names and addresses that clients use"
        )


def _app(_target: str) -> Any:
    """The application of this worker. granian's own search for it would compile a pattern in each worker."""
    from registry_core.wiring import rsgi  # imported by `preload`

    return rsgi.app


def _workers(config: Config) -> Workers:
    return Workers(
        "registry_core.wiring.rsgi:app",
        address=config.host,
        port=config.port,
        interface=Interfaces.RSGI,
        workers=config.workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,  # on HTTP/2 a truncated body cannot be distinguished from a complete one
        websockets=False,
        certificate=lambda: _certificate(config),
        on_bound=lambda: _bound(config),
        log_level=LogLevels.info,
        log_dictconfig=logs.granian_log_config(),
        log_access=False,
        backlog=BACKLOG,
        backpressure=config.max_connections,
        http1_settings=HTTP1Settings(
            header_read_timeout=config.header_timeout_s * 1000, max_buffer_size=HTTP_BUFFER_BYTES
        ),
        respawn_failed_workers=True,
        workers_kill_timeout=config.shutdown_grace_s,
    )


def _allow_open_files() -> None:
    """Raise this process's limit of open files, often 1024, to the system's maximum."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
