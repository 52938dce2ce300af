"""What several modules of faults stand on: a repository of one's own, and more servers beside the shared one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.machines import other_machine, twin_of
from tests.support.people import create_project
from tests.support.server import Server


@pytest.fixture
def repository(server: Server, unique: str) -> str:
    """The name of a repository in a project that no other test uses."""
    create_project(server, unique)
    return f"{unique}/app"


@pytest.fixture(scope="module")
def twin(server: Server) -> Iterator[Server]:
    """A second server process of the same machine, on another port."""
    second = twin_of(server)
    second.start()
    yield second
    second.stop()


@pytest.fixture(scope="module")
def other(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A second machine: it shares the first one's folder and database, and keeps its own generations."""
    second = other_machine(server, tmp_path_factory.mktemp("machine"))
    second.start()
    yield second
    second.stop()
