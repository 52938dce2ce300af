"""Whether a store and this database belong together, and are equally old: what every sweep asks first.

The database has the installation's id in a row, the store has it in a mark beside its objects. The mark also has a
number and a random token, which both get anew with every sweep and every minute in which blobs were made, and it says
which database gave it. So these are noticed: a database or a store of another installation, one that was restored from
an earlier time, and a database that was copied. Such a pair is compared object by object before anything is removed.
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
    "look with `portolan storage check`; if this is the right database and all that there is of it, "
    "`portolan storage adopt` says so"
)
COUNT_MAX = 1 << 60  # far from what a column can hold


class Standing(Enum):
    """How a store and this database stand to each other, as far as their marks tell."""

    TOGETHER = auto()  # they were together at the last mark
    UNSURE = auto()  # one of them is not what it was then: comparing them tells
    STRANGERS = auto()  # they are of two installations


_Name = Annotated[str, msgspec.Meta(max_length=32, pattern="^[0-9a-z]*$")]
_Text = Annotated[str, msgspec.Meta(max_length=200, pattern="^[ -~]*$")]


class Mark(msgspec.Struct, frozen=True):
    """What a store carries. `database`: of which database server and database (see `database_identity`) it was."""

    installation: _Name
    count: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)] = 0
    token: _Name = ""
    database: _Text = ""
    at: _Text = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What the database has of itself and of one store. Before the first mark `installation` is empty and `count` 0."""

    installation: str
    count: int
    token: str
    previous: str
    at: str
    newest_blob: int


def read_mark(store: ObjectStore) -> Mark | None:
    """The store's mark; None when it has none, and of no installation when it cannot be read. Raises StorageError."""
    content = store.read_mark()
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=Mark)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Mark(installation="")


def standing(store: ObjectStore) -> tuple[Standing, str]:
    """How the store and this database stand to each other, and what is odd about it. Raises StorageError."""
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
    """Why nothing may be removed from the store now; empty when it may. Compares them where their marks leave it open,
    gives back from the trash what the database has and the store lacks, and marks both when they fit.

    What it says is remembered for `sweeping_stopped`. Raises StorageError.
    """
    how, reason = standing(store)
    if how is Standing.UNSURE:
        reason = _settled(store, reason)
    if reason:
        reason = with_advice(reason)
        remember_stop(store.name, reason)
    return reason


def sweeping_stopped() -> str | None:
    """Why the stores are not swept, as far as that is known without comparing them; None when nothing is in the way.

    For `portolan check` and the like. Raises StorageError when a store does not answer.
    """
    reasons = [reason for store in configured_stores() if (reason := _known_stop(store))]
    return "; ".join(reasons) or None


def mark_stores() -> int:
    """Give the next mark to each store where blobs were made since the last one, and which stands together with this
    database; to how many. The first one too, where neither has anything yet. Raises StorageError."""
    newest, marked = _newest_blob(), 0
    for store in configured_stores():
        known = known_of(store.name)
        is_next = known.count > 0 and known.newest_blob < newest and standing(store)[0] is Standing.TOGETHER
        if is_next or (known.count == 0 and _is_first(store)):
            mark_together(store)
            marked += 1
    return marked


def begin() -> None:
    """Make the first mark, where neither the store that new blobs go to nor the database has anything yet. A store that
    does not answer is left for later, and one that belongs to another installation is logged as an error."""
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
    """Raises StorageError when this is not the store that the database knows: what is missing there is not lost."""
    how, reason = standing(store)
    is_unmarked = read_mark(store) is None and known_of(store.name).count > 0 and not is_empty(store)
    if how is Standing.STRANGERS or is_unmarked:
        raise StorageError(with_advice(reason))


def is_empty(store: ObjectStore) -> bool:
    """Whether neither the store has an object nor the database a blob in it. Raises StorageError."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM content_blob WHERE store = %s)", [store.name])
        has_blobs = bool(cursor.fetchone()[0])
    return not has_blobs and next(iter(store.objects()), None) is None


def is_in_use(store: ObjectStore) -> bool:
    """Whether new blobs go to the store, or something is in it. Raises StorageError."""
    return store.name == get_config().storage or not is_empty(store)


def mark_together(store: ObjectStore) -> None:
    """Give the store and the database the next mark, and the installation's id to whichever has none.

    The database remembers which mark the store had until then: it still has it when it does not take the next one.
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


def remember_stop(store: str, reason: str) -> None:
    """Remember why sweeping is stopped, and log it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO content_storemark (store, stopped) VALUES (%s, %s)
            ON CONFLICT (store) DO UPDATE SET stopped = excluded.stopped
            """,
            [store, reason],
        )
    _log.error("nothing is swept in this store", store=store, reason=reason)


def remembered_stop(store: str) -> str:
    """Why the last sweep left the store alone; empty when it did not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce((SELECT stopped FROM content_storemark WHERE store = %s), '')", [store])
        return str(cursor.fetchone()[0])


def with_advice(reason: str) -> str:
    """The reason, and what to do about it, once."""
    return reason if "`portolan storage" in reason else f"{reason}: {ADVICE}"


def known_of(store: str) -> Known:
    """What the database has."""
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
    """What tells this database from another, and from itself before it was restored: the server's identifier and
    timeline (of a copy the first is the same, after a failover the second is another), the database's and a table's
    number (others after a dump was loaded). What a server does not tell is left out."""
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
    """Whether new blobs go to this store, and there are none yet."""
    return store.name == get_config().storage and standing(store)[0] is Standing.UNSURE and is_empty(store)


def _without_mark(store: ObjectStore, mark: Mark | None, known: Known) -> str:
    if mark is not None:
        return f"the store belongs to the installation {mark.installation}, and this database to none"
    if known.count:
        return (
            f"the database knows the store {store.name}, and this one has no mark: is it another folder, bucket or "
            "prefix, or not mounted?"
        )
    return "neither the store nor this database says that they belong together"


def _oddity(mark: Mark, known: Known) -> str:
    is_unfinished = mark.token != "" and mark.token == known.previous  # killed between the two, or the disk was full
    if mark.token != known.token and not is_unfinished:
        if mark.count > known.count:
            return (
                f"the database is older than the store: its last mark is number {known.count} of {known.at}, the "
                f"store's is number {mark.count} of {mark.at}"
            )
        return (
            f"the store is older than the database, or another database has worked with it: its last mark is number "
            f"{mark.count} of {mark.at}, the database's is number {known.count} of {known.at}"
        )
    if mark.database != database_identity():
        return "this is not the database that worked with the store before: it was restored, copied or moved"
    return ""


def _settled(store: ObjectStore, reason: str) -> str:
    """Compare, and mark both when everything fits; what does not, after the reason for comparing."""
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
    stopped = remembered_stop(store.name)
    return f"{store.name}: {stopped}" if stopped else ""


def _newest_blob() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM content_blob")
        return int(cursor.fetchone()[0])


@transaction.atomic
def _write_mark(store: ObjectStore) -> None:
    """Write the database's mark into the store, one after the other, so that an older one comes after none."""
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
