"""The caches of a process: each stays within its bytes, as measured, and all within one budget."""

from __future__ import annotations

import datetime as dt
import functools
import gc
import secrets
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from projects.api.artifacts import Page, page_bytes
from projects.api.content import PROJECT_BYTES
from rbac.robot_permissions import PROJECT_PERMISSIONS
from rbac.roles import ROLE_PERMISSIONS
from registry_core import caches
from registry_core.access import Subject, SubjectKind
from registry_core.api.permissions import permissions_bytes
from registry_core.caches import PROCESS, Budget, CacheStatistics
from registry_core.caching.cache import Cache
from registry_core.config import get_config
from registry_core.content.blobs import BlobRef
from registry_core.content.models import Project
from registry_core.content.repositories import ProjectRef, RepositoryRef
from registry_core.digests import Digest
from registry_core.distribution.cached_answers import ANSWER_BYTES, CachedAnswer
from registry_core.distribution.identity import Holder, Identity
from registry_core.distribution.reads import Located, StoredManifest
from registry_core.distribution.router import NotFound, find
from registry_core.http.messages import FilePart
from registry_core.machine.generations import Generations
from registry_core.names import RepositoryName
from registry_core.tokens.jwt import Claims, Grant

pytestmark = pytest.mark.slow

MIB = 1 << 20
ENTRIES = 3000  # more than there is room for
TOLERANCE = 1.1  # of the measured size through the limit
OPEN_TO_STRANGERS = {
    "absences", "addresses", "artifact pages", "catalogs", "hosts", "identities", "networks", "repository names",
    "repository totals", "routes", "written addresses",
}  # fmt: skip
"""Caches whose keys a client can make up, with few rights or none."""


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    generations = Generations(tmp_path / "generations")
    generations.followed(1)
    return generations


def _digest(number: int) -> Digest:
    return Digest.of(number.to_bytes(8, "big"))


def _name(number: int) -> RepositoryName:
    return RepositoryName(f"project-{number % 100:04d}", f"some/team/application-{number:08d}")


def _manifest(number: int) -> tuple[object, Any, dict[str, Any]]:
    content = secrets.token_bytes(700)
    manifest = StoredManifest(number, _digest(number), f"application/vnd.{number}", f"kind/{number}", number, content)
    return (number, f"v1.{number}"), manifest, {"size_bytes": 512 + len(content)}


def _answer(number: int) -> tuple[object, Any, dict[str, Any]]:
    """A redirect or a file: what is cached of a manifest is its bytes, and less of the rest."""
    path = f"/v2/{_name(number)}/blobs/{_digest(number)}"
    shown = [("docker-content-digest", str(_digest(number))), ("etag", f'"{_digest(number)}"')]
    shown += [("location", f"https://store/{secrets.token_hex(220)}"), ("content-length", str(1000 + number))]
    file = FilePart(Path(f"/data/blobs/{number % 256:02x}/{secrets.token_hex(16)}"), 0, 1000 + number)
    str(file.path)  # which the path keeps
    pull = (1000 + number, f"v1.{number}", 4000 + number)
    answer = CachedAnswer(200, tuple(shown), b"", file, pull, "blob.pull", str(_name(number)), f"user-{number}")
    return ("GET", path, _digest(number).raw), answer, {"size_bytes": ANSWER_BYTES + 4 * len(path)}


def _blob(number: int) -> tuple[object, Any, dict[str, Any]]:
    key = f"{number % 256:02x}/{secrets.token_hex(16)}"
    return (number, _digest(number)), BlobRef(number, _digest(number), 1000 + number, "filesystem", key), {}


def _located(number: int) -> tuple[object, Any, dict[str, Any]]:
    name = _name(number)
    project = ProjectRef(1000 + number, name.project, False, False)
    created_at = dt.datetime.fromtimestamp(number, dt.UTC)
    return str(name), Located(project, RepositoryRef(1000 + number, name, project), created_at), {}


