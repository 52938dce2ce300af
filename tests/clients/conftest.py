"""The real clients, each with settings of its own, and whom they meet on a registry.

Their images are made from scratch with random content, so that no layer is ever known before and nothing is downloaded.
"""

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.daemons import roots_tool, running
from tests.clients.doors import DOORS, Registry
from tests.clients.programs import Client, Credentials, Engine, House
from tests.conftest import ServerFactory
from tests.distribution.client import Client as HttpClient
from tests.support.layouts import Layout, new_image
from tests.support.minio import Minio
from tests.support.people import PASSWORD, Account, create_user
from tests.support.server import Server
from tests.support.tools import missing, tool

# In one process: Django takes seconds to set up on a busy machine.
_ARRANGE = """
from dataclasses import replace
from projects.services import create_project
from rbac.models import Role
from rbac.services.members import add_member
from rbac.services.users import create_user
from registry_core.access import of_system
from registry_core.content.models import Project
owner, guest, stranger = (
    create_user(username=name, password=password, email=name + "@example.org", cause=of_system("test"))
    for name in people
)
made = [
    create_project(name=name, is_public=False, cause=replace(of_system("test"), subject=owner.subject))
    for name in projects
]
add_member(project=made[0], role=Role.GUEST, cause=of_system("test"), user=guest)
add_member(project=Project.objects.get(name=public), role=Role.PROJECT_ADMIN, cause=of_system("test"), user=owner)
"""


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    store = Minio(tool("minio"), tmp_path_factory.mktemp("clients-minio"))
    store.start()
    yield store
    store.stop()


@pytest.fixture(scope="session")
def https_server(start_lasting_server: ServerFactory) -> Server:
    return start_lasting_server(PORTOLAN_TLS="true")


@pytest.fixture(scope="session")
def https_s3_server(start_lasting_server: ServerFactory, object_store: Minio) -> Server:
    """Blobs come through the registry: clients follow no redirect from HTTPS to a plain object store."""
    return start_lasting_server(PORTOLAN_TLS="true", **object_store.environment(s3_redirect=False))


@pytest.fixture(scope="session")
def s3_server(start_lasting_server: ServerFactory, object_store: Minio) -> Server:
    """Blobs come from the object store, by a name that is not the registry's: a client proves to a host once more what
    it proved to it before, and an object store takes one proof only, that of its URL. Its address will not do: crane
    follows no redirect to one of a private network."""
    endpoint = f"http://{_another_name_of_this_machine()}:{object_store.port}"
    return start_lasting_server(**object_store.environment(s3_public_endpoint=endpoint))


def _another_name_of_this_machine() -> str:
    """A name other than localhost that leads to 127.0.0.1. Without one the test is skipped, or fails as for a missing
    tool."""
    for name in (socket.gethostname(), socket.getfqdn(), "localhost.localdomain"):
        with contextlib.suppress(OSError):
            if name != "localhost" and socket.gethostbyname(name) == "127.0.0.1":
                return name
    return missing("no name but localhost leads to 127.0.0.1: add one to /etc/hosts")


@pytest.fixture(scope="session", params=list(DOORS))
def registry(request: pytest.FixtureRequest) -> Registry:
    """The registry that the clients talk to, by each door in turn."""
    return DOORS[request.param](request)


@pytest.fixture(scope="session")
def house(registry: Registry) -> House:
    """The people and projects, made once; each test uses a repository of its own in them."""
    mark = secrets.token_hex(3)  # the server is shared with tests that have people of their own
    owner, guest, stranger = (Account(f"{name}-{mark}", PASSWORD) for name in ("olive", "gus", "stan"))
    house = House(registry.host, owner, guest, stranger, private=f"cellar-{mark}", other=f"attic-{mark}")
    registry.server.manage(
        f"people = {[owner.name, guest.name, stranger.name]!r}\n"
        f"projects = {[house.private, house.other]!r}\n"
        f"public = {house.public!r}\n"
        f"password = {PASSWORD!r}\n" + _ARRANGE
    )
    return house


@pytest.fixture
def newcomer(registry: Registry, unique: str) -> Account:
    """Someone with an account and no role, for wrong passwords: after a few of them nobody may try that name again for
    a while."""
    return create_user(registry.server, unique)


@pytest.fixture
def owner_http(registry: Registry, house: House, unique: str) -> Iterator[HttpClient]:
    """The owner with a plain HTTP client, in a new repository of the private project that is named like the test's
    `unique`."""
    client = registry.http(house.owner, f"{house.private}/{unique}")
    yield client
    client.http.close()


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    """Nobody's yet."""
    made = Credentials(tmp_path / "credentials" / "config.json")
    made.path.parent.mkdir()
    made.path.write_text("{}")
    return made


