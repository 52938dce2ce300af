"""`portolan tls trust` and `tls show`: what is said, what is written, and that real clients find it there."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from registry_core.config import Config
from registry_core.tls.served import ServedFiles, note_served
from tests.conftest import ServerFactory
from tests.support.server import PORTOLAN, Server
from tests.support.tools import run, tool
from tests.tls.certificates import DAY, Company, write

LOCAL_FILES = {
    "docker": ["etc/docker/certs.d/{host}/ca.crt"],
    "podman": ["etc/containers/certs.d/{host}/ca.crt"],
    "containerd": ["etc/containerd/certs.d/{host}/ca.crt", "etc/containerd/certs.d/{host}/hosts.toml"],
    "kubernetes": ["etc/containerd/certs.d/{host}/ca.crt", "etc/containerd/certs.d/{host}/hosts.toml"],
    "system": ["usr/local/share/ca-certificates/portolan-ca.crt"],
}


def portolan(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PORTOLAN), *arguments], env=server.environment, capture_output=True, text=True, timeout=60, check=False
    )


def trust(server: Server, kind: str, *options: str) -> str:
    done = portolan(server, "tls", "trust", "--for", kind, "--host", server.host, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", LOCAL_FILES)
def test_the_commands_are_said_and_nothing_is_written(https: Server, kind: str) -> None:
    said = trust(https, kind)
    assert str(https.authority) in said
    for path in LOCAL_FILES[kind]:
        assert f"/{path.format(host=https.host)}" in said
        assert not Path(f"/{path.format(host=https.host)}").exists()


@pytest.mark.parametrize("kind", LOCAL_FILES)
def test_what_was_said_is_what_is_written(https: Server, kind: str, tmp_path: Path) -> None:
    """The commands, run in a shell below another root, give the same files as `--write`."""
    trust(https, kind, "--write", "--root", str(tmp_path / "written"))
    shell = f'set -e; sudo() {{ "$@"; }}; cd {shlex.quote(str(tmp_path))}\n' + trust(https, kind).replace(
        " /etc/", " typed/etc/"
    ).replace(" /usr/", " typed/usr/").replace("update-ca-certificates", "true")
    subprocess.run(["bash", "-c", shell], check=True, env={"PATH": os.environ["PATH"]})
    for path in LOCAL_FILES[kind]:
        written, typed = (tmp_path / root / path.format(host=https.host) for root in ("written", "typed"))
        assert written.read_text() == typed.read_text()
        assert written.stat().st_mode & 0o777 == 0o644


def test_a_client_finds_the_ca_where_it_was_written(https: Server, tmp_path: Path) -> None:
    trust(https, "podman", "--write", "--root", str(tmp_path))
    folder = tmp_path / "etc" / "containers" / "certs.d" / https.host
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    reference = f"docker://{https.host}/library/nothing:1"
    trusting = run(tool("skopeo"), "inspect", "--cert-dir", str(folder), reference, env=environment)
    assert "unknown authority" not in trusting.text
    assert "x509" not in trusting.text


def test_each_configured_name_is_told_when_none_is_given(https: Server) -> None:
    said = portolan(https, "tls", "trust", "--for", "docker").stdout
    for host in ("registry.test", "10.1.2.3"):
        assert f"/etc/docker/certs.d/{host}:{https.port}/ca.crt" in said


def test_who_else_is_a_usage_error(https: Server) -> None:
    assert portolan(https, "tls", "trust", "--for", "floppy").returncode == 2


def test_without_a_ca_there_is_nothing_to_trust(server: Server) -> None:
    done = portolan(server, "tls", "trust", "--for", "docker")
    assert done.returncode == 3
    assert "portolan up --tls" in done.stderr


def test_the_served_certificate_is_shown(https: Server) -> None:
    shown = portolan(https, "tls", "show").stdout
    assert "registry.test, localhost, 10.1.2.3, 127.0.0.1, ::1" in shown
    assert "CN=Portolan CA" in shown
    assert "in 89 days" in shown


def test_the_served_certificate_is_shown_in_another_shell(https: Server, company: Company, tmp_path: Path) -> None:
    """Whose settings name another one, or none at all."""
    files = write(tmp_path, [company.server("other.test"), company.intermediate])
    other = https.environment | {"PORTOLAN_TLS_CERT": str(files.cert), "PORTOLAN_TLS_KEY": str(files.key)}
    for environment in (other, {**https.environment, "PORTOLAN_HOSTNAME": ""}):
        done = subprocess.run(
            [str(PORTOLAN), "tls", "show"], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert "registry.test" in done.stdout, done.stderr
        assert f"served   by process {https.pids()[0]}" in done.stdout
        assert f"file     {https.data / 'tls' / 'server.pem'}" in done.stdout


def test_without_https_there_is_no_certificate_to_show(server: Server) -> None:
    done = portolan(server, "tls", "show")
    assert (done.returncode, "portolan up --tls" in done.stderr) == (3, True), done.stderr


def test_trust_is_said_for_the_served_names_in_another_shell(https: Server) -> None:
    """Whose settings name none."""
    elsewhere = {**https.environment, "PORTOLAN_HOSTNAME": "", "PORTOLAN_TLS": ""}
    command = [str(PORTOLAN), "tls", "trust", "--for", "docker"]
    said = subprocess.run(command, env=elsewhere, capture_output=True, text=True, timeout=60, check=True).stdout
    assert f"/etc/docker/certs.d/registry.test:{https.port}/ca.crt" in said
    assert "certs.d/localhost" not in said


def test_check_judges_the_served_certificate_in_another_shell(https: Server) -> None:
    elsewhere = {**https.environment, "PORTOLAN_HOSTNAME": "", "PORTOLAN_TLS": ""}
    command = [str(PORTOLAN), "check"]
    said = subprocess.run(command, env=elsewhere, capture_output=True, text=True, timeout=60, check=False).stdout
    assert f"ok      certificate that process {https.pids()[0]} serves is valid" in said


def test_check_says_that_the_served_certificate_has_expired(company: Company, tmp_path: Path) -> None:
    """This process notes that it serves one, as `serve` does."""
    (tmp_path / "data" / "run").mkdir(parents=True)
    files = write(tmp_path, [company.server(start=-9 * DAY, end=-DAY), company.intermediate])
    note_served(Config(data=tmp_path / "data"), ServedFiles(files.cert, files.key))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")}
    elsewhere = inherited | {"PORTOLAN_DATA": str(tmp_path / "data"), "PORTOLAN_CONFIG": os.devnull}
    command = [str(PORTOLAN), "check"]
    said = subprocess.run(command, env=elsewhere, capture_output=True, text=True, timeout=60, check=False).stdout
    assert f"FAILED  certificate that process {os.getpid()} serves is valid: it expired on" in said
    assert f"replace {files.cert}" in said


def test_how_the_certificate_comes_to_the_client_is_said(https: Server, tmp_path: Path) -> None:
    said = [line.removeprefix("#").strip() for line in trust(https, "docker").splitlines() if line.startswith("#   ")]
    fetch, compare = said
    subprocess.run(["bash", "-c", fetch.replace("curl", "curl --silent")], cwd=tmp_path, check=True)
    assert (tmp_path / "ca.crt").read_bytes() == https.authority.read_bytes()
    command, _, fingerprint = compare.partition("# must say ")
    shown = subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert fingerprint in shown


@pytest.mark.parametrize("kind", LOCAL_FILES)
def test_trust_is_taken_back(https: Server, kind: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    trust(https, kind, "--write", "--root", str(root))
    taken = portolan(https, "tls", "untrust", "--for", kind, "--host", https.host, "--write", "--root", str(root))
    assert taken.returncode == 0, taken.stderr
    assert not [path for path in root.rglob("*") if path.is_file()]
    assert "sudo rm -f" in portolan(https, "tls", "untrust", "--for", kind, "--host", https.host).stdout


def test_certificate_for_this_machine_alone_is_warned_of_where_others_can_connect(start_server: ServerFactory) -> None:
    server = start_server(PORTOLAN_TLS="true", PORTOLAN_HOST="0.0.0.0", PORTOLAN_EXTERNAL_URL="")  # noqa: S104
    assert "the certificate is for localhost only" in server.log_tail()
    assert "PORTOLAN_HOSTNAME" in server.log_tail()


def test_check_ends_with_1_for_who_would_be_refused(https: Server) -> None:
    assert portolan(https, "tls", "check", https.url).returncode == 1
    assert portolan(https, "tls", "check", https.url, "--ca", str(https.authority)).returncode == 0
