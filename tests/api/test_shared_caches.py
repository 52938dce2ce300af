"""What the REST API and the data path cache together: neither may leave the other something stale."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory
from rest_framework.request import Request

from projects.api import content
from projects.api.content import ContentView
from registry_core.access import SYSTEM, Cause
from registry_core.api.authentication import BasicAuthentication, is_cached
from registry_core.content.models import Project
from registry_core.content.repositories import ensure_repository, name_key, project_key, project_ref
from registry_core.distribution.guards import absence_cache, name_cache
from registry_core.distribution.identity import credentials_key, holder_cache, identity_cache
from registry_core.errors import NotFound
from registry_core.machine.generations import Generations
from registry_core.names import RepositoryName
from tests.rbac import arrange
from tests.support.caches import isolate

pytestmark = pytest.mark.django_db
NAME = RepositoryName("harbour", "app")


@pytest.fixture(autouse=True)
def generations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generations:
    generations = Generations(tmp_path / "generations")
    generations.followed(1)
    isolate(
        monkeypatch,
        generations,
        [absence_cache, name_cache, identity_cache, holder_cache, content._project_cache],
    )
    return generations


@pytest.fixture
def harbour() -> Project:
    project = arrange.project(NAME.project)
    cause = Cause(SYSTEM, "", "test", "")
    ensure_repository(project=project_ref(project), name=NAME, cause=cause, ask_for_content=lambda _repository: None)
    return project


def view(project: str = NAME.project) -> ContentView:
    made = ContentView()
    made.kwargs = {"project_name": project, "repository_name": NAME.path}
    return made


def test_a_repository_is_cached_with_its_project_as_it_is_now(harbour: Project, generations: Generations) -> None:
    """A view that found the project before a change must not cache it under the generations of afterwards."""
    slow = view()
    assert slow.project.is_public is False
    Project.objects.filter(pk=harbour.pk).update(is_public=True)
    generations.bump([project_key(harbour.pk), name_key(NAME.project)])

    assert slow.repository_ref.project.is_public
    located = name_cache.get(str(NAME))
    assert located is not None
    assert located.project is not None
    assert located.project.is_public


def test_a_repository_of_another_project_of_that_name_is_not_found(harbour: Project, generations: Generations) -> None:
    slow = view()
    assert slow.repository_ref.project.id == harbour.pk
    Project.objects.filter(pk=harbour.pk).update(deleted_at="2026-01-01T00:00:00Z")
    other = arrange.project(NAME.project)
    cause = Cause(SYSTEM, "", "test", "")
    ensure_repository(project=project_ref(other), name=NAME, cause=cause, ask_for_content=lambda _repository: None)
    generations.bump([project_key(harbour.pk), name_key(NAME.project), name_key(str(NAME))])

    assert view().repository_ref.project.id == other.pk
    with pytest.raises(NotFound):
        _ = slow.repository_ref


def test_an_absent_project_takes_as_many_statements_as_an_existing_one(
    harbour: Project, django_assert_num_queries: Callable[[int], Any]
) -> None:
    for name in (NAME.project, "nowhere"):
        with django_assert_num_queries(2):
            assert (view(name).found_project is None) is (name == "nowhere")
        with django_assert_num_queries(0):
            assert (view(name).found_project is None) is (name == "nowhere")


def test_a_made_up_project_name_is_charged_by_its_length(harbour: Project) -> None:
    for length in (1000, 2000):
        before = absence_cache.statistics().size_bytes
        assert view("ü" * length).found_project is None
        assert absence_cache.statistics().size_bytes - before >= 2 * length


def test_whoever_signed_in_by_rest_is_known_to_the_data_path() -> None:
    anna = arrange.user("anna")
    header = "Basic " + base64.b64encode(f"anna:{arrange.PASSWORD}".encode()).decode()
    request = Request(RequestFactory().get("/", HTTP_AUTHORIZATION=header))
    assert not is_cached(header)
    found = BasicAuthentication().authenticate(request)
    assert found is not None
    assert found[0].subject == anna.subject
    identity = identity_cache.get(credentials_key(header))
    assert identity is not None
    assert (identity.subject, identity.claims) == (anna.subject, None)
    assert holder_cache.get(anna.subject.key) is not None