@pytest.fixture
def signed_in(credentials: Credentials, house: House) -> None:
    """The owner's credentials for every client."""
    credentials.use(house.host, house.owner)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A folder in OCI's image layout with one image that exists nowhere else, tagged `new`."""
    made = Layout(tmp_path / "layout")
    made.tag(new_image(made), "new")
    return made


# --- podman's family, and docker over podman's service ---------------------------------------------------------------


@pytest.fixture(scope="session")
def engine(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The configuration files that podman's family reads."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n'
    )
    registries = folder / ".config" / "containers" / "registries.conf"  # where skopeo looks, whatever its environment
    registries.parent.mkdir(parents=True)
    is_insecure = "false" if registry.is_tls else "true"
    registries.write_text(f'[[registry]]\nlocation = "{registry.host}"\ninsecure = {is_insecure}\n')
    (folder / "containers.conf").write_text('[engine]\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\n')
    return Engine(
        folder,
        {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "STORAGE_DRIVER": "vfs",
            "BUILDAH_ISOLATION": "chroot",
            **registry.trust,
        },
    )


@pytest.fixture(scope="session")
def docker_socket(engine: Engine) -> Iterator[str]:
    """podman's implementation of the Docker API, up and answering."""
    docker = Client(tool("docker"), {**engine.environment, "DOCKER_HOST": engine.socket})
    with running(
        tool("podman"), "system", "service", "--time=0", engine.socket,
        is_up=lambda: docker("version").is_success, log=engine.folder / "service.log", env=engine.environment,
    ):  # fmt: skip
        yield engine.socket


@pytest.fixture
def docker(engine: Engine, docker_socket: str, credentials: Credentials) -> Client:
    """The docker command line, over podman's service."""
    more = {"DOCKER_HOST": docker_socket, "DOCKER_BUILDKIT": "0"}
    return Client(tool("docker"), {**engine.environment, **credentials.environment, **more})


@pytest.fixture(scope="session")
def dockerd_socket(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Docker's own daemon, with folders of its own and without a network for containers."""
    folder = tmp_path_factory.mktemp("dockerd")
    socket = f"unix://{folder / 'docker.sock'}"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **registry.trust}
    docker = Client(tool("docker"), {**environment, "DOCKER_HOST": socket})
    with running(
        roots_tool("dockerd"), "--host", socket, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec",
        "--pidfile", f"{folder}/pid", "--storage-driver", "vfs", "--iptables=false", "--bridge=none", "--ip-masq=false",
        is_up=lambda: docker("version").is_success, log=folder / "dockerd.log", env=environment,
    ):  # fmt: skip
        yield socket


@pytest.fixture
def dockerd(dockerd_socket: str, home: dict[str, str]) -> Client:
    """The docker command line, over Docker's own daemon."""
    return Client(tool("docker"), {**home, "DOCKER_HOST": dockerd_socket, "DOCKER_BUILDKIT": "0"})


@pytest.fixture
def podman(engine: Engine, credentials: Credentials) -> Client:
    return Client(tool("podman"), {**engine.environment, **credentials.environment})


@pytest.fixture
def buildah(engine: Engine, credentials: Credentials) -> Client:
    return Client(tool("buildah"), {**engine.environment, **credentials.environment})


@pytest.fixture(params=["docker", "podman"])
def engine_client(request: pytest.FixtureRequest) -> Client:
    """docker and podman in turn, for what both of them can."""
    client: Client = request.getfixturevalue(request.param)
    return client


@pytest.fixture
def skopeo(registry: Registry, engine: Engine, credentials: Credentials) -> Client:
    """skopeo. Its login, unlike its other commands, does not read registries.conf."""
    login_options = () if registry.is_tls else ("--tls-verify=false",)
    return Client(tool("skopeo"), {**engine.environment, **credentials.environment}, login_options)


@pytest.fixture
def build_context(tmp_path: Path) -> Path:
    """A folder with a Dockerfile for an image of 64 KiB that exists nowhere else."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "content").write_bytes(os.urandom(64 * 1024))
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY content /content\n")
    return folder


# --- clients built with Go -------------------------------------------------------------------------------------------


@pytest.fixture
def home(registry: Registry, credentials: Credentials, tmp_path: Path) -> dict[str, str]:
    """The environment of a person's own programs."""
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **credentials.environment, **registry.trust}


