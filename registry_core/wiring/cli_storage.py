"""`portolan storage`: manage the object stores. Parses, calls one operation, presents."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from registry_core.config import get_config
from registry_core.wiring.cli_common import EXIT_FAILED, operation

if TYPE_CHECKING:
    from registry_core.content.scrub import ScrubReport

app = typer.Typer(help="Manage the object store.", no_args_is_help=True)
trash_app = typer.Typer(help="Objects that sweeps removed, kept for some days.", no_args_is_help=True)
app.add_typer(trash_app, name="trash")

IDLE_MAX_S = 10 * 365 * 86_400
PROGRESS_EVERY_S = 60.0

IsYes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


@app.command()
def check(
    repair: Annotated[
        bool, typer.Option("--repair", help="Restore bytes that are found, quarantine blobs without bytes.")
    ] = False,
) -> None:
    """Compare the object store with the database; exit code 1 if they differ.

    All objects are listed, which takes minutes for millions of objects.
    """
    if repair:
        typer.echo(str(operation("registry_core.content.repair").repair_storage()))
    report = operation("registry_core.content.check").check_storage()
    typer.echo(str(report))
    raise typer.Exit(0 if report.is_clean else EXIT_FAILED)


@app.command()
def scrub(
    rate_mib: Annotated[int, typer.Option("--rate", min=1, help="The most MiB per second to read.")] = 50,
    limit_s: Annotated[
        float | None,
        typer.Option("--for", min=0, help="Seconds after which to stop; default: the end of the round."),
    ] = None,
    is_from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin a new round instead of continuing where the last run ended.")
    ] = False,
) -> None:
    """Read every blob and compare its bytes with its digest; exit code 1 if any is damaged.

    It takes some six hours per TiB at 50 MiB a second, and prints its progress once a minute.
    """
    report = operation("registry_core.content.scrub").scrub(
        rate_bytes_s=rate_mib << 20, limit_s=limit_s, is_from_start=is_from_start, on_blob=_Progress()
    )
    typer.echo(str(report))
    raise typer.Exit(EXIT_FAILED if report.damaged else 0)


@app.command()
def sweep(
    idle_s: Annotated[
        int | None,
        typer.Option("--idle", min=0, max=IDLE_MAX_S, help="Seconds without a write; default: PORTOLAN_UPLOAD_TTL_S."),
    ] = None,
    is_dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    is_forced: Annotated[
        bool,
        typer.Option("--force", help="Even if it is more than PORTOLAN_SWEEP_MAX_PERCENT of the store."),
    ] = False,
) -> None:
    """Remove abandoned uploads, and move objects that no row names to the trash.

    Exit code 1 if a store was skipped, with the reason.
    """
    ttl_s = get_config().upload_ttl_s if idle_s is None else idle_s
    report = operation("registry_core.content.sweep").sweep(ttl_s=ttl_s, is_forced=is_forced, is_dry_run=is_dry_run)
    typer.echo(str(report))
    for store, reason in report.stopped.items():
        typer.echo(f"portolan: the store {store} was not swept: {reason}", err=True)
    raise typer.Exit(EXIT_FAILED if report.stopped else 0)


@app.command()
def health() -> None:
    """Compare each store with the database, and show the garbage that waits; exit code 1 if there is a difference.

    All objects are listed, which takes minutes for millions of objects. The result is kept for the REST API.
    """
    storage_health = operation("registry_core.content.storage_health")
    measured = storage_health.measure_all()
    for each in measured:
        typer.echo(str(each))
    typer.echo(str(storage_health.waiting()))
    raise typer.Exit(EXIT_FAILED if any(each.difference_bytes for each in measured) else 0)


@app.command()
def adopt(is_yes: IsYes = False) -> None:
    """Confirm that the stores and this database belong together as they are, after showing the differences."""
    adoption = operation("registry_core.content.adoption")
    found = adoption.findings()
    for finding in found:
        typer.echo(str(finding))
    odd = [finding for finding in found if not finding.is_fit]
    if not odd:
        typer.echo("they already belong together")
        return
    ask("do they belong together?", is_yes=is_yes)
    for finding in odd:
        adoption.adopt(finding)
        typer.echo(f"the store {finding.store.name} and this database belong together now")


@trash_app.command("list")
def trash_list() -> None:
    """Show the content of the trash: the time of removal, the size, and the name."""
    count, size_bytes = 0, 0
    for store, trashed in operation("registry_core.content.trash").list_trash():
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(trashed.trashed_at_s))
        typer.echo(f"{when}  {trashed.size_bytes:>12}  {store.name}  {trashed.key}")
        count, size_bytes = count + 1, size_bytes + trashed.size_bytes
    typer.echo(f"{count} objects, {size_bytes} bytes")


@trash_app.command("restore")
def trash_restore(
    keys: Annotated[list[str] | None, typer.Argument(help="Keys as `list` shows them.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Everything in the trash.")] = False,
) -> None:
    """Restore objects from the trash. Those that no row names will be swept again once they are old."""
    if bool(keys) == is_all:
        raise typer.BadParameter("name the keys to restore, or use --all")
    restored = operation("registry_core.content.trash").restore(None if is_all else keys)
    for trashed in restored:
        typer.echo(f"restored {trashed.key} ({trashed.size_bytes} bytes)")
    typer.echo(f"restored {len(restored)} objects")
    missed = sorted(set(keys or ()).difference(*({trashed.key, trashed.name} for trashed in restored)))
    for key in missed:
        typer.echo(
            f"portolan: {key} was not restored: it is not in the trash, or is back already "
            "(`portolan storage trash list`)",
            err=True,
        )
    raise typer.Exit(EXIT_FAILED if missed else 0)


@trash_app.command("empty")
def trash_empty(
    days: Annotated[float, typer.Option("--older-than", min=0, help="Only what has been there for so many days.")] = 0,
    is_yes: IsYes = False,
) -> None:
    """Delete the content of the trash for good; what a blob in the database lacks is restored instead."""
    ask("delete it for good?", is_yes=is_yes)
    purged, given_back = operation("registry_core.content.trash").empty(older_than_s=days * 86_400)
    typer.echo(f"deleted {purged} objects, restored {given_back}")


class _Progress:
    """Prints the progress of a scrub on standard error, once a minute; the report comes only at the end."""

    def __init__(self) -> None:
        self._said_at_s = time.monotonic()

    def __call__(self, so_far: ScrubReport) -> None:
        if time.monotonic() - self._said_at_s >= PROGRESS_EVERY_S:
            self._said_at_s = time.monotonic()
            typer.echo(f"{so_far.blobs} blobs, {so_far.read_bytes} bytes read so far", err=True)


def ask(question: str, *, is_yes: bool) -> None:
    """Continue if the answer is yes. Exits with 1 if it is not, or nobody can answer."""
    if is_yes:
        return
    if not sys.stdin.isatty():
        typer.echo(f"portolan: {question} If so, use --yes", err=True)
        raise typer.Exit(EXIT_FAILED)
    typer.confirm(question, abort=True)