def _identity(number: int) -> tuple[object, Any, dict[str, Any]]:
    token = secrets.token_hex(320)
    grants = (Grant("repository", str(_name(number)), ("pull", "push"), 1000 + number, 2000 + number),)
    times = (number, number, number)
    claims = Claims(f"https://{number}", "service", f"user:{number}", f"user-{number}", *times, token[:32], 1, grants)
    subject = Subject(SubjectKind.USER, 1000 + number, f"user-{number}")
    return _digest(number).raw, Identity(subject, claims, 1), {"size_bytes": 1024 + 4 * len(token)}


def _actions(number: int) -> tuple[object, Any, dict[str, Any]]:
    return (SubjectKind.USER, 1000 + number, 2000 + number), frozenset({"pull", "push"}), {}


def _absence(number: int) -> tuple[object, Any, dict[str, Any]]:
    """That there is no such project, and what a subject may do there; the key of the second is the longer one."""
    return (SubjectKind.USER, 1000 + number, f"name:{'p' * 240}{number:08d}"), frozenset(), {}


def _project_ref(number: int) -> tuple[object, Any, dict[str, Any]]:
    name = f"{'p' * 240}{number:08d}"
    return name, ProjectRef(1000 + number, f"{name[:-1]}x", False, False), {}


def _absent(number: int) -> tuple[object, Any, dict[str, Any]]:
    name = f"{'p' * 240}{number:08d}"
    size_bytes = permissions_bytes(frozenset()) + 4 * len(name)
    return (f"user:{number}", f"name:{name}"), frozenset(), {"size_bytes": size_bytes}


def _permissions(number: int) -> tuple[object, Any, dict[str, Any]]:
    held = frozenset().union(*ROLE_PERMISSIONS.values(), PROJECT_PERMISSIONS)
    return (f"user:{number}", number), held, {"size_bytes": permissions_bytes(held)}


def _project(number: int) -> tuple[object, Any, dict[str, Any]]:
    name = f"{'p' * 240}{number:08d}"
    created_at = dt.datetime.fromtimestamp(number, dt.UTC)
    return name, Project(pk=1000 + number, name=f"{name[:-1]}x", created_at=created_at), {"size_bytes": PROJECT_BYTES}


def _count(number: int) -> tuple[object, Any, dict[str, Any]]:
    return 1000 + number, 1000 + number, {"size_bytes": 200}


def _total(number: int) -> tuple[object, Any, dict[str, Any]]:
    projects = tuple(range(number, number + 40))
    return (projects, f"name=~{number}"), 1000 + number, {"size_bytes": 256 + 40 * 40}


def _holder(number: int) -> tuple[object, Any, dict[str, Any]]:
    return f"user:{number}", Holder(Subject(SubjectKind.USER, 1000 + number, f"user-{number}"), 1, 1e9 + number), {}


def _page(number: int) -> tuple[object, Any, dict[str, Any]]:
    """With little on it, asked for by a query that a client made up."""
    path = f"/api/v2.0/projects/{'p' * 240}/repositories/app/artifacts"
    asked = f"q={'x' * 200}{number:08d}"
    page = Page(b"[]", {"x-total-count": str(1000 + number), "link": f"<{path}?page={number}>; rel=next"})
    return (number, asked, path + str(number), True), page, {"size_bytes": page_bytes(page, path, asked)}


