"""Wrong settings, given to the real command line: one line that names the setting and what to do, and exit code 3."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from registry_core.config import Config, ConfigError
from tests.support.databases import create_database, drop_database
from tests.support.open_python import reachable
from tests.support.server import PORTOLAN

CONFIGURATION = 3
NOBODY = 65_534


@dataclass(frozen=True)
class Wrong:
    """Settings of which one is wrong, the command that notices, and what its line must contain."""

    named: str
    says: str
    variables: dict[str, str] = field(default_factory=dict)
    file: str = ""
    command: tuple[str, ...] = ("settings",)


def wrong(named: str, says: str, command: str = "settings", **variables: str) -> Wrong:
    return Wrong(f"PORTOLAN_{named}", says, variables, command=tuple(command.split()))


def wrong_file(named: str, says: str, file: str) -> Wrong:
    return Wrong(named, says, file=file)


DATABASE = "postgresql://ada:hunter2@127.0.0.1/portolan"
CASES = [
    wrong("PROT", "did you mean PORTOLAN_PORT", PROT="1"),
    wrong("DATABSE_URL_FILE", "unknown environment variable", DATABSE_URL_FILE="/x"),
    wrong("HOST_FILE", "unknown environment variable", HOST_FILE="/x"),
    wrong("PORT", "less than or equal to 65535", PORT="99999"),
    wrong("PORT", "greater than or equal to 1", PORT="0"),
    wrong("PORT", "valid integer", PORT="http"),
    wrong("TIME_ZONE", "no time zone", TIME_ZONE="Mars/Olympus"),
    wrong("TIME_ZONE", "no time zone", TIME_ZONE="../../etc/passwd"),
    wrong("JOB_HISTORY_DAYS", "greater than or equal to 1", JOB_HISTORY_DAYS="0"),
    wrong("HOST", "neither a host name nor an address", HOST="0.0.0.0:5080"),
    wrong("HOST", "neither a host name nor an address", HOST="http://registry"),
    wrong("HOST", "set it to an address of this machine", command="up", HOST="nosuch.host.invalid"),
    wrong("HOST", "set it to an address of this machine", command="up", HOST="192.0.2.77"),
    wrong("WORKERS", "greater than or equal to 1", WORKERS="0"),
    wrong("WORKERS", "valid integer", WORKERS="many"),
    wrong("DATA", "is a file", DATA=os.devnull + "/data"),
    wrong("DATA", "File name too long", DATA="/" + "x" * 300),
    wrong("DATA", "has a home", DATA="~nobody-of-that-name/data"),
    wrong("DATA", "name a folder that this account may write", "up", DATA="/proc/no/data"),
    wrong("MACHINE", "File name too long", MACHINE="/" + "x" * 300),
    wrong("EXTERNAL_URL", "must be http://HOST", EXTERNAL_URL="https://registry.test/a/../b"),
    wrong("EXTERNAL_URL", "neither a host name", EXTERNAL_URL="https://10.0.0.300"),
    wrong("EXTERNAL_URL", "without a user name", EXTERNAL_URL="https://a:hunter2@registry.test"),
    wrong("EXTERNAL_URL", "without blanks", EXTERNAL_URL="https://registry .test"),
    wrong("EXTERNAL_URL", "must be http://HOST", EXTERNAL_URL="registry.test"),
    wrong("EXTERNAL_URL", "must be http://HOST", EXTERNAL_URL="https://registry.test:99999"),
    wrong("EXTERNAL_URL", "must be http://HOST", EXTERNAL_URL="https://registry.test:"),
    wrong("EXTERNAL_URL", "must be http://HOST", EXTERNAL_URL="https://registry.test/?a=b"),
    wrong("EXTERNAL_URL", "must be http://HOST", EXTERNAL_URL="https://registry.test/#"),
    wrong("EXTERNAL_URL", "neither a host name", EXTERNAL_URL="https://reg,istry"),
    wrong("EXTERNAL_URL", "xn--bcher-kva.example", EXTERNAL_URL="https://bücher.example"),
    wrong("TRUSTED_PROXIES", "IPv4 or IPv6", TRUSTED_PROXIES="proxy.test"),
    wrong("HOSTNAME", "neither a host name", HOSTNAME="https://registry.test"),
    wrong("RUN_AS", "there is no account", RUN_AS="nobody-of-that-name"),
    wrong("RUN_AS", "there is no group", RUN_AS="nobody:nobodies-of-that-name"),
    wrong("RUN_AS", "is root", RUN_AS="root"),
    wrong("DATABASE_URL", "must begin with postgresql://", DATABASE_URL="mysql://ada:hunter2@h/db"),
    wrong("DATABASE_URL", "no connection option 'nonsense'", DATABASE_URL=f"{DATABASE}?nonsense=1"),
    wrong("DATABASE_URL", "%40", DATABASE_URL="postgresql://ada:hun/ter2@h/db"),
    wrong("DATABASE_URL", "%40", DATABASE_URL="postgresql://portolan:p:w/@#x@db/portolan"),
    wrong("DATABASE_URL", "%40", DATABASE_URL="postgresql://ada:hunter2@x@h/db"),
    wrong("DATABASE_URL", "%40", DATABASE_URL="postgresql://ada:hun%ter2@h/db"),
    wrong("DATABASE_URL", "%40", DATABASE_URL="postgresql://ada:hun ter2@h/db"),
    wrong("DATABASE_URL", "port from 1 to 65535", DATABASE_URL="postgresql://ada:hunter2@h:99999/db"),
    wrong("DATABASE_URL", "port from 1 to 65535", DATABASE_URL="postgresql://ada:hunter2@h:port/db"),
    wrong("DATABASE_URL", "sslmode must be one of", DATABASE_URL=f"{DATABASE}?sslmode=always"),
    wrong("DATABASE_URL", "connect_timeout must be a number", DATABASE_URL=f"{DATABASE}?connect_timeout=soon"),
    wrong("DATABASE_URL", "tcp_user_timeout must be a number", DATABASE_URL=f"{DATABASE}?tcp_user_timeout=-1"),
    wrong("DATABASE_URL", "definition of service", "migrate", DATABASE_URL=f"{DATABASE}?service=nosuch"),
    wrong("DATABASE_URL", "does not exist", DATABASE_URL=f"{DATABASE}?sslmode=verify-full&sslrootcert=/no/ca.pem"),
    wrong("DATABASE_URL", "has no address", "migrate", DATABASE_URL="postgresql://ada:hunter2@nosuch.invalid/db"),
    wrong("DATABASE_URL", "has no address", "serve", DATABASE_URL="postgresql://ada:hunter2@nosuch.invalid/db"),
    wrong("DATABASE_DIRECT_URL", "must begin with", DATABASE_DIRECT_URL="redis://h"),
    wrong("DATABASE_URL_FILE", "cannot read /no/such/file", DATABASE_URL_FILE="/no/such/file"),
    wrong("DATABASE_URL_FILE", "are both set", DATABASE_URL=DATABASE, DATABASE_URL_FILE="/proc/version"),
    wrong("ADMIN_PASSWORD_FILE", "Is a directory", ADMIN_PASSWORD_FILE="/"),
    wrong("REDIS_URL", "must begin with redis://", REDIS_URL="http://h"),
    wrong("REDIS_URL", "%40", REDIS_URL="redis://:hun#ter2@h/0"),
    wrong("REDIS_URL", "port from 1 to 65535", REDIS_URL="redis://h:99999/0"),
    wrong("REDIS_URL", "must be a number", REDIS_URL="redis://h/main"),
    wrong("REDIS_URL", "unknown option 'nonsense'", REDIS_URL="redis://h/0?nonsense=1"),
    wrong("REDIS_URL", "unknown option 'socket_timeout'", REDIS_URL="redis://h/0?socket_timeout=5"),
    wrong("REDIS_URL", "use rediss://", REDIS_URL="redis://h/0?ssl_cert_reqs=none"),
    wrong("REDIS_URL", "ssl_cert_reqs must be one of", REDIS_URL="rediss://h/0?ssl_cert_reqs=always"),
    wrong("REDIS_URL", "does not exist", REDIS_URL="rediss://h/0?ssl_ca_certs=/no/ca.pem"),
    wrong("REDIS_URL", "must begin with redis://", REDIS_URL="unix:///run/valkey.sock"),
    wrong("STORAGE", "'filesystem' or 's3'", STORAGE="gcs"),
    wrong("S3_BUCKET", "name the bucket", STORAGE="s3"),
    wrong("S3_BUCKET", "bucket's name alone", S3_BUCKET="s3://registry"),
    wrong("S3_SECRET_KEY", "goes together with s3_access_key", S3_BUCKET="b-1", S3_ACCESS_KEY="k"),
    wrong("S3_ENDPOINT", "must be http://HOST", S3_ENDPOINT="minio:9000"),
    wrong("S3_ENDPOINT", "without a user name", S3_ENDPOINT="https://k:hunter2@minio:9000"),
    wrong("S3_REGION", "a region's name", S3_REGION="eu central 1"),
    wrong("S3_PREFIX", "folder names", S3_PREFIX="a/../b"),
    wrong("S3_PREFIX", "choose another", S3_PREFIX="objects"),
    wrong("S3_PREFIX", "choose another", S3_PREFIX="trash/ours/"),
    wrong("S3_PREFIX", "at most", S3_PREFIX="x" * 1000),
    wrong("S3_CA_FILE", "this file does not exist", S3_CA_FILE="/no/ca.pem"),
    wrong("S3_CA_FILE", "File name too long", S3_CA_FILE="/" + "x" * 300),
    wrong("TLS_CERT", "has a home", TLS_CERT="~nobody-of-that-name/x.pem", TLS_KEY="/x.pem"),
    wrong("S3_PART_BYTES", "greater than or equal", S3_PART_BYTES="1"),
    wrong("TLS", "valid boolean", TLS="perhaps"),
    wrong("LOG_LEVEL", "'debug', 'info'", LOG_LEVEL="loud"),
    wrong("DISK_FREE_MIN_PERCENT", "less than or equal", DISK_FREE_MIN_PERCENT="100"),
    wrong("SETTINGS", "JSON object", SETTINGS="read_only"),
    wrong("SETTINGS", "JSON object", SETTINGS="[" * 5000),
    wrong("SETTINGS", "read_onyl", SETTINGS='{"read_onyl": true}'),
    Wrong("tls_cert", "belong together", {"TLS_CERT": "/x.pem"}),
    Wrong("tls_cert", "cannot read /no/x.pem", {"TLS_CERT": "/no/x.pem", "TLS_KEY": "/no/y.pem"}, command=("up",)),
    Wrong("external_url", "write https://", {"TLS": "true", "EXTERNAL_URL": "http://registry.test"}),
    Wrong("http_port", "another port", {"TLS": "true", "PORT": "5443", "HTTP_PORT": "5443"}),
    Wrong("/no/portolan.yml", "No such file", {"CONFIG": "/no/portolan.yml"}),
    wrong_file("line 2: port", "valid integer", "workers: 2\nport: many\n"),
    wrong_file("line 3", "did you mean database_url", "# mine\nport: 1\ndatabse_url: x\n"),
    wrong_file("line 3", "already set in line 1", "port: 1\nworkers: 2\nport: 2\n"),
    wrong_file("line 3", "already set in line 2", "settings:\n  read_only: true\n  read_only: false\n"),
    wrong_file("line 1: external_url", "must be http://HOST", "external_url: registry.test\n"),
    wrong_file("line 1: database_url", "%40", "database_url: postgresql://ada:hun/ter2@h/db\n"),
    wrong_file("wrong.yml", "not valid YAML, line 2", "port: 1\n  workers: 2\n"),
    wrong_file("wrong.yml", "not valid YAML", "port: 2026-99-99\n"),
    wrong_file("wrong.yml", "not valid YAML", "data: !!python/object:os.path {}\n"),
    wrong_file("wrong.yml", "`key: value` lines", "- port\n"),
]  # fmt: skip


HUGE = "9" * 30
NUMBERS = [key for key, field in Config.model_fields.items() if field.annotation in {int, int | None}]


@pytest.mark.parametrize("value", ["-1", HUGE, "1.5", "ten"])
@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_has_a_least_and_a_greatest_value(key: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_CONFIG", os.devnull)
    monkeypatch.setenv(f"PORTOLAN_{key.upper()}", value)
    with pytest.raises(ConfigError, match=f"PORTOLAN_{key.upper()}: Input should be"):
        Config.load()


def test_the_scheme_of_an_address_is_the_same_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_CONFIG", os.devnull)
    monkeypatch.setenv("PORTOLAN_EXTERNAL_URL", "HTTPS://registry.test")
    assert Config.load().is_https


def portolan(*arguments: str, data: Path, **variables: str) -> tuple[int, list[str]]:
    """Exit code and the lines on stderr of one command."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")}
    defaults = {"DATA": str(data), "CONFIG": os.devnull}
    settings = {f"PORTOLAN_{name}": value for name, value in (defaults | variables).items()}
    done = subprocess.run(
        [str(PORTOLAN), *arguments], env=inherited | settings, cwd=data, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr.splitlines()


def is_refused(outcome: tuple[int, list[str]], *, named: str, says: str) -> bool:
    """Whether the command ended with the exit code of a wrong configuration and one line of that content."""
    code, lines = outcome
    return code == CONFIGURATION and len(lines) == 1 and named in lines[0] and says in lines[0]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.named}-{case.says[:24]}" for case in CASES])
