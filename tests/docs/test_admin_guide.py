"""The commands of docs/admin-guide.md do what the page says: chapter by chapter, as an administrator types them.

What must differ on the machine of a test (names, folders, ports) is replaced before; a command that runs for ever runs
in the background, and the next one is typed when it answers.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from registry_core.wiring import settings_reference
from registry_core.wiring.supervisor.ports import free_port
from tests.support.databases import drop_database
from tests.support.extent import IS_FULL
from tests.support.minio import Minio
from tests.support.server import PORTOLAN
from tests.support.tools import tool
from tests.tls.certificates import Company, write

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "admin-guide.md"
WITHIN_S = 300
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$|^#+ (.*?)$", re.MULTILINE | re.DOTALL)
_FOR_EVER = re.compile(r"^((?:[A-Z_]+=\S+ )*portolan (?:up|serve|worker)\b.*)$", re.MULTILINE)
_FUNCTIONS = """
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
answers() {
    for _ in $(seq 600); do
        curl --silent --fail --insecure --output /dev/null "$PROBE/api/v2.0/ping" && return
        [ -n "$(jobs -rp)" ] || { cat log; exit 1; }
        sleep 0.2
    done
    exit 1
}
well() { for _ in $(seq 300); do portolan check >checked && break; sleep 0.2; done; cat checked; portolan check; }
"""


def chapter(heading: str, kind: str = "sh") -> list[str]:
    """The blocks of one kind below a heading, up to the next."""
    found: list[str] = []
    current = ""
    for language, text, title in _BLOCK.findall(GUIDE.read_text()):
        if title:
            current = title
        elif current == heading and language == kind:
            found.append(text)
    assert found, f"the guide has no commands under {heading!r}"
    return found


class Machine:
    """A folder, a port and an environment in which commands of the guide are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.replaced = {
            "/var/lib/portolan": str(self.data), "/opt/portolan": str(folder / "opt"), "5080": str(self.port),
            "/usr/local/bin": str(folder / "bin"),
        }  # fmt: skip
        self.environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder), "LC_ALL": "C.UTF-8",
            "PORTOLAN_PORT": str(self.port), "PORTOLAN_DATA": str(self.data), "NEW_PASSWORD": "Sextant-1908",
            "PROBE": f"http://localhost:{self.port}", "PORTOLAN_WORKERS": "1",
        }  # fmt: skip
        (folder / "bin").mkdir()
        (folder / "bin" / "portolan").symlink_to(PORTOLAN)

    def type(self, *blocks: str, replaced: Mapping[str, str] | None = None, **environment: str) -> str:
        """Type the blocks, one after the other; what they print. Raises AssertionError when a command fails."""
        text = "\n".join(blocks)
        for old, new in (self.replaced | dict(replaced or {})).items():
            text = text.replace(old, new)
        text = _FOR_EVER.sub(r"\1 >>log 2>&1 &\nanswers", text).replace("portolan check\n", "well\n")
        done = subprocess.run(
            ["bash", "-c", _FUNCTIONS + text], env=self.environment | environment, cwd=self.folder,
            capture_output=True, text=True, timeout=WITHIN_S, check=False,
        )  # fmt: skip
        log = (self.folder / "log").read_text() if (self.folder / "log").exists() else ""
        assert done.returncode == 0, f"{text}\nended with {done.returncode}\n{done.stdout}{done.stderr}{log[-3000:]}"
        return done.stdout


