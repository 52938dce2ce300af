"""Pages of lists: from `q`, `sort`, `page` and `page_size` to rows, `X-Total-Count` and `Link`.

The rows of a page are found by their keys alone, so that an index can answer; then the rows are read. `Link: next`
carries a cursor, which finds the next page without walking over the previous ones. A page that is requested by number
costs the walk to it, which callers without authentication may do up to row `OFFSET_MAX`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from django.db.models import F, Model, Q, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from registry_core.api import cursors
from registry_core.api.authentication import subject_of
from registry_core.api.query import Condition, filtered, known_key
from registry_core.content.counting import bounded_count
from registry_core.errors import InvalidInput, Unprocessable

PAGE_SIZE: Final = 10
PAGE_SIZE_MAX: Final = 100
ALL_MAX: Final = 1000
"""The rows of a page for requests for all rows (`page_size` 0 or -1)."""
OFFSET_MAX: Final = 100_000
COUNT_MAX: Final = 100_000
SORT_MAX: Final = 255
LINKED_MAX: Final = 2048
"""The most characters of a cursor in a link."""
M = TypeVar("M", bound=Model)
Count = Callable[[QuerySet[Any], str], int]
"""Counts a list, given its rows and the `q` that selected them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The requested page: `size` rows from `offset` on. `size_given` is the size as the client wrote it."""

    page: int
    size: int
    size_given: int
    q: str
    sort: str
    cursor: str

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.size


@dataclass(frozen=True, slots=True)
class ListRules:
    """What clients can request of a list: the keys of `q`, the columns of `sort`, and the default order.

    In `nullable` columns, absent values sort last.
    """

    keys: Mapping[str, Condition] = field(default_factory=dict)
    sorts: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ("-pk",)
    nullable: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class KeyPage:
    """The keys of the rows on a page, in order; the total number of rows; whether more rows follow; and the cursor
    after the last one, empty if the next page is better found by number."""

    asked: Asked
    keys: list[int]
    total: int
    has_more: bool = False
    cursor: str = ""


def asked_of(request: Request) -> Asked:
    """The page that the query string requests. Raises Unprocessable, or InvalidInput for a page that costs too much.

    `page_size` 0 or less requests all rows, up to the limit of one answer; a `page` below 1 is the first.
    """
    given_size = _whole(request, "page_size", PAGE_SIZE)
    if given_size > PAGE_SIZE_MAX:
        raise Unprocessable(f"page_size in query should be less than or equal to {PAGE_SIZE_MAX}, or 0 for all")
    is_known = not subject_of(request).is_anonymous
    size = given_size if given_size > 0 else ALL_MAX if is_known else PAGE_SIZE_MAX
    given = request.query_params
    page, cursor = max(1, _whole(request, "page", 1)), given.get("cursor", "")
    asked = Asked(page, size, given_size, given.get("q", ""), given.get("sort", ""), cursor)
    if asked.offset > OFFSET_MAX and not cursor and not is_known:
        raise InvalidInput(
            f"row {asked.offset} is too far to skip to: follow `Link: next`, sign in, or narrow the list with q"
        )
    return asked


def listed(
    request: Request,
    rows: QuerySet[M],
    rules: ListRules,
    present: Callable[[Sequence[M]], list[Any]],
    *,
    load: Callable[[list[int]], QuerySet[M]] | None = None,
    count: Count | None = None,
) -> Response:
    """The requested page of `rows`, presented by `present`.

    `load` reads the rows with these keys and what `present` needs; without it, the rows are read as they are. `count`
    replaces `counted`. Raises InvalidInput.
    """
    page = keys_listed(request, rows, rules, count=count)
    loaded = {row.pk: row for row in (load(page.keys) if load else _all(rows, page.keys))} if page.keys else {}
    found = [loaded[key] for key in page.keys if key in loaded]
    return page_response(request, page, present(found))


def keys_listed(request: Request, rows: QuerySet[Any], rules: ListRules, *, count: Count | None = None) -> KeyPage:
    """The keys of the requested page of `rows`; `count` as in `listed`. Raises InvalidInput."""
    asked = asked_of(request)
    chosen = filtered(rows, asked.q, rules.keys)
    order = _order(asked.sort, rules)
    total = (count or counted)(chosen, asked.q)
    if asked.offset >= total and not asked.cursor:
        return KeyPage(asked, [], total)
    found, last = _keys_of_page(chosen, asked, order, rules, made_for=f"{request.path} {order}")
    return KeyPage(asked, found[: asked.size], total, len(found) > asked.size, last)


def counted(rows: QuerySet[Any], _q: str = "") -> int:
    """The number of rows: for few rows counted together with the page, otherwise by a statement of its own."""
    few = bounded_count(rows, most=COUNT_MAX)
    return few if few <= COUNT_MAX else rows.order_by().count()


def page_response(request: Request, page: KeyPage, items: list[Any]) -> Response:
    """A page of items with `X-Total-Count` and `Link` (RFC 8288)."""
    headers = {"X-Total-Count": str(page.total)}
    links = []
    if page.asked.page > 1:
        links.append(f'<{_address(request, page.asked.page - 1, page.asked)}>; rel="prev"')
    if page.has_more:
        links.append(f'<{_address(request, page.asked.page + 1, page.asked, page.cursor)}>; rel="next"')
    if links:
        headers["Link"] = " , ".join(links)
    return Response(items, headers=headers)


def nothing_listed(request: Request) -> Response:
    """The requested page of an empty list. Raises Unprocessable."""
    return page_response(request, KeyPage(asked_of(request), [], 0), [])


def _whole(request: Request, name: str, default: int) -> int:
    """A 64-bit integer. Raises Unprocessable."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise Unprocessable(f"{name} in query must be of type int64, not {text[:40]!r}")
    return int(text)


