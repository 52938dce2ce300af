"""crane: pushing without an engine, indexes, listing, copying between repositories, deleting."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.clients.programs import Client, House
from tests.support.people import Account
from tests.support.tools import Outcome


def _sign_in(crane: Client, host: str, account: Account) -> Outcome:
    return crane("auth", "login", host, "--username", account.name, "--password-stdin", stdin=account.password)


@pytest.fixture
def owner(crane: Client, house: House) -> Client:
    """crane, signed in as the owner."""
    login = _sign_in(crane, house.host, house.owner)
    assert login.is_success, login.text
    return crane


def _append(crane: Client, folder: Path, reference: str) -> str:
    """Push an image of one new layer; return its digest."""
    layer = folder / f"layer-{os.urandom(4).hex()}.tar"
    content = os.urandom(32 * 1024)
    with tarfile.open(layer, "w") as archive:
        entry = tarfile.TarInfo("content")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    crane.must("append", "--new_layer", str(layer), "--new_tag", reference)
    return crane.must("digest", reference).stdout.strip()


def test_an_appended_image_is_valid_when_read_back(owner: Client, house: House, tmp_path: Path, unique: str) -> None:
    reference = house.private_reference(f"{unique}:1")
    _append(owner, tmp_path, reference)

    validate = owner("validate", "--remote", reference)

    assert validate.is_success, validate.text
    assert "PASS" in validate.text


def test_tags_are_listed_in_order_and_in_pages(owner: Client, house: House, tmp_path: Path, unique: str) -> None:
    reference = house.private_reference(unique)
    digest = _append(owner, tmp_path, f"{reference}:b")
    for tag in ("a", "c", "B"):
        owner.must("tag", f"{reference}@{digest}", tag)

    assert owner.must("ls", reference).stdout.split() == ["B", "a", "b", "c"]


def test_an_index_is_read_back_with_both_images(owner: Client, house: House, tmp_path: Path, unique: str) -> None:
    reference = house.private_reference(unique)
    digests = {_append(owner, tmp_path, f"{reference}:{number}") for number in (1, 2)}

    owner.must("index", "append", *(f"--manifest={reference}:{number}" for number in (1, 2)), f"--tag={reference}:all")

    index = json.loads(owner.must("manifest", f"{reference}:all").stdout)
    assert {entry["digest"] for entry in index["manifests"]} == digests


def test_a_copy_between_projects_keeps_the_digest(owner: Client, house: House, tmp_path: Path, unique: str) -> None:
    digest = _append(owner, tmp_path, house.private_reference(f"{unique}:1"))

    copy = owner("copy", house.private_reference(f"{unique}:1"), house.public_reference(f"{unique}:1"))

    assert copy.is_success, copy.text
    assert owner.must("digest", house.public_reference(f"{unique}:1")).stdout.strip() == digest


def test_a_deleted_image_is_gone_with_its_tags(owner: Client, house: House, tmp_path: Path, unique: str) -> None:
    reference = house.private_reference(unique)
    digest = _append(owner, tmp_path, f"{reference}:1")

    owner.must("delete", f"{reference}@{digest}")

    pull = owner("manifest", f"{reference}:1")
    assert not pull.is_success
    assert "MANIFEST_UNKNOWN" in pull.text, pull.text


def test_a_stranger_may_not_delete(owner: Client, house: House, tmp_path: Path, unique: str) -> None:
    reference = house.public_reference(unique)
    digest = _append(owner, tmp_path, f"{reference}:1")
    assert _sign_in(owner, house.host, house.stranger).is_success

    delete = owner("delete", f"{reference}@{digest}")

    assert not delete.is_success
    assert "DENIED" in delete.text or "UNAUTHORIZED" in delete.text, delete.text
    assert owner.must("digest", f"{reference}:1").stdout.strip() == digest


def test_a_repository_that_does_not_exist_is_said_to_be_unknown(owner: Client, house: House, unique: str) -> None:
    listing = owner("ls", house.private_reference(unique))

    assert not listing.is_success
    assert "NAME_UNKNOWN" in listing.text, listing.text
