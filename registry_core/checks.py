"""`portolan check`: is this installation fit to serve? Each check is one sentence and a function that may raise."""

import datetime
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import django
import psycopg
import redis
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from registry_core.config import Config, get_config, mask_url
from registry_core.durable import make_folder
from registry_core.storage.interface import StorageError
from registry_core.tls.errors import CertificateRefused
from registry_core.tls.given import check_given
from registry_core.tls.served import served_certificate

_PROBLEMS = (
    OSError,
    psycopg.Error,
    redis.RedisError,
    SystemCheckError,
    LookupError,
    ValueError,
    SystemExit,
    CertificateRefused,
    StorageError,
)


class CheckResult(NamedTuple):
    """What was looked at, and what is wrong with it (None: nothing)."""

    what: str
    problem: str | None


def run_checks() -> Iterator[CheckResult]:
    """Look at everything `serve` needs, one result after the other. Raises ConfigError only."""
    config = get_config()
    yield _result(f"data directory {config.data} can be written", lambda: _write_probe(config))
    yield _result("database answers and is migrated", lambda: _migrated(config))
    yield _result("redis answers", lambda: _redis_answers(config))
    yield _result(f"object store ({config.storage}) keeps an object and gives it back", _store_answers)
    if config.serves_tls:
        yield _result("certificate can be served", lambda: _certificate_is_good(config))
    yield _result("Django's deployment checks pass", _django_checks)


def _result(what: str, check: Callable[[], None]) -> CheckResult:
    try:
        check()
    except _PROBLEMS as error:
        return CheckResult(what, mask_url(str(error).strip()) or type(error).__name__)
    return CheckResult(what, None)


def _write_probe(config: Config) -> None:
    make_folder(config.data)
    with tempfile.NamedTemporaryFile(dir=config.data) as probe:
        probe.write(b"probe")
        os.fsync(probe.fileno())


def _migrated(config: Config) -> None:
    if config.database_dsn is None:
        raise LookupError("no database: set PORTOLAN_DATABASE_URL, or start `portolan up`")
    with psycopg.connect(config.database_dsn, connect_timeout=5) as connection:
        connection.execute("SELECT 1")
    django.setup()
    try:
        call_command("migrate", check_unapplied=True, verbosity=0, stdout=io.StringIO())
    except SystemExit:
        raise LookupError("migrations are missing: run `portolan migrate`") from None


def _certificate_is_good(config: Config) -> None:
    if config.tls_cert is not None:
        check_given(config)
    elif served_certificate(config).not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise LookupError("the certificate has expired: `portolan serve` renews it when it starts, and while it runs")


def _redis_answers(config: Config) -> None:
    if config.redis_dsn is None:
        raise LookupError("no redis: set PORTOLAN_REDIS_URL, or start `portolan up`")
    with redis.Redis.from_url(config.redis_dsn, socket_timeout=5, socket_connect_timeout=5) as client:
        client.ping()


def _store_answers() -> None:
    from registry_core.api.health import check_storage

    check_storage()


def _django_checks() -> None:
    django.setup()
    call_command("check", deploy=True, fail_level="WARNING", stdout=io.StringIO(), stderr=io.StringIO())
