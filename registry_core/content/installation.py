"""Whether a store and this database belong together and have the same age, which every sweep checks first.

The database has the installation's id in a row, the store has it in a mark beside its objects. The mark also has a
number and a random token, which are renewed with every sweep and every minute in which blobs were created, and the
identity of the database that wrote it. This detects a database or a store of another installation, one that was
restored from an earlier time, and a copied database. Such a pair is compared object by object before anything is
removed.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, Any

import msgspec
import structlog
from django.db import ProgrammingError, connection, transaction

from registry_core.config import get_config
from registry_core.content.compare import StorageReport, compare
from registry_core.content.trash import give_back_missing
from registry_core.storage.interface import ObjectStore, StorageError
from registry_core.storage.stores import configured_stores, default_store

_log = structlog.get_logger(__name__)
ADVICE = (
    "see `portolan storage check`; if this is the right database, and complete, confirm it with "
    "`portolan storage adopt`"
)
COUNT_MAX = 1 << 60  # far below the largest value of the column


class Standing(Enum):
    """The relation of a store to this database, as far as their marks tell."""

    TOGETHER = auto()  # both have the last mark
    UNSURE = auto()  # one of them differs from its state then: compare them
    STRANGERS = auto()  # they belong to different installations


_Name = Annotated[str, msgspec.Meta(max_length=32, pattern="^[0-9a-z]*$")]
_Text = Annotated[str, msgspec.Meta(max_length=200, pattern="^[ -~]*$")]


class Mark(msgspec.Struct, frozen=True):
    """The mark in a store. `database`: the database server and database that wrote it (see `database_identity`)."""

    installation: _Name
    count: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)] = 0
    token: _Name = ""
    database: _Text = ""
    at: _Text = ""


@dataclass(frozen=True, slots=True)
class Known:
    """The mark in the database for one store. Before the first mark `installation` is empty and `count` 0."""

    installation: str
    count: int
    token: str
    previous: str
    at: str
    newest_blob: int


def read_mark(store: ObjectStore) -> Mark | None:
    """The store's mark; None if it has none; without an installation if it cannot be parsed. Raises StorageError."""
    content = store.read_mark()
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=Mark)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Mark(installation="")


def standing(store: ObjectStore) -> tuple[Standing, str]:
    """The relation of the store to this database, and what is wrong with it. Raises StorageError."""
    mark, known = read_mark(store), known_of(store.name)
    if mark is None or not known.installation:
        return Standing.UNSURE, _without_mark(store, mark, known)
    if mark.installation != known.installation:
        return Standing.STRANGERS, (
            f"the store belongs to the installation {mark.installation}, and this database to {known.installation}"
            if mark.installation
            else "the store's mark is damaged"
        )
    oddity = _oddity(mark, known)
    return (Standing.UNSURE, oddity) if oddity else (Standing.TOGETHER, "")


def why_not_to_sweep(store: ObjectStore) -> str:
    """Why nothing may be removed from the store now; empty if it may. Compares store and database if their marks leave
    it open, restores objects from the trash that the database needs and the store lacks, and marks both if they match.

    The result is stored for `sweeping_stopped`. Raises StorageError.
    """
    how, reason = standing(store)
    if how is Standing.UNSURE:
        reason = _settled(store, reason)
    if reason:
        reason = with_advice(reason)
        record_stop(store.name, reason)
    return reason


def sweeping_stopped() -> str | None:
    """Why the stores are not swept, as far as that is known without comparing them; None if nothing prevents it.

    For `portolan check` and the like. Raises StorageError if a store does not answer.
    """
    reasons = [reason for store in configured_stores() if (reason := _known_stop(store))]
    return "; ".join(reasons) or None


def mark_stores() -> int:
    """Give the next mark to each store in which blobs were created since the last one, if it belongs to this database;
    returns their number. Also gives the first mark if both are still empty. Raises StorageError."""
    newest, marked = _newest_blob(), 0
    for store in configured_stores():
        known = known_of(store.name)
        is_next = known.count > 0 and known.newest_blob < newest and standing(store)[0] is Standing.TOGETHER
        if is_next or (known.count == 0 and _is_first(store)):
            mark_together(store)
            marked += 1
    return marked


def begin() -> None:
    """Give the first mark if both the store for new blobs and the database are still empty. A store that does not
    answer is left for later; one that belongs to another installation is logged as an error."""
    try:
        store = default_store()
        if known_of(store.name).count == 0 and _is_first(store):
            mark_together(store)
        how, reason = standing(store)
        if how is Standing.STRANGERS:
            _log.error("nothing is swept in this store", store=store.name, reason=with_advice(reason))
    except StorageError as error:
        _log.warning("the object store does not answer as it should, so pushes and pulls will fail", reason=str(error))


def refuse_unless_ours(store: ObjectStore) -> None:
    """Raises StorageError if this is not the store that the database belongs to: objects that are missing there are not
    lost."""
    how, reason = standing(store)
    is_unmarked = read_mark(store) is None and known_of(store.name).count > 0 and not is_empty(store)
    if how is Standing.STRANGERS or is_unmarked:
        raise StorageError(with_advice(reason))