def test_wrong_setting_is_one_line_that_names_it(case: Wrong, tmp_path: Path) -> None:
    variables = dict(case.variables)
    if case.file:
        (tmp_path / "wrong.yml").write_text(case.file)
        variables["CONFIG"] = str(tmp_path / "wrong.yml")
    outcome = portolan(*case.command, data=tmp_path, **variables)
    assert is_refused(outcome, named=case.named, says=case.says), outcome


@contextmanager
def database(statement: str) -> Iterator[str]:
    """The URL of a database that `statement` makes; its name stands for {}."""
    cluster, name = os.environ["PORTOLAN_DATABASE_URL"], f"portolan_wrong_{secrets.token_hex(4)}"
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
    yield urlunsplit(urlsplit(cluster)._replace(path=f"/{name}"))
    drop_database(cluster, name)


@pytest.mark.parametrize("command", ["migrate", "serve", "check"])
def test_database_of_another_encoding_is_refused(tmp_path: Path, command: str) -> None:
    latin1 = "CREATE DATABASE {} ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0"
    with database(latin1) as url:
        code, lines = portolan(command, data=tmp_path, DATABASE_URL=url)
    assert code == (1 if command == "check" else CONFIGURATION)
    assert command == "check" or (len(lines) == 1 and "LATIN1" in lines[0] and "UTF8" in lines[0]), lines


