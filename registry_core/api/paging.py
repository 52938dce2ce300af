"""Pages of lists: `q`, `sort`, `page` and `page_size` in, rows, `X-Total-Count` and `Link` out.

Which rows are on a page is found by their keys alone, so that an index answers; the rows are read after. `Link: next`
carries a cursor, from where the next page begins without walking over those before it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from django.db.models import F, Model, Q, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from registry_core.api.query import Condition, filtered
from registry_core.content.counting import bounded_count
from registry_core.errors import InvalidInput

PAGE_SIZE: Final = 10
PAGE_SIZE_MAX: Final = 100
PAGE_MAX: Final = 10_000_000
COUNT_MAX: Final = 100_000
M = TypeVar("M", bound=Model)
Count = Callable[[QuerySet[Any], str], int]
"""How many rows a list has: given its rows, and the `q` that chose them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The page that a request asks for. `size` -1: everything."""

    page: int
    size: int
    q: str
    sort: str
    cursor: str

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.size


@dataclass(frozen=True, slots=True)
class ListRules:
    """What a list can be asked: its keys for `q`, its columns for `sort`, and the order it has by itself.

    Columns in `nullable` sort with the absent ones last; no cursor is made for them.
    """

    keys: Mapping[str, Condition] = field(default_factory=dict)
    sorts: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ("-pk",)
    nullable: frozenset[str] = frozenset()
    allows_all: bool = False


@dataclass(frozen=True, slots=True)
class KeyPage:
    """The keys of the rows on a page, in order; how many there are in all; where the next page begins."""

    asked: Asked
    keys: list[int]
    total: int
    cursor: str


def asked_of(request: Request, *, allows_all: bool = False) -> Asked:
    """The page that the query string asks for. Raises InvalidInput."""
    size = _whole(request, "page_size", PAGE_SIZE)
    if not 1 <= size <= PAGE_SIZE_MAX and not (allows_all and size == -1):
        raise InvalidInput(
            f"page_size is a number from 1 to {PAGE_SIZE_MAX}" + (" or -1 for all" if allows_all else "")
        )
    page = _whole(request, "page", 1)
    if not 1 <= page <= PAGE_MAX:
        raise InvalidInput(f"page is a number from 1 to {PAGE_MAX}")
    given = request.query_params
    return Asked(page, size, given.get("q", ""), given.get("sort", ""), given.get("cursor", ""))


def listed(
    request: Request,
    rows: QuerySet[M],
    rules: ListRules,
    present: Callable[[Sequence[M]], list[Any]],
    *,
    load: Callable[[list[int]], QuerySet[M]] | None = None,
    count: Count | None = None,
) -> Response:
    """The page of `rows` that the request asks for, presented, with its headers.

    `load` reads the rows of the keys on the page, with what the presentation needs; by itself it is the model's own.
    `count` counts in another way than `counted`. Raises InvalidInput.
    """
    page = keys_listed(request, rows, rules, count=count)
    loaded = {row.pk: row for row in (load(page.keys) if load else _all(rows, page.keys))} if page.keys else {}
    found = [loaded[key] for key in page.keys if key in loaded]
    return page_response(request, page.asked, present(found), total=page.total, cursor=page.cursor)


def keys_listed(request: Request, rows: QuerySet[Any], rules: ListRules, *, count: Count | None = None) -> KeyPage:
    """The keys on the page of `rows` that the request asks for; `count` as in `listed`. Raises InvalidInput."""
    asked = asked_of(request, allows_all=rules.allows_all)
    chosen = filtered(rows, asked.q, rules.keys)
    order = _order(asked.sort, rules)
    total = (count or counted)(chosen, asked.q)
    keys, cursor = _keys_of_page(chosen, asked, order, rules)
    return KeyPage(asked, keys, total, cursor)


def counted(rows: QuerySet[Any], _q: str = "") -> int:
    """How many rows there are: few are counted on their way, many by themselves."""
    few = bounded_count(rows, most=COUNT_MAX)
    return few if few <= COUNT_MAX else rows.order_by().count()


def page_response(request: Request, asked: Asked, items: list[Any], *, total: int, cursor: str = "") -> Response:
    """A page of items with `X-Total-Count` and `Link` (RFC 8288)."""
    headers = {"X-Total-Count": str(total)}
    links = []
    if asked.page > 1 and asked.size > 0:
        links.append(f'<{_address(request, asked.page - 1, asked.size, "")}>; rel="prev"')
    if asked.size > 0 and asked.page * asked.size < total and len(items) == asked.size:
        links.append(f'<{_address(request, asked.page + 1, asked.size, cursor)}>; rel="next"')
    if links:
        headers["Link"] = " , ".join(links)
    return Response(items, headers=headers)


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if len(text) >= 12:
        return PAGE_MAX + 1  # more than any list is asked for
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"{name} is a whole number, not {text!r}") from None


def _all(rows: QuerySet[M], keys: list[int]) -> QuerySet[M]:
    return rows.model._default_manager.filter(pk__in=keys)


def _order(sort: str, rules: ListRules) -> tuple[str, ...]:
    """The columns to sort by, each perhaps with a minus, the key last."""
    columns = []
    for word in filter(None, (part.strip() for part in sort.split(","))):
        column = rules.sorts.get(word.lstrip("-+"))
        if column is None:
            known = ", ".join(sorted(rules.sorts)) or "none"
            raise InvalidInput(f"cannot sort by {word[:40]!r} here: use one of {known}")
        columns.append(f"-{column}" if word.startswith("-") else column)
    order = tuple(dict.fromkeys(columns)) or rules.order
    is_complete = any(column.lstrip("-") in {"pk", "id"} for column in order)
    return order if is_complete else (*order, "-pk" if order[-1].startswith("-") else "pk")


def _keys_of_page(rows: QuerySet[M], asked: Asked, order: tuple[str, ...], rules: ListRules) -> tuple[list[int], str]:
    has_cursor = not any(column.lstrip("-") in rules.nullable for column in order)
    columns = [column.lstrip("-") for column in order]
    sorted_rows = rows.order_by(*(_expression(column, rules) for column in order)).values_list(*columns, "pk")
    if asked.size == -1:
        return [row[-1] for row in sorted_rows], ""
    if asked.cursor and has_cursor:
        page = list(sorted_rows.filter(_behind(order, asked.cursor))[: asked.size])
    else:
        page = list(sorted_rows[asked.offset : asked.offset + asked.size])
    cursor = _encoded(page[-1][:-1]) if page and has_cursor else ""
    return [row[-1] for row in page], cursor


def _expression(column: str, rules: ListRules) -> Any:
    name = column.lstrip("-")
    if name not in rules.nullable:
        return column
    return F(name).desc(nulls_last=True) if column.startswith("-") else F(name).asc(nulls_last=True)


def _behind(order: tuple[str, ...], cursor: str) -> Q:
    """The rows behind the one that the cursor names."""
    values = _decoded(cursor)
    if len(values) != len(order):
        raise InvalidInput("the cursor does not belong to this list: begin with page=1")
    behind, same = Q(), Q()
    for column, value in zip(order, values, strict=True):
        name, comparison = column.lstrip("-"), "lt" if column.startswith("-") else "gt"
        behind |= same & Q(**{f"{name}__{comparison}": value})
        same &= Q(**{name: value})
    return behind


def _encoded(values: Sequence[Any]) -> str:
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(msgspec.json.encode(plain)).decode().rstrip("=")


def _decoded(cursor: str) -> list[int | str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        values = msgspec.json.decode(text, type=list[int | str])
    except (ValueError, msgspec.DecodeError):
        raise InvalidInput("the cursor is not one of ours: begin with page=1") from None
    if any(isinstance(value, str) and "\x00" in value for value in values):
        raise InvalidInput("the cursor is not one of ours: begin with page=1")
    return values


def _address(request: Request, page: int, size: int, cursor: str) -> str:
    """The path and query of another page; relative to the host, as behind a proxy nobody else knows it."""
    given = request.query_params.copy()
    given["page"], given["page_size"] = str(page), str(size)
    given.pop("cursor", None)
    if cursor:
        given["cursor"] = cursor
    return f"{request.path}?{given.urlencode()}"
