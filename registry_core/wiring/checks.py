"""`portolan check`: is this installation fit to serve? Each check is a sentence and a function that may raise."""

import datetime
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import django
import psycopg
import redis
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from registry_core.config import Config, ConfigError, get_config, mask_url, place_of
from registry_core.database.preflight import connected, require_current, require_usable, schema_state
from registry_core.jobs.broker import require_broker
from registry_core.storage.interface import StorageError
from registry_core.tls.given import check_given
from registry_core.tls.served import Note, read_note

_PROBLEMS = (
    OSError,
    psycopg.Error,
    django.db.Error,
    redis.RedisError,
    SystemCheckError,
    LookupError,
    ValueError,
    ConfigError,
    StorageError,
)


class CheckResult(NamedTuple):
    """What was checked, and the problem (None: none)."""

    what: str
    problem: str | None


def run_checks() -> Iterator[CheckResult]:
    """Check everything that the registry needs, yielding one result after the other; checks that depend on a failed one
    are skipped.

    Raises ConfigError only.
    """
    config = get_config()
    data = _result(f"data directory {config.data} can be written", lambda: _write_probe(config))
    yield data
    if data.problem is None:
        yield _result("the keys can be read", _keys_can_be_read)
        yield _result("the disk has room", lambda: _disk_has_room(config))
    database = _result("database answers, is a fit one, and is migrated", lambda: _migrated(config))
    yield database
    yield _result("redis answers", lambda: _redis_answers(config))
    if data.problem is not None:
        return
    yield _result(f"object store ({config.storage}) keeps an object and gives it back", _store_answers)
    if database.problem is None:
        yield from _of_installation(config)
    yield from _of_certificates(config)
    yield _result("Django's deployment checks pass", _django_checks)


def require_redis(config: Config) -> None:
    """Raises ConfigError for a server without an address or one that refuses us; an unreachable one may start later."""
    try:
        _redis_answers(config)
    except redis.AuthenticationError as error:
        raise ConfigError(f"{place_of('redis_url')}: the server refuses the user or the password ({error})") from None
    except redis.ConnectionError as error:
        if "Name or service not known" in str(error) or "No address associated" in str(error):
            raise ConfigError(
                f"{place_of('redis_url')}: the host has no address: correct its name, or the DNS of this machine"
            ) from None
    except redis.OutOfMemoryError:
        return
    except redis.ResponseError as error:
        raise ConfigError(f"{place_of('redis_url')}: the server refuses the connection ({error})") from None
    except redis.RedisError:
        return


def _result(what: str, check: Callable[[], object]) -> CheckResult:
    try:
        check()
    except _PROBLEMS as error:
        return CheckResult(what, mask_url(" ".join(str(error).split())) or type(error).__name__)
    return CheckResult(what, None)


def _of_installation(config: Config) -> Iterator[CheckResult]:
    """What only the database shows about the other processes and machines."""
    from registry_core.machine.state import machine_id
    from registry_core.processes import heartbeats

    with connected(config.database_dsn) as database:
        seen = heartbeats.seen_by(database)
        living = heartbeats.living_roles(seen)
        if heartbeats.SERVE in living:
            yield _result("a worker runs", lambda: _lives(heartbeats.WORKER, living, "portolan worker"))
            yield _result("a clock runs", lambda: _lives(heartbeats.CLOCK, living, "portolan worker --beat"))
        others = [heartbeat for heartbeat in seen if heartbeat.machine != machine_id()]
        yield _result("keys and folders are those of the installation", lambda: _in_common(database, others))
    yield _result("every store that holds blobs is configured", _stores_are_configured)
    yield _result("nothing stops the sweep of the object store", _is_swept)


def _lives(role: str, living: set[str], remedy: str) -> None:
    if role not in living:
        raise LookupError(f"none has been seen for a minute: start `{remedy}`")


def _in_common(database: psycopg.Connection[Any], others: Any) -> None:
    from registry_core.processes.joining import problems

    if found := problems(database, others):
        raise ValueError("; ".join(found))


def _stores_are_configured() -> None:
    from registry_core.content.check import stores_not_configured

    if missing := stores_not_configured():
        raise ValueError(
            f"blobs are in {', '.join(missing)}, which is not configured, and cannot be pulled: set PORTOLAN_S3_BUCKET "
            "and the settings that belong to it"
        )


def _is_swept() -> None:
    from registry_core.content.installation import sweeping_stopped

    if reason := sweeping_stopped():
        raise ValueError(reason)


def _of_certificates(config: Config) -> Iterator[CheckResult]:
    """What the running `serve` serves, whatever the settings of this shell, and the certificate of these settings."""
    note = read_note(config)
    if note is not None:
        yield _result(f"certificate that process {note.pid} serves is valid", lambda: _is_valid_now(note))
    if config.serves_tls and config.tls_cert is not None:  # `serve` creates and renews those of our own CA
        yield _result("certificate of tls_cert can be served", lambda: check_given(config))


def _write_probe(config: Config) -> None:
    if not config.data.is_dir():
        raise LookupError("it does not exist: set PORTOLAN_DATA, or change to the folder of `portolan up`")
    with tempfile.NamedTemporaryFile(dir=config.data) as probe:
        probe.write(b"probe")
        os.fsync(probe.fileno())


def _keys_can_be_read() -> None:
    from registry_core.processes.keys import require_readable

    require_readable()


def _disk_has_room(config: Config) -> None:
    from registry_core.api.health import Unhealthy, check_disk

    try:
        check_disk(config)
    except Unhealthy as error:
        raise ValueError(f"{error} (disk_free_min_percent)") from None


def _migrated(config: Config) -> None:
    with connected(config.database_dsn) as connection:
        require_usable(connection)
        django.setup()
        require_current(schema_state(connection), allows_newer=config.allow_newer_database)


def _is_valid_now(note: Note) -> None:
    if note.certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise LookupError(
            f"it expired on {note.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: replace {note.path} and its "
            "key; the log of `portolan serve` says why it was not replaced"
        )


def _redis_answers(config: Config) -> None:
    if config.redis_dsn is None:
        raise LookupError("no redis: set PORTOLAN_REDIS_URL, or start `portolan up`")
    require_broker(config.redis_dsn, timeout_s=5)


def _store_answers() -> None:
    from registry_core.api.health import check_storage

    check_storage()


def _django_checks() -> None:
    django.setup()
    call_command("check", deploy=True, fail_level="WARNING", stdout=io.StringIO(), stderr=io.StringIO())
