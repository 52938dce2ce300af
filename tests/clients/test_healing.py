"""Pushing an image again, under its tag, heals it: no client may believe that what the registry has lost is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.doors import Registry
from tests.clients.programs import Client, House
from tests.distribution.client import Client as HttpClient
from tests.support.layouts import Layout

Push = Callable[[], object]

# One blob is in quarantine, the objects of all others are gone and nobody has noticed.
_HARM = """
from registry_core.content.models import Blob, RepositoryBlob
from registry_core.content.quarantine import quarantine
from registry_core.storage.stores import store_named
linked = RepositoryBlob.objects.filter(repository__name=name).values("blob_id")
first, *others = Blob.objects.filter(pk__in=linked).order_by("pk")
quarantine(store=first.store, key=first.storage_key, reason="a test")
for blob in others:
    store_named(blob.store).delete(blob.storage_key)
print(1 + len(others))
"""


@pytest.fixture
def reference(house: House, unique: str) -> str:
    return house.private_reference(f"{unique}:1")


@pytest.fixture
def by_crane(crane: Client, layout: Layout, reference: str) -> Push:
    return lambda: crane.must("push", str(layout.folder), reference)


@pytest.fixture
def by_skopeo(skopeo: Client, layout: Layout, reference: str) -> Push:
    return lambda: skopeo.must("copy", f"oci:{layout.where('new')}", f"docker://{reference}")


@pytest.fixture
def by_regctl(regctl: Client, layout: Layout, reference: str) -> Push:
    """It looks with a token for pulling, and so is told that the manifest is there: it has a flag for not believing
    that."""
    copy = ("image", "copy", "--force-recursive")
    return lambda: regctl.must(*copy, f"ocidir://{layout.where('new')}", reference)


@pytest.fixture
def by_oras(registry: Registry, oras: Client, layout: Layout, reference: str) -> Push:
    is_plain = str(not registry.is_tls).lower()
    copy = Client(oras.program, oras.environment, options=(f"--to-plain-http={is_plain}",))
    return lambda: copy.must("copy", "--from-oci-layout", layout.where("new"), reference)


@pytest.fixture
def by_helm(helm: Client, house: House, tmp_path: Path, unique: str) -> Push:
    local = Client(helm.program, helm.environment)
    local.must("create", unique, folder=tmp_path)
    local.must("package", unique, "--version", "1", folder=tmp_path)
    return lambda: helm.must("push", f"{unique}-1.tgz", f"oci://{house.host}/{house.private}", folder=tmp_path)


def _by_engine(engine: Client, context: Path, reference: str) -> Push:
    engine.must("build", "--tag", reference, str(context))
    return lambda: engine.must("push", reference)


@pytest.fixture
def by_podman(podman: Client, build_context: Path, reference: str) -> Push:
    return _by_engine(podman, build_context, reference)


@pytest.fixture
def by_docker(docker: Client, build_context: Path, reference: str) -> Push:
    return _by_engine(docker, build_context, reference)


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("client", ["crane", "helm", "skopeo", "podman", "docker", "oras", "regctl"])
def test_the_same_push_heals_what_the_registry_has_lost(
    request: pytest.FixtureRequest, registry: Registry, owner_http: HttpClient, unique: str, client: str
) -> None:
    push: Push = request.getfixturevalue(f"by_{client}")
    push()
    assert int(registry.server.manage(f"name = {unique!r}\n{_HARM}")) > 1
    manifest = json.loads(owner_http.http.get(f"/v2/{owner_http.repository}/manifests/1").content)
    blobs = [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
    assert {_status(owner_http, digest) for digest in blobs} == {404}

    push()

    assert {_status(owner_http, digest) for digest in blobs} == {200}


def _status(client: HttpClient, digest: str) -> int:
    return client.http.get(f"/v2/{client.repository}/blobs/{digest}").status_code
