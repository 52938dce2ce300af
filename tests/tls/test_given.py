"""A certificate that cannot be served is refused at the start: exit code 3, and words that say what to do."""

from __future__ import annotations

import datetime
import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from registry_core.wiring.supervisor.ports import free_port
from tests.support.server import PORTOLAN
from tests.tls.certificates import DAY, Company, Files, issue, write

WRONG_CONFIGURATION = 3


def refusal(files: Files, tmp_path: Path, **settings: str) -> str:
    """What `portolan serve` says before it ends with exit code 3."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")}
    environment = inherited | {
        "PORTOLAN_DATA": str(tmp_path / "data"),
        "PORTOLAN_CONFIG": os.devnull,
        "PORTOLAN_PORT": str(free_port()),
        "PORTOLAN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        **settings,
    }
    command = [str(PORTOLAN), "serve", "--tls-cert", str(files.cert), "--tls-key", str(files.key)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == WRONG_CONFIGURATION, done.stderr
    return done.stderr


def test_a_key_of_another_certificate(company: Company, tmp_path: Path) -> None:
    files = write(tmp_path, [company.server(), company.intermediate], key=issue("other").key_pem)
    assert "private key does not match public key" in refusal(files, tmp_path)


def test_an_expired_one(company: Company, tmp_path: Path) -> None:
    files = write(tmp_path, [company.server(start=-9 * DAY, end=-DAY), company.intermediate])
    said = refusal(files, tmp_path)
    assert "x509: certificate has expired or is not yet valid" in said
    assert f"{datetime.datetime.now(datetime.UTC) - DAY:%Y-%m-%d}" in said


def test_one_of_the_future(company: Company, tmp_path: Path) -> None:
    files = write(tmp_path, [company.server(start=DAY), company.intermediate])
    assert "it is valid only from" in refusal(files, tmp_path)


def test_an_expired_intermediate(company: Company, tmp_path: Path) -> None:
    old = issue("Old Issuing CA", by=company.root, is_ca=True, start=-9 * DAY, end=-DAY)
    files = write(tmp_path, [issue("registry", by=old, names=("localhost",)), old])
    assert "CN=Old Issuing CA in the chain: it expired" in refusal(files, tmp_path)


def test_the_wrong_name(company: Company, tmp_path: Path) -> None:
    files = write(tmp_path, [company.server("a.example.org", "*.b.example.org"), company.intermediate])
    said = refusal(files, tmp_path, PORTOLAN_EXTERNAL_URL="https://hub.example.org")
    assert "x509: certificate is valid for a.example.org, *.b.example.org, not hub.example.org" in said
    assert "not hub.example.org" in refusal(files, tmp_path, PORTOLAN_HOSTNAME="hub.example.org")
    assert "not b.example.org" in refusal(files, tmp_path, PORTOLAN_HOSTNAME="x.b.example.org,b.example.org")


def test_an_address_that_is_not_covered(company: Company, tmp_path: Path) -> None:
    files = write(tmp_path, [company.server("a.example.org"), company.intermediate])
    said = refusal(files, tmp_path, PORTOLAN_HOSTNAME="10.0.0.1")
    assert "cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs" in said


def test_a_name_in_the_subject_alone(tmp_path: Path) -> None:
    files = write(tmp_path, [issue("hub.example.org")])
    said = refusal(files, tmp_path, PORTOLAN_HOSTNAME="hub.example.org")
    assert "certificate relies on legacy Common Name field" in said


def test_the_wrong_order_above_the_server(company: Company, tmp_path: Path) -> None:
    lower = issue("Lower CA", by=company.intermediate, is_ca=True)
    leaf = issue("registry", by=lower, names=("localhost",))
    said = refusal(write(tmp_path, [leaf, company.intermediate, lower]), tmp_path)
    assert "wrong order" in said
    assert "CN=registry, then CN=Lower CA, then CN=Example Issuing CA" in said


def test_the_server_last(company: Company, tmp_path: Path) -> None:
    leaf = company.server()
    said = refusal(write(tmp_path, [company.intermediate, leaf], key=leaf.key_pem), tmp_path)
    assert "wrong order" in said
    assert "is number 2 there" in said


def test_a_chain_with_a_gap(company: Company, tmp_path: Path) -> None:
    said = refusal(write(tmp_path, [company.server(), company.root]), tmp_path)
    assert "CN=registry is not signed by CN=Example Root" in said
    assert "CN=Example Issuing CA" in said


def test_the_files_the_wrong_way_round(company: Company, tmp_path: Path) -> None:
    files = write(tmp_path, [company.server(), company.intermediate])
    assert "are tls_cert and tls_key swapped" in refusal(Files(files.key, files.cert), tmp_path)


def test_a_locked_key(company: Company, tmp_path: Path) -> None:
    leaf = company.server()
    said = refusal(write(tmp_path, [leaf, company.intermediate], key=leaf.locked_key_pem(b"secret")), tmp_path)
    assert "encrypted with a password" in said


def test_der_instead_of_pem(company: Company, tmp_path: Path) -> None:
    leaf = company.server()
    files = write(tmp_path, [leaf])
    files.cert.write_bytes(leaf.certificate.public_bytes(serialization.Encoding.DER))
    assert "in DER" in refusal(files, tmp_path)


def test_a_file_that_is_not_there(company: Company, tmp_path: Path) -> None:
    files = write(tmp_path, [company.server()])
    assert "No such file" in refusal(Files(tmp_path / "none.crt", files.key), tmp_path)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_that_is_none(company: Company, tmp_path: Path, content: bytes) -> None:
    files = write(tmp_path, [company.server()])
    files.cert.write_bytes(content)
    assert "holds no certificate in PEM" in refusal(files, tmp_path)


def test_one_file_without_the_other(company: Company, tmp_path: Path) -> None:
    files = write(tmp_path, [company.server()])
    environment = {**os.environ, "PORTOLAN_TLS_CERT": str(files.cert), "PORTOLAN_DATA": str(tmp_path)}
    done = subprocess.run([str(PORTOLAN), "settings"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == WRONG_CONFIGURATION
    assert "tls_cert and tls_key belong together" in done.stderr
