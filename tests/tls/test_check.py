"""`portolan tls check` against servers of OpenSSL that are wrong in one way each."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry_core.tls.check import Report, check
from registry_core.wiring.supervisor.ports import free_port
from tests.support.server import Server
from tests.support.tools import tool
from tests.support.waiting import wait_until
from tests.tls.certificates import DAY, Company, Files, Issued, issue, write

Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start `openssl s_server` with a chain and more options; its URL."""
    running: list[subprocess.Popen[bytes]] = []

    def start(chain: list[Issued], *options: str) -> str:
        files, port = write(tmp_path, chain[:1]), free_port()
        above = tmp_path / "above.pem"
        above.write_bytes(b"".join(issued.pem for issued in chain[1:]))
        running.append(_openssl(files, port, (*options, *(("-cert_chain", str(above)) if chain[1:] else ()))))
        wait_until(lambda: _accepts(port), what="openssl s_server listens")
        return f"https://localhost:{port}"

    yield start
    for server in running:
        server.kill()
        server.wait()


@pytest.fixture
def root(company: Company, tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_bytes(company.root.pem)
    return path


def test_a_good_server(serve: Serve, company: Company, root: Path) -> None:
    report = check(serve([company.server(), company.intermediate]), authority=root)
    assert report.is_good, report
    assert "TLSv1.3" in str(report)
    assert str(report).endswith("ok: a client on this machine connects")
    assert not report.warnings


def test_an_unknown_authority(serve: Serve, company: Company) -> None:
    said = failure(check(serve([company.server(), company.intermediate, company.root])))
    assert "this machine does not trust the CA CN=Example Root" in said
    assert "x509: certificate signed by unknown authority" in said


def test_a_missing_intermediate(serve: Serve, company: Company, root: Path) -> None:
    said = failure(check(serve([company.server()]), authority=root))
    assert "if CN=Example Issuing CA is an intermediate, the server must send it too" in said


def test_a_self_signed_one(serve: Serve) -> None:
    said = failure(check(serve([issue("localhost", names=("localhost",))])))
    assert "self-signed" in said


def test_an_expired_one_is_only_that(serve: Serve, company: Company, root: Path) -> None:
    report = check(serve([company.server(start=-9 * DAY, end=-DAY), company.intermediate]), authority=root)
    assert "certificate has expired" in failure(report)
    assert len(report.findings) == 1


def test_another_name(serve: Serve, company: Company, root: Path) -> None:
    report = check(serve([company.server("hub.example.org"), company.intermediate]), authority=root)
    assert "certificate is valid for hub.example.org, not localhost" in failure(report)
    assert len(report.findings) == 1


def test_the_wrong_order_is_a_warning(serve: Serve, company: Company, root: Path) -> None:
    report = check(serve([company.server(), company.root, company.intermediate]), authority=root)
    assert report.is_good, report
    assert "wrong order" in str(report)


def test_an_old_protocol(serve: Serve, company: Company) -> None:
    url = serve([company.server(), company.intermediate], "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert "protocol version not supported" in failure(check(url))


def test_plain_http_on_an_https_port_and_the_other_way_round(https: Server) -> None:
    plain = https.environment["PORTOLAN_HTTP_PORT"]
    assert "server gave HTTP response to HTTPS client" in failure(check(f"https://localhost:{plain}"))
    assert "speaks HTTPS, not HTTP" in failure(check(https.url.replace("https", "http")))
    assert "refuse plain HTTP" in str(check(f"http://localhost:{plain}"))


def test_our_own_ca_and_what_helps(https: Server) -> None:
    assert "portolan tls trust" in failure(check(https.url))
    assert check(https.url, authority=https.authority).is_good


def test_nobody_there() -> None:
    assert "nothing answers" in failure(check(f"localhost:{free_port()}"))
    assert "has no address" in failure(check("https://no-such-host.invalid"))


@pytest.mark.parametrize("url", ["", "ftp://a", "https://", "https://a:port"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"HOST|[Pp]ort"):
        check(url)


def failure(report: Report) -> str:
    assert not report.is_good, report
    return str(report)


def _openssl(files: Files, port: int, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    command = [
        str(tool("openssl")), "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-cert", str(files.cert),
        "-key", str(files.key), *options,
    ]  # fmt: skip
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _accepts(port: int) -> bool:
    return "nothing answers" not in str(check(f"http://localhost:{port}"))
