"""The cursor in `Link: next`: the sort keys of a page's last row, where the next page begins.

For clients it is an opaque word; but since it comes back from outside, each value is parsed as the type of its column,
and a cursor names the list and order that it was made for.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Union

import msgspec
from django.db.models import (
    BinaryField,
    BooleanField,
    CharField,
    DateTimeField,
    Field,
    IntegerField,
    QuerySet,
    TextField,
)

from registry_core.errors import InvalidInput

CURSOR_MAX: Final = 8192
_MARK_BYTES: Final = 9
_TYPES: Final[tuple[tuple[type[Field[Any, Any]], type], ...]] = (
    (BooleanField, bool),
    (IntegerField, int),
    (DateTimeField, datetime),
    (BinaryField, bytes),
    (CharField, str),
    (TextField, str),
)
_INT64: Final = 2**63


def encode(values: Sequence[Any], *, made_for: str) -> str:
    """The cursor after a row with these sort keys, for the list and order named by `made_for`."""
    plain = [bytes(value) if isinstance(value, memoryview) else value for value in values]
    return _base64(_mark(made_for) + msgspec.json.encode(plain))


def decode(cursor: str, types: Sequence[Any], *, made_for: str) -> list[Any]:
    """The sort keys in `cursor`, with the types in `types`. Raises InvalidInput for a cursor that `encode` did not
    make."""
    try:
        content = _from_base64(cursor)
        if content[:_MARK_BYTES] != _mark(made_for):
            raise InvalidInput("the cursor belongs to another list or another order: begin with page=1")
        values = msgspec.json.decode(content[_MARK_BYTES:], type=tuple.__class_getitem__(tuple(types)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise _unknown() from None
    if not all(map(_is_storable, values)):
        raise _unknown()
    return list(values)


def types_of(rows: QuerySet[Any], columns: Sequence[str], *, nullable: frozenset[str]) -> list[Any]:
    """The types of the columns of `rows`; for `nullable` ones including None."""
    return [_type_of(rows, name, is_nullable=name in nullable) for name in columns]


def _type_of(rows: QuerySet[Any], name: str, *, is_nullable: bool) -> Any:
    field = _field(rows, name)
    while field.is_relation:
        field = field.target_field  # type: ignore[attr-defined]
    kind = next(kind for fields, kind in _TYPES if isinstance(field, fields))
    return Union[kind, None] if is_nullable else kind  # noqa: UP007 a type made at run time


def _field(rows: QuerySet[Any], name: str) -> Field[Any, Any]:
    """The field of a column, of an annotation or of a relation (`manifest__kind`)."""
    if name in rows.query.annotations:
        return rows.query.annotations[name].output_field
    options = rows.model._meta
    *relations, last = name.split("__")
    for relation in relations:
        options = options.get_field(relation).related_model._meta
    found: Field[Any, Any] = options.pk if last == "pk" else options.get_field(last)
    return found


def _is_storable(value: object) -> bool:
    """Whether Postgres can compare the column with the value."""
    if isinstance(value, str):
        return "\x00" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, datetime):
        return value.tzinfo is not None
    return not isinstance(value, int) or -_INT64 <= value < _INT64


def _mark(made_for: str) -> bytes:
    return hashlib.sha256(made_for.encode()).digest()[:_MARK_BYTES]


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _from_base64(text: str) -> bytes:
    if len(text) > CURSOR_MAX or not text.isascii():
        raise _unknown()
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _unknown() -> InvalidInput:
    return InvalidInput("the cursor is invalid: begin with page=1")
