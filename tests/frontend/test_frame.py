"""What holds for every page of the console: no inline code, nothing from elsewhere, its error pages, its files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.test import Client

import frontend
from frontend import queries
from registry_core.content.models import Project

pytestmark = pytest.mark.django_db
TEMPLATES = sorted(Path(frontend.__file__).parent.glob("templates/**/*.html"))
STATIC = Path(frontend.__file__).parent / "static"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_template_has_no_inline_code_and_no_foreign_address(template: Path) -> None:
    source = template.read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|\|safe|autoescape off|hx-on|hx-vals", source)
    assert not re.search(r"<script(?![^>]*\ssrc=)", source)
    assert not re.search(r"https?://|=\"//", source)


def test_pages_are_not_kept_by_caches(console: Client) -> None:
    assert "no-store" in console.get("/projects").headers["Cache-Control"]


@pytest.mark.parametrize(
    "file", sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.is_file()), ids=str
)
def test_static_file_is_served(client: Client, file: str) -> None:
    answer = client.get(f"/static/{file}")
    assert answer.status_code == 200
    assert b"".join(answer.streaming_content) == (STATIC / file).read_bytes()  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", ["../settings.py", "..%2f..%2fsettings.py", "rest_framework/css/default.css", "x"])
def test_nothing_else_is_served_as_static_file(client: Client, file: str) -> None:
    assert client.get(f"/static/{file}").status_code == 404


def test_unknown_address_is_404_for_strangers_too(browser: Client) -> None:
    answer = browser.get("/no/such/page")
    assert (answer.status_code, "Not on this chart" in answer.content.decode()) == (404, True)


def test_fault_shows_a_page_that_says_what_to_do(
    browser: Client, project: Project, ada: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.force_login(ada, backend="django.contrib.auth.backends.ModelBackend")  # type: ignore[arg-type]
    monkeypatch.setattr(queries, "PAGE_ROWS", "not a number")
    answer = browser.get("/projects")
    assert (answer.status_code, "could not show this page" in answer.content.decode()) == (500, True)
    assert "not a number" not in answer.content.decode()


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_pages_are_read_only(console: Client, method: str) -> None:
    assert getattr(console, method)("/projects").status_code == 405