def _all(rows: QuerySet[M], keys: list[int]) -> QuerySet[M]:
    return rows.model._default_manager.filter(pk__in=keys)


def _order(sort: str, rules: ListRules) -> tuple[str, ...]:
    """The columns to sort by, each once and possibly with a minus, the key last. Raises InvalidInput."""
    if len(sort) > SORT_MAX:
        raise InvalidInput(f"sort has at most {SORT_MAX} characters")
    columns: dict[str, str] = {}
    for word in filter(None, (part.strip() for part in sort.split(","))):
        column = known_key(word.lstrip("-+"), rules.sorts)
        if column is None:
            known = ", ".join(sorted(rules.sorts)) or "none"
            raise InvalidInput(f"cannot sort by {word[:40]!r} here: use one of {known}")
        columns.setdefault(column, f"-{column}" if word.startswith("-") else column)
    order = tuple(columns.values()) or rules.order
    is_complete = any(column.lstrip("-") in {"pk", "id"} for column in order)
    return order if is_complete else (*order, "-pk" if order[-1].startswith("-") else "pk")


def _keys_of_page(
    rows: QuerySet[M], asked: Asked, order: tuple[str, ...], rules: ListRules, *, made_for: str
) -> tuple[list[int], str]:
    """The keys of the page and of one more row, if there is one; the cursor after the last row of the page.

    Long texts get no cursor: the link would be longer than servers and proxies accept.
    """
    columns = [column.lstrip("-") for column in order]
    chosen, offset = rows, asked.offset
    if asked.cursor:
        types = cursors.types_of(rows, columns, nullable=rules.nullable)
        values = cursors.decode(asked.cursor, types, made_for=made_for)
        chosen, offset = rows.filter(_behind(order, values, rules.nullable)), 0
    chosen = chosen.order_by(*(_expression(column, rules) for column in order))
    found = list(chosen.values_list(*columns, "pk")[offset : offset + asked.size + 1])
    cursor = cursors.encode(found[asked.size - 1][:-1], made_for=made_for) if len(found) > asked.size else ""
    return [row[-1] for row in found], cursor if len(cursor) <= LINKED_MAX else ""


def _expression(column: str, rules: ListRules) -> Any:
    name = column.lstrip("-")
    if name not in rules.nullable:
        return column
    return F(name).desc(nulls_last=True) if column.startswith("-") else F(name).asc(nulls_last=True)


def _behind(order: Sequence[str], values: Sequence[Any], nullable: frozenset[str]) -> Q:
    """A condition for the rows after the one with these values; absent values of a `nullable` column sort last."""
    behind, same = Q(), Q()
    for column, value in zip(order, values, strict=True):
        name = column.lstrip("-")
        if value is None:
            same &= Q(**{f"{name}__isnull": True})
            continue
        beyond = Q(**{f"{name}__{_comparison(column)}": value})
        behind |= same & (beyond | Q(**{f"{name}__isnull": True}) if name in nullable else beyond)
        same &= Q(**{name: value})
    first = order[0].lstrip("-")
    # Redundant, but it lets an index scan begin there.
    return behind if first in nullable else behind & Q(**{f"{first}__{_comparison(order[0])}e": values[0]})


def _comparison(column: str) -> str:
    return "lt" if column.startswith("-") else "gt"


def _address(request: Request, page: int, asked: Asked, cursor: str = "") -> str:
    """The path and query of another page; without a host, since only the proxy in front may know it."""
    given = request.query_params.copy()
    given["page"], given["page_size"] = str(page), str(asked.size_given)
    given.pop("cursor", None)
    if cursor:
        given["cursor"] = cursor
    return f"{request.path}?{given.urlencode()}"
