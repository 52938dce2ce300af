"""The run-time settings: which there are, what they may hold, how they are kept and changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from registry_core.config import Config, ConfigError, describe, get_config
from registry_core.config.keys import KEYS
from registry_core.errors import InvalidInput, NotAllowed
from registry_core.events.models import Event
from registry_core.settings_store.changes import change, register_obstacle
from registry_core.settings_store.models import StoredSetting
from registry_core.settings_store.values import current
from tests.support.operations import BY_SYSTEM

CONTRACT = Path(__file__).parents[1] / "contract" / "system-config.json"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Variables that a test sets, and the configuration read again after it."""
    get_config.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    get_config.cache_clear()


def test_the_settings_are_those_of_the_contract() -> None:
    listed = [item for item in json.loads(CONTRACT.read_text()) if item["scope"] == "user"]
    expected = {item["key"]: (item["type"], item["default"]) for item in listed}
    assert {name: (key.kind, key.default) for name, key in KEYS.items()} == expected


def test_every_default_has_the_type_of_its_key(db: None) -> None:
    settings = current()
    assert (settings.truth("read_only"), settings.number("session_timeout")) == (False, 60)
    assert (settings.text("robot_name_prefix"), settings.mapping("scan_all_policy")) == ("robot$", {})
    assert set(settings.values) == set(KEYS)


def test_a_change_is_kept_and_told_once(db: None) -> None:
    change(values={"read_only": True, "session_timeout": "90"}, cause=BY_SYSTEM)
    change(values={"read_only": True}, cause=BY_SYSTEM)
    assert (current().truth("read_only"), current().number("session_timeout")) == (True, 90)
    events = list(Event.objects.filter(kind="configuration.updated"))
    assert [event.payload for event in events] == [{"values": {"read_only": True, "session_timeout": 90}}]
    assert events[0].changed == ["settings"]


@pytest.mark.parametrize(
    "values",
    [
        {"read_only": "maybe"}, {"read_only": 1}, {"session_timeout": 0}, {"session_timeout": "x"}, {"nothing": 1},
        {"session_timeout": True}, {"session_timeout": 10**30}, {"auth_mode": "magic"}, {"ldap_scope": 3},
        {"robot_name_prefix": ""}, {"robot_name_prefix": "a b"}, {"banner_message": "a\x00"}, {"banner_message": None},
        {"oidc_extra_redirect_parms": "[]"}, {"oidc_extra_redirect_parms": '{"a": 1}'}, {"storage_per_project": 0},
        {"scan_all_policy": "daily"}, {"scan_all_policy": {"a": "\x00"}}, {"token_expiration": 10**6},
        {"postgresql_password": "x"}, {"project_creation_restriction": "nobody"},
    ],
)  # fmt: skip
def test_one_impossible_value_and_nothing_is_changed(db: None, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        change(values={"self_registration": True, **values}, cause=BY_SYSTEM)
    assert current().truth("self_registration") is False
    assert not Event.objects.exists()


def test_a_secret_is_kept_so_that_the_database_alone_does_not_tell_it(db: None) -> None:
    secrets = {"oidc_client_secret": "Very-secret-1", "ldap_search_password": "Very-secret-2", "uaa_client_secret": ""}
    change(values=secrets, cause=BY_SYSTEM)
    assert current().text("oidc_client_secret") == "Very-secret-1"
    assert "Very-secret" not in str(list(StoredSetting.objects.values_list("value")))
    assert "Very-secret" not in str(list(Event.objects.values_list("payload")))
    assert (get_config().secrets_dir / "settings.key").stat().st_mode & 0o777 == 0o600


def test_a_secret_of_another_key_file_counts_as_not_set(db: None) -> None:
    StoredSetting.objects.create(key="oidc_client_secret", value="gAAAAABunreadable")
    assert current().text("oidc_client_secret") == ""


def test_what_the_environment_sets_cannot_be_changed(db: None, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PORTOLAN_SETTINGS", '{"read_only": true, "oidc_client_secret": "From-outside-1"}')
    environment.setenv("PORTOLAN_TOKEN_TTL_S", "90")
    assert current().truth("read_only") is True
    assert current().text("oidc_client_secret") == "From-outside-1"
    assert current().token_ttl_s == 90
    change(values={"read_only": True}, cause=BY_SYSTEM)
    for values in ({"read_only": False}, {"token_expiration": 60}):
        with pytest.raises(NotAllowed, match="environment"):
            change(values=values, cause=BY_SYSTEM)
    shown = {setting.key: setting.value for setting in describe()}["settings"]
    assert shown == "read_only=True, oidc_client_secret=********"


@pytest.mark.parametrize("text", ["{", "[]", '{"nothing": 1}', '{"read_only": 5}'])
def test_impossible_settings_of_the_environment_stop_the_start(environment: pytest.MonkeyPatch, text: str) -> None:
    environment.setenv("PORTOLAN_SETTINGS", text)
    with pytest.raises(ConfigError, match="PORTOLAN_SETTINGS"):
        Config.load()


def test_an_app_may_refuse_a_change(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_core.settings_store.changes._obstacles", {})
    register_obstacle("auth_mode", lambda: "not while it rains")
    with pytest.raises(InvalidInput, match="rains"), transaction.atomic():
        change(values={"auth_mode": "ldap_auth"}, cause=BY_SYSTEM)
    assert current().text("auth_mode") == "db_auth"
