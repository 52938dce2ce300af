"""Every statement of the data path reads tables that grow by an index, on a registry with something in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.conftest import ServerFactory
from tests.support.people import admin, create_project
from tests.support.plans import PlanLog, Scan
from tests.support.registry import TIMEOUT_S, Image, digest_of, make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

PROJECTS = 10  # of the small set: 10,000 artifacts with 20,000 tags in 1,000 repositories
TAGS = 2
# Tables with a row per project, user or grant stay small: reading them whole may well be the quickest.
GROWING = {
    "content_repository", "content_blob", "content_repositoryblob", "content_projectblob", "content_manifest",
    "content_manifestdescriptor", "content_artifact", "content_artifactblob", "content_tag", "content_upload",
}  # fmt: skip
PARTITIONED = ("content_taghistory", "content_quotaentry", "events_event")
REMOVED_MAX = 1000
FULL_ROWS = 500
OTHER = "plans/other"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture(scope="module")
def filled(start_server: ServerFactory) -> Server:
    """A server with content, and with the planner's statistics of it."""
    server = start_server(PORTOLAN_WORKERS="1")
    server.stop()
    arguments = ["--database", server.database_url, "--set", "small"]
    arguments += ["--projects", str(PROJECTS), "--tags-per-artifact", str(TAGS)]
    subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scale", *arguments],
        env={name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")},
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
    )
    return server


@pytest.fixture(scope="module")
def plans(filled: Server) -> PlanLog:
    """The plans of everything that a pushing, pulling, listing and deleting client lets the server ask for."""
    _catch_up(filled)
    log = PlanLog(filled.database_url)
    filled.start()
    create_project(filled, "plans")
    repository, source = "plans/app", "small-0001/team-1/app-0001"
    scopes = [f"repository:{name}:pull,push,delete" for name in (repository, source, OTHER)]
    headers = sign_in(filled, admin(filled), *scopes, "registry:catalog:*")
    with httpx.Client(base_url=filled.url, headers=headers, timeout=TIMEOUT_S) as client:
        _work(client, repository, source)
        _list(client, source)
        _wait_for_pull_counts(log)
        _delete(client, repository)
    wait_until(lambda: any("events_event" in text for text in log.statements()), what="plans are logged")
    return log


def test_tables_that_grow_are_read_by_an_index(filled: Server, plans: PlanLog) -> None:
    full = _full_tables(filled)
    scans = [scan for scan in plans.scans() if scan.table in full]
    whole = {
        f"{scan.table}: {scan.statement}" for scan in scans if "Index" not in scan.kind and "Bitmap" not in scan.kind
    }
    print(f"{len(set(plans.statements()))} statements, {Counter(scan.kind for scan in scans)}")
    assert {scan.table for scan in scans} >= GROWING - {"content_projectblob", "content_upload"}
    assert sorted(whole) == [], "\n".join(sorted(whole))


def test_no_index_scan_throws_away_what_it_reads(plans: PlanLog) -> None:
    def is_wasteful(scan: Scan) -> bool:
        return _grows(scan.table) and scan.removed_rows > REMOVED_MAX

    assert {
        f"{scan.removed_rows} of {scan.table}: {scan.statement}" for scan in filter(is_wasteful, plans.scans())
    } == set()


def _grows(table: str) -> bool:
    return table in GROWING or table.startswith(PARTITIONED)


def _catch_up(server: Server) -> None:
    """Let the server take notice of what was loaded: to a machine that was away, all of it is news, and read whole."""
    with psycopg.connect(server.database_url) as database:
        row = database.execute("SELECT max(xact)::text::bigint FROM events_event").fetchone()
    newest: int = row[0] if row else 0
    followed = "from registry_core.machine.state import generations\nprint(generations().last_followed())"
    server.start()
    wait_until(lambda: int(server.manage(followed)) > newest, what="the load is known", within_s=60)
    server.stop()


def _full_tables(server: Server) -> set[str]:
    """The tables that grow and have: a handful of rows is read whole for good reason, and so is an empty partition."""
    with psycopg.connect(server.database_url) as database:
        rows = database.execute("SELECT relname FROM pg_class WHERE reltuples >= %s", [FULL_ROWS]).fetchall()
    return {table for (table,) in rows if _grows(table)}


def _work(client: httpx.Client, repository: str, source: str) -> None:
    """Push, also what is there already, mount, and pull."""
    for image in (make_image(layer_bytes=100), make_image(layer_bytes=200)):
        for _ in range(2):
            for content in image.blobs:
                push_blob(client, repository, content)
            push_blob(client, repository, image.blobs[1][:-1], pieces=2)
            put_manifest(client, repository, "latest", image)
        path = f"/v2/{repository}/manifests"
        for reference in ("latest", image.digest):
            client.head(f"{path}/{reference}").raise_for_status()
            client.get(f"{path}/{reference}").raise_for_status()
        layer = digest_of(image.blobs[1])
        assert client.get(f"/v2/{repository}/blobs/{layer}").content == image.blobs[1]
        query = {"mount": layer, "from": repository}
        assert client.post(f"/v2/{source}/blobs/uploads/", params=query).status_code == 201
        assert client.post(f"/v2/{OTHER}/blobs/uploads/", params={"mount": layer}).status_code == 201
        _put_index(client, repository, image)


def _put_index(client: httpx.Client, repository: str, image: Image) -> None:
    about = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.digest}
    about |= {"size": len(image.manifest)}  # type: ignore[dict-item]
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [about], "subject": about}
    path = f"/v2/{repository}/manifests/index"
    client.put(path, json=document, headers={"content-type": INDEX}).raise_for_status()


def _list(client: httpx.Client, source: str) -> None:
    for query in ({"n": "10"}, {"n": "10", "last": "v0.5.1"}):
        client.get(f"/v2/{source}/tags/list", params=query).raise_for_status()
    for last in ("", "small-0005/team-1/app-0001"):
        client.get("/v2/_catalog", params={"n": "100", "last": last}).raise_for_status()
    # HEAD is 404 to who may push: the bytes of these blobs are nowhere.
    signed = client.get(f"/v2/{source}/manifests/v0.2.0").raise_for_status().headers["docker-content-digest"]
    for artifact_type in ("", "application/spdx+json"):
        query = {"artifactType": artifact_type} if artifact_type else {}
        client.get(f"/v2/{source}/referrers/{signed}", params=query).raise_for_status()
    for tag in ("v0.0.0", "v0.0.1"):
        client.get(f"/v2/{source}/manifests/{tag}").raise_for_status()


def _delete(client: httpx.Client, repository: str) -> None:
    begun = client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
    client.get(begun.headers["location"]).raise_for_status()
    client.delete(begun.headers["location"]).raise_for_status()
    loose = push_blob(client, repository, b"nobody uses this")
    client.delete(f"/v2/{repository}/blobs/{loose}").raise_for_status()
    index = client.head(f"/v2/{repository}/manifests/index", headers={"accept": INDEX})
    client.delete(f"/v2/{repository}/manifests/latest").raise_for_status()
    client.delete(f"/v2/{repository}/manifests/{index.headers['docker-content-digest']}").raise_for_status()


def _wait_for_pull_counts(log: PlanLog) -> None:
    wait_until(lambda: any("pull_count + " in text for text in log.statements()), what="the pulls are counted")
