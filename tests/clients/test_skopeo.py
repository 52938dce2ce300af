"""skopeo: inspecting, listing, copying to and from a folder, deleting."""

import json
from pathlib import Path

import pytest

from tests.clients.programs import Client, House


@pytest.fixture
def owner(skopeo: Client, house: House) -> Client:
    """skopeo, signed in as the owner."""
    login = skopeo.login(house.host, house.owner)
    assert login.is_success, login.text
    return skopeo


@pytest.fixture
def pushed(owner: Client, podman: Client, house: House, build_context: Path, unique: str) -> str:
    """The reference of a new image in the private project."""
    reference = house.private_reference(f"{unique}:1.0")
    podman.must("build", "--tag", reference, str(build_context))
    owner.must("copy", f"containers-storage:{reference}", f"docker://{reference}")
    podman.must("rmi", reference)
    return reference


def test_inspect_and_list_tags_show_what_was_pushed(owner: Client, pushed: str) -> None:
    inspected = json.loads(owner.must("inspect", f"docker://{pushed}").stdout)
    listed = json.loads(owner.must("list-tags", f"docker://{pushed.rpartition(':')[0]}").stdout)

    assert inspected["RepoTags"] == listed["Tags"] == ["1.0"]
    assert len(inspected["Layers"]) == 1


def test_a_copy_to_a_folder_and_back_keeps_every_byte(owner: Client, pushed: str, tmp_path: Path) -> None:
    owner.must("copy", "--preserve-digests", f"docker://{pushed}", f"dir:{tmp_path / 'image'}")
    owner.must("copy", "--preserve-digests", f"dir:{tmp_path / 'image'}", f"docker://{pushed}-again")

    raw = owner.must("inspect", "--raw", f"docker://{pushed}").stdout
    assert owner.must("inspect", "--raw", f"docker://{pushed}-again").stdout == raw
    assert (tmp_path / "image" / "manifest.json").read_text() == raw


def test_a_deleted_image_is_unknown(owner: Client, pushed: str) -> None:
    owner.must("delete", f"docker://{pushed}")

    inspect = owner("inspect", f"docker://{pushed}")
    assert not inspect.is_success
    assert "manifest unknown" in inspect.text.lower(), inspect.text


def test_a_deleted_image_may_be_pushed_again(owner: Client, pushed: str, tmp_path: Path) -> None:
    owner.must("copy", f"docker://{pushed}", f"dir:{tmp_path / 'image'}")
    owner.must("delete", f"docker://{pushed}")

    again = owner("copy", f"dir:{tmp_path / 'image'}", f"docker://{pushed}")

    assert again.is_success, again.text
    assert owner("inspect", f"docker://{pushed}").is_success
