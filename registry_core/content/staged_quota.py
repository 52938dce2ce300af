"""The quota of short uploads: charged before they are staged, without a statement per upload.

A project with a limit leases bytes from its quota, and its staged bytes must stay within the lease. All processes see
what is staged in a folder (`registry_core.storage.staged_bytes`), so the lease is not divided among them, and its
unused part is refunded before any request is refused. A project without a limit is not charged for staged bytes.

The lease is locked before the database is used, never within a transaction.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar

from django.db import transaction

from registry_core.content import quota
from registry_core.content.errors import QuotaExceeded, TooManyUploads
from registry_core.content.repositories import ProjectRef, retried
from registry_core.database.statements import LOSABLE, statements
from registry_core.storage.interface import StorageError
from registry_core.storage.staged_bytes import Lease, StagedBytes
from registry_core.storage.staging import Staging
from registry_core.storage.stores import configured_stores, default_store

P = ParamSpec("P")
T = TypeVar("T")
UPLOADS_MAX: Final = 10_000
SLICE_BYTES: Final = 4 << 20
# Only a small fraction of the free quota is charged in advance, so that the end of a quota is exact to the byte.
SHARE_OF_FREE: Final = 16


@dataclass(frozen=True, slots=True)
class StagedUpload:
    """A short upload of a project, with its size: `name` is that of its staged file."""

    project: ProjectRef
    name: str
    size_bytes: int


def reserve(upload: StagedUpload) -> bool:
    """Charge a project for an upload that is about to be staged; False, with nothing done, if another request has.

    Raises QuotaExceeded, TooManyUploads, StorageFull or StorageError.
    """
    staged = _counted(upload)
    if staged is None:
        return True
    with staged.locked() as lease:
        if staged.count().uploads >= UPLOADS_MAX:
            raise TooManyUploads("project", UPLOADS_MAX)
        if not staged.add(upload.name, upload.size_bytes):
            return False
        try:
            _extend(upload.project.id, lease, staged)
        except BaseException:
            staged.remove(upload.name, upload.size_bytes)
            raise
    return True


def _extend(project_id: int, lease: Lease, staged: StagedBytes) -> None:
    """Make the lease cover what is staged; while the lease is locked, staged bytes can only decrease."""
    counted_bytes = staged.count().size_bytes
    while (missing_bytes := counted_bytes - lease.leased_bytes) > 0:
        try:
            lease.set(_lease_more(project_id, missing_bytes))
        except QuotaExceeded:
            before_bytes, counted_bytes = counted_bytes, staged.count().size_bytes
            if counted_bytes == before_bytes:
                raise


def begin_leaving(upload: StagedUpload) -> None:
    """Stop counting an upload whose bytes are about to be charged in another way. Raises StorageError."""
    if staged := _counted(upload):
        staged.begin_leaving(upload.name, upload.size_bytes)


def come_back(upload: StagedUpload) -> None:
    """Undo `begin_leaving`. Raises StorageError."""
    if staged := _counted(upload):
        staged.come_back(upload.name, upload.size_bytes)


def end(upload: StagedUpload) -> None:
    """Forget a finished upload. Raises StorageError."""
    if staged := _counted(upload):
        staged.remove(upload.name, upload.size_bytes)


def at_the_edge(project_id: int, operation: Callable[[], T]) -> T:
    """Repeat an operation that the quota refused, after the unused part of the lease was refunded; nothing can be
    leased meanwhile.

    Raises QuotaExceeded, in which case no unused lease is left, or StorageError.
    """
    staging = default_store().staging
    staged = staging.of_project(project_id) if staging else None
    if staged is None or not staged.is_leased():
        return operation()
    with staged.locked() as lease:
        _give_back(project_id, lease, staged)
        while True:
            try:
                return operation()
            except QuotaExceeded:
                # Uploads that became blobs meanwhile were counted twice. The unused part can only grow while the lease
                # is locked, so if it is zero now it was zero then.
                if not _give_back(project_id, lease, staged):
                    raise


def _give_back(project_id: int, lease: Lease, staged: StagedBytes) -> bool:
    """Refund the unused part of the lease; returns whether there was any."""
    left_bytes = staged.count().size_bytes
    freed_bytes = _shrink(project_id, left_bytes)
    lease.set(left_bytes)
    return freed_bytes > 0


def lease_returned(operation: Callable[P, T]) -> Callable[P, T]:
    """Run an operation on a `repository`, and repeat it as `at_the_edge` does if the quota refused it."""

    @functools.wraps(operation)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return operation(*args, **kwargs)
        except QuotaExceeded:
            repository: Any = kwargs["repository"]
            return at_the_edge(repository.project.id, lambda: operation(*args, **kwargs))

    return call


def used_bytes(project_id: int) -> int:
    """The project's usage: its content, and what its unfinished uploads have staged or reserved."""
    return quota.charged_bytes(project_id) - _leased_bytes(project_id) + staged_bytes(project_id)


