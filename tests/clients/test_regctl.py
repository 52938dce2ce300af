"""regctl: copies with everything that refers to an image, artifacts, indexes, blobs and tags."""

import json
from pathlib import Path

import pytest

from tests.clients.programs import Client, House
from tests.distribution.client import digest_of
from tests.support.layouts import Layout, new_image, new_index
from tests.support.people import Account

SBOM = "application/spdx+json"


@pytest.fixture
def owner(regctl: Client, signed_in: None) -> Client:
    """regctl, signed in as the owner."""
    return regctl


def _push(regctl: Client, layout: Layout, reference: str, tag: str = "new") -> str:
    regctl.must("image", "copy", f"ocidir://{layout.where(tag)}", reference)
    return regctl.must("image", "digest", reference).stdout.strip()


def _attach(regctl: Client, subject: str, artifact_type: str, content: str) -> None:
    regctl.must("artifact", "put", "--subject", subject, "--artifact-type", artifact_type, stdin=content)


def test_login_and_logout(regctl: Client, house: House, newcomer: Account) -> None:
    login = regctl("registry", "login", house.host, "--user", newcomer.name, "--pass-stdin", stdin=newcomer.password)
    assert login.is_success, login.text
    assert regctl("registry", "logout", house.host).is_success

    wrong = regctl("registry", "login", house.host, "--user", newcomer.name, "--pass-stdin", stdin="Not-the-password-1")
    assert not wrong.is_success
    assert "unauthorized" in wrong.text.lower(), wrong.text


def test_a_copy_between_projects_takes_what_refers_to_the_image(
    owner: Client, house: House, layout: Layout, unique: str
) -> None:
    source, target = house.private_reference(f"{unique}:1"), house.other_reference(f"{unique}:1")
    digest = _push(owner, layout, source)
    _attach(owner, source, SBOM, "{}")

    owner.must("image", "copy", "--referrers", source, target)

    assert owner.must("image", "digest", target).stdout.strip() == digest
    assert SBOM in owner.must("artifact", "list", target).stdout


def test_what_refers_to_an_image_is_listed_and_filtered_by_its_type(
    owner: Client, house: House, layout: Layout, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")
    _push(owner, layout, reference)
    for artifact_type in (SBOM, "application/vnd.example.report"):
        _attach(owner, reference, artifact_type, artifact_type)

    listed = json.loads(owner.must("artifact", "list", reference, "--format", "{{json .Manifest}}").stdout)
    sbom = owner.must("artifact", "get", "--subject", reference, "--filter-artifact-type", SBOM).stdout

    assert {entry["artifactType"] for entry in listed["manifests"]} == {SBOM, "application/vnd.example.report"}
    assert sbom == SBOM


def test_an_index_is_made_from_images_by_platform(owner: Client, house: House, layout: Layout, unique: str) -> None:
    repository = house.private_reference(unique)
    digests = {}
    for architecture in ("amd64", "arm64", "riscv64"):
        layout.tag(new_image(layout, architecture=architecture), architecture)
        digests[architecture] = _push(owner, layout, f"{repository}:{architecture}", architecture)

    owner.must("index", "create", f"{repository}:all", *(f"--ref={repository}:{each}" for each in digests))

    index = json.loads(owner.must("manifest", "get", f"{repository}:all", "--format", "raw-body").stdout)
    assert {entry["platform"]["architecture"]: entry["digest"] for entry in index["manifests"]} == digests
    shown = owner.must("manifest", "get", f"{repository}:all", "--platform", "linux/arm64", "--format", "raw-body")
    assert digest_of(shown.stdout.encode()) == digests["arm64"]


def test_an_index_is_copied_with_all_its_platforms(owner: Client, house: House, layout: Layout, unique: str) -> None:
    layout.tag(new_index(layout, "amd64", "arm64"), "multi")

    digest = _push(owner, layout, house.private_reference(f"{unique}:1"), "multi")
    owner.must("image", "copy", house.private_reference(f"{unique}:1"), house.other_reference(f"{unique}:1"))

    assert digest == layout.digest("multi")
    assert owner.must("image", "digest", house.other_reference(f"{unique}:1")).stdout.strip() == digest


def test_blobs_are_put_looked_for_got_and_copied(owner: Client, house: House, unique: str) -> None:
    content = f"a blob of {unique}"
    repository, other = house.private_reference(unique), house.other_reference(unique)

    digest = owner.must("blob", "put", repository, stdin=content).stdout.strip()
    owner.must("blob", "copy", repository, other, digest)

    assert digest == digest_of(content.encode())
    assert owner.must("blob", "get", other, digest).stdout == content
    assert owner.must("blob", "head", other, digest).is_success


def test_tags_are_listed_in_pages_and_removed_one_by_one(
    owner: Client, house: House, layout: Layout, unique: str
) -> None:
    repository = house.private_reference(unique)
    for tag in ("c", "a", "b"):
        _push(owner, layout, f"{repository}:{tag}")

    first = owner.must("tag", "ls", "--limit", "2", repository).stdout.split()
    rest = owner.must("tag", "ls", "--last", "b", repository).stdout.split()
    owner.must("tag", "rm", f"{repository}:b")

    assert (first, rest) == (["a", "b"], ["c"])
    assert owner.must("tag", "ls", repository).stdout.split() == ["a", "c"]
    assert owner("image", "digest", f"{repository}:a").is_success


def test_an_image_is_exported_and_imported(
    owner: Client, house: House, layout: Layout, tmp_path: Path, unique: str
) -> None:
    source, target = house.private_reference(f"{unique}:1"), house.private_reference(f"{unique}:2")
    digest = _push(owner, layout, source)

    owner.must("image", "export", source, str(tmp_path / "image.tar"))
    owner.must("image", "import", target, str(tmp_path / "image.tar"))

    assert owner.must("image", "digest", target).stdout.strip() == digest
