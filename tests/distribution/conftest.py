"""Who and what the tests of the OCI endpoint share. It is made once; each test works in a repository of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.distribution.client import Client
from tests.support.people import PASSWORD, Account, admin
from tests.support.server import Server

ALICE = Account("alice", PASSWORD)  # maintainer of depot, public and sparse
DORA = Account("dora", PASSWORD)  # developer in depot: may push, not delete
GUS = Account("gus", PASSWORD)  # guest of depot: may pull
OLGA = Account("olga", PASSWORD)  # owner of foreign, and of nothing else

_ARRANGE = f"""
from projects.services import create_project
from rbac.models import Role, User
from rbac.services.members import add_member
from rbac.services.users import create_user
from registry_core.access import of_system
# Once per server, whoever asks first.
if not User.objects.filter(username="alice").exists():
    people = {{name: create_user(username=name, password={PASSWORD!r}, email=name + "@example.org",
                                cause=of_system("test"))
              for name in ("alice", "dora", "gus", "olga")}}
    for name, is_public, members in [
        ("depot", False, {{"alice": Role.MAINTAINER, "dora": Role.DEVELOPER, "gus": Role.GUEST}}),
        ("public", True, {{"alice": Role.MAINTAINER}}),
        ("sparse", False, {{"alice": Role.MAINTAINER}}),
        ("foreign", False, {{"olga": Role.MAINTAINER}}),
    ]:
        project = create_project(name=name, is_public=is_public, cause=of_system("test"))
        project.allows_sparse_manifests = name == "sparse"
        project.save(update_fields=["allows_sparse_manifests"])
        for member, role in members.items():
            add_member(project=project, role=role, cause=of_system("test"), user=people[member])
"""


@pytest.fixture(scope="session")
def arranged(server: Server) -> Server:
    server.manage(_ARRANGE)
    return server


@pytest.fixture(autouse=True)
def nothing_holds_up_the_event_loop(server: Server) -> Iterator[None]:
    """No request of any test here may keep the others waiting for more than 50 ms."""
    before = server.log_size_bytes()
    yield
    assert server.held_up(since=before) == []


@pytest.fixture(scope="session")
def clients(arranged: Server) -> Iterator[Callable[..., Client]]:
    """`clients(ALICE, "depot/app")`: a connected client, closed at the end."""
    made: list[Client] = []

    def connect(account: Account | None, repository: str = "") -> Client:
        made.append(Client(arranged.url, account, repository))
        return made[-1]

    yield connect
    for client in made:
        client.http.close()


@pytest.fixture
def repository() -> str:
    """A repository of the private project that no other test uses and nothing was pushed to."""
    return f"depot/r{secrets.token_hex(4)}"


@pytest.fixture
def alice(clients: Callable[..., Client], repository: str) -> Client:
    """The maintainer, at work in `repository`."""
    return clients(ALICE, repository)


@pytest.fixture
def nobody(clients: Callable[..., Client], repository: str) -> Client:
    """Somebody without credentials, looking at `repository`."""
    return clients(None, repository)


@pytest.fixture
def sysadmin(clients: Callable[..., Client], server: Server, repository: str) -> Client:
    """The registry's administrator, who may list everything."""
    return clients(admin(server), repository)
