"""containerd by its own client ctr, as a cluster's node pulls."""

import re

import pytest

from tests.clients.doors import Registry
from tests.clients.programs import Client, House, ctr_door
from tests.support.layouts import Layout, new_index
from tests.support.people import Account
from tests.support.tools import Outcome


class Node:
    """ctr with one account's credentials."""

    def __init__(self, ctr: Client, registry: Registry, account: Account | None) -> None:
        self._ctr = ctr
        user = ("--user", f"{account.name}:{account.password}") if account else ()
        self._options = (*ctr_door(ctr, is_tls=registry.is_tls), *user)

    def pull(self, reference: str, *more: str) -> Outcome:
        return self._ctr("images", "pull", *self._options, *more, reference)

    def push(self, reference: str, source: str) -> Outcome:
        return self._ctr("images", "push", *self._options, reference, source)

    def forget(self, reference: str) -> None:
        self._ctr.must("images", "rm", "--sync", reference)

    def digest(self, reference: str) -> str:
        """What the node has under the reference."""
        found = re.search(
            rf"^{re.escape(reference)}\s.*?(sha256:[0-9a-f]{{64}})", self._ctr.must("images", "ls").stdout, re.M
        )
        assert found
        return found.group(1)


@pytest.fixture
def owner(ctr: Client, registry: Registry, house: House) -> Node:
    return Node(ctr, registry, house.owner)


@pytest.mark.usefixtures("signed_in")
def test_an_image_is_pulled_unpacked_and_pushed_again(
    owner: Node, crane: Client, house: House, layout: Layout, unique: str
) -> None:
    source, target = house.private_reference(f"{unique}:1"), house.other_reference(f"{unique}:2")
    crane.must("push", str(layout.folder), source)

    pull = owner.pull(source)
    push = owner.push(target, source)

    assert pull.is_success, pull.text
    assert push.is_success, push.text
    assert owner.digest(source) == layout.digest("new")
    assert crane.must("digest", target).stdout.strip() == layout.digest("new")
    owner.forget(source)


@pytest.mark.usefixtures("signed_in")
def test_every_platform_of_an_index_is_pulled(
    owner: Node, regctl: Client, house: House, layout: Layout, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")
    layout.tag(new_index(layout, "amd64", "arm64"), "multi")
    regctl.must("image", "copy", f"ocidir://{layout.where('multi')}", reference)

    pull = owner.pull(reference, "--all-platforms")

    assert pull.is_success, pull.text
    assert owner.digest(reference) == layout.digest("multi")
    owner.forget(reference)


@pytest.mark.usefixtures("signed_in")
def test_a_pull_without_rights_reads_as_a_matter_of_rights(
    ctr: Client, registry: Registry, crane: Client, house: House, layout: Layout, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")
    crane.must("push", str(layout.folder), reference)

    anonymous = Node(ctr, registry, None).pull(reference)
    stranger = Node(ctr, registry, house.stranger).pull(reference)

    assert not anonymous.is_success
    assert "authorization failed" in anonymous.text, anonymous.text
    assert not stranger.is_success
    assert "403 Forbidden" in stranger.text, stranger.text


@pytest.mark.usefixtures("signed_in")
def test_a_push_without_rights_shows_the_status(
    ctr: Client, registry: Registry, crane: Client, house: House, layout: Layout, unique: str
) -> None:
    """containerd 1.6 shows nothing of an answer but its status."""
    source = house.public_reference(f"{unique}:1")
    crane.must("push", str(layout.folder), source)
    stranger = Node(ctr, registry, house.stranger)
    assert stranger.pull(source).is_success

    push = stranger.push(house.private_reference(f"{unique}:1"), source)

    assert not push.is_success
    assert "403 Forbidden" in push.text, push.text
    stranger.forget(source)


def test_a_tag_that_is_not_there_is_not_found(owner: Node, house: House, unique: str) -> None:
    pull = owner.pull(house.private_reference(f"{unique}:1"))

    assert not pull.is_success
    assert "not found" in pull.text, pull.text
