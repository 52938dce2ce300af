"""A registry that speaks HTTPS with a certificate of its own CA, and the programs that talk to it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from registry_core.wiring.supervisor.ports import free_port
from tests.conftest import ServerFactory
from tests.support.server import Server
from tests.support.tools import Outcome, run, tool
from tests.tls.certificates import Company

NAME = "registry.test"
Program = Callable[..., Outcome]


@pytest.fixture(scope="session")
def https(start_lasting_server: ServerFactory) -> Server:
    """A registry of the names `registry.test` and 10.1.2.3, whose plain port tells people to come by HTTPS."""
    return start_lasting_server(
        PORTOLAN_HOSTNAME=f"{NAME}, 10.1.2.3", PORTOLAN_EXTERNAL_URL="", PORTOLAN_HTTP_PORT=str(free_port())
    )


@pytest.fixture(scope="session")
def start_ipv6(start_lasting_server: ServerFactory) -> Server:
    """A registry that listens on ::1."""
    return start_lasting_server(PORTOLAN_HOST="::1", PORTOLAN_TLS="true", PORTOLAN_EXTERNAL_URL="")


@pytest.fixture(scope="session")
def company() -> Company:
    return Company()


@pytest.fixture
def curl() -> Program:
    """curl with our options; its exit code tells why a connection failed."""
    return lambda *arguments: run(tool("curl"), "--silent", "--max-time", "60", *arguments, env=dict(os.environ))


@pytest.fixture
def openssl() -> Program:
    return lambda *arguments: run(tool("openssl"), *arguments, env=dict(os.environ), stdin="")
