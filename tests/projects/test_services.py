"""Projects: who may be their first administrator, and what they may be called."""

from __future__ import annotations

import pytest

from projects.bootstrap import ensure_library
from projects.services import create_project, set_public
from registry_core.access import ANONYMOUS, authority
from registry_core.content.models import Project
from registry_core.errors import AlreadyExists, InvalidInput
from tests.rbac import arrange
from tests.support.operations import BY_SYSTEM, on_behalf_of

pytestmark = pytest.mark.django_db


def test_creator_becomes_project_admin() -> None:
    anna = arrange.user("anna").subject
    project = create_project(name="harbour", is_public=False, cause=on_behalf_of(anna))
    assert authority().actions_by_project(subject=anna, project_ids=[project.pk])[project.pk] == {
        "pull",
        "push",
        "delete",
    }


def test_name_is_taken_while_its_project_lives() -> None:
    arrange.project("harbour")
    with pytest.raises(AlreadyExists):
        arrange.project("harbour")
    Project.objects.filter(name="harbour").update(deleted_at="2026-01-01T00:00:00Z")
    arrange.project("harbour")


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "-a", "a-", "a..b", "a b", "é", "a\n", "x" * 256])
def test_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        create_project(name=name, is_public=False, cause=BY_SYSTEM)


def test_closing_a_project_ends_public_pulls() -> None:
    project = arrange.project("harbour", is_public=True)
    set_public(project=project, is_public=False, cause=BY_SYSTEM)
    assert authority().actions_by_project(subject=ANONYMOUS, project_ids=[project.pk])[project.pk] == frozenset()


def test_library_is_made_once_and_public() -> None:
    Project.objects.filter(name="library").delete()
    ensure_library()
    ensure_library()
    assert Project.objects.get(name="library").is_public
