"""What a person reads when a push is refused: every client shows the registry's advice, whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.programs import Client, Credentials, House
from tests.support.tools import Outcome

Push = Callable[[str], Outcome]


def _engine(request: pytest.FixtureRequest, name: str) -> Push:
    client: Client = request.getfixturevalue(name)
    podman: Client = request.getfixturevalue("podman")
    context: Path = request.getfixturevalue("build_context")

    def push(repository: str) -> Outcome:
        podman.must("build", "--tag", f"{repository}:1", str(context))
        return client("push", f"{repository}:1")

    return push


def _skopeo(request: pytest.FixtureRequest) -> Push:
    client, layout = request.getfixturevalue("skopeo"), request.getfixturevalue("layout")
    return lambda repository: client("copy", f"oci:{layout.where('new')}", f"docker://{repository}:1")


def _crane(request: pytest.FixtureRequest) -> Push:
    client, layout = request.getfixturevalue("crane"), request.getfixturevalue("layout")
    return lambda repository: client("push", str(layout.folder), f"{repository}:1")


def _regctl(request: pytest.FixtureRequest) -> Push:
    client, layout = request.getfixturevalue("regctl"), request.getfixturevalue("layout")
    return lambda repository: client("image", "copy", f"ocidir://{layout.where('new')}", f"{repository}:1")


def _oras(request: pytest.FixtureRequest) -> Push:
    client: Client = request.getfixturevalue("oras")
    context: Path = request.getfixturevalue("build_context")
    return lambda repository: client("push", f"{repository}:1", "content", folder=context)


def _cosign(request: pytest.FixtureRequest) -> Push:
    client: Client = request.getfixturevalue("cosign")
    context: Path = request.getfixturevalue("build_context")
    return lambda repository: client("upload", "blob", "-f", str(context / "content"), f"{repository}:1")


def _helm(request: pytest.FixtureRequest) -> Push:
    client: Client = request.getfixturevalue("helm")
    folder: Path = request.getfixturevalue("tmp_path")

    def push(repository: str) -> Outcome:
        parent, _, name = repository.rpartition("/")
        client_without_options = Client(client.program, client.environment)
        client_without_options.must("create", name, folder=folder)
        client_without_options.must("package", name, folder=folder)
        return client("push", f"{name}-0.1.0.tgz", f"oci://{parent}", folder=folder)

    return push


def _buildkit(request: pytest.FixtureRequest) -> Push:
    client: Client = request.getfixturevalue("buildctl")
    context = str(request.getfixturevalue("build_context"))
    where = ("--local", f"context={context}", "--local", f"dockerfile={context}", "--progress", "plain")

    def push(repository: str) -> Outcome:
        output = ("--output", f"type=image,name={repository}:1,push=true")
        return client("build", "--frontend", "dockerfile.v0", *where, *output)

    return push


def _dockerd(request: pytest.FixtureRequest) -> Push:
    client: Client = request.getfixturevalue("dockerd")
    context: Path = request.getfixturevalue("build_context")

    def push(repository: str) -> Outcome:
        client.must("build", "--tag", f"{repository}:1", str(context))
        return client("push", f"{repository}:1")

    return push


def _oci_client(request: pytest.FixtureRequest) -> Push:
    client: Client = request.getfixturevalue("ociclient")
    context: Path = request.getfixturevalue("build_context")
    return lambda repository: client("push", f"{repository}:1", str(context / "content"))


CLIENTS: dict[str, Callable[[pytest.FixtureRequest], Push]] = {
    "dockerd": _dockerd,
    "docker": lambda request: _engine(request, "docker"),
    "podman": lambda request: _engine(request, "podman"),
    "buildah": lambda request: _engine(request, "buildah"),
    "skopeo": _skopeo,
    "crane": _crane,
    "oras": _oras,
    "regctl": _regctl,
    "cosign": _cosign,
    "helm": _helm,
    "buildkit": _buildkit,
    "oci-client": _oci_client,
}


# Clients that show words of their own where the answer is 401.
SHOWN_OF_401 = {
    "regctl": "unauthorized",
    "dockerd": "denied: requested access to the resource is denied",
    "buildkit": "authorization failed",
}


@pytest.fixture(params=list(CLIENTS))
def push(request: pytest.FixtureRequest) -> Push:
    """`push("host/project/name")` with each client in turn."""
    return CLIENTS[request.param](request)


def _advice(project: str) -> str:
    return f"project {project} does not exist or you may not push to it; create it with POST /api/v2.0/projects"


def test_a_push_to_a_project_that_does_not_exist(
    push: Push, house: House, credentials: Credentials, unique: str
) -> None:
    credentials.use(house.host, house.owner)

    outcome = push(f"{house.host}/{unique}/image")

    assert not outcome.is_success
    assert _advice(unique) in outcome.text, outcome.text


def test_a_push_to_a_project_that_one_may_not_know_of(
    push: Push, house: House, credentials: Credentials, unique: str
) -> None:
    credentials.use(house.host, house.stranger)

    outcome = push(house.private_reference(unique))

    assert not outcome.is_success
    assert _advice(house.private) in outcome.text, outcome.text


def test_a_push_where_one_may_only_pull(push: Push, house: House, credentials: Credentials, unique: str) -> None:
    credentials.use(house.host, house.guest)

    outcome = push(house.private_reference(unique))

    assert not outcome.is_success
    assert (
        f"you may pull from {house.private}/{unique} but not push: "
        f"ask an administrator of project {house.private} for more rights"
    ) in outcome.text, outcome.text


def test_a_push_to_a_private_project_by_someone_not_signed_in(
    push: Push, house: House, unique: str, request: pytest.FixtureRequest
) -> None:
    outcome = push(house.private_reference(unique))

    assert not outcome.is_success
    expected = next((words for name, words in SHOWN_OF_401.items() if name in request.node.name), "log in first")
    assert expected in outcome.text, outcome.text
