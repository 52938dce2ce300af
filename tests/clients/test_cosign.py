"""cosign: signatures and attestations by a key, in today's bundles and in the older form of a tag, without internet."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.doors import Registry
from tests.clients.programs import Client, House
from tests.support.layouts import Layout

pytestmark = pytest.mark.usefixtures("signed_in")

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
CONFIG = "application/vnd.oci.image.config.v1+json"  # of signatures in the older form


@dataclass(frozen=True)
class Signer:
    """cosign with a key. Nothing is told to a transparency log, and nothing is asked of one."""

    cosign: Client
    folder: Path
    registry_options: tuple[str, ...]
    is_bundle: bool

    @property
    def _offline(self) -> tuple[str, ...]:
        if self.is_bundle:
            return ("--signing-config", str(self.folder / "signing.json"), "--trusted-root", str(self._root))
        return ("--use-signing-config=false", "--new-bundle-format=false", "--tlog-upload=false")

    @property
    def _root(self) -> Path:
        return self.folder / "root.json"

    def sign(self, image: str) -> None:
        self.cosign.must("sign", "--yes", "--key", self._key("key"), *self._offline, *self.registry_options, image)

    def attest(self, image: str, predicate: Path) -> None:
        options = ("--type", "https://example.org/check", "--predicate", str(predicate))
        self.cosign.must(
            "attest", "--yes", "--key", self._key("key"), *options, *self._offline, *self.registry_options, image
        )

    def verify(self, what: str, image: str, *more: str) -> tuple[bool, str]:
        """`verify` or `verify-attestation`: whether it is good, and what is shown."""
        root = ("--trusted-root", str(self._root)) if self.is_bundle else ("--new-bundle-format=false",)
        outcome = self.cosign(
            what, "--key", self._key("pub"), "--insecure-ignore-tlog=true", *root, *more, *self.registry_options, image
        )
        return outcome.is_success, outcome.text

    def new_key(self) -> None:
        """Replace the key: what was signed before is not by this signer any more."""
        for kind in ("key", "pub"):
            Path(self._key(kind)).unlink(missing_ok=True)
        self.cosign.must("generate-key-pair", folder=self.folder)

    def _key(self, kind: str) -> str:
        return str(self.folder / f"cosign.{kind}")


@pytest.fixture(params=["bundle", "tag"])
def signer(request: pytest.FixtureRequest, registry: Registry, cosign: Client, tmp_path: Path) -> Signer:
    """Both forms in turn: a bundle that refers to the image, and a tag that is named after the image's digest."""
    folder = tmp_path / "keys"
    folder.mkdir()
    cosign.must("signing-config", "create", "--out", str(folder / "signing.json"))
    cosign.must("trusted-root", "create", "--out", str(folder / "root.json"))
    options = () if registry.is_tls else ("--allow-http-registry",)
    made = Signer(cosign, folder, options, is_bundle=request.param == "bundle")
    made.new_key()
    return made


@pytest.fixture
def pushed(crane: Client, house: House, layout: Layout, unique: str) -> str:
    """The reference, by digest, of a new image."""
    reference = house.private_reference(unique)
    crane.must("push", str(layout.folder), f"{reference}:1")
    return f"{reference}@{layout.digest('new')}"


def test_a_signed_image_is_verified_and_another_key_is_not(signer: Signer, pushed: str) -> None:
    signer.sign(pushed)

    is_good, shown = signer.verify("verify", pushed)

    assert is_good, shown
    assert "The signatures were verified against the specified public key" in shown
    assert pushed.rpartition("@")[2] in shown
    signer.new_key()
    is_good, shown = signer.verify("verify", pushed)
    assert not is_good, shown


def test_an_unsigned_image_is_said_to_have_no_signature(signer: Signer, pushed: str) -> None:
    is_good, shown = signer.verify("verify", pushed)

    assert not is_good
    assert "no signatures found" in shown, shown


def test_an_attestation_is_verified_and_read_back(signer: Signer, pushed: str, tmp_path: Path) -> None:
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"checked": true}')
    signer.attest(pushed, predicate)

    is_good, shown = signer.verify("verify-attestation", pushed, "--type", "https://example.org/check")

    assert is_good, shown


def test_a_bundle_is_a_referrer_and_so_is_the_older_form_by_its_tag(
    signer: Signer, oras: Client, pushed: str, house: House
) -> None:
    signer.sign(pushed)

    repository, _, digest = pushed.partition("@")
    tags = oras.must("repo", "tags", repository).stdout.split()
    shown = json.loads(oras.must("discover", pushed, "--format", "json", "--depth", "1").stdout)
    types = [each["artifactType"] for each in shown.get("referrers") or []]
    if signer.is_bundle:
        assert (types, tags) == ([BUNDLE], ["1"])
    else:
        assert (types, tags) == ([CONFIG], ["1", f"{digest.replace(':', '-')}.sig"])


def test_two_signatures_stand_side_by_side(signer: Signer, pushed: str) -> None:
    signer.sign(pushed)
    signer.new_key()
    signer.sign(pushed)

    is_good, shown = signer.verify("verify", pushed)

    assert is_good, shown


def test_a_copy_with_what_refers_to_the_image_takes_the_signatures(
    signer: Signer, regctl: Client, pushed: str, house: House, unique: str
) -> None:
    """By regctl: cosign's own copy is deprecated and knows only the form of a tag."""
    signer.sign(pushed)
    target = f"{house.other_reference(unique)}@{pushed.rpartition('@')[2]}"

    regctl.must("image", "copy", "--referrers", "--digest-tags", pushed, target)

    is_good, shown = signer.verify("verify", target)
    assert is_good, shown