def staged_bytes(project_id: int) -> int:
    """The project's staged bytes, as far as they are counted; 0 if the folder cannot be read."""
    staging = default_store().staging
    try:
        return staging.of_project(project_id).count().size_bytes if staging else 0
    except StorageError:
        return 0


def sweep() -> None:
    """Forget finished uploads, and refund unused leases. Raises StorageError."""
    for store in configured_stores():
        if store.staging:
            _sweep(store.staging)


def _sweep(staging: Staging) -> None:
    is_staged = staging.names()
    for project_id in staging.projects():
        staged = staging.of_project(project_id)
        staged.mend(is_staged)
        with staged.locked() as lease:
            _give_back(project_id, lease, staged)


def _counted(upload: StagedUpload) -> StagedBytes | None:
    staging = default_store().staging
    return staging.of_project(upload.project.id) if staging and upload.project.has_limit else None


_LEASE_MORE = f"""
    WITH due AS (
        SELECT %s + least({SLICE_BYTES}, greatest(0, allowance_bytes - used_bytes - %s) / {SHARE_OF_FREE}) AS bytes
        FROM content_quotastripe WHERE project_id = %s AND stripe = %s
    ), charged AS ({quota.CHARGED})
    INSERT INTO content_quotalease AS lease (project_id, leased_bytes)
    SELECT %s, bytes FROM due, {LOSABLE} WHERE EXISTS (SELECT FROM charged)
    ON CONFLICT (project_id) DO UPDATE SET leased_bytes = lease.leased_bytes + excluded.leased_bytes
    RETURNING leased_bytes
"""  # noqa: S608 constants


@retried
def _lease_more(project_id: int, missing_bytes: int) -> int:
    """Charge the project for some more bytes, if considerably more are free; returns the size of the lease. Raises
    QuotaExceeded."""
    stripe = quota.own_stripe()
    with statements() as cursor:
        cursor.execute(_LEASE_MORE, [missing_bytes, missing_bytes, project_id, stripe, project_id, stripe, project_id])
        row = cursor.fetchone()
    return _lease_exactly(project_id, missing_bytes) if row is None else int(row[0])


@transaction.atomic
def _lease_exactly(project_id: int, missing_bytes: int) -> int:
    with statements() as cursor:
        cursor.execute(
            """
            INSERT INTO content_quotalease AS lease (project_id, leased_bytes) VALUES (%s, %s)
            ON CONFLICT (project_id) DO UPDATE SET leased_bytes = lease.leased_bytes + excluded.leased_bytes
            RETURNING leased_bytes
            """,
            [project_id, missing_bytes],
        )
        leased_bytes = int(cursor.fetchall()[0][0])
    quota.charge(project_id=project_id, delta_bytes=missing_bytes)
    return leased_bytes


@retried
@transaction.atomic
def _shrink(project_id: int, left_bytes: int) -> int:
    """Refund the part of the lease beyond `left_bytes`; returns its size."""
    with statements() as cursor:
        cursor.execute(
            """
            UPDATE content_quotalease AS lease SET leased_bytes = %s
            FROM (SELECT project_id, leased_bytes FROM content_quotalease WHERE project_id = %s FOR UPDATE) AS before
            WHERE lease.project_id = before.project_id AND before.leased_bytes > %s
            RETURNING before.leased_bytes - lease.leased_bytes
            """,
            [left_bytes, project_id, left_bytes],
        )
        row = cursor.fetchone()
    freed_bytes = 0 if row is None else int(row[0])
    quota.charge(project_id=project_id, delta_bytes=-freed_bytes)
    return freed_bytes


def _leased_bytes(project_id: int) -> int:
    with statements() as cursor:
        cursor.execute("SELECT leased_bytes FROM content_quotalease WHERE project_id = %s", [project_id])
        row = cursor.fetchone()
    return 0 if row is None else int(row[0])
