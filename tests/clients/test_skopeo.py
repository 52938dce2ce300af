"""skopeo: inspecting, listing, copying to and from a folder, deleting."""

import json
from pathlib import Path

import pytest

from tests.clients.programs import Client, House
from tests.support.layouts import Layout, new_index


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


@pytest.mark.parametrize("tag", ["1", "v1.0.0-rc.1_x", "latest"])
def test_a_layout_is_copied_in_with_its_digest(
    owner: Client, house: House, layout: Layout, unique: str, tag: str
) -> None:
    reference = house.private_reference(f"{unique}:{tag}")

    owner.must("copy", "--preserve-digests", f"oci:{layout.where('new')}", f"docker://{reference}")

    assert owner.must("inspect", "--format", "{{.Digest}}", f"docker://{reference}").stdout.strip() == layout.digest(
        "new"
    )


@pytest.mark.parametrize(("compression", "suffix"), [("zstd", "+zstd"), ("gzip", "+gzip")])
def test_layers_are_compressed_anew_on_their_way(
    owner: Client, house: House, layout: Layout, tmp_path: Path, unique: str, compression: str, suffix: str
) -> None:
    """From uncompressed files, which skopeo compresses as it is told."""
    reference = house.private_reference(f"{unique}:1")
    owner.must("copy", "--dest-decompress", f"oci:{layout.where('new')}", f"dir:{tmp_path / 'plain'}")

    owner.must("copy", "--dest-compress-format", compression, f"dir:{tmp_path / 'plain'}", f"docker://{reference}")

    (layer,) = json.loads(owner.must("inspect", "--raw", f"docker://{reference}").stdout)["layers"]
    assert layer["mediaType"] == f"application/vnd.oci.image.layer.v1.tar{suffix}"


def test_all_platforms_are_copied_between_projects_by_mounting(
    owner: Client, house: House, layout: Layout, unique: str
) -> None:
    source, target = house.private_reference(f"{unique}:1"), house.other_reference(f"{unique}:1")
    layout.tag(new_index(layout, "amd64", "arm64"), "multi")
    owner.must("copy", "--all", "--preserve-digests", f"oci:{layout.where('multi')}", f"docker://{source}")

    copy = owner("copy", "--all", "--preserve-digests", f"docker://{source}", f"docker://{target}")

    assert copy.is_success, copy.text
    raw = owner.must("inspect", "--raw", f"docker://{source}").stdout
    assert owner.must("inspect", "--raw", f"docker://{target}").stdout == raw


def test_a_repository_is_synchronised_to_a_folder_and_to_another_project(
    owner: Client, house: House, layout: Layout, tmp_path: Path, unique: str
) -> None:
    source = house.private_reference(unique)
    for tag in ("1", "2"):
        owner.must("copy", f"oci:{layout.where('new')}", f"docker://{source}:{tag}")

    owner.must("sync", "--src", "docker", "--dest", "dir", "--scoped", source, str(tmp_path / "mirror"))
    owner.must("sync", "--src", "docker", "--dest", "docker", source, f"{house.host}/{house.other}")

    assert {path.parent.name for path in (tmp_path / "mirror").rglob("manifest.json")} == {f"{unique}:1", f"{unique}:2"}
    listed = json.loads(owner.must("list-tags", f"docker://{house.other_reference(unique)}").stdout)
    assert listed["Tags"] == ["1", "2"]


def test_a_synchronisation_described_in_a_file(
    owner: Client, house: House, layout: Layout, tmp_path: Path, unique: str
) -> None:
    for tag in ("1.0", "1.1", "2.0"):
        owner.must("copy", f"oci:{layout.where('new')}", f"docker://{house.private_reference(unique)}:{tag}")
    wanted = tmp_path / "sync.yml"
    wanted.write_text(
        f"{house.host}:\n  tls-verify: {'true' if 'SSL_CERT_FILE' in owner.environment else 'false'}\n"
        f"  images-by-tag-regex:\n    {house.private}/{unique}: ^1\\.\n"
    )

    owner.must("sync", "--src", "yaml", "--dest", "dir", str(wanted), str(tmp_path / "mirror"))

    assert {path.parent.name for path in (tmp_path / "mirror").rglob("manifest.json")} == {
        f"{unique}:1.0",
        f"{unique}:1.1",
    }
