"""The worst that anybody may ask of each list, on a registry with ten thousand artifacts: answered within seconds.

One public project has them all, with tags, labels and signatures. Nobody is signed in.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest

from registry_core.api.query import CONDITIONS_MAX, VALUES_MAX, folded
from tests.api.listings import Listing
from tests.conftest import ServerFactory
from tests.support.server import Server

WITHIN_S = 4.0  # of a machine that does other things as well; some tenths on one that does not
PROJECT = "small-0001"
LABELS = 12
# The loaded projects become one public project, and each artifact gets labels.
_GATHER = f"""
    UPDATE content_repository
    SET name = 'r' || id, project_id = (SELECT id FROM content_project WHERE name = '{PROJECT}')
    WHERE project_id IN (SELECT id FROM content_project WHERE name LIKE 'small-%');
    UPDATE content_project SET is_public = true;
    INSERT INTO projects_label (name, description, color)
        SELECT 'l' || n, '', '' FROM generate_series(1, {LABELS}) AS n;
    INSERT INTO projects_artifactlabel (artifact_id, label_id)
        SELECT artifact.id, label.id FROM content_artifact AS artifact, projects_label AS label;
    ANALYZE;
"""
TIMES = {"op_time", "push_time", "pull_time", "creation_time", "update_time"}
PLAIN = {
    "public": "true",
    "deleted": "false",
    "immutable": "false",
    "owner": "nobody",
    "labels": "1",
    "registry_id": "0",
}
EVERYTHING = "page_size=0&with_label=true&with_accessory=true&with_inherited_accessory=true"
DIGEST = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def loaded(start_server: ServerFactory) -> Server:
    server = start_server(PORTOLAN_WORKERS="1")
    server.stop()
    arguments = ["--database", server.database_url, "--set", "small", "--projects", "10", "--tags-per-artifact", "2"]
    subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scale", *arguments],
        env={name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")},
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
    )
    with psycopg.connect(server.database_url, autocommit=True) as database:
        for statement in filter(str.strip, _GATHER.split(";")):
            database.execute(statement)
    server.start()
    return server


@pytest.fixture(scope="module")
def lists(loaded: Server) -> list[Listing]:
    """The lists that anybody may ask for, by their addresses."""
    with psycopg.connect(loaded.database_url) as database:
        row = database.execute(
            "SELECT repository.name, encode(artifact.digest, 'hex') FROM content_artifact AS artifact "
            "JOIN content_repository AS repository ON repository.id = artifact.repository_id "
            "WHERE accessory_of IS NULL ORDER BY artifact.id LIMIT 1"
        ).fetchone()
    assert row is not None
    artifacts = f"/projects/{PROJECT}/repositories/{row[0]}/artifacts"
    addresses = ["/projects", "/repositories", f"/projects/{PROJECT}/repositories", f"/projects/{PROJECT}/artifacts"]
    addresses += [artifacts, *(f"{artifacts}/sha256:{row[1][2:]}/{part}" for part in ("tags", "accessories"))]
    return [Listing(address, address) for address in addresses]


class Anonymous:
    """The API without credentials, as `Listing` asks it."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def get(self, address: str) -> Any:
        return self._http.get(f"/api/v2.0{address}")


def worst(keys: list[str]) -> Iterator[str]:
    """Questions with as much in them as may be."""
    conditions = [f"{key}={value}" for key in keys for value in [heaviest(key)]]
    for first in range(0, len(conditions), CONDITIONS_MAX):
        yield ",".join(conditions[first : first + CONDITIONS_MAX])
    yield from conditions  # each by itself: the others may leave it nothing to look at
    if "labels" in keys:
        yield f"labels=({' '.join(map(str, range(1, VALUES_MAX + 1)))})"
        yield f"labels=({' '.join(map(str, range(1, LABELS + 1)))})"
    for key in {"tags", "name", "repository_name"} & set(keys):
        yield f"{key}={{{' '.join(f'a/b{number}' for number in range(VALUES_MAX))}}}"


def heaviest(key: str) -> str:
    if key in PLAIN:
        return PLAIN[key]
    if key in TIMES:
        return "[2000-01-01~2100-01-01]"
    if key in {"digest", "blob_digest"}:
        return DIGEST
    if key == "repository_name":
        return "a/b"
    if folded(key).endswith(("id", "count", "size")):
        return "[0~9999999999]"
    return "{signature.cosign}" if key == "type" else "~a"


def test_no_question_of_anybody_takes_longer_than_its_bound(loaded: Server, lists: list[Listing]) -> None:
    slow, asked, worst_s = [], 0, 0.0
    with httpx.Client(base_url=loaded.url, timeout=60) as http:
        api: Any = Anonymous(http)
        for listing in lists:
            questions = [f"q={quote(question, safe='')}" for question in worst(listing.keys(api, "q"))]
            questions += [f"sort={sign}{key}" for key in listing.keys(api, "sort") for sign in ("", "-")]
            questions += [
                "page_size=0&with_label=true&with_accessory=true&with_inherited_accessory=true",
                "page=1000&page_size=100",
            ]
            for question in questions:
                taken_s = _seconds(http, listing.at(question), status=200)
                asked, worst_s = asked + 1, max(worst_s, taken_s)
                if taken_s > WITHIN_S and (taken_s := _seconds(http, listing.at(question), status=200)) > WITHIN_S:
                    slow.append(f"{taken_s:.1f} s: {listing.at(question)[:300]}")
    print(f"{asked} questions, at most {worst_s:.2f} s")
    assert not slow, "\n".join(slow)
    assert asked > 100


def _refused_quickly(http: httpx.Client, listing: Listing) -> None:
    """What is more than a list can be asked."""
    for question in (
        "q=" + ",".join(["tags=~a"] * 100),
        "q=" + ",".join(f"name=~{number}" for number in range(100)),
        "q=labels=(" + "%20".join(map(str, range(1, 1000))) + ")",
        "page=99999999&page_size=100",
    ):
        assert _seconds(http, listing.at(question), status=400) < WITHIN_S


def _seconds(http: httpx.Client, address: str, *, status: int) -> float:
    started = time.monotonic()
    answer = http.get(f"/api/v2.0{address}")
    assert answer.status_code == status, (address, answer.status_code, answer.text)
    return time.monotonic() - started
