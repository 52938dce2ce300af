"""The doors through which the clients come: each test of this folder runs once for every entry of DOORS.

A door is how a registry is reached and where it keeps its bytes. Another one (TLS, an object store) is one line here: a
function that is given pytest's request and returns a Registry, such as
`"https": lambda request: Registry(request.getfixturevalue("https_server"), ca=…)`.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.distribution.client import Client as HttpClient
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
        """`account` with an HTTP client, at work in `repository`."""
        verify = ssl.create_default_context(cafile=str(self.ca)) if self.ca else True
        return HttpClient(self.url, account, repository, verify=verify)


Door = Callable[[pytest.FixtureRequest], Registry]

DOORS: dict[str, Door] = {
    "http": lambda request: Registry(request.getfixturevalue("server")),
}
