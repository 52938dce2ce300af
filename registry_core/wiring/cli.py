"""The command `portolan`: parses, calls one operation, presents. Operations are imported when they run."""

import contextlib
import errno
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import django.db
import psycopg
import typer

from registry_core.access import of_system
from registry_core.config import CONFIG_PATH_VARIABLE, ConfigError, describe, get_config, place_of
from registry_core.config.sources import variables_of_kubernetes
from registry_core.errors import OperationError
from registry_core.storage.interface import StorageError
from registry_core.wiring import cli_jobs, cli_storage, cli_tls, cli_trash
from registry_core.wiring.cli_common import (
    EXIT_ALREADY_RUNNING,
    EXIT_CONFIGURATION,
    EXIT_FAILED,
    EXIT_PORT_BUSY,
    drop_root,
    operation,
    require,
)
from registry_core.wiring.supervisor.errors import AlreadyRunning, PortBusy, SupervisorError

CONCURRENCY = 4
_CANNOT_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR}

_HELP = """Portolan, an enterprise container registry.

Settings come from PORTOLAN_* variables, then the configuration file, then defaults: see `portolan settings`.

Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 wrong configuration, 4 already running, 5 port busy.
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
keys_app = typer.Typer(help="Manage the keys that sign tokens.", no_args_is_help=True)
app.add_typer(cli_storage.app, name="storage")
app.add_typer(keys_app, name="keys")
app.add_typer(cli_tls.app, name="tls")
app.add_typer(cli_trash.app, name="trash")
app.command()(cli_trash.gc)
app.add_typer(cli_jobs.app, name="jobs")


def main() -> NoReturn:
    """Entry point of the console script: runs a command and converts expected errors into exit codes."""
    _exit_after(app)


def _exit_after(command: Callable[[], object]) -> NoReturn:
    try:
        command()
    except ConfigError as error:
        _leave(EXIT_CONFIGURATION, error)
    except AlreadyRunning as error:
        _leave(EXIT_ALREADY_RUNNING, error)
    except PortBusy as error:
        _leave(EXIT_PORT_BUSY, error)
    except OSError as error:
        wrong = _of_our_folders(error)
        _leave(EXIT_CONFIGURATION if wrong else EXIT_FAILED, wrong or error)
    except (SupervisorError, StorageError, psycopg.OperationalError, django.db.OperationalError) as error:
        _leave(EXIT_FAILED, error)
    sys.exit(0)


def _of_our_folders(error: OSError) -> ConfigError | None:
    """For a folder that this account cannot create or write, an error that names its setting; None for other errors."""
    if error.errno not in _CANNOT_WRITE or not isinstance(error.filename, str):
        return None
    for key, folder in (("machine", get_config().machine), ("data", get_config().data)):
        if folder is not None and Path(error.filename) in {folder, *folder.parents}:
            return ConfigError(
                f"{place_of(key)}: cannot create or write {error.filename} ({error.strerror}): name a folder that this "
                "account may write, or give this one to it"
            )
    return None


@app.callback()
def _global_options(
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration file; default: $PORTOLAN_CONFIG, else ./portolan.yml if it exists."),
    ] = None,
) -> None:
    if config is not None:
        os.environ[CONFIG_PATH_VARIABLE] = str(config.absolute())
        get_config.cache_clear()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry_core.wiring.settings")


@app.command()
def up(is_tls: cli_tls.IsTls = False, cert: cli_tls.CertPath = None, key: cli_tls.KeyPath = None) -> None:
    """Run everything on this machine: embedded Postgres and Valkey (unless configured), serve, worker --beat."""
    from registry_core import logs
    from registry_core.wiring.supervisor.up import run_up

    config = cli_tls.with_options(is_tls=is_tls, cert=cert, key=key)
    logs.configure(config)
    work = partial(_work, concurrency=CONCURRENCY, is_beating=True, is_alone=False)
    commands = {"serve": partial(_exit_after, _serve), "worker": partial(_exit_after, work)}
    raise typer.Exit(run_up(config, commands=commands))


@app.command()
def serve(is_tls: cli_tls.IsTls = False, cert: cli_tls.CertPath = None, key: cli_tls.KeyPath = None) -> None:
    """Answer requests: the OCI endpoint, the REST API and the console."""
    cli_tls.with_options(is_tls=is_tls, cert=cert, key=key)
    _serve()


@app.command()
def worker(
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs at a time, each in a thread.")] = CONCURRENCY,
    is_beating: Annotated[
        bool,
        typer.Option("--beat", help="Also run the clock, instead of `portolan beat`; at least one per installation."),
    ] = False,
) -> None:
    """Run jobs: those that somebody starts, and those that the clock starts."""
    _work(concurrency=concurrency, is_beating=is_beating)


@app.command()
def beat() -> None:
    """Run periodic work, start scheduled jobs and wake the workers. At least one per installation."""
    _prepare_jobs()
    from registry_core.processes.heartbeats import CLOCK, beating
    from registry_core.wiring import clock

    with beating([CLOCK]):
        clock.run_clock()


@app.command()
def migrate() -> None:
    """Bring the database up to date; the first time also create the account admin and the project library."""
    from registry_core import logs
    from registry_core.wiring.migrate import migrate_database

    logs.configure()
    drop_root(get_config())
    migrate_database()


@app.command()
def createuser(
    username: Annotated[str, typer.Argument(help="Name to sign in with.")],
    email: Annotated[str, typer.Option(help="Address of the user.")] = "",
    is_sysadmin: Annotated[bool, typer.Option("--admin", help="May do everything.")] = False,
    is_reset: Annotated[
        bool, typer.Option("--reset", "--set-password", help="Set the password of an existing user.")
    ] = False,
) -> None:
    """Create a user, or set a user's password. The password is prompted for, or read from standard input."""
    if is_reset and (is_sysadmin or email):
        raise typer.BadParameter("--reset only sets a password: leave out --admin and --email")
    users, password, cause = operation("rbac.services.users"), _ask_password(), of_system("command")
    try:
        if is_reset:
            users.set_password(user=_user(username), password=password, cause=cause)
        else:
            users.create_user(username=username, password=password, email=email, is_sysadmin=is_sysadmin, cause=cause)
    except OperationError as error:
        _leave(EXIT_FAILED, error)
    typer.echo(f"set the password of {username}" if is_reset else f"created the user {username}")


