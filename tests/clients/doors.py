"""The doors through which the clients come: each test of this folder runs once for every entry of DOORS.

A door is how a registry is reached and where it keeps its bytes. Another one is one line here: a function that is given
pytest's request and returns a Registry.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.distribution.client import Client as HttpClient
from tests.support.extent import IS_FULL
from tests.support.people import Account
from tests.support.server import Server


@dataclass(frozen=True)
class Registry:
    """A running registry, as its clients know it. `ca`: the certificate they are told to trust; None: plain HTTP."""

    server: Server
    ca: Path | None = None

    @property
    def host(self) -> str:
        return self.server.host

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def is_tls(self) -> bool:
        return self.ca is not None

    @property
    def trust(self) -> dict[str, str]:
        """The environment in which a program written in Go trusts the registry's certificate."""
        return {"SSL_CERT_FILE": str(self.ca)} if self.ca else {}

    def http(self, account: Account | None, repository: str) -> HttpClient:
        """`account` with an HTTP client that follows redirects, at work in `repository`."""
        verify = ssl.create_default_context(cafile=str(self.ca)) if self.ca else True
        client = HttpClient(self.url, account, repository, verify=verify)
        client.http.follow_redirects = True
        return client


Door = Callable[[pytest.FixtureRequest], Registry]


def _https(request: pytest.FixtureRequest, fixture: str) -> Registry:
    server: Server = request.getfixturevalue(fixture)
    return Registry(server, ca=server.authority)


# Every day the two that differ in everything; all four in the full run.
DOORS: dict[str, Door] = {
    "http": lambda request: Registry(request.getfixturevalue("server")),
    "https-s3": lambda request: _https(request, "https_s3_server"),
}
if IS_FULL:
    DOORS |= {
        "https": lambda request: _https(request, "https_server"),
        "s3": lambda request: Registry(request.getfixturevalue("s3_server")),
    }
