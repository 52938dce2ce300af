"""docs/roles.md is what the registry decides by."""

from __future__ import annotations

from pathlib import Path

from tests.docs.roles import document

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_roles_is_up_to_date() -> None:
    written = (DOCS / "roles.md").read_text()
    assert written == document(), "make it anew: .venv/bin/python -m tests.docs.roles > docs/roles.md"
