"""docker and podman: what a developer types, and what is printed."""

import json
from pathlib import Path

from tests.clients.programs import Client, House
from tests.support.people import Account


def _build(client: Client, context: Path, reference: str) -> str:
    """Build the image of `context` as `reference`; return its id."""
    client.must("build", "--tag", reference, str(context))
    return _image_id(client, reference)


def _image_id(client: Client, reference: str) -> str:
    image_id: str = json.loads(client.must("image", "inspect", reference).stdout)[0]["Id"]
    return image_id.removeprefix("sha256:")


def _push_as_owner(client: Client, house: House, context: Path, reference: str) -> str:
    assert client.login(house.host, house.owner).is_success
    image_id = _build(client, context, reference)
    client.must("push", reference)
    client.must("rmi", reference)
    return image_id


def test_login_succeeds_and_logout_forgets(engine_client: Client, house: House) -> None:
    login = engine_client.login(house.host, house.owner)

    assert login.is_success, login.text
    assert "Login Succeeded" in login.text
    assert engine_client("logout", house.host).is_success


def test_login_with_a_wrong_password_is_refused(engine_client: Client, house: House, newcomer: Account) -> None:
    login = engine_client.login(house.host, Account(newcomer.name, "Not-the-password-1"))

    assert not login.is_success
    assert "unauthorized" in login.text.lower() or "invalid username/password" in login.text.lower()


def test_login_of_someone_who_does_not_exist_reads_like_a_wrong_password(
    engine_client: Client, house: House, newcomer: Account, unique: str
) -> None:
    wrong = engine_client.login(house.host, Account(newcomer.name, "Not-the-password-1"))
    nobody = engine_client.login(house.host, Account(f"{unique}-nobody", "Not-the-password-1"))

    assert not nobody.is_success
    assert nobody.text == wrong.text


def test_a_pushed_image_comes_back_the_same(
    engine_client: Client, house: House, build_context: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1.0")
    image_id = _push_as_owner(engine_client, house, build_context, reference)

    pull = engine_client("pull", reference)

    assert pull.is_success, pull.text
    assert _image_id(engine_client, reference) == image_id


def test_a_second_push_of_the_same_image_moves_nothing(
    engine_client: Client, house: House, build_context: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1.0")
    assert engine_client.login(house.host, house.owner).is_success
    image_id = _build(engine_client, build_context, reference)
    engine_client.must("push", reference)

    again = engine_client("push", reference)

    assert again.is_success, again.text
    engine_client.must("rmi", reference)
    engine_client.must("pull", reference)
    assert _image_id(engine_client, reference) == image_id


def test_anyone_may_pull_from_a_public_project(
    engine_client: Client, house: House, build_context: Path, unique: str
) -> None:
    reference = house.public_reference(f"{unique}:1.0")
    image_id = _push_as_owner(engine_client, house, build_context, reference)
    engine_client.must("logout", house.host)

    pull = engine_client("pull", reference)

    assert pull.is_success, pull.text
    assert _image_id(engine_client, reference) == image_id


def test_an_anonymous_push_to_a_public_project_is_refused(
    engine_client: Client, house: House, build_context: Path, unique: str
) -> None:
    reference = house.public_reference(f"{unique}:1.0")
    _build(engine_client, build_context, reference)

    push = engine_client("push", reference)

    assert not push.is_success
    assert _says_no(push.text), push.text


def test_an_anonymous_pull_from_a_private_project_is_refused(
    engine_client: Client, house: House, build_context: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1.0")
    _push_as_owner(engine_client, house, build_context, reference)
    engine_client.must("logout", house.host)

    pull = engine_client("pull", reference)

    assert not pull.is_success
    assert _says_no(pull.text), pull.text


def test_someone_without_a_role_may_neither_pull_nor_push(
    engine_client: Client, house: House, build_context: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1.0")
    _push_as_owner(engine_client, house, build_context, reference)
    assert engine_client.login(house.host, house.stranger).is_success
    _build(engine_client, build_context, reference)

    pull, push = engine_client("pull", reference), engine_client("push", reference)

    assert not pull.is_success
    assert _says_no(pull.text), pull.text
    assert not push.is_success
    assert _says_no(push.text), push.text


def test_a_guest_may_pull_but_not_push(engine_client: Client, house: House, build_context: Path, unique: str) -> None:
    reference = house.private_reference(f"{unique}:1.0")
    image_id = _push_as_owner(engine_client, house, build_context, reference)
    assert engine_client.login(house.host, house.guest).is_success

    pull = engine_client("pull", reference)
    assert pull.is_success, pull.text
    assert _image_id(engine_client, reference) == image_id
    engine_client.must("tag", reference, f"{reference}-moved")
    push = engine_client("push", f"{reference}-moved")

    assert not push.is_success
    assert _says_no(push.text), push.text


def test_a_push_to_a_project_that_does_not_exist_is_refused(
    engine_client: Client, house: House, build_context: Path, unique: str
) -> None:
    reference = f"{house.host}/{unique}/image:1.0"
    assert engine_client.login(house.host, house.owner).is_success
    _build(engine_client, build_context, reference)

    push = engine_client("push", reference)

    assert not push.is_success
    assert _says_no(push.text) or unique in push.text, push.text


def test_a_tag_that_does_not_exist_is_said_to_be_unknown(
    engine_client: Client, house: House, build_context: Path, unique: str
) -> None:
    _push_as_owner(engine_client, house, build_context, house.private_reference(f"{unique}:1.0"))

    pull = engine_client("pull", house.private_reference(f"{unique}:2.0"))

    assert not pull.is_success
    assert "manifest unknown" in pull.text.lower(), pull.text


def test_podman_pushes_an_index_of_two_platforms_and_pulls_its_own(
    podman: Client, skopeo: Client, house: House, build_context: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:multi")
    assert podman.login(house.host, house.owner).is_success
    assert skopeo.login(house.host, house.owner).is_success
    for architecture in ("amd64", "arm64"):  # without --no-cache the second is taken to be the first
        podman.must("build", "--no-cache", "--arch", architecture, "--manifest", reference, str(build_context))

    push = podman("manifest", "push", "--all", reference, f"docker://{reference}")

    assert push.is_success, push.text
    podman.must("manifest", "rm", reference)
    index = json.loads(skopeo.must("inspect", "--raw", f"docker://{reference}").stdout)
    assert {entry["platform"]["architecture"] for entry in index["manifests"]} == {"amd64", "arm64"}
    assert podman("pull", reference).is_success


def _says_no(text: str) -> bool:
    return any(word in text.lower() for word in ("denied", "unauthorized", "authentication required", "forbidden"))
