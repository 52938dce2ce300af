"""What a setting is worth: environment over file over default, and no secret ever shown."""

import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from registry_core.config import MASK, Config, ConfigError, describe, mask_url
from registry_core.config.values import postgres_url, redis_url
from registry_core.logs import redact, redact_text
from registry_core.machine.secretfiles import read_or_create_secret, write_secret


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PORTOLAN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write_config(text: str) -> None:
    Path("portolan.yml").write_text(text)


def source_of(key: str) -> str:
    return next(setting.source for setting in describe(Config.load()) if setting.key == key)


def test_default_holds_when_nothing_is_set() -> None:
    assert Config.load().port == 5080
    assert source_of("port") == "default"


def test_file_wins_over_default() -> None:
    write_config("port: 6001\n")
    assert Config.load().port == 6001
    assert source_of("port") == "portolan.yml"


def test_environment_wins_over_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write_config("port: 6001\nworkers: 3\n")
    monkeypatch.setenv("PORTOLAN_PORT", "6002")
    config = Config.load()
    assert (config.port, config.workers) == (6002, 3)
    assert source_of("port") == "environment PORTOLAN_PORT"


def test_file_named_by_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "other.yml").write_text("workers: 7\n")
    monkeypatch.setenv("PORTOLAN_CONFIG", str(tmp_path / "other.yml"))
    assert Config.load().workers == 7


def test_missing_file_that_was_named_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_CONFIG", "/nowhere/portolan.yml")
    with pytest.raises(ConfigError, match=r"/nowhere/portolan\.yml"):
        Config.load()


def test_unknown_variable_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_PROT", "1")
    with pytest.raises(ConfigError, match="PORTOLAN_PROT, did you mean PORTOLAN_PORT"):
        Config.load()


def test_unknown_key_names_the_nearest() -> None:
    write_config("databse_url: x\n")
    with pytest.raises(ConfigError, match="did you mean database_url"):
        Config.load()


@pytest.mark.parametrize("text", ["- a\n- b\n", "port: [\n", "port: {}\n", "port: 99999\n", "text"])
def test_file_that_makes_no_sense_is_an_error(text: str) -> None:
    write_config(text)
    with pytest.raises(ConfigError):
        Config.load()


def test_wrong_secret_is_not_repeated_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_DATABASE_URL", "mysql://user:hunter2@host/db")
    with pytest.raises(ConfigError, match="PORTOLAN_DATABASE_URL") as caught:
        Config.load()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host", "http://host/a//b", "http://host/p?q=1", "host:80", "https://"])
def test_external_url_must_be_an_origin(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_EXTERNAL_URL", url)
    with pytest.raises(ConfigError, match="EXTERNAL_URL"):
        Config.load()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"STORAGE": "s3"}, "S3_BUCKET"),
        ({"STORAGE": "gcs"}, "STORAGE"),
        ({"S3_BUCKET": "b", "S3_ACCESS_KEY": "k"}, "S3_SECRET_KEY"),
        ({"S3_BUCKET": "b", "S3_SECRET_KEY": "hunter2"}, "S3_SECRET_KEY"),
        ({"S3_BUCKET": "b", "S3_ENDPOINT": "minio:9000"}, "S3_ENDPOINT"),
        ({"S3_BUCKET": "b", "S3_CA_FILE": "/nowhere/ca.pem"}, "S3_CA_FILE"),
        ({"S3_BUCKET": "b", "S3_PART_BYTES": "1048576"}, "S3_PART_BYTES"),
    ],
)
def test_object_storage_that_is_set_up_by_half_is_an_error(
    settings: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"PORTOLAN_{name}", value)
    with pytest.raises(ConfigError, match=f"PORTOLAN_{named}") as caught:
        Config.load()
    assert "hunter2" not in str(caught.value)


def test_prefix_in_the_bucket_is_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for given_prefix, folder in (("", ""), ("a", "a/"), ("/a/b/", "a/b/"), ("/", "")):
        monkeypatch.setenv("PORTOLAN_S3_PREFIX", given_prefix)
        assert Config.load().s3_prefix == folder


def test_paths_in_a_file_are_relative_to_it_and_those_of_variables_to_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "p.yml").write_text("data: mine\ntls_cert: tls/c.pem\ntls_key: /etc/k.pem\n")
    monkeypatch.setenv("PORTOLAN_CONFIG", "sub/p.yml")
    monkeypatch.setenv("PORTOLAN_MACHINE", "here")
    config = Config.load()
    assert config.data == tmp_path / "sub" / "mine"
    assert (config.tls_cert, config.tls_key) == (tmp_path / "sub" / "tls" / "c.pem", Path("/etc/k.pem"))
    assert config.machine == tmp_path / "here"


def test_key_without_a_value_has_its_default() -> None:
    write_config("port:\nworkers: 3\n")
    assert (Config.load().port, Config.load().workers) == (5080, 3)