@pytest.mark.parametrize(
    "entry",
    [
        _manifest, _answer, _blob, _located, _identity, _holder, _actions, _absence, _project_ref, _absent,
        _permissions, _project, _count, _total, _page,
    ],
)  # fmt: skip
def test_a_full_cache_takes_no_more_memory_than_its_budget(
    generations: Generations, entry: Callable[[int], tuple[object, Any, dict[str, Any]]]
) -> None:
    budgets: list[Budget] = []

    def fill() -> None:
        budgets.append(Budget(2 * MIB))
        cache: Cache[Any] = Cache("full", share=1, generations=generations, budget=budgets[-1])
        for number in range(ENTRIES):
            key, value, options = entry(number)
            cache.put(key, value, seen=cache.begin([f"repository:{number}", f"name:{number}"]), **options)

    measured_bytes = _grown_by(fill)
    if measured_bytes > TOLERANCE * 2 * MIB:
        # Python's table of interned strings, which paths fill, may have doubled meanwhile: 3 MiB, once.
        measured_bytes = _grown_by(fill)
    (figures,) = budgets[-1].statistics()
    print(f"{entry.__name__}: {figures.entries} entries, {measured_bytes / figures.entries:.0f} bytes each")
    assert figures.size_bytes <= 2 * MIB
    assert measured_bytes <= TOLERANCE * 2 * MIB
    assert figures.entries < ENTRIES  # it was full


def test_hits_and_misses_are_counted(generations: Generations) -> None:
    budget = Budget(2 * MIB)
    cache: Cache[str] = Cache("counted", share=1 / 2, generations=generations, budget=budget)
    cache.get("a")
    cache.put("a", "value", seen=cache.begin(["a"]))
    cache.get("a")
    cache.get("a")
    (figures,) = budget.statistics()
    assert (figures.name, figures.hits, figures.misses, figures.entries) == ("counted", 2, 1, 1)
    assert figures.bound_bytes == MIB


def test_all_caches_of_the_process_share_the_bytes_that_the_configuration_says() -> None:
    import_module("registry_core.wiring.rsgi")  # what a worker has: with the data path, the REST API and the console
    import_module("registry_core.wiring.urls")
    assert PROCESS.bound_bytes == get_config().cache_bytes
    figures = {cache.name: cache for cache in caches.statistics()}
    assert figures.keys() >= OPEN_TO_STRANGERS | {"manifests", "answers", "settings", "project permissions"}
    assert all(0 < cache.bound_bytes <= PROCESS.bound_bytes / 2 for cache in figures.values())
    # What strangers can fill leaves half of the bytes to the others.
    assert sum(figures[name].bound_bytes for name in OPEN_TO_STRANGERS) <= PROCESS.bound_bytes / 2


def test_hostile_paths_are_not_cached_however_many_and_long_they_are() -> None:
    before = _figures("routes").entries

    def ask() -> None:
        for number in range(200):
            find("GET", f"/v2/{'a' * 60_000}{number}/tags/list")
            find("GET", f"/v2/{'ä' * 400}{number}/tags/list")

    assert _grown_by(ask) < MIB
    assert _figures("routes").entries == before


def test_a_route_is_cached_and_an_error_is_not() -> None:
    before = _figures("routes")
    for _ in range(2):
        find("GET", "/v2/asked/once/tags/list")
        with pytest.raises(NotFound):
            find("GET", "/v2/asked/once/no-such-thing")
    after = _figures("routes")
    assert (after.hits - before.hits, after.entries - before.entries) == (1, 1)


def test_a_pure_function_s_entries_take_no_more_than_is_said() -> None:
    fills: dict[str, Callable[[int], object]] = {
        "routes": lambda number: find("GET", f"/v2/{'a' * 440}{number:06d}/manifests/v{number}"),
        "repository names": lambda number: RepositoryName.parse(f"{'a' * 100}/{'b' * 140}{number:06d}"),
    }
    for name, fill in fills.items():
        before = _figures(name)
        measured_bytes = _grown_by(functools.partial(_repeat, fill))
        added_bytes = _figures(name).size_bytes - before.size_bytes
        print(f"{name}: {measured_bytes / 1000:.0f} bytes each")
        assert 0 < measured_bytes <= TOLERANCE * added_bytes


def _repeat(work: Callable[[int], object]) -> None:
    for number in range(1000):
        work(number)


def _figures(name: str) -> CacheStatistics:
    return next(figures for figures in caches.statistics() if figures.name == name)


def _grown_by(work: Callable[[], None]) -> int:
    gc.collect()  # rubbish that waits to be collected, also that of other tests, is not what is measured
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
