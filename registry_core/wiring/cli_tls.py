"""`portolan tls …`, and the options of `up` and `serve` for HTTPS."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry_core.config import Config, ConfigError, get_config

if TYPE_CHECKING:
    from registry_core.tls.trust import Plan

app = typer.Typer(help="HTTPS: let clients trust our CA, and find out why one refuses.", no_args_is_help=True)

IsTls = Annotated[bool, typer.Option("--tls", help="Speak HTTPS, with a certificate of our own CA (PORTOLAN_TLS).")]
CertPath = Annotated[Path | None, typer.Option("--tls-cert", help="PEM file of a certificate (PORTOLAN_TLS_CERT).")]
KeyPath = Annotated[Path | None, typer.Option("--tls-key", help="PEM file of its key (PORTOLAN_TLS_KEY).")]


def with_options(*, is_tls: bool, cert: Path | None, key: Path | None) -> Config:
    """The configuration with the options of the command line, which child processes see too. Raises ConfigError."""
    said = {"TLS": "true" if is_tls else None, "TLS_CERT": cert and cert.absolute(), "TLS_KEY": key and key.absolute()}
    os.environ.update({f"PORTOLAN_{name}": str(value) for name, value in said.items() if value is not None})
    get_config.cache_clear()
    return get_config()


@app.command()
def check(
    url: Annotated[str, typer.Argument(help="https://HOST[:PORT], as clients use it.")],
    ca: Annotated[
        Path | None, typer.Option(exists=True, help="PEM file of the roots to trust; default: the system's.")
    ] = None,
) -> None:
    """Connect like a client and explain why it would refuse; exit code 1 if it would."""
    from registry_core.tls import check as checking

    try:
        report = checking.check(url, authority=ca)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(str(report))
    raise typer.Exit(0 if report.is_good else 1)


@app.command()
def trust(
    kind: Annotated[str, typer.Option("--for", help="docker, podman, containerd, kubernetes or system.")],
    is_writing: Annotated[
        bool, typer.Option("--write", help="Apply it on this machine instead of printing it.")
    ] = False,
    root: Annotated[Path, typer.Option(help="With --write: the folder that is / (an image, a node's disk).")] = Path(
        "/"
    ),
    host: Annotated[
        list[str] | None, typer.Option(help="The registry as clients write it, NAME:PORT; default: as configured.")
    ] = None,
) -> None:
    """Print how a client comes to trust our CA: the commands, and where the certificate is."""
    from registry_core.tls import authority
    from registry_core.tls import trust as trusting

    plan = _plan(kind, host)
    certificate = authority.authority_path(get_config())
    _require_own(get_config())
    if is_writing:
        for path in trusting.carry_out(plan, certificate, root=root.absolute()):
            typer.echo(f"wrote {path}")
    else:
        fetching = trusting.how_to_fetch((host or _hosts(get_config()))[0], get_config().url_prefix, certificate)
        typer.echo(f"{fetching}\n{trusting.describe(plan, certificate)}")


@app.command()
def untrust(
    kind: Annotated[str, typer.Option("--for", help="docker, podman, containerd, kubernetes or system.")],
    is_writing: Annotated[
        bool, typer.Option("--write", help="Apply it on this machine instead of printing it.")
    ] = False,
    root: Annotated[Path, typer.Option(help="With --write: the folder that is / (an image, a node's disk).")] = Path(
        "/"
    ),
    host: Annotated[
        list[str] | None, typer.Option(help="The registry as clients write it, NAME:PORT; default: as configured.")
    ] = None,
) -> None:
    """Print how a client stops trusting our CA: the opposite of `trust`."""
    from registry_core.tls import trust as trusting

    plan = _plan(kind, host)
    if is_writing:
        for path in trusting.undo(plan, root=root.absolute()):
            typer.echo(f"removed {path}")
    else:
        typer.echo(trusting.describe_undoing(plan))


@app.command()
def show() -> None:
    """Show the certificate that `portolan serve` of this machine serves: its names, issuer and expiry."""
    from registry_core.tls.authority import server_path
    from registry_core.tls.names import names_of
    from registry_core.tls.served import read_note, served_certificate

    config = get_config()
    note = read_note(config)
    if note is None and not config.serves_tls:
        raise ConfigError(
            f"no `portolan serve` of {config.data} serves HTTPS now, and these settings do not turn it on: set "
            "hostname or tls_cert, or start `portolan up --tls`"
        )
    certificate = note.certificate if note else served_certificate(config)
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    typer.echo(f"names    {', '.join(names_of(certificate))}")
    typer.echo(f"issuer   {certificate.issuer.rfc4514_string()}")
    typer.echo(f"expires  {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, in {left.days} days")
    typer.echo(f"file     {note.path if note else config.tls_cert or server_path(config)}")
    typer.echo(f"served   {f'by process {note.pid}' if note else 'not now: these settings would serve it'}")


def _plan(kind: str, host: list[str] | None) -> Plan:
    from registry_core.tls import trust as trusting

    try:
        return trusting.plan_for(trusting.Trusting(kind), host or _hosts(get_config()))
    except ValueError:
        raise typer.BadParameter(f"--for is one of {', '.join(trusting.Trusting)}") from None


def _require_own(config: Config) -> None:
    from registry_core.tls.authority import read_authority, server_path
    from registry_core.tls.served import read_note

    note = read_note(config)
    given = note.path if note and note.path != server_path(config) else config.tls_cert
    if given is not None:
        raise ConfigError(
            f"{given} is served, which another CA signed: clients need the root of that CA, if they do not "
            "have it already (see `portolan tls check`)"
        )
    if read_authority(config) is None:
        raise ConfigError(f"there is no CA in {config.tls_dir} yet: `portolan up --tls` creates it")


def _hosts(config: Config) -> list[str]:
    """The registry as clients write it: from the external URL, else each of the names with the port.

    Without `hostname`, as in a shell other than that of `serve`, the names are those of the served certificate.
    """
    if config.authority:
        return [config.authority]
    port = "" if config.port == 443 else f":{config.port}"
    names = [f"[{name}]" if ":" in name else name for name in config.hostname or _served_names(config)]
    return [name + port for name in names]


def _served_names(config: Config) -> tuple[str, ...]:
    """The names of the running server's certificate, except those that refer to each machine itself."""
    from registry_core.tls.names import LOCAL, names_of
    from registry_core.tls.served import read_note

    note = read_note(config)
    names = names_of(note.certificate) if note else ()
    return tuple(name for name in names if name not in LOCAL) or ("localhost",)
