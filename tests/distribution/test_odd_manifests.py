"""Whatever a manifest says: it is refused with a reason, or everything that reads it afterwards has an answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry_core.content.parsing import ARTIFACT_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.distribution.client import Client, digest_of
from tests.distribution.conftest import ALICE
from tests.support.extent import IS_FULL
from tests.support.server import Server

EXAMPLES = 500 if IS_FULL else 15
Values = st.SearchStrategy[Any]
SUBJECT = b"what the manifests are about"
TYPES = [
    "application/vnd.oci.image.config.v1+json", "application/vnd.cncf.helm.config.v1+json",
    "application/vnd.cncf.model.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
    "application/vnd.cncf.model.doc.v1.raw", "application/vnd.wasm.config.v1+json", OCI_MANIFEST, OCI_INDEX,
    "text/plain; charset=utf-8", "wasm", "application/vnd.\u00df.config.v1+json", "application/vnd.oci.empty.v1+json",
    "application/vnd.example.nondistributable.v1",
]  # fmt: skip
odd = (
    st.none() | st.booleans() | st.integers(-1, 1 << 64) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
odd = st.recursive(odd, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner)))
media_types = st.sampled_from(TYPES)
names: Values = st.sampled_from(
    ["io.goharbor.artifact.v1alpha1.icon", "containerd.io/snapshot/nydus-bootstrap",
     "io.goharbor.artifact.v1alpha1.acceleration.source.digest", "org.cncf.model.filepath", "io.cnab.runtime_version",
     "org.opencontainers.artifactType", "org.cncf.model.filepath", "module.wasm.image/variant"]
)  # fmt: skip
texts: Values = st.sampled_from(
    ["", digest_of(SUBJECT), "sha256:x", "a/b/../c", "/", "LICENSE", "compat", "\0", "\ud800"]
)
notes: Values = st.dictionaries(names | st.text(), texts | st.none(), max_size=4) | st.none()
platforms: Values = st.dictionaries(
    st.sampled_from(["architecture", "os", "os.version", "os.features", "variant", "features", "x"]),
    st.sampled_from(["", "linux", "\U0001f980", None, ["a"], [], {"a": 1}, 5]), max_size=4,
)  # fmt: skip


def sometimes_odd(usual: Values) -> Values:
    """Nearly always what is usual: with many odd values at once no manifest would be taken."""
    return st.integers(0, 39).flatmap(lambda n: odd if n == 0 else usual)


descriptors: Values = st.fixed_dictionaries(
    {
        "mediaType": sometimes_odd(media_types),
        "digest": sometimes_odd(st.sampled_from([digest_of(SUBJECT), digest_of(b"{}"), "sha512:" + "a" * 128])),
        "size": sometimes_odd(st.sampled_from([0, 2, 1 << 40, (1 << 63) - 1])),
    },
    optional={
        "artifactType": sometimes_odd(media_types),
        "annotations": sometimes_odd(notes),
        "urls": sometimes_odd(st.lists(st.text(), max_size=2)),
        "data": sometimes_odd(st.sampled_from(["", "e30=", None])),
        "platform": sometimes_odd(platforms),
    },
)
lists: Values = sometimes_odd(st.lists(sometimes_odd(descriptors), max_size=3) | st.none())
common: dict[str, Values] = {
    "artifactType": sometimes_odd(media_types),
    "annotations": sometimes_odd(notes),
    "subject": sometimes_odd(descriptors),
    "x": odd,
}
images: Values = st.fixed_dictionaries(
    {"schemaVersion": st.just(2), "config": sometimes_odd(descriptors)}, optional={"layers": lists} | common
)
indexes: Values = st.fixed_dictionaries({"schemaVersion": st.just(2), "manifests": lists}, optional=common)
artifacts: Values = st.fixed_dictionaries({}, optional={"blobs": lists, "config": sometimes_odd(descriptors)} | common)
pushes: Values = st.one_of(
    st.tuples(images, st.sampled_from([OCI_MANIFEST, DOCKER_MANIFEST])),
    st.tuples(indexes, st.sampled_from([OCI_INDEX, DOCKER_LIST])),
    st.tuples(artifacts, st.sampled_from([ARTIFACT_MANIFEST, "application/vnd.example", "text/html"])),
)
fallback = digest_of(SUBJECT).replace(":", "-")
tags = st.sampled_from(["v1", fallback, f"{fallback}.sig", f"{fallback}.att", ""])
ADDITIONS = ["build_history", "values.yaml", "readme.md", "dependencies", "license", "files", "vulnerabilities"]


@pytest.fixture
def reader(server: Server) -> Iterator[httpx.Client]:
    """Alice in a browser, signed in to the console."""
    with httpx.Client(base_url=server.url, timeout=30) as browser:
        form = {"principal": ALICE.name, "password": ALICE.password}
        assert browser.post("/c/login", data=form).status_code == 200
        yield browser


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(st.lists(st.tuples(pushes, tags), min_size=1, max_size=4))
def test_what_was_taken_breaks_nothing_that_reads_it(
    clients: Callable[..., Client], reader: httpx.Client, pushed: list[tuple[tuple[dict[str, Any], str], str]]
) -> None:
    client = clients(ALICE, f"sparse/r{secrets.token_hex(6)}")
    for (document, content_type), tag in pushed:
        content = json.dumps(document).encode()
        answer = client.put_manifest(content, tag, content_type=content_type)
        assert answer.status_code == 201 or (400 <= answer.status_code < 500 and answer.json()["errors"][0]["message"])
        if answer.status_code == 201:
            _read_by_clients(client, content, document)
            _read_by_people(client, reader, digest_of(content))


def _read_by_clients(client: Client, content: bytes, document: dict[str, Any]) -> None:
    assert client.get(f"manifests/{digest_of(content)}").content == content
    assert client.head(f"manifests/{digest_of(content)}").status_code == 200
    for digest in {digest_of(SUBJECT), (document.get("subject") or {"digest": digest_of(SUBJECT)})["digest"]}:
        listed = client.get(f"referrers/{digest}").json()["manifests"]
        assert all(isinstance(entry.get("artifactType", ""), str) for entry in listed)
        kinds = {entry["artifactType"] for entry in listed if "artifactType" in entry}
        for kind in kinds:
            assert client.get(f"referrers/{digest}", params={"artifactType": kind}).json()["manifests"]
    assert client.get("tags/list").status_code == 200


def _read_by_people(client: Client, reader: httpx.Client, digest: str) -> None:
    project, _, repository = client.repository.partition("/")
    artifacts = f"/api/v2.0/projects/{project}/repositories/{repository}/artifacts"
    everything = "with_tag=true&with_label=true&with_accessory=true&with_scan_overview=true"
    one = f"{artifacts}/{digest}"
    read = [f"{artifacts}?{everything}", f"{one}?{everything}", f"{one}/accessories", f"{one}/tags"]
    read += [f"/projects/{project}", f"/projects/{project}/{repository}", "/api/v2.0/search?q=sparse"]
    for path in read:
        answer = reader.get(path)
        assert answer.status_code == 200, (path, answer.text)
    for name in ADDITIONS:
        answer = reader.get(f"{one}/additions/{name}")
        assert answer.status_code < 500 or answer.status_code == 501, (name, answer.text)
    target = f"/api/v2.0/projects/sparse/repositories/{repository}-copy/artifacts"
    source = f"{client.repository}@{digest}"
    copied = client.http.post(target, params={"from": source})
    assert copied.status_code in {201, 400, 404, 409}, copied.text