@pytest.mark.parametrize(
    ("setting", "says"), [("default_transaction_read_only = on", "is read-only"), ("datestyle = German", "to ISO")]
)
@pytest.mark.parametrize("command", ["migrate", "serve"])
def test_database_with_settings_that_we_cannot_work_with_is_refused(
    tmp_path: Path, command: str, setting: str, says: str
) -> None:
    with database("CREATE DATABASE {}") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {urlsplit(url).path[1:]} SET {setting}".encode())
        outcome = portolan(command, data=tmp_path, DATABASE_URL=url)
    assert is_refused(outcome, named="PORTOLAN_DATABASE_URL", says=says), outcome


def test_database_in_which_we_may_make_no_tables_is_refused(tmp_path: Path) -> None:
    with database("CREATE DATABASE {}") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC, portolan")
            connection.execute("ALTER SCHEMA public OWNER TO pg_database_owner")
            role = f"stranger_{secrets.token_hex(4)}"
            owner = _superuser(url)
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'hunter2'").format(sql.Identifier(role)))
        parts = urlsplit(url)
        limited = urlunsplit(parts._replace(netloc=f"{role}:hunter2@{parts.hostname}:{parts.port}"))
        outcome = portolan("migrate", data=tmp_path, DATABASE_URL=limited)
    with psycopg.connect(owner.replace(urlsplit(owner).path, "/postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    assert is_refused(outcome, named="PORTOLAN_DATABASE_URL", says="GRANT ALL ON SCHEMA public"), outcome


def test_database_whose_tables_belong_to_another_role_is_refused(tmp_path: Path) -> None:
    cluster, name = os.environ["PORTOLAN_DATABASE_URL"], f"portolan_wrong_{secrets.token_hex(4)}"
    url = create_database(cluster, name)
    role = f"stranger_{secrets.token_hex(4)}"
    owner = _superuser(url)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'hunter2'").format(sql.Identifier(role)))
    parts = urlsplit(url)
    limited = urlunsplit(parts._replace(netloc=f"{role}:hunter2@{parts.hostname}:{parts.port}"))
    outcome = portolan("serve", data=tmp_path, DATABASE_URL=limited)
    drop_database(cluster, name)
    with psycopg.connect(owner.replace(f"/{name}", "/postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    assert is_refused(outcome, named="PORTOLAN_DATABASE_URL", says="owns the tables"), outcome


def _with_another_password(parts: SplitResult) -> SplitResult:
    return parts._replace(netloc=f"portolan:hunter2@{parts.hostname}:{parts.port}")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_with_another_password, "password authentication failed"),
        (lambda parts: parts._replace(path="/no_such_database"), "does not exist"),
        (lambda parts: parts._replace(query="sslmode=require"), "SSL"),
    ],
)
@pytest.mark.parametrize("command", ["migrate", "serve"])
def test_database_that_refuses_us_is_not_waited_for(
    tmp_path: Path, change: Callable[[SplitResult], SplitResult], says: str, command: str
) -> None:
    url = urlunsplit(change(urlsplit(os.environ["PORTOLAN_DATABASE_URL"])))
    outcome = portolan(command, data=tmp_path, DATABASE_URL=url)
    assert is_refused(outcome, named="PORTOLAN_DATABASE_URL", says=says), outcome


def test_weak_first_password_is_refused_by_the_rule(tmp_path: Path) -> None:
    with database("CREATE DATABASE {}") as url:
        outcome = portolan("migrate", data=tmp_path, DATABASE_URL=url, ADMIN_PASSWORD="short")
        again, _ = portolan("migrate", data=tmp_path, DATABASE_URL=url, ADMIN_PASSWORD="Long-enough-1")
    assert is_refused(outcome, named="PORTOLAN_ADMIN_PASSWORD", says="8 to 128 characters"), outcome
    assert again == 0


def test_redis_with_another_password_is_refused(tmp_path: Path) -> None:
    parts = urlsplit(os.environ["PORTOLAN_REDIS_URL"])
    url = urlunsplit(parts._replace(netloc=f":hunter2@{parts.hostname}:{parts.port}"))
    outcome = portolan("worker", data=tmp_path, DATABASE_URL=os.environ["PORTOLAN_DATABASE_URL"], REDIS_URL=url)
    assert is_refused(outcome, named="PORTOLAN_REDIS_URL", says="refuses the user or the password"), outcome


def test_port_that_is_taken_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code, lines = portolan("up", data=tmp_path, PORT=str(listener.getsockname()[1]))
    assert (code, len(lines)) == (5, 1)
    assert "PORTOLAN_PORT" in lines[0]


def _privileged_ports() -> bool:
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) > 443


