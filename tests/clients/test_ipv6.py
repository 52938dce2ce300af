"""A registry that listens on ::1 alone, reached by its address in brackets.

Not by skopeo 1.9 and its family: they do not know such a reference.
"""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.clients.programs import Client, Credentials
from tests.support.layouts import Layout
from tests.support.people import admin
from tests.support.server import Server


@pytest.fixture(scope="module")
def ipv6(start_server: Callable[..., Server]) -> Server:
    return start_server(PORTOLAN_HOST="::1")


@pytest.fixture
def reference(ipv6: Server, credentials: Credentials, unique: str) -> str:
    """A repository there that the administrator may push to; the clients have his credentials."""
    credentials.use(ipv6.host, admin(ipv6))
    return f"{ipv6.host}/library/{unique}"


def test_the_challenge_leads_back_to_the_address(ipv6: Server) -> None:
    challenge = httpx.get(f"{ipv6.url}/v2/").headers["www-authenticate"]

    assert challenge.startswith(f'Bearer realm="http://[::1]:{ipv6.port}/service/token"')


def test_oras_pushes_and_pulls(oras: Client, reference: str, tmp_path: Path) -> None:
    plain = Client(oras.program, oras.environment, options=("--plain-http",))
    (tmp_path / "file").write_text(reference)

    plain.must("push", f"{reference}:1", "file", folder=tmp_path)
    plain.must("pull", f"{reference}:1", "--output", str(tmp_path / "pulled"))

    assert (tmp_path / "pulled" / "file").read_text() == reference


def test_regctl_pushes(regctl: Client, ipv6: Server, reference: str, layout: Layout) -> None:
    regctl.must("registry", "set", "--skip-check", "--tls", "disabled", ipv6.host)

    copy = regctl("image", "copy", f"ocidir://{layout.where('new')}", f"{reference}:1")

    assert copy.is_success, copy.text


def test_crane_pushes(crane: Client, reference: str, layout: Layout) -> None:
    push = crane("push", "--insecure", str(layout.folder), f"{reference}:1")

    assert push.is_success, push.text
