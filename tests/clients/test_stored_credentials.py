"""What signing in leaves in config.json, and who can use it: many programs know no more of that file than a name and a
password in `auth`."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from oras.client import OrasClient

from tests.clients.doors import Registry
from tests.clients.programs import Client, Credentials, House
from tests.support.people import Account
from tests.support.tools import tool

JIB_POM = Path(__file__).parents[1] / "tools" / "jib" / "pom.xml"


def _sign_in_with_options(client: Client, house: House) -> None:
    """As crane, oras and helm want it."""
    command = {"crane": ("auth", "login"), "helm": ("registry", "login")}.get(client.program.name, ("login",))
    name, password = house.owner.name, house.owner.password
    client.must(*command, house.host, "--username", name, "--password-stdin", stdin=password)


def _sign_in(client: Client, house: House) -> None:
    outcome = client.login(house.host, house.owner)
    assert outcome.is_success, outcome.text


SIGN_IN: dict[str, Callable[[Client, House], None]] = {
    **dict.fromkeys(["dockerd", "docker", "podman", "buildah", "skopeo"], _sign_in),
    **dict.fromkeys(["crane", "oras", "helm"], _sign_in_with_options),
}


def _stored(credentials: Credentials, host: str) -> dict[str, str]:
    entry: dict[str, str] = json.loads(credentials.path.read_text())["auths"][host]
    return entry


def _as_the_kubelet_reads_it(credentials: Credentials, host: str) -> Account:
    """By `auth` alone, as all do that know no identity token."""
    name, _, password = base64.b64decode(_stored(credentials, host)["auth"]).decode().partition(":")
    return Account(name, password)


@pytest.mark.parametrize("client", list(SIGN_IN))
def test_signing_in_stores_the_name_and_the_password(
    client: str, credentials: Credentials, house: House, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    program: Client = request.getfixturevalue(client)
    if client == "helm":  # which has a file of its own unless told otherwise
        program = Client(program.program, {**program.environment, "HELM_REGISTRY_CONFIG": str(credentials.path)},
                         options=program.options)  # fmt: skip

    SIGN_IN[client](program, house)

    assert _as_the_kubelet_reads_it(credentials, house.host) == house.owner
    assert set(_stored(credentials, house.host)) == {"auth"}


# --- after `docker login` with Docker's own daemon, everybody else ---------------------------------------------------


@pytest.fixture
def signed_in_by_docker(dockerd: Client, house: House) -> None:
    _sign_in(dockerd, house)


@pytest.fixture
def pushed(dockerd: Client, signed_in_by_docker: None, house: House, build_context: Path, unique: str) -> str:
    """The reference of an image that Docker's own daemon has pushed."""
    reference = house.private_reference(f"{unique}:1.0")
    dockerd.must("build", "--tag", reference, str(build_context))
    dockerd.must("push", reference)
    return reference


def test_programs_written_in_go_use_it(
    pushed: str, crane: Client, oras: Client, regctl: Client, skopeo: Client
) -> None:
    digest = crane.must("digest", pushed).stdout.strip()
    assert digest in oras.must("resolve", pushed).stdout
    assert digest in regctl.must("image", "digest", pushed).stdout
    assert digest in skopeo.must("inspect", f"docker://{pushed}").stdout


def test_a_program_that_knows_names_and_passwords_uses_it(
    pushed: str, credentials: Credentials, registry: Registry, house: House
) -> None:
    account = _as_the_kubelet_reads_it(credentials, house.host)
    repository, _, tag = pushed.partition("/")[2].rpartition(":")
    client = registry.http(account, repository)
    bearer = {"authorization": f"Bearer {client.token(f'repository:{repository}:pull')}"}
    answer = client.http.get(client.path(f"manifests/{tag}"), headers=bearer, auth=httpx.Auth())
    assert answer.status_code == 200
    client.http.close()


def test_the_oras_library_uses_it(pushed: str, credentials: Credentials, registry: Registry) -> None:
    client = OrasClient(
        hostname=registry.host,
        insecure=not registry.is_tls,
        tls_verify=str(registry.ca) if registry.ca else True,
        auth_backend="basic",
    )
    client.auth.load_configs(client.get_container(pushed), configs=[str(credentials.path)])
    assert client.get_tags(pushed.rpartition(":")[0]) == ["1.0"]


def test_sigstore_s_library_for_node_uses_it(
    pushed: str, credentials: Credentials, registry: Registry, home: dict[str, str], crane: Client, tmp_path: Path
) -> None:
    """With a media type of an older release of it, which has a parameter."""
    if registry.is_tls:
        pytest.skip("@sigstore/oci speaks plain HTTP to localhost, whatever it is told")
    shutil.copytree(credentials.path.parent, tmp_path / ".docker")  # it looks nowhere else
    (tmp_path / "bundle.json").write_text("{}")
    attach = Client(tool("sigstore-attach"), home)
    digest = crane.must("digest", pushed).stdout.strip()
    kind = "application/vnd.dev.sigstore.bundle+json;version=0.2"

    attached = json.loads(attach.must(pushed.rpartition(":")[0], digest, str(tmp_path / "bundle.json"), kind).stdout)

    manifest = json.loads(crane.must("manifest", f"{pushed.rpartition(':')[0]}@{attached['digest']}").stdout)
    assert [layer["mediaType"] for layer in manifest["layers"]] == [kind]


def test_oci_client_for_rust_uses_it(
    signed_in_by_docker: None, ociclient: Client, house: House, tmp_path: Path, unique: str
) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    reference = house.private_reference(f"{unique}:1")

    ociclient.must("push", reference, str(tmp_path / "file"))
    ociclient.must("pull", reference, str(tmp_path / "pulled"))

    assert (tmp_path / "pulled").read_bytes() == (tmp_path / "file").read_bytes()


def test_jib_uses_it(
    signed_in_by_docker: None, jib: Client, crane: Client, house: House, tmp_path: Path, unique: str
) -> None:
    project = tmp_path / "project"
    (project / "target" / "classes").mkdir(parents=True)
    (project / "target" / "classes" / "file").write_text(unique)
    shutil.copy(JIB_POM, project)
    reference = house.private_reference(f"{unique}:1")
    options = ("-Djib.from.image=scratch", f"-Djib.to.image={reference}", "-Djib.container.mainClass=none")

    jib.must("-f", str(project), "jib:build", *options, "-Djib.allowInsecureRegistries=true")

    crane.must("validate", "--remote", reference)


def test_docker_pushes_and_pulls_again_what_it_pushed(dockerd: Client, pushed: str) -> None:
    image_id = dockerd.must("image", "inspect", "--format", "{{.Id}}", pushed).stdout
    again = dockerd.must("push", pushed)
    dockerd.must("rmi", pushed)
    dockerd.must("pull", pushed)
    assert "Layer already exists" in again.stdout
    assert dockerd.must("image", "inspect", "--format", "{{.Id}}", pushed).stdout == image_id