@pytest.fixture
def crane(home: dict[str, str]) -> Client:
    """crane. It tries HTTPS, then HTTP, on localhost by itself."""
    return Client(tool("crane"), home)


@pytest.fixture
def oras(registry: Registry, home: dict[str, str]) -> Client:
    return Client(tool("oras"), home, options=(f"--plain-http={str(not registry.is_tls).lower()}",))


@pytest.fixture
def oras_copy(registry: Registry, home: dict[str, str]) -> Client:
    """`oras copy` from the registry to the registry, which has a flag for either end."""
    is_plain = str(not registry.is_tls).lower()
    return Client(tool("oras"), home, options=(f"--from-plain-http={is_plain}", f"--to-plain-http={is_plain}"))


@pytest.fixture
def regctl(registry: Registry, home: dict[str, str]) -> Client:
    client = Client(tool("regctl"), home)
    client.must("registry", "set", "--skip-check", "--tls", "enabled" if registry.is_tls else "disabled", registry.host)
    return client


@pytest.fixture
def regsync(home: dict[str, str]) -> Client:
    return Client(tool("regsync"), home)


@pytest.fixture
def cosign(home: dict[str, str]) -> Client:
    """cosign with an empty password for its key."""
    return Client(tool("cosign"), {**home, "COSIGN_PASSWORD": ""})


@pytest.fixture
def helm(registry: Registry, home: dict[str, str]) -> Client:
    return Client(tool("helm"), home, options=() if registry.is_tls else ("--plain-http",))


# --- containerd ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def containerd_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A containerd without Kubernetes' plugin, with folders of its own."""
    folder = tmp_path_factory.mktemp("containerd")
    socket = folder / "containerd.sock"
    config = folder / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{socket}"\n[ttrpc]\naddress = "{folder}/ttrpc.sock"\n'
    )
    ctr = Client(tool("ctr"), {"PATH": os.environ["PATH"]})
    with running(
        tool("containerd"), "--config", str(config),
        is_up=lambda: ctr("--address", str(socket), "version").is_success, log=folder / "containerd.log",
    ):  # fmt: skip
        yield socket


@pytest.fixture
def ctr(registry: Registry, containerd_socket: Path, home: dict[str, str]) -> Client:
    """ctr. Without a hosts.toml containerd speaks plain HTTP to localhost, whatever it is told."""
    if registry.ca:
        folder = Path(home["HOME"]) / "certs.d" / registry.host
        folder.mkdir(parents=True)
        (folder / "hosts.toml").write_text(
            f'server = "{registry.url}"\n[host."{registry.url}"]\n'
            f'capabilities = ["pull", "resolve", "push"]\nca = "{registry.ca}"\n'
        )
    return Client(tool("ctr"), {**home, "CONTAINERD_ADDRESS": str(containerd_socket)})


# --- BuildKit --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def buildkit_address(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A BuildKit daemon with folders of its own."""
    folder = tmp_path_factory.mktemp("buildkit")
    address = f"unix://{folder / 'buildkit.sock'}"
    config = folder / "buildkitd.toml"
    # Unless told otherwise it speaks plain HTTP to localhost, whatever CA it has.
    how = f'http = false\nca = ["{registry.ca}"]' if registry.ca else "http = true"
    config.write_text(f'root = "{folder}/root"\n[registry."{registry.host}"]\n{how}\n')
    buildctl = Client(tool("buildctl"), {"PATH": os.environ["PATH"], "BUILDKIT_HOST": address})
    with running(
        roots_tool("buildkitd"), "--config", str(config), "--addr", address, "--containerd-worker=false",
        "--oci-worker-snapshotter=native", "--oci-worker-net=host",
        is_up=lambda: buildctl("debug", "workers").is_success, log=folder / "buildkitd.log",
    ):  # fmt: skip
        yield address


@pytest.fixture
def buildctl(buildkit_address: str, home: dict[str, str]) -> Client:
    return Client(tool("buildctl"), {**home, "BUILDKIT_HOST": buildkit_address})


# --- clients in other languages --------------------------------------------------------------------------------------


@pytest.fixture
def ociclient(registry: Registry, home: dict[str, str]) -> Client:
    """A program of ours with Rust's oci-client, for one file: `ociclient("push", reference, path)`."""
    return Client(tool("ociclient"), home, options=(str(registry.ca),) if registry.ca else ())


@pytest.fixture
def jib(home: dict[str, str]) -> Client:
    """Maven with jib, which is given the certificate to trust for each call: Java looks for it elsewhere."""
    return Client(tool("jib"), home, options=(f"-Duser.home={home['HOME']}", "-DsendCredentialsOverHttp=true"))
