"""The way of a person through the console, in a real browser, against a real registry."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Pushed
from tests.support.people import create_user
from tests.support.server import Server

NARROW = {"width": 390, "height": 844}


def sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_from_sign_in_to_project_repository_and_tag(page: Page, server: Server, pushed: Pushed) -> None:
    page.goto("/")
    sign_in(page, pushed.owner.name, pushed.owner.password)
    expect(page).to_have_url(re.compile("/projects$"))
    page.get_by_role("link", name=pushed.project).click()
    page.get_by_role("link", name=pushed.repository).click()
    expect(page.get_by_role("heading", name=pushed.tag)).to_be_visible()
    line = f"docker pull {server.host}/{pushed.project}/{pushed.repository}:{pushed.tag}"
    expect(page.get_by_text(line)).to_be_visible()
    page.get_by_role("button", name=f"Copy the digest of {pushed.tag}").click()
    expect(page.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == pushed.digest


def test_search_narrows_the_list_while_typing(page: Page, pushed: Pushed) -> None:
    page.goto("/projects")
    sign_in(page, pushed.owner.name, pushed.owner.password)
    page.get_by_role("searchbox").fill(pushed.project[1:])
    expect(page.get_by_role("link", name="library")).to_have_count(0)
    expect(page.get_by_role("link", name=pushed.project)).to_be_visible()
    expect(page).to_have_url(re.compile(rf"\?q={pushed.project[1:]}$"))
    page.get_by_role("searchbox").fill("no such project")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("searchbox").fill("")
    expect(page.get_by_role("link", name="library")).to_be_visible()


def test_wrong_password_is_said_in_words_and_keeps_the_name(page: Page, pushed: Pushed) -> None:
    page.goto("/sign-in")
    sign_in(page, pushed.owner.name, "Wrong-1436")
    expect(page.get_by_role("alert")).to_have_text("The user name or password is wrong.")
    expect(page.get_by_label("User name")).to_have_value(pushed.owner.name)


def test_private_project_of_others_is_not_found(page: Page, server: Server, pushed: Pushed, unique: str) -> None:
    stranger = create_user(server, unique)
    page.goto(f"/projects/{pushed.project}")
    sign_in(page, stranger.name, stranger.password)
    expect(page.get_by_role("heading", name="Not on this chart")).to_be_visible()


def test_sign_out_ends_the_session(page: Page, pushed: Pushed) -> None:
    page.goto("/")
    sign_in(page, pushed.owner.name, pushed.owner.password)
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/sign-in$"))
    page.goto("/projects")
    assert urlsplit(page.url).path == "/sign-in"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(page: Page, pushed: Pushed, scheme: str) -> None:
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto("/projects")
    sign_in(page, pushed.owner.name, pushed.owner.password)
    for path in (
        "/projects",
        f"/projects/{pushed.project}",
        f"/projects/{pushed.project}/{pushed.repository}",
        "/none",
    ):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path


def test_the_rest_api_is_shown_to_people(page: Page) -> None:
    page.goto("/api/docs")
    listing = page.get_by_text("GET /api/v2.0/quotas", exact=True)
    expect(listing).to_be_visible()
    page.get_by_role("searchbox").fill("listquotas")
    expect(page.get_by_role("status")).to_have_text("1 operation")
    listing.click()
    expect(page.get_by_text("reference_id", exact=True)).to_be_visible()
    expect(page.get_by_text('"creation_time": "date-time"')).to_be_visible()