@app.command()
def check() -> None:
    """Check whether this installation is fit to serve; exit code 1 if not."""
    from registry_core.wiring.checks import run_checks

    drop_root(get_config())
    has_failed = False
    for what, problem in run_checks():
        typer.echo(f"{'ok    ' if problem is None else 'FAILED'}  {what}{f': {problem}' if problem else ''}")
        has_failed = has_failed or problem is not None
    raise typer.Exit(EXIT_FAILED if has_failed else 0)


@app.command()
def settings(
    is_explaining: Annotated[
        bool, typer.Option("--explain", help="Also show the purpose, unit, default and limits of each.")
    ] = False,
    is_sample: Annotated[
        bool, typer.Option("--sample", help="Write a portolan.yml with all settings, commented out.")
    ] = False,
) -> None:
    """Show every setting, its value (secrets masked) and its origin."""
    from registry_core.wiring import settings_reference

    if is_sample:
        typer.echo(settings_reference.sample(), nl=False)
        return
    if is_explaining:
        typer.echo(settings_reference.explained(describe(get_config())), nl=False)
        return
    if ignored := variables_of_kubernetes():
        typer.echo(f"ignored, as Kubernetes sets them for a Service:  {', '.join(ignored)}", err=True)
    rows = describe(get_config())
    key_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    for key, value, source in rows:
        typer.echo(f"{key:<{key_width}}  {value:<{value_width}}  {source}")


@app.command()
def version() -> None:
    """Show the version of Portolan."""
    typer.echo(importlib.metadata.version("portolan"))


@app.command()
def openapi() -> None:
    """Write the OpenAPI description of the REST API to standard output."""
    from django.core.management import call_command

    with tempfile.TemporaryDirectory() as folder:  # Django creates keys, which DATA need not have for this
        os.environ["PORTOLAN_DATA"] = folder
        get_config.cache_clear()
        django.setup()
        call_command("spectacular")


@keys_app.command("rotate")
def keys_rotate() -> None:
    """Create a new key for signing tokens; tokens signed by the old one are valid until they expire."""
    from registry_core.tokens.keys import key_ring

    if not get_config().data.is_dir():  # a key in a wrong folder would never be used
        raise ConfigError(
            f"{get_config().data.absolute()} does not exist: set PORTOLAN_DATA, or change to the folder "
            "in which `portolan up` was started"
        )
    drop_root(get_config())
    typer.echo(f"new key: {key_ring().rotate()}")


def _serve() -> None:
    from registry_core.wiring import serve as server

    config = get_config()
    require(config.database_dsn, "PORTOLAN_DATABASE_URL")
    server.serve(config)


def _work(*, concurrency: int, is_beating: bool, is_alone: bool = True) -> None:
    """`is_alone`: not beside a `serve` of the same `up`, which logs oddities for both."""
    _prepare_jobs(is_logging_oddities=is_alone)
    from registry_core.events.follower import following
    from registry_core.processes.heartbeats import CLOCK, WORKER, beating
    from registry_core.wiring import celery, clock

    with contextlib.ExitStack() as meanwhile:
        if is_beating:
            is_ticking = meanwhile.enter_context(clock.ticking())
            meanwhile.enter_context(beating([CLOCK], while_=is_ticking))
        meanwhile.enter_context(beating([WORKER]))
        meanwhile.enter_context(following())
        celery.run_worker(concurrency=concurrency)


def _prepare_jobs(*, is_logging_oddities: bool = True) -> None:
    """Return when jobs can be run, as the account that is to run them."""
    from registry_core import logs
    from registry_core.database.preflight import require_database
    from registry_core.processes.joining import join
    from registry_core.wiring import oddities
    from registry_core.wiring.checks import require_redis

    config = get_config()
    logs.configure(config)
    require(config.redis_dsn, "PORTOLAN_REDIS_URL")
    require(config.database_dsn, "PORTOLAN_DATABASE_URL")
    drop_root(config)
    require_redis(config)
    django.setup()
    require_database(config)
    join(config)
    if is_logging_oddities:
        oddities.log_oddities(config)


def _user(username: str) -> Any:
    from django.contrib.auth import get_user_model

    users = get_user_model()._default_manager
    user = users.filter(username__iexact=username, deleted_at=None).first()
    return user or _leave(EXIT_FAILED, f"there is no user {username!r}")


def _ask_password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")


def _leave(code: int, reason: object) -> NoReturn:
    typer.echo(f"portolan: {' '.join(str(reason).split())}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
