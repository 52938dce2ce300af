"""oras: artifacts of any kind, what is attached to them, and copies of whole graphs."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.programs import Client, House
from tests.distribution.client import Client as HttpClient
from tests.distribution.client import descriptor, digest_of, image
from tests.support.people import Account

pytestmark = pytest.mark.usefixtures("signed_in")

SBOM = "application/spdx+json"
EMPTY = "application/vnd.oci.empty.v1+json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where oras finds the files that it pushes."""
    made = tmp_path / "files"
    made.mkdir()
    (made / "report.json").write_text('{"findings": []}')
    (made / "model.bin").write_bytes(bytes(range(256)) * 100)
    return made


def _push(oras: Client, folder: Path, reference: str) -> str:
    """Push an artifact of one file; its digest."""
    shown = oras.must(
        "push", reference, "model.bin:application/octet-stream", "--artifact-type", "application/vnd.example.model",
        "--format", "json", folder=folder,
    )  # fmt: skip
    return str(json.loads(shown.stdout)["digest"])


def _attach(oras: Client, folder: Path, reference: str, artifact_type: str) -> str:
    shown = oras.must(
        "attach", reference, "report.json:application/json", "--artifact-type", artifact_type, "--format", "json",
        folder=folder,
    )  # fmt: skip
    return str(json.loads(shown.stdout)["digest"])


def _referrers(oras: Client, reference: str, *more: str) -> list[dict[str, Any]]:
    shown = json.loads(oras.must("discover", reference, "--format", "json", "--depth", "1", *more).stdout)
    return list(shown["referrers"])


def test_login_says_so_and_a_wrong_password_is_refused(oras: Client, house: House, newcomer: Account) -> None:
    arguments = ("login", house.host, "--username", newcomer.name, "--password-stdin")

    login, wrong = oras(*arguments, stdin=newcomer.password), oras(*arguments, stdin="Not-the-password-1")

    assert "Login Succeeded" in login.text
    assert not wrong.is_success
    assert "unauthorized" in wrong.text.lower(), wrong.text


def test_an_artifact_comes_back_the_same(oras: Client, house: House, folder: Path, tmp_path: Path, unique: str) -> None:
    reference = house.private_reference(f"{unique}:1")
    digest = _push(oras, folder, reference)

    pull = oras("pull", reference, "--output", str(tmp_path / "pulled"))

    assert pull.is_success, pull.text
    assert digest in pull.text
    assert (tmp_path / "pulled" / "model.bin").read_bytes() == (folder / "model.bin").read_bytes()


def test_what_is_attached_is_discovered_and_filtered_by_its_type(
    oras: Client, house: House, folder: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")
    _push(oras, folder, reference)
    sbom = _attach(oras, folder, reference, SBOM)
    report = _attach(oras, folder, reference, "application/vnd.example.report")

    everything, sboms = _referrers(oras, reference), _referrers(oras, reference, "--artifact-type", SBOM)

    assert {each["digest"] for each in everything} == {sbom, report}
    assert [(each["digest"], each["artifactType"]) for each in sboms] == [(sbom, SBOM)]


def test_a_tree_of_attachments_is_shown_whole(oras: Client, house: House, folder: Path, unique: str) -> None:
    reference = house.private_reference(f"{unique}:1")
    _push(oras, folder, reference)
    sbom = _attach(oras, folder, reference, SBOM)
    _attach(oras, folder, f"{reference.rpartition(':')[0]}@{sbom}", "application/vnd.example.signature")

    tree = oras.must("discover", reference).stdout

    assert SBOM in tree
    assert "application/vnd.example.signature" in tree


def test_a_recursive_copy_to_another_project_takes_what_is_attached(
    oras: Client, oras_copy: Client, house: House, folder: Path, unique: str
) -> None:
    source, target = house.private_reference(f"{unique}:1"), house.other_reference(f"{unique}:1")
    digest = _push(oras, folder, source)
    sbom = _attach(oras, folder, source, SBOM)

    copy = oras_copy("copy", "--recursive", source, target)

    assert copy.is_success, copy.text
    assert digest in copy.text
    assert [each["digest"] for each in _referrers(oras, target)] == [sbom]


def test_a_manifest_is_fetched_tagged_and_deleted(oras: Client, house: House, folder: Path, unique: str) -> None:
    repository = house.private_reference(unique)
    digest = _push(oras, folder, f"{repository}:1")

    oras.must("tag", f"{repository}:1", "2", "3")
    manifest = oras.must("manifest", "fetch", f"{repository}:2").stdout
    tags = oras.must("repo", "tags", repository).stdout.split()
    oras.must("manifest", "delete", "--force", f"{repository}@{digest}")

    assert json.loads(manifest)["artifactType"] == "application/vnd.example.model"
    assert tags == ["1", "2", "3"]
    fetch = oras("manifest", "fetch", f"{repository}:1")
    assert not fetch.is_success
    assert "not found" in fetch.text, fetch.text


def test_a_manifest_of_an_unusual_type_is_pushed_and_fetched_as_it_is(
    oras: Client, house: House, owner_http: HttpClient, tmp_path: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")
    assert owner_http.push_blob(b"{}").status_code == 201
    manifest = image(
        artifactType="application/x.weird-type_1!#$&^+json",
        config=descriptor(b"{}", EMPTY),
    )
    (tmp_path / "manifest.json").write_bytes(manifest)

    push = oras("manifest", "push", reference, str(tmp_path / "manifest.json"))

    assert push.is_success, push.text
    assert oras.must("manifest", "fetch", reference).stdout.encode() == manifest
    assert digest_of(manifest) in push.text


def test_blobs_alone(oras: Client, house: House, folder: Path, tmp_path: Path, unique: str) -> None:
    repository = house.private_reference(unique)
    digest = digest_of((folder / "model.bin").read_bytes())

    oras.must("blob", "push", repository, str(folder / "model.bin"))
    oras.must("blob", "fetch", f"{repository}@{digest}", "--output", str(tmp_path / "blob"))

    assert (tmp_path / "blob").read_bytes() == (folder / "model.bin").read_bytes()
    oras.must("blob", "delete", "--force", f"{repository}@{digest}")
    assert not oras("blob", "fetch", f"{repository}@{digest}", "--output", str(tmp_path / "gone")).is_success