def is_empty(store: ObjectStore) -> bool:
    """Whether the store has no objects and the database no blobs in it. Raises StorageError."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM content_blob WHERE store = %s)", [store.name])
        has_blobs = bool(cursor.fetchone()[0])
    return not has_blobs and next(iter(store.objects()), None) is None


def is_in_use(store: ObjectStore) -> bool:
    """Whether new blobs are stored there, or it is not empty. Raises StorageError."""
    return store.name == get_config().storage or not is_empty(store)


def mark_together(store: ObjectStore) -> None:
    """Give the store and the database the next mark, and the installation's id to whichever has none.

    The database also records the store's previous mark, which the store still has if writing the next one fails.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO content_storemark (store) VALUES (%s) ON CONFLICT DO NOTHING", [store.name])
        cursor.execute("SELECT 1 FROM content_storemark WHERE store = %s FOR UPDATE", [store.name])
        mark = read_mark(store)
        cursor.execute(
            "INSERT INTO content_installation (id, name) VALUES (1, %s) ON CONFLICT DO NOTHING",
            [(mark and mark.installation) or secrets.token_hex(16)],
        )
        cursor.execute(
            """
            UPDATE content_storemark SET count = greatest(count, %s) + 1, token = %s, previous = %s,
                   newest_blob = %s, marked_at = clock_timestamp(), stopped = ''
            WHERE store = %s
            """,
            [mark.count if mark else 0, secrets.token_hex(16), mark.token if mark else "", _newest_blob(), store.name],
        )
    _write_mark(store)


def record_stop(store: str, reason: str) -> None:
    """Store why sweeping is stopped, and log it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO content_storemark (store, stopped) VALUES (%s, %s)
            ON CONFLICT (store) DO UPDATE SET stopped = excluded.stopped
            """,
            [store, reason],
        )
    _log.error("nothing is swept in this store", store=store, reason=reason)


def recorded_stop(store: str) -> str:
    """Why the last sweep skipped the store; empty if it did not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce((SELECT stopped FROM content_storemark WHERE store = %s), '')", [store])
        return str(cursor.fetchone()[0])


def with_advice(reason: str) -> str:
    """The reason followed by the advice, unless it already has it."""
    return reason if "`portolan storage" in reason else f"{reason}: {ADVICE}"


def known_of(store: str) -> Known:
    """The mark in the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce((SELECT name FROM content_installation), ''), coalesce(mark.count, 0),
                   coalesce(mark.token, ''), coalesce(mark.previous, ''), coalesce(mark.marked_at::text, ''),
                   coalesce(mark.newest_blob, 0)
            FROM (SELECT 1) AS one LEFT JOIN content_storemark AS mark ON mark.store = %s
            """,
            [store],
        )
        return Known(*cursor.fetchall()[0])


def database_identity() -> str:
    """Identifies this database: the server's identifier and timeline (a copy has the same identifier; a failover
    changes the timeline), and the numbers of the database and of a table (loading a dump changes them). Values that the
    server does not reveal are left out."""
    server = "SELECT (SELECT system_identifier FROM pg_control_system()), timeline_id FROM pg_control_checkpoint()"
    database = """
        SELECT oid, 'content_blob'::regclass::oid FROM pg_database WHERE datname = current_database()
    """
    parts: list[Any] = []
    for statement in (server, database):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)
                parts += cursor.fetchall()[0]
        except ProgrammingError:
            parts.append("")
    return ":".join(map(str, parts))


def _is_first(store: ObjectStore) -> bool:
    """Whether new blobs go to this store, and it has none yet."""
    return store.name == get_config().storage and standing(store)[0] is Standing.UNSURE and is_empty(store)


def _without_mark(store: ObjectStore, mark: Mark | None, known: Known) -> str:
    if mark is not None:
        return f"the store belongs to the installation {mark.installation}, and this database to none"
    if known.count:
        return (
            f"the database has used the store {store.name}, but this one has no mark: is it another folder, bucket or "
            "prefix, or not mounted?"
        )
    return "neither the store nor this database records that they belong together"


def _oddity(mark: Mark, known: Known) -> str:
    is_unfinished = mark.token != "" and mark.token == known.previous  # killed between the two writes, or disk full
    if mark.token != known.token and not is_unfinished:
        if mark.count > known.count:
            return (
                f"the database is older than the store: its last mark is number {known.count} of {known.at}, the "
                f"store's is number {mark.count} of {mark.at}"
            )
        return (
            f"the store is older than the database, or another database has used it: its last mark is number "
            f"{mark.count} of {mark.at}, the database's is number {known.count} of {known.at}"
        )
    if mark.database != database_identity():
        return "this is not the database that used the store before: it was restored, copied or moved"
    return ""


def _settled(store: ObjectStore, reason: str) -> str:
    """Compare, and mark both if everything matches; otherwise returns the reason followed by the differences."""
    report = StorageReport()
    compare(store, report)
    if report.rows_without_object and give_back_missing(store, report.rows_without_object):
        report = StorageReport()
        compare(store, report)
    unknown, missing = report.objects_without_row, report.rows_without_object
    if not unknown and not missing:
        mark_together(store)
        return ""
    size_bytes = sum(stored.size_bytes for stored in unknown)
    return f"{reason}; {len(unknown)} objects ({size_bytes} bytes) have no row and {len(missing)} blobs no object"


def _known_stop(store: ObjectStore) -> str:
    how, reason = standing(store)
    if how is Standing.STRANGERS:
        return f"{store.name}: {with_advice(reason)}"
    stopped = recorded_stop(store.name)
    return f"{store.name}: {stopped}" if stopped else ""


def _newest_blob() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM content_blob")
        return int(cursor.fetchone()[0])


@transaction.atomic
def _write_mark(store: ObjectStore) -> None:
    """Write the database's mark into the store; serialised, so that an older mark never overwrites a newer one."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count, token, marked_at::text, (SELECT name FROM content_installation) FROM content_storemark
            WHERE store = %s FOR UPDATE
            """,
            [store.name],
        )
        count, token, at, installation = cursor.fetchall()[0]
        store.write_mark(msgspec.json.encode(Mark(installation, count, token, database_identity(), at)))