@pytest.mark.parametrize(("scheme", "client"), [("valkey", "redis"), ("valkeys", "rediss")])
def test_url_of_valkey_is_one_for_its_clients(scheme: str, client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_REDIS_URL", f"{scheme}://:hunter2@cache:6380/2")
    assert Config.load().redis_dsn == f"{client}://:hunter2@cache:6380/2"


@given(st.text(min_size=1), st.text(min_size=1))
def test_encoded_credentials_are_taken_whatever_they_are(user: str, password: str) -> None:
    url = (
        f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@[fd00::1]:5433,h2:5434/portolan?sslmode=prefer"
    )
    if "\0" in user + password:
        return  # which no URL of Postgres can say
    assert postgres_url(url) == url
    assert redis_url(f"redis://:{quote(password, safe='')}@h/1").endswith("@h/1")


@given(st.text(alphabet="abc:/@#?%[] ", min_size=1))
def test_credentials_that_are_not_encoded_are_refused_or_harmless(password: str) -> None:
    """Either the URL is refused, without the password in the message, or the host is the one that was meant."""
    refusal = ""
    try:
        postgres_url(url := f"postgresql://ada:{password}Zq9@db.internal/portolan")
    except ValueError as error:
        refusal = str(error)
    assert f"{password}Zq9" not in refusal
    assert refusal or conninfo_to_dict(url)["host"] == "db.internal"


def test_described_settings_hide_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_ADMIN_PASSWORD", "hunter2")
    monkeypatch.setenv("PORTOLAN_DATABASE_URL", "postgresql://ada:hunter2@db:5432/portolan?sslmode=require")
    monkeypatch.setenv("PORTOLAN_REDIS_URL", "redis://:hunter2@cache/0")
    monkeypatch.setenv("PORTOLAN_S3_ACCESS_KEY", "registry")
    monkeypatch.setenv("PORTOLAN_S3_SECRET_KEY", "hunter2")
    shown = {setting.key: setting.value for setting in describe(Config.load())}
    assert "hunter2" not in str(shown) + repr(Config.load())
    assert shown["admin_password"] == MASK
    assert shown["database_url"] == f"postgresql://ada:{MASK}@db:5432/portolan?sslmode=require"


def test_urls_of_a_running_up_are_found_in_its_run_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORTOLAN_DATA", str(tmp_path))
    assert Config.load().database_dsn is None
    write_secret(tmp_path / "run" / "database.url", "postgresql://x@127.0.0.1/y")
    assert Config.load().database_dsn == "postgresql://x@127.0.0.1/y"
    assert Config.load().database_direct_dsn == "postgresql://x@127.0.0.1/y"


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Config.model_fields.values())


@given(st.text(alphabet=st.characters(exclude_characters="@/?#[]:", min_codepoint=33, max_codepoint=126), min_size=9))
def test_password_of_a_url_never_survives_masking(password: str) -> None:
    assert f":{password}@" not in mask_url(f"postgresql://user:{password}@host/db")


@given(st.text())
def test_masking_takes_any_text(text: str) -> None:
    mask_url(text)
    redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hunter2hunter2",
        "Basic aHVudGVyMjpodW50ZXIyhunter2",
        "GET /blob?X-Amz-Signature=hunter2&x=1",
        "GET /v2/?sig=hunter2",
        "redis://:hunter2@cache/0",
        "GET /c/oidc/callback?code=hunter2&state=hunter2",
    ],
)
def test_secrets_in_text_are_not_logged(text: str) -> None:
    assert "hunter2" not in redact_text(text)


def test_secrets_under_telling_keys_are_not_logged() -> None:
    event = {"password": "hunter2", "headers": {"Authorization": "hunter2"}, "token": b"hunter2", "repository": "a/b"}
    logged = redact(None, "info", event)
    assert "hunter2" not in json.dumps(logged)
    assert logged["repository"] == "a/b"


def test_secret_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "key"
    first = read_or_create_secret(path, make=lambda: "one")
    assert (first, read_or_create_secret(path, make=lambda: "two")) == ("one", "one")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_external_url_may_have_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_EXTERNAL_URL", "https://hub.example.org:8443/registry/")
    config = Config.load()
    assert (config.url_prefix, config.origin, config.authority) == (
        "/registry",
        "https://hub.example.org:8443",
        "hub.example.org:8443",
    )


def test_lists_are_commas_in_a_variable_and_a_list_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write_config("trusted_proxies:\n  - 10.0.0.0/8\n  - fd00::/8\n")
    monkeypatch.setenv("PORTOLAN_HOSTNAME", "Hub.example.org, 10.0.0.1 ,[::1],bücher.example")
    config = Config.load()
    assert [str(network) for network in config.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
    assert config.hostname == ("hub.example.org", "10.0.0.1", "::1", "xn--bcher-kva.example")
    shown = {setting.key: setting.value for setting in describe(config)}
    assert shown["trusted_proxies"] == "10.0.0.0/8, fd00::/8"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "proxy.example.org"),
        ("HOSTNAME", "https://hub.example.org"),
        ("HOSTNAME", "hub.example.org:443"),
        ("HOSTNAME", "a..b"),
    ],
)
def test_names_and_networks_that_are_none_are_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PORTOLAN_{name}", value)
    with pytest.raises(ConfigError, match=f"PORTOLAN_{name}"):
        Config.load()


def test_tls_is_on_with_a_name_and_off_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_HOSTNAME", "hub.example.org")
    assert Config.load().serves_tls
    assert Config.load().is_https
    monkeypatch.setenv("PORTOLAN_TLS", "false")
    assert not Config.load().serves_tls


def test_tls_and_a_plain_external_url_contradict_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_TLS", "true")
    monkeypatch.setenv("PORTOLAN_EXTERNAL_URL", "http://hub.example.org")
    with pytest.raises(ConfigError, match="external_url begins with http://"):
        Config.load()
