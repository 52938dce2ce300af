"""Lists of the REST API on a large registry: eight clients, each asking for one page after the other at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from tests.benchmarks.contestants import Portolan
from tests.benchmarks.loads import LoadFailed, wrk
from tests.benchmarks.scale import DATA_SETS, DataSet

CLIENTS = 8
WARM_UP_S = 2.0
PAGE_SIZE = 100
DEEPEST = 100_000
PAGE_WITHIN_MS, SEARCH_WITHIN_MS = 100.0, 150.0
EVERYTHING = "&".join(
    f"with_{what}=true"
    for what in ("tag", "label", "scan_overview", "sbom_overview", "signature", "immutable_status", "accessory")
)


@dataclass(frozen=True)
class List:
    """A list to ask for. `path` has PAGE where a number from 1 to `pages` goes, when there are several."""

    name: str
    path: str
    pages: int = 1
    within_ms: float = PAGE_WITHIN_MS


@dataclass(frozen=True)
class ListTimes:
    """How a list was answered."""

    asked: List
    per_s: float
    p50_ms: float
    p95_ms: float

    @property
    def is_met(self) -> bool:
        return self.p95_ms <= self.asked.within_ms


def lists(data_set: DataSet) -> Iterator[List]:
    """The lists of a registry that holds a data set and, beside it, the repository of many artifacts."""
    project, repository = data_set.project_names()[-1], data_set.repository_names()[-1]
    repositories = data_set.projects * data_set.repositories
    yield _paged("projects", "projects", data_set.projects)
    yield _paged("projects by their name", "projects?sort=-name&name=0", data_set.projects // 2)
    yield _paged("repositories of a project", f"projects/{project}/repositories", data_set.repositories)
    yield _paged("all repositories", "repositories", repositories)
    yield _paged("all repositories, last pushed first", "repositories?sort=-update_time", repositories)
    yield _paged("repositories with app-01 in their name", "repositories?q=name%3D~app-01", repositories // 4)
    small = f"projects/{project}/repositories/{_encoded(repository)}/artifacts"
    yield _paged("artifacts of a repository, with everything", f"{small}?{EVERYTHING}", data_set.artifacts)
    yield _paged("tags of an artifact", f"{small}/v0.0.0/tags", data_set.tags)
    many = DATA_SETS["tags"]
    huge = f"projects/{many.project_names()[0]}/repositories/{_encoded(many.repository_names()[0])}/artifacts"
    yield _paged("artifacts of a large repository", huge, many.artifacts // 2)
    yield _paged("the same with everything", f"{huge}?{EVERYTHING}", many.artifacts // 2)
    yield List("the same, one page again and again", f"{huge}?{EVERYTHING}&page_size={PAGE_SIZE}")
    yield _paged("audit log", "audit-logs", repositories * data_set.artifacts)
    yield _paged("audit log, extended", "auditlog-exts", repositories * data_set.artifacts)
    yield List("search", "search?q=app-01", within_ms=SEARCH_WITHIN_MS)
    yield List(
        "search for a rare name", f"search?q={quote(f'{project}/{repository}', safe='')}", within_ms=SEARCH_WITHIN_MS
    )
    yield List("statistics", "statistics")


def measured(portolan: Portolan, data_set: DataSet, *, seconds: float) -> list[ListTimes]:
    """Ask a registry for each of its lists, once its workers know who asks. Raises LoadFailed when an answer is an
    error."""
    of_data_set = list(lists(data_set))
    _measured(portolan, of_data_set[0], WARM_UP_S)
    return [_measured(portolan, asked, seconds) for asked in of_data_set]


def _measured(portolan: Portolan, asked: List, seconds: float) -> ListTimes:
    load = wrk(
        f"{portolan.url}/api/v2.0/{asked.path}",
        connections=CLIENTS,
        seconds=seconds,
        headers={"Authorization": portolan.basic()},
        script="pages.lua",
        arguments=[str(asked.pages)],
    )
    if load.errors:
        raise LoadFailed(f"{asked.path}: {load.errors} errors: {'; '.join(load.reasons)}")
    return ListTimes(asked, load.done / load.elapsed_s, load.p50_ms, load.p95_ms)


def _paged(name: str, path: str, rows: int) -> List:
    joint = "&" if "?" in path else "?"
    return List(name, f"{path}{joint}page_size={PAGE_SIZE}&page=PAGE", max(1, min(rows, DEEPEST) // PAGE_SIZE))


def _encoded(repository: str) -> str:
    return quote(quote(repository, safe=""), safe="")
