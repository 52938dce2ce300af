"""`portolan jobs`: list, read, stop and retry jobs. Parses, calls one operation, presents."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_core.wiring.cli_common import EXIT_FAILED, operation

if TYPE_CHECKING:
    from registry_core.jobs.models import Execution

app = typer.Typer(help="Jobs: what runs in the background, its log and its outcome.", no_args_is_help=True)
Number = Annotated[int, typer.Argument(help="The number of a job, from `portolan jobs list`.")]
LISTED = 20


@app.command("list")
def list_jobs(
    kind: Annotated[str, typer.Option(help="Only jobs of this kind, such as GARBAGE_COLLECTION.")] = "",
    is_open: Annotated[bool, typer.Option("--open", help="Only jobs that have not ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most jobs to list.")] = LISTED,
) -> None:
    """List jobs, the last one first."""
    models = operation("registry_core.jobs.models")
    rows = models.Execution.objects.order_by("-pk")
    rows = rows.filter(kind=kind) if kind else rows
    rows = rows.filter(status__in=models.OPEN) if is_open else rows
    found = list(rows[:limit])
    for row in found:
        typer.echo(_line(row))
    if not found:
        typer.echo("no jobs")


@app.command()
def show(number: Number) -> None:
    """Show a job: its state, its parameters and each of its tasks with progress and time left."""
    row = _execution(number)
    typer.echo(_line(row))
    typer.echo(f"parameters  {row.parameters}")
    for task in row.tasks.order_by("pk")[:1000]:
        left = f", {task.left_s:.0f} s left" if task.left_s is not None else ""
        share = f"  {task.done}/{task.total}{left}" if task.total else ""
        typer.echo(f"task {task.pk}  {task.get_status_display()}  attempt {task.attempts}{share}  {task.message}")


@app.command()
def log(number: Number) -> None:
    """Print the log of a job, as far as it is written."""
    row = _execution(number)
    for piece in operation("registry_core.jobs.task_logs").log_of_execution(row.pk):
        sys.stdout.write(piece)


@app.command()
def stop(number: Number) -> None:
    """Stop a job; it ends within seconds."""
    row = _execution(number)
    operation("registry_core.jobs.executions").stop(row.pk)
    typer.echo(_line(_execution(number)))


@app.command()
def retry(number: Number) -> None:
    """Run the tasks of an ended job again that failed or were stopped."""
    row = _execution(number)
    count = operation("registry_core.jobs.executions").retry(row.pk)
    typer.echo(f"{count} tasks run again")


def _execution(number: int) -> Any:
    row = operation("registry_core.jobs.models").Execution.objects.filter(pk=number).first()
    if row is None:
        typer.echo(f"portolan: there is no job {number}: `portolan jobs list` shows them", err=True)
        raise typer.Exit(EXIT_FAILED)
    return row


def _line(row: Execution) -> str:
    ended = f"{row.tasks_succeeded} done, {row.tasks_failed} failed, {row.tasks_stopped} stopped"
    return (
        f"{row.pk:>8}  {row.get_status_display():8} {row.kind:24} {row.trigger:9} {row.created_at:%Y-%m-%d %H:%M:%S}  "
        f"{row.tasks_total} tasks: {ended}"
    )
