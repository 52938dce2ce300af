"""Tokens for many repositories at once, as clients that mirror a registry ask for them."""

from __future__ import annotations

import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from registry_core.tokens.jwt import TOKEN_MAX_CHARS
from registry_core.wiring.supervisor.ports import free_port
from tests.distribution.client import Client, refusal
from tests.distribution.conftest import ALICE
from tests.support.server import Server
from tests.support.tools import tool
from tests.support.waiting import wait_until


def names(count: int) -> list[str]:
    mark = secrets.token_hex(4)
    return [f"depot/{mark}-{number:04}" for number in range(count)]


def scopes(asked: list[str]) -> list[str]:
    return [f"repository:{name}:pull,push" for name in asked]


@pytest.mark.parametrize("count", [101, 250, 1000])
def test_a_token_opens_the_last_of_all_repositories_that_were_asked_for(
    alice: Client, nobody: Client, count: int
) -> None:
    asked = names(count)
    bearer = {"authorization": f"Bearer {alice.token(*scopes(asked))}"}
    for name in (asked[0], asked[count // 2], asked[-1]):
        assert nobody.http.post(f"/v2/{name}/blobs/uploads/", headers=bearer).status_code == 202


def test_a_form_asks_for_as_many(alice: Client, nobody: Client) -> None:
    asked = names(1000)
    form = {"grant_type": "password", "username": ALICE.name, "password": ALICE.password, "service": "harbor-registry"}
    answer = nobody.http.post("/service/token", data=form | {"scope": " ".join(scopes(asked))})
    bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
    assert nobody.http.post(f"/v2/{asked[-1]}/blobs/uploads/", headers=bearer).status_code == 202


@pytest.fixture
def nginx(arranged: Server, tmp_path: Path) -> Iterator[str]:
    """The address of an nginx in front of the registry that has its defaults in everything but `Host`."""
    port = free_port()
    config = tmp_path / "nginx.conf"
    places = "".join(f"{name}_temp_path {tmp_path}/{name};\n" for name in
                     ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))  # fmt: skip
    config.write_text(
        f"daemon off;\npid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\nevents {{}}\nhttp {{\n{places}"
        f"access_log off; server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {arranged.url};\n"
        "proxy_set_header Host $http_host; } } }\n"
    )
    process = subprocess.Popen([str(tool("nginx")), "-c", str(config), "-p", str(tmp_path)])
    wait_until(lambda: _answers(port), what="nginx listens")
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_a_token_for_130_repositories_passes_nginx_as_it_is_installed(alice: Client, nginx: str) -> None:
    asked = names(130)
    bearer = {"authorization": f"Bearer {alice.token(*scopes(asked))}"}
    assert httpx.post(f"{nginx}/v2/{asked[-1]}/blobs/uploads/", headers=bearer).status_code == 202


def test_a_header_of_the_largest_token_reaches_the_registry(nobody: Client) -> None:
    bearer = {"authorization": "Bearer " + "x" * TOKEN_MAX_CHARS}
    assert refusal(nobody.get("tags/list", headers=bearer)) == (401, "UNAUTHORIZED")


def test_nobody_asks_for_1500_repositories_without_keeping_others_waiting(
    nobody: Client, clients: Callable[..., Client]
) -> None:
    """The fixture of this folder looks at the event loop."""
    asked = [f"public/{name.partition('/')[2]}" for name in names(1500)]
    answer = nobody.http.get("/service/token", params={"scope": " ".join(f"repository:{name}:pull" for name in asked)})
    assert answer.status_code == 200
    bearer = {"authorization": f"Bearer {answer.json()['token']}"}
    clients(ALICE).push_image(tag="v1", on=asked[-1])
    with httpx.Client(base_url=nobody.http.base_url) as http:
        assert http.get(f"/v2/{asked[-1]}/manifests/v1", headers=bearer).status_code == 200
