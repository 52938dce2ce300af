"""`portolan gc` and `portolan trash`: garbage collection and deleted content. Parses, calls an operation, presents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from registry_core.access import of_system
from registry_core.errors import OperationError
from registry_core.storage.interface import StorageError
from registry_core.wiring.cli_common import EXIT_FAILED, operation
from registry_core.wiring.cli_storage import IsYes, ask

T = TypeVar("T")
app = typer.Typer(help="Deleted content, until it expires.", no_args_is_help=True)
REASON = "command"
Number = Annotated[int, typer.Argument(help="The number of the deletion, as `list` shows it.")]


def gc(
    is_dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
    delete_untagged: Annotated[
        bool, typer.Option("--delete-untagged", help="First delete untagged artifacts that nothing refers to.")
    ] = False,
    empty_trash: Annotated[
        bool, typer.Option("--empty-trash", help="Also remove what could still be restored.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=5, help="Batches to delete at a time.")] = 1,
) -> None:
    """Remove for good what was deleted long enough ago, and what nothing uses; exit code 1 if something could not be
    deleted.

    Pushes and pulls go on meanwhile. It can be stopped and repeated at any time.
    """
    collecting = operation("registry_core.content.collecting")
    lines = operation("registry_core.content.reporters").Lines(typer.echo)
    parameters = collecting.Parameters(
        dry_run=is_dry_run, delete_untagged=delete_untagged, empty_trash=empty_trash, workers=workers
    )
    collected = _refusable(lambda: collecting.collect_garbage(parameters, lines, cause=of_system(collecting.REASON)))
    raise typer.Exit(EXIT_FAILED if collected.left or collected.stopped else 0)


@app.command("list")
def list_(
    project: Annotated[str, typer.Argument(help="Only what was deleted in this project.")] = "",
) -> None:
    """Show what was deleted and can be restored: number, kind, when and by whom, until when, and its name."""
    for row in _restorable():
        place, *_, name = _place(row)
        if project in ("", place):
            kind = operation("registry_core.content.deletions").Kind(row.kind).label
            when = f"{row.deleted_at:%Y-%m-%dT%H:%M:%SZ} by {row.subject_name or 'unknown'}"
            typer.echo(f"{row.pk:>8}  {kind:<10}  {when}, until {row.expires_at:%Y-%m-%dT%H:%M:%SZ}  {name}")


@app.command()
def restore(number: Number) -> None:
    """Restore exactly what one delete removed."""
    row = _found(_restorable().filter(pk=number).first(), number)
    cause = of_system(REASON)
    if row.repository_id is None:
        project = _refusable(lambda: operation("projects.services").restore_project(deletion_id=number, cause=cause))
        typer.echo(f"restored the project {project.name}")
        return
    restoring = operation("registry_core.content.restoring")
    repository = restoring.repository_of_deletion(row)
    done = _refusable(lambda: restoring.restore_deletion(repository=repository, deletion_id=number, cause=cause))
    tags = f", tags {', '.join(done.tags)}" if done.tags else ""
    typer.echo(f"restored the {done.kind.label} {_place(row)[-1]}: {done.artifacts} artifacts{tags}")


@app.command()
def purge(number: Number, is_yes: IsYes = False) -> None:
    """Remove for good, at once, what one delete removed, such as a leaked secret. It cannot be undone."""
    purging = operation("registry_core.content.purging_now")
    ask("remove it for good?", is_yes=is_yes)
    purged = _refusable(lambda: purging.purge_now(deletion_id=number, cause=of_system(REASON)))
    typer.echo(f"removed {purged.artifacts} artifacts and {purged.objects} objects, freed {purged.freed_bytes} bytes")
    if purged.kept_blobs:
        typer.echo(f"{purged.kept_blobs} of its blobs are still there: other content uses them, or see `portolan gc`")
    if not purged.is_complete:
        typer.echo("portolan: the rest is left to garbage collection: run `portolan gc`", err=True)
        raise typer.Exit(EXIT_FAILED)


def _restorable() -> Any:
    rows = operation("registry_core.content.deletions").restorable()
    return rows.select_related("project", "repository__project").order_by("pk")


def _place(row: Any) -> tuple[str, str]:
    """The project of a deletion, and the full name of what was deleted."""
    if row.repository is None:
        return row.project.name, row.name
    project = row.repository.project.name
    repository = f"{project}/{row.repository.name}"
    separator = {"tag": ":", "artifact": "@"}.get(row.get_kind_display(), "")
    return project, f"{repository}{separator}{row.name}" if separator else repository


def _found(row: T | None, number: int) -> T:
    if row is None:
        typer.echo(f"portolan: the deletion {number} cannot be restored: see `portolan trash list`", err=True)
        raise typer.Exit(EXIT_FAILED)
    return row


def _refusable(work: Callable[[], T]) -> T:
    """The result; a refusal of the operation ends the command."""
    content_error = operation("registry_core.content.errors").ContentError
    try:
        return work()
    except (OperationError, StorageError, content_error) as error:
        typer.echo(f"portolan: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
