"""What a list shows of an artifact is derived from its bytes when it comes in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from projects.services import create_project
from registry_core.content import descriptions
from registry_core.content.manifests import delete_manifest
from registry_core.content.models import Artifact, Manifest
from registry_core.content.parsing import OCI_INDEX
from registry_core.content.repositories import RepositoryRef
from registry_core.digests import Digest
from tests.api.content import (
    CHART_CONFIG,
    image_config,
    put,
    put_about,
    put_document,
    put_index,
    repository_of,
)
from tests.support.operations import BY_SYSTEM

pytestmark = pytest.mark.django_db
NYDUS = {"containerd.io/snapshot/nydus-bootstrap": "true"}
SOURCE = "io.goharbor.artifact.v1alpha1.acceleration.source.digest"


@pytest.fixture
def repository() -> RepositoryRef:
    return repository_of(create_project(name="described", is_public=False, cause=BY_SYSTEM), "app")


def manifest_of(digest: Digest) -> Manifest:
    return Manifest.objects.get(digest=digest.raw)


def attributes(digest: Digest) -> Any:
    stored = manifest_of(digest).extra_attrs
    return None if stored is None else json.loads(bytes(stored))


def accessory(digest: Digest) -> tuple[str, str] | None:
    artifact = Artifact.objects.get(digest=digest.raw)
    if artifact.accessory_of is None or artifact.accessory_kind is None:
        return None
    return Artifact.Accessory(artifact.accessory_kind).label, str(Digest(bytes(artifact.accessory_of)))


def test_an_image_says_what_it_is_for(repository: RepositoryRef) -> None:
    config = image_config(author="ada", config={"Env": ["A=\u0000b"]}, created="2026-01-01T00:00:00Z")
    digest = put(repository, "v1", config=config)
    assert manifest_of(digest).kind == "IMAGE"
    assert attributes(digest) == {
        "architecture": "amd64", "author": "ada", "config": {"Env": ["A=\u0000b"]}, "created": "2026-01-01T00:00:00Z",
        "os": "linux",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config_type", "kind"),
    [
        (CHART_CONFIG, "CHART"),
        ("application/vnd.cncf.model.config.v1+json", "CNAI"),
        ("application/vnd.wasm.config.v1+json", "WASM"),
        ("application/vnd.goharbor.harbor.sbom.v1", "SBOM"),
        ("application/vnd.docker.container.image.v1+json", "IMAGE"),
        ("application/vnd.cncf.falco.rulesfile.config.v1+json", "FALCO.RULESFILE"),
        ("application/vnd.acme.rocket.config.v1+json", "ROCKET"),
        ("application/vnd.oci.empty.v1+json", "UNKNOWN"),
        ("text/plain", "UNKNOWN"),
    ],
)
def test_the_kind_follows_from_the_configs_type(repository: RepositoryRef, config_type: str, kind: str) -> None:
    assert manifest_of(put(repository, "v1", config=b'{"name":"x"}', config_type=config_type)).kind == kind


def test_an_index_is_an_image_or_says_that_it_is_a_bundle(repository: RepositoryRef) -> None:
    children = [put(repository)]
    bundle = {"org.opencontainers.artifactType": "application/vnd.cnab.manifest.v1"}
    assert manifest_of(put_index(repository, children)).kind == "IMAGE"
    assert manifest_of(put_index(repository, children, annotations=bundle)).kind == "CNAB"


@pytest.mark.parametrize("config", [b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"os": 1e999}'])
def test_a_config_that_makes_no_sense_says_nothing_and_refuses_nothing(
    repository: RepositoryRef, config: bytes
) -> None:
    digest = put(repository, "v1", config=config)
    assert (manifest_of(digest).kind, attributes(digest)) == ("IMAGE", None)


def test_what_is_too_long_is_left_out_of_the_attributes(repository: RepositoryRef) -> None:
    config = image_config(config={"Env": ["x" * 200_000]})
    assert attributes(put(repository, "v1", config=config)) == {"architecture": "amd64", "os": "linux"}


@pytest.mark.parametrize(
    ("artifact_type", "kind"),
    [
        ("application/vnd.dev.cosign.artifact.sig.v1+json", "signature.cosign"),
        ("application/vnd.cncf.notary.signature", "signature.notation"),
        ("application/vnd.goharbor.harbor.sbom.v1", "sbom.harbor"),
        ("application/vnd.acme.report", "subject.accessory"),
    ],
)
def test_what_has_a_subject_is_an_accessory_of_it(repository: RepositoryRef, artifact_type: str, kind: str) -> None:
    subject = put(repository, "v1")
    assert accessory(put_about(repository, subject, artifact_type)) == (kind, str(subject))
    assert accessory(subject) is None


@pytest.mark.parametrize(("suffix", "kind"), [("sig", "signature.cosign"), ("att", "subject.accessory")])
def test_cosigns_tags_make_accessories(repository: RepositoryRef, suffix: str, kind: str) -> None:
    subject = put(repository, "v1")
    signature = put(repository, f"{str(subject).replace(':', '-')}.{suffix}")
    assert accessory(signature) == (kind, str(subject))
    delete_manifest(repository=repository, digest=subject, cause=BY_SYSTEM)
    assert not Artifact.objects.filter(deleted_at=None).exists()


def test_an_artifact_with_a_tag_of_its_own_is_not_hidden_by_a_signatures_tag(repository: RepositoryRef) -> None:
    subject, config = put(repository, "v1"), image_config(nonce="same")
    release = put(repository, "release", config=config)
    assert put(repository, f"{str(subject).replace(':', '-')}.sig", config=config) == release
    assert accessory(release) is None


def test_a_nydus_image_is_an_accessory_of_its_source(repository: RepositoryRef) -> None:
    source = put(repository, "v1")
    nydus = put(repository, "v1-nydus", layer_annotations=NYDUS | {SOURCE: str(source)})
    assert accessory(nydus) == ("accelerator.nydus", str(source))
    assert accessory(put(repository, "v2", layer_annotations=NYDUS | {SOURCE: "sha256:no"})) is None


def test_what_came_without_a_description_gets_one_later(repository: RepositoryRef) -> None:
    digest, index = (
        put(repository, "v1"),
        put_document(repository, {"schemaVersion": 2, "manifests": []}, "v2", media_type=OCI_INDEX),
    )
    Manifest.objects.update(kind="", extra_attrs=None)
    assert descriptions.describe_more(limit=10) == 2
    assert descriptions.describe_more(limit=10) == 0
    assert (manifest_of(digest).kind, manifest_of(index).kind) == ("IMAGE", "IMAGE")
    assert attributes(digest) == {"architecture": "amd64", "os": "linux"}
