"""Additions, icons and search by REST."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from projects.icons import icon_digest
from projects.services import create_project
from registry_core.content.models import Project
from registry_core.content.parsing import OCI_MANIFEST
from registry_core.content.repositories import RepositoryRef
from registry_core.digests import Digest
from tests.api.conftest import Api
from tests.api.content import (
    CHART_CONFIG,
    CHART_LAYER,
    LAYER,
    descriptor,
    put,
    put_chart,
    put_document,
    put_index,
    repository_of,
    tgz,
)
from tests.support.operations import BY_SYSTEM

BASE = "/projects/fleet/repositories/app/artifacts"
PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 0)
ICON = {"io.goharbor.artifact.v1alpha1.icon": ""}
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"


def test_a_charts_files_are_shown_as_text(sysadmin: Api, repository: RepositoryRef) -> None:
    files = {
        "Chart.yaml": "dependencies:\n- {name: base, version: 1.x, repository: 'https://example.org', alias: b}\n- 5\n",
        "values.yaml": "replicas: 1\n",
        "README.md": "# <script>alert(1)</script>",
        "charts/base/values.yaml": "no: 1\n",
    }
    put_chart(repository, "1.0.0", files, description="Ships")
    artifact = sysadmin.get(f"{BASE}/1.0.0").json()
    assert (artifact["type"], artifact["extra_attrs"]["description"]) == ("CHART", "Ships")
    assert set(artifact["addition_links"]) == {"values.yaml", "readme.md", "dependencies"}
    values, readme, dependencies = (
        sysadmin.get(artifact["addition_links"][name]["href"].removeprefix("/api/v2.0"))
        for name in ("values.yaml", "readme.md", "dependencies")
    )
    assert (values.content, values["Content-Type"]) == (b"replicas: 1\n", "text/plain; charset=utf-8")
    assert readme.content.decode() == files["README.md"]
    assert readme["Content-Type"] == "text/markdown; charset=utf-8"
    assert dependencies.json() == [{"name": "base", "version": "1.x", "repository": "https://example.org"}]


@pytest.mark.parametrize(
    "layer",
    [b"no archive", tgz({}), tgz({"../values.yaml": b"x", "/a/values.yaml": b"x"})],
    ids=["damaged", "empty", "outside"],
)
def test_a_chart_without_the_file_shows_nothing_or_says_why(
    sysadmin: Api, repository: RepositoryRef, layer: bytes
) -> None:
    put(repository, "1.0.0", config=b"{}", config_type=CHART_CONFIG, layers=((CHART_LAYER, layer),))
    answer = sysadmin.get(f"{BASE}/1.0.0/additions/values.yaml")
    assert answer.status_code == 412 if layer == b"no archive" else answer.content == b""


def test_dependencies_that_unfold_without_end_are_not_read(sysadmin: Api, repository: RepositoryRef) -> None:
    bomb = "a: &a [x]\nb: &b [*a, *a]\ndependencies: [*b, *b]\n"
    put_chart(repository, "1.0.0", {"Chart.yaml": bomb})
    assert sysadmin.get(f"{BASE}/1.0.0/additions/dependencies").status_code == 412


def test_every_dependency_of_a_chart_is_shown(sysadmin: Api, repository: RepositoryRef) -> None:
    chart = "dependencies:\n" + "".join(f"- {{name: d{number}}}\n" for number in range(1500))
    put_chart(repository, "1.0.0", {"Chart.yaml": chart})
    shown = sysadmin.get(f"{BASE}/1.0.0/additions/dependencies").json()
    assert [dependency["name"] for dependency in shown] == [f"d{number}" for number in range(1500)]


def test_a_file_of_a_model_in_a_hundred_folders_is_shown_by_the_rest_of_its_path(
    sysadmin: Api, repository: RepositoryRef
) -> None:
    layer = descriptor(repository, LAYER, b"weights") | {
        "annotations": {"org.cncf.model.filepath": "/".join(map(str, range(100)))}
    }
    manifest = {"schemaVersion": 2, "config": descriptor(repository, MODEL_CONFIG, b"{}"), "layers": [layer]}
    put_document(repository, manifest, "v1", media_type=OCI_MANIFEST)
    (entry,), names = sysadmin.get(f"{BASE}/v1/additions/files").json(), []
    while entry["type"] == "directory":
        names.append(entry["name"])
        (entry,) = entry["children"]
    assert (names, entry["name"]) == ([str(n) for n in range(63)], "/".join(map(str, range(63, 100))))


def test_a_models_files_readme_and_license(sysadmin: Api, repository: RepositoryRef) -> None:
    document = "application/vnd.cncf.model.doc.v1.tar"
    layers = [
        (document, tgz({"README.md": b"# Model"}), "README.md"),
        ("application/vnd.cncf.model.doc.v1.raw", b"MIT", "LICENSE"),
        ("application/vnd.cncf.model.weight.v1.raw", b"weights", "weights/../a/model.bin"),
    ]
    described = [
        descriptor(repository, kind, content) | {"annotations": {"org.cncf.model.filepath": path}}
        for kind, content, path in layers
    ]
    config = b'{"descriptor": {"name": "m"}}'
    manifest = {"schemaVersion": 2, "config": descriptor(repository, MODEL_CONFIG, config), "layers": described}
    put_document(repository, manifest, "v1", media_type=OCI_MANIFEST)
    additions = f"{BASE}/v1/additions"
    assert sysadmin.get(f"{BASE}/v1").json()["extra_attrs"] == {"descriptor": {"name": "m"}}
    assert sysadmin.get(f"{additions}/readme.md").content == b"# Model"
    assert sysadmin.get(f"{additions}/license").content == b"MIT"
    assert sysadmin.get(f"{additions}/files").json() == [
        {"name": "README.md", "type": "file", "size": len(layers[0][1])},
        {"name": "LICENSE", "type": "file", "size": 3},
        {"name": "weights", "type": "directory", "children": [
            {"name": "a", "type": "directory", "children": [{"name": "model.bin", "type": "file", "size": 7}]}]},
    ]  # fmt: skip


def test_kinds_without_an_addition_say_so(sysadmin: Api, repository: RepositoryRef) -> None:
    image = put(repository, "v1")
    put_index(repository, [image], "multi")
    additions = f"{BASE}/v1/additions"
    assert sysadmin.get(f"{additions}/values.yaml").status_code == 400
    assert sysadmin.get(f"{additions}/anything").status_code == 400
    assert sysadmin.get(f"{additions}/sbom").status_code == 404
    assert sysadmin.get(f"{additions}/vulnerabilities").json() == {}
    assert sysadmin.get(f"{BASE}/none/additions/vulnerabilities").status_code == 404
    assert sysadmin.get(f"{BASE}/multi/additions/build_history").status_code == 404
    assert len(sysadmin.get(f"{additions}/build_history").json()) == 1


@pytest.mark.parametrize(("content", "status"), [(PNG, 200), (b"GIF89a...", 200), (b"<svg onload=x>", 404)])
def test_an_artifacts_own_icon_is_shown_to_those_who_may_pull_it(
    sysadmin: Api, user: Api, repository: RepositoryRef, content: bytes, status: int
) -> None:
    put(repository, "v1", layers=((LAYER, content),), layer_annotations=ICON)
    icon = sysadmin.get(f"{BASE}/v1").json()["icon"]
    answer = sysadmin.get(f"/icons/{icon}")
    assert answer.status_code == status
    if status == 200:
        assert base64.b64decode(answer.json()["content"]) == content
    assert user.get(f"/icons/{icon}").status_code == 404


def test_a_blob_that_is_no_icon_is_not_shown_as_one(sysadmin: Api, repository: RepositoryRef) -> None:
    put(repository, "v1", layers=((LAYER, PNG),))
    assert sysadmin.get(f"/icons/{Digest.of(PNG)}").status_code == 404
    assert sysadmin.get("/icons/x").status_code == 400


def test_the_icons_of_kinds_are_for_everyone(anonymous: Api) -> None:
    icons = {kind: anonymous.get(f"/icons/{icon_digest(kind, None)}").json() for kind in ("IMAGE", "CHART", "ODD")}
    assert all(base64.b64decode(icon["content"]).startswith(b"\x89PNG") for icon in icons.values())
    assert len({icon["content"] for icon in icons.values()}) == 3


def test_search_finds_what_one_may_see(sysadmin: Api, user: Api, anonymous: Api, project: Project) -> None:
    public = create_project(name="open-fleet", is_public=True, cause=BY_SYSTEM)
    put(repository_of(public, "ship"), "v1")
    put(repository_of(project, "ship"), "v1")
    for caller in (user, anonymous):
        found = caller.get("/search?q=Ship").json()
        assert found["project"] == []
        (repository,) = found["repository"]
        assert (repository["repository_name"], repository["artifact_count"]) == ("open-fleet/ship", 1)
        assert repository["project_public"] is True
    found = sysadmin.get("/search?q=fleet").json()
    assert [project["name"] for project in found["project"]] == ["fleet", "open-fleet"]
    assert [repository["repository_name"] for repository in found["repository"]] == ["fleet/ship", "open-fleet/ship"]
    assert [r["repository_name"] for r in sysadmin.get("/search?q=n-fleet/sh").json()["repository"]] == [
        "open-fleet/ship"
    ]


@pytest.mark.parametrize("q", ["x" * 256, "%00"])
def test_a_search_that_cannot_find_is_refused(sysadmin: Api, q: str) -> None:
    assert sysadmin.get(f"/search?q={q}").status_code == 400


def test_signs_of_patterns_are_letters_like_others(sysadmin: Api, project: Project) -> None:
    repository_of(project, "app")
    assert sysadmin.get("/search?q=%25").json() == {"project": [], "repository": []}
    assert json.loads(sysadmin.get("/search?q=_").content)["repository"] == []
