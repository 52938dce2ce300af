"""Fixtures that every test may use. The Postgres and Valkey below them: tests/support/environment.py."""

import contextlib
import os
import secrets
from collections.abc import Callable, Generator, Iterator
from types import SimpleNamespace

import hypothesis
import pytest

from registry_core.events import repeated
from tests.support.databases import create_database, drop_database
from tests.support.extent import IS_FULL
from tests.support.server import Server

ServerFactory = Callable[..., Server]
NO_PARAMETERS = SimpleNamespace(params={})

# An example has no time limit: on a busy machine the first one, which imports modules, takes longer than any.
hypothesis.settings.register_profile("untimed", deadline=None, max_examples=100 if IS_FULL else 40)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    """Start a registry of one's own: `start_server(PORTOLAN_WORKERS="2")`. It ends with the module's tests."""
    with _servers(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def start_lasting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    """Start a registry that several modules share; it ends with the last test of the process."""
    with _servers(tmp_path_factory) as start:
        yield start


@contextlib.contextmanager
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    """Yield what starts a registry on a database and a data folder of its own; at the end all of them stop."""
    cluster_url = os.environ["PORTOLAN_DATABASE_URL"]
    started: list[tuple[Server, str]] = []

    def start(**environment: str) -> Server:
        database = f"portolan_server_{secrets.token_hex(4)}"
        server = Server(
            data=tmp_path_factory.mktemp("server") / "data",
            database_url=create_database(cluster_url, database),
            redis_url=os.environ["PORTOLAN_REDIS_URL"],
            admin_password=f"Admin-1-{secrets.token_urlsafe(9)}",
            environment=environment,
        )
        started.append((server, database))
        server.migrate()
        server.start()
        return server

    try:
        yield start
    finally:
        for server, _ in started:
            server.ask_to_stop()
        for server, database in started:
            server.stop()
            drop_database(cluster_url, database)


@pytest.fixture(scope="session")
def server(start_lasting_server: ServerFactory) -> Server:
    """The registry that the tests of one process share: each test makes the users and projects that it needs.

    It logs what holds up its event loop; tests/distribution fails on that.
    """
    return start_lasting_server(PORTOLAN_WATCH_EVENT_LOOP_MS="50")


@pytest.fixture
def unique() -> str:
    """A short name that no other test uses, fit for projects, repositories and users."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture(autouse=True)
def _nothing_told_yet() -> None:
    """An event that another test caused within the same minute would make the next one of its kind only counted."""
    for counted in repeated._all:
        counted._renewed(anyway=True)
        counted._ready.clear()


def pytest_configure() -> None:
    """Programs that a test starts by itself have the product's settings, not those of this process."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "registry_core.wiring.settings"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes, which `make test-quick` leaves out: by a fixture, or as their module can."""
    starting = {"server", "start_server", "start_lasting_server", "minio"}
    for item in items:
        module = getattr(item, "module", None)
        fixtures = starting & set(getattr(item, "fixturenames", ()))
        values = getattr(item, "callspec", NO_PARAMETERS).params.values()
        is_on_minio = any(isinstance(value, str) and value.startswith("s3") for value in values)
        if fixtures or is_on_minio or {"subprocess", "in_sandbox"} & vars(module).keys():
            item.add_marker("server")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed against a server shows the end of that server's log."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Server):
                report.sections.append((f"log of {name}", value.log_tail()))
    return report