@pytest.mark.skipif(os.geteuid() != 0, reason="root becomes an account without rights for this")
@pytest.mark.skipif(not _privileged_ports(), reason="everybody may listen on port 443 of this machine")
def test_port_without_the_right_says_how_to_get_it() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        data.chmod(0o755)
        os.chown(data, NOBODY, NOBODY)
        command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", str(PORTOLAN), "up"]
        settings = {"PORTOLAN_DATA": folder, "PORTOLAN_CONFIG": os.devnull, "PORTOLAN_PORT": "443"}
        done = subprocess.run(
            reachable(command, scratch=data), env={"PATH": os.environ["PATH"]} | settings, cwd=data,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    outcome = done.returncode, done.stderr.splitlines()
    assert is_refused(outcome, named="PORTOLAN_PORT", says="CAP_NET_BIND_SERVICE"), outcome


def test_variables_of_a_service_in_kubernetes_are_no_settings(tmp_path: Path) -> None:
    service = {
        "SERVICE_HOST": "10.0.0.7", "SERVICE_PORT": "5080", "SERVICE_PORT_HTTP": "5080", "PORT": "tcp://10.0.0.7:5080",
        "PORT_5080_TCP": "tcp://10.0.0.7:5080", "PORT_5080_TCP_PROTO": "tcp", "PORT_5080_TCP_PORT": "5080",
        "PORT_5080_TCP_ADDR": "10.0.0.7", "DB_SERVICE_HOST": "10.0.0.8", "DB_PORT": "tcp://10.0.0.8:5432",
        "DB_PORT_5432_TCP": "tcp://10.0.0.8:5432", "HTTP_PORT": "tcp://10.0.0.9:80",
    }  # fmt: skip
    code, lines = portolan("settings", data=tmp_path, **service)
    assert code == 0
    assert len(lines) == 1
    assert set(re.findall(r"PORTOLAN_\w+", lines[0])) == {f"PORTOLAN_{name}" for name in service}


def _superuser(url: str) -> str:
    """The URL of the same database for the test cluster's superuser."""
    password = (Path(os.environ["TEST_FOLDER"]) / "secrets" / "postgres.password").read_text().strip()
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"postgres:{password}@{parts.hostname}:{parts.port}"))
