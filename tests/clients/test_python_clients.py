"""Registry clients written in Python: oras (the library of that name) and docker's SDK over podman's service."""

from collections.abc import Iterator
from pathlib import Path

import docker as docker_sdk
import pytest
from docker.errors import APIError
from oras.client import OrasClient

from tests.clients.doors import Registry
from tests.clients.programs import Credentials, House
from tests.distribution.client import Client as HttpClient
from tests.support.people import Account


@pytest.fixture
def oras_library(registry: Registry, house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OrasClient:
    """oras-py, signed in as the owner."""
    monkeypatch.chdir(tmp_path)  # it refuses files outside the current folder
    # Its other way, "token", keeps the first token that it gets, which is one to pull: it cannot push to any registry
    # that grants what is asked for and no more.
    client = OrasClient(
        hostname=registry.host,
        insecure=not registry.is_tls,
        tls_verify=str(registry.ca) if registry.ca else True,
        auth_backend="basic",
    )
    client.login(
        username=house.owner.name,
        password=house.owner.password,
        hostname=registry.host,
        config_path=str(tmp_path / "oras-config.json"),
        tls_verify=registry.is_tls,
    )
    return client


def test_the_oras_library_pushes_and_pulls_a_file(
    oras_library: OrasClient, house: House, tmp_path: Path, unique: str
) -> None:
    reference = house.private_reference(f"{unique}:1")
    (tmp_path / "notes.txt").write_text(f"notes of {unique}")

    push = oras_library.push(target=reference, files=["notes.txt:text/plain"], quiet=True)
    pulled = oras_library.pull(target=reference, outdir=str(tmp_path / "pulled"))

    assert push.status_code == 201
    assert [Path(path).read_text() for path in pulled] == [f"notes of {unique}"]


def test_the_oras_library_pushes_in_chunks(
    oras_library: OrasClient, owner_http: HttpClient, house: House, tmp_path: Path, unique: str
) -> None:
    """Chunks of 100,003 bytes, and a rest."""
    content = bytes(range(256)) * 2000
    (tmp_path / "data.bin").write_bytes(content)

    oras_library.push(
        target=house.private_reference(f"{unique}:1"), files=["data.bin"], do_chunked=True, chunk_size=100_003,
        quiet=True,
    )  # fmt: skip

    layers = owner_http.get("manifests/1").json()["layers"]
    assert [layer["size"] for layer in layers] == [len(content)]
    assert owner_http.get(f"blobs/{layers[0]['digest']}").content == content


def test_the_oras_library_lists_tags(
    oras_library: OrasClient, owner_http: HttpClient, house: House, unique: str
) -> None:
    for tag in ("b", "a"):
        owner_http.push_image(tag=tag)

    assert oras_library.get_tags(house.private_reference(unique)) == ["a", "b"]


@pytest.fixture
def sdk(
    docker_socket: str, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> Iterator[docker_sdk.DockerClient]:
    """docker-py on podman's service."""
    monkeypatch.setenv("DOCKER_CONFIG", str(credentials.path.parent))
    client = docker_sdk.DockerClient(base_url=docker_socket, timeout=60)
    yield client
    client.close()


def _auth(account: Account) -> dict[str, str]:
    return {"username": account.name, "password": account.password}


def _pushed(sdk: docker_sdk.DockerClient, repository: str, account: Account) -> str:
    """What the SDK tells of a push, as one text; it raises nothing when the registry refuses."""
    told = sdk.images.push(repository, tag="1", auth_config=_auth(account), stream=True, decode=True)
    return "\n".join(str(line) for line in told)


def test_docker_s_sdk_signs_in(sdk: docker_sdk.DockerClient, house: House, newcomer: Account) -> None:
    assert sdk.login(registry=house.host, reauth=True, **_auth(newcomer))["Status"] == "Login Succeeded"
    with pytest.raises(APIError):
        sdk.login(registry=house.host, reauth=True, username=newcomer.name, password="Not-the-password-1")


def test_docker_s_sdk_pushes_and_pulls(
    sdk: docker_sdk.DockerClient, house: House, build_context: Path, unique: str
) -> None:
    repository = house.private_reference(unique)
    sdk.images.build(path=str(build_context), tag=f"{repository}:1", rm=True)
    image_id = sdk.images.get(f"{repository}:1").id

    told = _pushed(sdk, repository, house.owner)
    sdk.images.remove(f"{repository}:1")
    pulled = sdk.images.pull(repository, tag="1", auth_config=_auth(house.owner))

    assert "error" not in told, told
    assert pulled.id == image_id


def test_docker_s_sdk_is_told_why_a_push_is_refused(
    sdk: docker_sdk.DockerClient, house: House, build_context: Path, unique: str
) -> None:
    repository = f"{house.host}/{unique}/image"
    sdk.images.build(path=str(build_context), tag=f"{repository}:1", rm=True)

    told = _pushed(sdk, repository, house.owner)

    assert (
        f"project {unique} does not exist or you may not push to it; create it with POST /api/v2.0/projects"
    ) in told