@pytest.fixture
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="portolan-guide-"))
    folder.chmod(0o755)  # Postgres runs as a user of its own when the tests run as root
    yield Machine(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def external(machine: Machine) -> Iterator[dict[str, str]]:
    """A database made by the guide's SQL on a server of one's own, and what its address in the guide stands for."""
    name = f"guide_{secrets.token_hex(4)}"
    cluster = urlsplit(os.environ["PORTOLAN_DATABASE_URL"])
    password = (Path(os.environ["TEST_FOLDER"]) / "secrets" / "postgres.password").read_text().strip()
    (statements,) = chapter("With servers of your own", "sql")
    statements = re.sub(r"\bportolan\b", name, statements)
    superuser = f"postgresql://postgres:{password}@{cluster.hostname}:{cluster.port}/postgres"
    with psycopg.connect(superuser, autocommit=True) as connection:
        for statement in filter(str.strip, statements.split(";")):
            connection.execute(statement)
    redis = os.environ["PORTOLAN_REDIS_URL"]
    yield {
        "portolan:change-me@db.internal/portolan": f"{name}:change-me@{cluster.hostname}:{cluster.port}/{name}",
        "redis://:change-me@valkey.internal/0": redis,
        "https://registry.example.org": f"http://localhost:{machine.port}",
    }
    drop_database(superuser, name)
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(f"DROP ROLE {name}")


def test_start_on_one_machine_and_keys(machine: Machine) -> None:
    printed = machine.type(*chapter("Start on one machine"), *chapter("Settings"), *chapter("Keys and secrets"))
    assert "set the password of admin" in printed
    assert "created the user grace" in printed
    assert "FAILED" not in printed.rpartition("ok      data directory")[2]
    assert "new key: " in printed
    assert (machine.folder / "portolan.yml").read_text() == settings_reference.sample()


def test_https_with_a_ca_of_its_own(machine: Machine) -> None:
    names = {"registry.example.org:": "localhost:", "registry.example.org,": "registry.test,"}
    printed = machine.type(*chapter("With a CA of its own"), replaced=names, PROBE=f"https://localhost:{machine.port}")
    fingerprint = re.findall(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", printed)
    assert len(fingerprint) == 2
    assert fingerprint[0] == fingerprint[1]
    assert printed.endswith("Pong")
    assert "served   by process" in printed


def test_https_with_a_certificate_that_one_has(machine: Machine) -> None:
    company = Company()
    files = write(machine.folder / "tls", [company.server("localhost"), company.intermediate])
    paths = {"/etc/portolan/tls.crt": str(files.cert), "/etc/portolan/tls.key": str(files.key)}
    machine.type(
        *chapter("With a certificate that you have"), "portolan tls show\n", replaced=paths,
        PROBE=f"https://localhost:{machine.port}",
    )  # fmt: skip


def test_nginx_in_front(machine: Machine) -> None:
    nginx, front = tool("nginx"), free_port()
    company = Company()
    files = write(machine.folder / "tls", [company.server("localhost"), company.intermediate])
    (location,) = chapter("Behind a proxy", "nginx")
    machine.folder.joinpath("nginx.conf").write_text(
        f"daemon off; pid {machine.folder}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {machine.folder}/b; proxy_temp_path {machine.folder}/p;\n"
        f"fastcgi_temp_path {machine.folder}/f; uwsgi_temp_path {machine.folder}/u; scgi_temp_path {machine.folder}/s;"
        f"server {{ listen 127.0.0.1:{front} ssl; ssl_certificate {files.cert}; ssl_certificate_key {files.key};\n"
        f"{location.replace('5080', str(machine.port))} }} }}\n"
    )
    (started,) = chapter("Behind a proxy")
    signing_in = (
        f"{nginx} -c {machine.folder}/nginx.conf -p {machine.folder} &\n"
        f"PROBE=https://localhost:{front} answers\n"
        'portolan createuser --reset admin <<<"$NEW_PASSWORD"\n'
        f"curl -skf -c jar https://localhost:{front}/sign-in >page\n"
        'sed -n \'s/.*name="csrfmiddlewaretoken" value="\\([^"]*\\)".*/\\1/p\' page | tr -d \'\\n\' >token\n'
        f"curl -skf -b jar -c jar -o /dev/null -w '%{{http_code}} ' -H 'Origin: https://localhost:{front}'"
        f" -H 'Referer: https://localhost:{front}/sign-in' --data-urlencode csrfmiddlewaretoken@token"
        f' -d username=admin --data-urlencode password="$NEW_PASSWORD" https://localhost:{front}/sign-in\n'
        f"curl -skf -u \"admin:$NEW_PASSWORD\" 'https://localhost:{front}/service/token?scope=repository:library/a:push' -o token.json\n"  # noqa: E501
    )
    url = {"https://registry.example.org": f"https://localhost:{front}"}
    printed = machine.type(started, signing_in, replaced=url)
    assert "302" in printed
    assert json.loads((machine.folder / "token.json").read_text())["token"]


def test_servers_of_ones_own(machine: Machine, external: dict[str, str]) -> None:
    (commands,) = chapter("With servers of your own")
    printed = machine.type(commands, replaced=external)
    assert printed.count("Applying ") > 20
    assert re.search(r"^Aa1-\S+$", printed, re.MULTILINE)
    assert "FAILED" not in printed.rpartition("ok      data directory")[2]


def test_blobs_in_minio(machine: Machine, tmp_path: Path) -> None:
    minio = Minio(tool("minio"), tmp_path)
    minio.start()
    try:
        minio.client().create_bucket(Bucket="registry")
        (commands,) = chapter("Object storage")
        printed = machine.type(commands, replaced={"http://minio.internal:9000": minio.url}, S3_SECRET=minio.secret_key)
    finally:
        minio.stop()
    assert "ok      object store (s3)" in printed


@pytest.mark.skipif(not IS_FULL, reason="installs 300 MB of packages: part of the full run")
def test_install_and_remove(machine: Machine) -> None:
    (install,), (remove,) = chapter("Install"), chapter("Remove")
    (machine.folder / "bin" / "portolan").unlink()
    clone = machine.folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    printed = machine.type(
        f"cd {clone}\n", install, f"cd {machine.folder}\n", *chapter("Start on one machine")[:1], remove
    )
    assert "0.1.0" in printed
    assert not machine.data.exists()
    assert not (machine.folder / "opt").exists()


def test_page_and_sample_of_all_settings_are_current() -> None:
    """`make settings` writes them."""
    assert (ROOT / "docs" / "settings.md").read_text() == settings_reference.markdown()
    assert (ROOT / "deploy" / "portolan.yml").read_text() == settings_reference.sample()
    assert "Undefined" not in settings_reference.markdown()


def test_default_that_is_worked_out_at_the_start_is_not_shown_as_a_value() -> None:
    """`#settings: PydanticUndefined` would be taken for one, by whoever removes the #."""
    shown = {entry.key: entry.default for entry in settings_reference.entries()}
    assert (shown["password_hashes_at_once"], shown["settings"]) == ("", "")
    assert "Undefined" not in settings_reference.sample() + settings_reference.markdown()


def test_every_setting_that_the_guide_names_is_one() -> None:
    keys = {entry.key for entry in settings_reference.entries()}
    named = {name.lower() for name in re.findall(r"PORTOLAN_([A-Z0-9_]+)", GUIDE.read_text())}
    assert {name for name in named if name.removesuffix("_file") not in keys} <= {"config", "", "<name>"}


def test_unit_for_systemd_is_one(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd here")
    unit = (ROOT / "deploy" / "portolan.service").read_text().replace("/usr/local/bin/portolan", "/bin/true")
    (tmp_path / "portolan.service").write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "portolan.service")], capture_output=True, text=True, check=False
    )
    assert "portolan.service" not in done.stderr, done.stderr
