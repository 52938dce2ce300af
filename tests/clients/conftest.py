"""The real clients, each with credentials and settings of its own: docker over podman's service, podman, skopeo, crane.

Their images are made FROM scratch with random content, so that no layer is ever known before and nothing is downloaded.
"""

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.people import Account, add_member, create_project, create_user
from tests.support.server import Server
from tests.support.tools import Outcome, run, tool
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Client:
    """One client program of one person: `docker("push", reference)`."""

    program: Path
    environment: Mapping[str, str]
    login_options: tuple[str, ...] = ()

    def __call__(self, *arguments: str, stdin: str | None = None) -> Outcome:
        return run(self.program, *arguments, env=self.environment, stdin=stdin)

    def must(self, *arguments: str) -> Outcome:
        """Run what arranges a test. Raises AssertionError with what the client printed when it fails."""
        outcome = self(*arguments)
        assert outcome.is_success, outcome.text
        return outcome

    def login(self, host: str, account: Account) -> Outcome:
        """Sign in as a script does, with the password on stdin (docker, podman and skopeo)."""
        arguments = ("--username", account.name, "--password-stdin", *self.login_options, host)
        return self("login", *arguments, stdin=account.password)


@dataclass(frozen=True)
class Engine:
    """A container storage of its own for podman, skopeo and the service that docker talks to."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def socket(self) -> str:
        return f"unix://{self.folder / 'podman.sock'}"


@dataclass(frozen=True)
class House:
    """Who and what the clients meet: an owner's private project, the public one that every installation has, a guest of
    the private one, and someone who is a member of neither."""

    host: str
    owner: Account
    guest: Account
    stranger: Account
    private: str
    public: str = "library"

    def private_reference(self, name: str) -> str:
        return f"{self.host}/{self.private}/{name}"

    def public_reference(self, name: str) -> str:
        return f"{self.host}/{self.public}/{name}"


@pytest.fixture(scope="session")
def house(server: Server) -> House:
    """The people and projects, made once; each test uses a repository of its own in them."""
    mark = secrets.token_hex(3)  # the server is shared with tests that have people of their own
    owner, guest, stranger = (create_user(server, f"{name}-{mark}") for name in ("olive", "gus", "stan"))
    house = House(server.host, owner=owner, guest=guest, stranger=stranger, private=f"cellar-{mark}")
    create_project(server, house.private, by=owner.name)
    add_member(server, house.private, guest, role="GUEST")
    add_member(server, house.public, owner, role="PROJECT_ADMIN")
    return house


@pytest.fixture(scope="session")
def engine(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The configuration files that podman's family reads, with `server` as a registry without TLS."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n'
    )
    registries = folder / ".config" / "containers" / "registries.conf"  # where skopeo looks, whatever its environment
    registries.parent.mkdir(parents=True)
    registries.write_text(f'[[registry]]\nlocation = "{server.host}"\ninsecure = true\n')
    (folder / "containers.conf").write_text('[engine]\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\n')
    return Engine(
        folder,
        {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
        },
    )


@pytest.fixture(scope="session")
def docker_socket(engine: Engine) -> Iterator[str]:
    """podman's implementation of the Docker API, up and answering."""
    docker = Client(tool("docker"), {**engine.environment, "DOCKER_HOST": engine.socket})
    with (engine.folder / "service.log").open("wb") as log:
        service = subprocess.Popen(
            [str(tool("podman")), "system", "service", "--time=0", engine.socket],
            env=dict(engine.environment),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: docker("version").is_success, what="podman's Docker API answers")
        yield engine.socket
    finally:
        service.terminate()
        service.wait(20)


@pytest.fixture
def docker(engine: Engine, docker_socket: str, tmp_path: Path) -> Client:
    """The docker command line, signed in nowhere."""
    more = {"DOCKER_HOST": docker_socket, "DOCKER_CONFIG": str(tmp_path / "docker"), "DOCKER_BUILDKIT": "0"}
    return Client(tool("docker"), {**engine.environment, **more})


@pytest.fixture
def podman(engine: Engine, tmp_path: Path) -> Client:
    """podman, signed in nowhere."""
    return Client(tool("podman"), {**engine.environment, "REGISTRY_AUTH_FILE": str(_empty_auth(tmp_path, "podman"))})


@pytest.fixture(params=["docker", "podman"])
def engine_client(request: pytest.FixtureRequest) -> Client:
    """docker and podman in turn, for what both of them can."""
    client: Client = request.getfixturevalue(request.param)
    return client


@pytest.fixture
def skopeo(engine: Engine, tmp_path: Path) -> Client:
    """skopeo, signed in nowhere. Its login, unlike its other commands, does not read registries.conf."""
    environment = {**engine.environment, "REGISTRY_AUTH_FILE": str(_empty_auth(tmp_path, "skopeo"))}
    return Client(tool("skopeo"), environment, login_options=("--tls-verify=false",))


@pytest.fixture
def crane(tmp_path: Path) -> Client:
    """crane, signed in nowhere. It speaks HTTP to localhost by itself."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path / "crane")}
    return Client(tool("crane"), environment)


@pytest.fixture
def build_context(tmp_path: Path) -> Path:
    """A folder with a Dockerfile for an image of 64 KiB that exists nowhere else."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "content").write_bytes(os.urandom(64 * 1024))
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY content /content\n")
    return folder


def _empty_auth(folder: Path, client: str) -> Path:
    path = folder / f"{client}-auth.json"
    path.write_text("{}")
    return path
