"""Pages of every list: by size, by number, and by the server's own links, in every order that a list has."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any, Union
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projects.labels import create_label
from projects.services import create_project
from registry_core.api import cursors, paging
from registry_core.content.models import Project
from registry_core.errors import InvalidInput
from tests.api.conftest import ROOT, Api
from tests.api.listings import EMPTY, ROWS, Listing, listings
from tests.support.operations import BY_SYSTEM

pytestmark = pytest.mark.slow

__all__ = ["listings"]

HOSTILE = (
    "x", "!!!!", "A" * 9000, "WyJ4IiwgMV0", "W10", "bnVsbA", "e30", "%00", "é", "WyJcdTAwMDAiLCAxXQ", "=" * 8,
    base64.urlsafe_b64encode(b"[" * 5000).decode(),
)  # fmt: skip
LISTS_MIN = 16


def link(answer: Any, name: str) -> str | None:
    """The address, below `/api/v2.0`, of the page that the answer calls so."""
    for each in answer.headers.get("Link", "").split(" , "):
        if f'rel="{name}"' in each:
            return str(each.partition("<")[2].partition(">")[0].removeprefix(ROOT))
    return None


def walked(api: Api, address: str) -> list[Any]:
    """What is on this page and on all that its links lead to."""
    found: list[Any] = []
    following: str | None = address
    while following:
        answer = api.get(following)
        assert answer.status_code == 200, (following, answer.content)
        assert answer.json(), f"an empty page is linked: {following}"
        found += answer.json()
        following = link(answer, "next")
    return found


def test_links_lead_through_every_list_in_every_order(sysadmin: Api, listings: list[Listing]) -> None:
    seen = set()
    for listing in listings:
        if listing.name in EMPTY:
            continue
        seen.add(listing.name)
        for sort in ["", *listing.keys(sysadmin, "sort")]:
            for sign in ("", "-") if sort else ("",):
                everything = sysadmin.get(listing.at(f"sort={sign}{sort}&page_size=100")).json()
                assert len(everything) >= ROWS, listing
                paged = walked(sysadmin, listing.at(f"sort={sign}{sort}&page_size=2"))
                assert paged == everything, (listing.name, sign, sort)
    assert len(seen) >= LISTS_MIN


def test_a_cursor_that_the_server_did_not_make_for_this_list_is_refused(sysadmin: Api, listings: list[Listing]) -> None:
    wrong, made = [], {}
    for listing in listings:
        if listing.name not in EMPTY:
            following = link(sysadmin.get(listing.at("page_size=1")), "next")
            made[listing.name] = (following or "").rpartition("cursor=")[2]
    assert all(made.values())
    for listing in listings:
        if listing.name in EMPTY:
            continue
        foreign = next(cursor for name, cursor in made.items() if name != listing.name)
        for sort in ["", *listing.keys(sysadmin, "sort")]:
            own = [made[listing.name]] if sort not in {"", "id", "pk"} else []
            for cursor in (*map(quote, HOSTILE if not sort else HOSTILE[3:4]), foreign, *own):
                status = sysadmin.get(
                    listing.at(f"page=2&sort=-{sort}&cursor={cursor}" if sort else f"cursor={cursor}")
                )
                is_default = cursor in own and status.status_code == 200
                if status.status_code != 400 and not is_default:
                    wrong.append(f"{listing.name} by {sort}: {cursor[:40]}: {status.status_code}")
    assert not wrong, "\n".join(wrong)


def test_all_rows_are_asked_for_by_a_size_that_is_none(sysadmin: Api, listings: list[Listing]) -> None:
    for listing in listings:
        for question in ("page=0&page_size=0", "page=1&page_size=-1", "page=-3&page_size=-100"):
            answer = sysadmin.get(listing.at(question))
            assert answer.status_code == 200, (listing, answer.content)
            assert str(len(answer.json())) == answer["X-Total-Count"], listing
            assert "Link" not in answer, listing


def test_a_page_that_is_none_is_422(sysadmin: Api, listings: list[Listing]) -> None:
    for listing in listings:
        for question in ("page_size=101", "page_size=x", "page_size=1.5", "page=x", f"page={10**20}"):
            answer = sysadmin.get(listing.at(question))
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "UNPROCESSABLE_ENTITY"), listing


def test_all_rows_come_in_pieces_that_links_join(
    sysadmin: Api, anonymous: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "ALL_MAX", 3)
    monkeypatch.setattr(paging, "PAGE_SIZE_MAX", 2)
    names = [f"p{number}" for number in range(8)]
    for name in names:
        create_project(name=name, is_public=True, cause=BY_SYSTEM)
    first = sysadmin.get("/projects?page_size=0&sort=name")
    assert ([p["name"] for p in first.json()], first["X-Total-Count"]) == (names[:3], "8")
    assert [p["name"] for p in walked(sysadmin, "/projects?page_size=0&sort=name")] == names
    assert len(anonymous.get("/projects?page_size=0").json()) == 2, "not more than a page for who has not signed in"
    assert [p["name"] for p in walked(anonymous, "/projects?page_size=-1&page=0")] == names
    assert [p["name"] for p in sysadmin.get("/projects?page_size=0&page=3&sort=name").json()] == names[6:]


def test_a_page_behind_the_end_is_empty_and_costs_no_walk(
    sysadmin: Api, anonymous: Api, project: Project, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(12):
        beyond = sysadmin.get("/projects?page=99999999999999999&page_size=100")
    assert (beyond.status_code, beyond.json()) == (200, [])
    assert link(beyond, "prev") is not None
    far = anonymous.get("/projects?page=1002&page_size=100")
    assert (far.status_code, "Link: next" in far.json()["errors"][0]["message"]) == (400, True)
    assert anonymous.get("/projects?page=1001&page_size=100").status_code == 200


def test_a_page_is_followed_by_one_when_a_row_of_it_is_gone_meanwhile(sysadmin: Api) -> None:
    for number in range(4):
        create_project(name=f"p{number}", is_public=True, cause=BY_SYSTEM)
    following = link(sysadmin.get("/projects?page_size=2"), "next")
    Project.objects.filter(name__in=("p0", "p1")).delete()
    assert following is not None
    assert [p["name"] for p in sysadmin.get(following).json()] == ["p2", "p3"]


def test_links_lead_on_where_texts_are_too_long_for_them(sysadmin: Api) -> None:
    for number in range(5):
        text = ("\x01" * 1000 if number % 2 else "x" * 900) + str(number)
        create_label(project=None, name=f"l{number}", description=text, color="", cause=BY_SYSTEM)
    for sign in ("", "-"):
        everything = sysadmin.get(f"/labels?sort={sign}description").json()
        first = sysadmin.get(f"/labels?sort={sign}description&page_size=2")
        assert len(first["Link"]) < 4096
        assert walked(sysadmin, f"/labels?sort={sign}description&page_size=2") == everything


# --- the cursor by itself --------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    str: TEXTS,
    bytes: st.binary(max_size=65),
    bool: st.booleans(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    Union[int, None]: st.none() | st.integers(-(2**63), 2**63 - 1),  # noqa: UP007 as the code makes it
    Union[datetime, None]: st.none() | st.datetimes(timezones=st.just(UTC)),  # noqa: UP007
}


@st.composite
def typed(draw: st.DrawFn) -> tuple[list[Any], list[Any]]:
    """Types of columns, and a value of each."""
    types = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4))
    return types, [draw(VALUES[kind]) for kind in types]


@given(typed(), TEXTS)
def test_a_cursor_comes_back_as_it_was(made: tuple[list[Any], list[Any]], made_for: str) -> None:
    types, values = made
    assert cursors.decode(cursors.encode(values, made_for=made_for), types, made_for=made_for) == values


@given(typed(), typed())
def test_a_cursor_for_other_columns_is_refused_or_fits_them(
    made: tuple[list[Any], list[Any]], other: tuple[list[Any], list[Any]]
) -> None:
    cursor = cursors.encode(made[1], made_for="a")
    try:
        values = cursors.decode(cursor, other[0], made_for="a")
    except InvalidInput:
        return
    assert len(values) == len(other[0])


@given(st.text() | st.binary().map(lambda content: base64.urlsafe_b64encode(content).decode()))
def test_a_word_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        cursors.decode(text, [int], made_for="a")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(2**63, int), (-(2**63) - 1, int), (True, int), (1, str), ("a\x00", str), ("2026-01-01T00:00:00", datetime),
     ("yesterday", datetime), ("!", bytes), (None, int), ([], str)],
)  # fmt: skip
def test_a_value_that_the_column_does_not_hold_is_refused(value: Any, kind: Any) -> None:
    forged = cursors._base64(cursors._mark("a") + json.dumps([value]).encode())
    with pytest.raises(InvalidInput):
        cursors.decode(forged, [kind], made_for="a")
