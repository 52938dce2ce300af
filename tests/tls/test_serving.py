"""HTTPS as clients meet it: who is let in, by which protocol, and what plain HTTP is told."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import ssl
import stat
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from tests.support.people import admin
from tests.support.registry import TIMEOUT_S, digest_of
from tests.support.server import Server
from tests.support.tools import run, tool
from tests.support.waiting import wait_until
from tests.tls.conftest import NAME, Program


def test_who_trusts_the_ca_is_served_and_who_does_not_refuses(https: Server, curl: Program) -> None:
    served = curl("--include", "--cacert", str(https.authority), f"{https.url}/v2/")
    assert served.is_success
    assert "401" in served.stdout.splitlines()[0]
    assert f'realm="{https.url}/service/token"' in served.stdout
    assert curl(f"{https.url}/v2/").code == 60  # the peer's certificate cannot be verified


@pytest.mark.parametrize("name", [NAME, "10.1.2.3", "127.0.0.1", "[::1]", "localhost"])
def test_each_name_is_covered(https: Server, curl: Program, name: str) -> None:
    through = f"{name}:{https.port}:127.0.0.1:{https.port}"
    answer = curl("--cacert", str(https.authority), "--connect-to", through, f"https://{name}:{https.port}/v2/")
    assert answer.is_success, answer.stderr


def test_another_name_is_refused(https: Server, curl: Program) -> None:
    through = f"other.test:{https.port}:127.0.0.1:{https.port}"
    url = f"https://other.test:{https.port}/v2/"
    assert curl("--cacert", str(https.authority), "--connect-to", through, url).code == 60


def test_only_tls_1_2_and_newer_with_forward_secrecy(https: Server, openssl: Program) -> None:
    def connect(*options: str) -> str:
        return openssl("s_client", "-connect", f"127.0.0.1:{https.port}", *options).text

    for old in ("-tls1", "-tls1_1"):
        assert "Cipher is (NONE)" in connect(old, "-cipher", "ALL:@SECLEVEL=0")
    assert "Cipher is TLS_AES" in connect("-tls1_3")
    assert "Cipher is ECDHE" in connect("-tls1_2")
    weak = "AES128-GCM-SHA256:AES256-SHA:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:DES-CBC3-SHA:@SECLEVEL=0"
    assert "Cipher is (NONE)" in connect("-tls1_2", "-cipher", weak)


def test_http_1_1_is_spoken_even_to_who_offers_http_2(https: Server, openssl: Program) -> None:
    shown = openssl("s_client", "-connect", f"127.0.0.1:{https.port}", "-alpn", "h2,http/1.1").text
    assert "ALPN protocol: http/1.1" in shown


def test_keys_are_private_and_the_ca_is_for_everybody(https: Server) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (https.data / "tls").iterdir()}
    assert modes == {"ca.key": 0o600, "server.pem": 0o600, "ca.crt": 0o644}


def test_the_ca_certifies_and_its_certificates_do_not(https: Server, openssl: Program) -> None:
    server, authority = (
        openssl("x509", "-in", str(https.data / "tls" / name), "-noout", "-text").text
        for name in ("server.pem", "ca.crt")
    )
    assert "CA:TRUE, pathlen:0" in authority
    assert "CA:FALSE" in server
    assert "TLS Web Server Authentication" in server
    verified = openssl(
        "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", NAME,
        "-CAfile", str(https.authority), str(https.data / "tls" / "server.pem"),
    )  # fmt: skip
    assert verified.is_success, verified.text


def test_hsts_is_for_names_and_not_for_localhost_or_addresses(https: Server) -> None:
    with httpx.Client(timeout=TIMEOUT_S, verify=ssl.create_default_context(cafile=https.authority)) as client:
        for path in ("/v2/", "/sign-in", "/api/v2.0/ping"):
            named = client.get(https.url + path, headers={"host": NAME})
            assert named.headers["strict-transport-security"] == "max-age=31536000"
            for host in (https.host, f"127.0.0.1:{https.port}", f"[::1]:{https.port}"):
                local = client.get(https.url + path, headers={"host": host})
                assert "strict-transport-security" not in local.headers


def test_cookies_of_the_console_are_for_https_only(https: Server) -> None:
    with httpx.Client(timeout=TIMEOUT_S, verify=ssl.create_default_context(cafile=https.authority)) as client:
        assert "Secure" in client.get(f"{https.url}/sign-in").headers["set-cookie"]


def test_plain_http_is_sent_to_https(https: Server) -> None:
    plain = f"http://localhost:{https.environment['PORTOLAN_HTTP_PORT']}"
    answer = httpx.get(f"{plain}/projects?q=a%20b", timeout=TIMEOUT_S)
    assert (answer.status_code, answer.headers["location"]) == (308, f"{https.url}/projects?q=a%20b")
    named = httpx.get(f"{plain}/", headers={"host": "registry.test:80"}, timeout=TIMEOUT_S)
    assert named.headers["location"] == f"https://registry.test:{https.port}/"


@pytest.mark.parametrize("path", ["/v2/", "/v2/library/a/manifests/latest", "/service/token", "/api/v2.0/projects"])
def test_programs_on_the_plain_port_get_an_error_that_names_https(https: Server, path: str) -> None:
    answer = httpx.post(
        f"http://localhost:{https.environment['PORTOLAN_HTTP_PORT']}{path}", content=b"x" * 100_000, timeout=TIMEOUT_S
    )
    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"code": "UNSUPPORTED", "message": f"this is an HTTPS server: use {https.url}"}]


@pytest.mark.parametrize("host", ["a/b", 'a"b', "", "a b", "user@a"])
def test_a_host_that_is_none_is_not_redirected_to(https: Server, host: str) -> None:
    with socket.create_connection(
        ("127.0.0.1", int(https.environment["PORTOLAN_HTTP_PORT"])), timeout=TIMEOUT_S
    ) as plain:
        plain.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert plain.makefile().readline().startswith("HTTP/1.1 400")


def test_a_body_that_is_cut_off_is_not_taken_for_whole(https: Server) -> None:
    headers = _admin(https, "repository:library/cut:pull,push")
    content = secrets.token_bytes(1000)
    with httpx.Client(
        timeout=TIMEOUT_S, verify=ssl.create_default_context(cafile=https.authority), headers=headers
    ) as client:
        begun = client.post(f"{https.url}/v2/library/cut/blobs/uploads/")
        target = urljoin(https.url, begun.headers["location"]).removeprefix(https.url)
        _send_part(https, f"{target}?digest={digest_of(content)}", headers, content)
        assert client.head(f"{https.url}/v2/library/cut/blobs/{digest_of(content)}").status_code == 404


def test_skopeo_copies_there_and_back(https: Server, tmp_path: Path) -> None:
    certificates = tmp_path / "certs"
    certificates.mkdir()
    (certificates / "ca.crt").write_bytes(https.authority.read_bytes())
    image = _image_folder(tmp_path / "image")
    auth = tmp_path / "auth.json"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(auth)}
    skopeo, reference = tool("skopeo"), f"docker://{https.host}/library/{secrets.token_hex(4)}:1"
    account = admin(https)
    login = run(
        skopeo, "login", "--cert-dir", str(certificates), "-u", account.name, "--password-stdin", https.host,
        env=environment, stdin=account.password,
    )  # fmt: skip
    assert login.is_success, login.text
    policy = ("--insecure-policy", "copy", "--preserve-digests")
    there = run(
        skopeo, *policy, "--dest-cert-dir", str(certificates), f"dir:{image}", reference, env=environment
    )  # fmt: skip
    assert there.is_success, there.text
    back = run(
        skopeo, *policy, "--src-cert-dir", str(certificates), reference, f"dir:{tmp_path / 'back'}", env=environment
    )  # fmt: skip
    assert back.is_success, back.text
    assert (tmp_path / "back" / "manifest.json").read_bytes() == (image / "manifest.json").read_bytes()
    stranger = run(skopeo, "inspect", "--cert-dir", str(tmp_path / "none"), reference, env=environment)
    assert not stranger.is_success
    assert "unknown authority" in stranger.text


def test_a_registry_on_ipv6_serves(start_ipv6: Server, curl: Program) -> None:
    answer = curl("--include", "--cacert", str(start_ipv6.authority), f"{start_ipv6.url}/v2/")
    assert "401" in answer.stdout.splitlines()[0]
    assert f'realm="https://[::1]:{start_ipv6.port}/service/token"' in answer.stdout
    wait_until(lambda: '"client":"::1"' in start_ipv6.log_tail(), what="the access log is written")


def _admin(server: Server, scope: str) -> dict[str, str]:
    account = admin(server)
    context = ssl.create_default_context(cafile=server.authority)
    answer = httpx.get(
        f"{server.url}/service/token",
        params={"scope": scope},
        auth=(account.name, account.password),
        verify=context,
        timeout=TIMEOUT_S,
    )
    return {"authorization": f"Bearer {answer.raise_for_status().json()['token']}"}


def _send_part(server: Server, target: str, headers: dict[str, str], content: bytes) -> None:
    """A chunked PUT of all the content, without the chunk that ends it."""
    context = ssl.create_default_context(cafile=server.authority)
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        lines = [f"PUT {target} HTTP/1.1", f"host: {server.host}", "transfer-encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        secured.sendall("\r\n".join([*lines, "", f"{len(content):x}", ""]).encode() + content + b"\r\n")
        with contextlib.suppress(ssl.SSLError):  # the server may have answered already
            secured.unwrap()


def _image_folder(folder: Path) -> Path:
    """An image in skopeo's `dir:` form."""
    folder.mkdir()
    config, layer = b"{}", secrets.token_bytes(70_000)
    for content in (config, layer):
        (folder / digest_of(content).removeprefix("sha256:")).write_bytes(content)
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", "digest": digest_of(layer), "size": len(layer)}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    return folder
