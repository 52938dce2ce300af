"""The audit log tells of attempts to silence it, of those who failed to sign in, and of what was read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError
from django.test import Client
from django.utils import timezone

from projects.models import AuditEntry
from rbac.models import User
from rbac.services import failures, refresh_tokens
from registry_core.access import authority
from registry_core.api import recorded_reads
from registry_core.events.models import Event
from registry_core.events.repeated import NAMES_EACH, PLACES_MAX, WINDOW_S, Place, Repeated
from registry_core.settings_store.changes import change
from registry_core.settings_store.models import StoredSetting
from tests.api.conftest import PASSWORD, Api, api_as
from tests.api.test_audit_logs import written
from tests.support.operations import BY_SYSTEM, on_behalf_of

ENDPOINT = {"audit_log_forward_endpoint": "tcp://log.example.org:514"}


@pytest.fixture(autouse=True)
def fresh_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_failures", Repeated(failures._write))
    monkeypatch.setattr(recorded_reads, "_reads", Repeated(recorded_reads._write))


def descriptions(kind: str) -> list[str]:
    return list(AuditEntry.objects.filter(resource_type=kind).order_by("pk").values_list("description", flat=True))


def long_ago(*keys: str) -> None:
    """The settings were changed an hour ago."""
    StoredSetting.objects.filter(key__in=keys).update(updated_at=timezone.now() - timedelta(hours=1))


def test_switching_the_log_off_and_on_is_in_the_log(sysadmin: Api) -> None:
    assert sysadmin.put("/configurations", {"skip_audit_log_database": True}).status_code == 400
    assert sysadmin.put("/configurations", {"skip_audit_log_database": True, **ENDPOINT}).status_code == 200
    long_ago("skip_audit_log_database")
    sysadmin.post("/users", {"username": "ghost", "password": PASSWORD, "email": "g@example.org", "realname": "g"})
    written()
    assert [text for text in descriptions("configuration") if "skip_audit_log_database is True" in text]
    assert not [text for text in descriptions("user") if "ghost" in text]
    assert sysadmin.put("/configurations", {"audit_log_forward_endpoint": ""}).status_code == 400
    assert sysadmin.put("/configurations", {"skip_audit_log_database": False}).status_code == 200
    written()
    assert [text for text in descriptions("configuration") if "skip_audit_log_database is False" in text]


def test_what_was_done_before_the_log_was_switched_off_is_in_it(sysadmin: Api) -> None:
    sysadmin.post("/users", {"username": "ghost", "password": PASSWORD, "email": "g@example.org", "realname": "g"})
    change(values={"skip_audit_log_database": True, **ENDPOINT}, cause=BY_SYSTEM)
    Event.objects.filter(kind="user.created").update(at=timezone.now() - timedelta(seconds=1))
    StoredSetting.objects.filter(key="skip_audit_log_database").update(updated_at=timezone.now())
    written()
    assert [text for text in descriptions("user") if "ghost" in text]


def test_leaving_out_kinds_of_entries_hides_neither_itself_nor_what_was_before(sysadmin: Api) -> None:
    sysadmin.post("/users", {"username": "before", "password": PASSWORD, "email": "b@example.org", "realname": "g"})
    hidden = {"disabled_audit_log_event_types": "update_configuration,create_user"}
    assert sysadmin.put("/configurations", hidden).status_code == 200
    Event.objects.filter(kind="user.created").update(at=timezone.now() - timedelta(seconds=1))
    StoredSetting.objects.update(updated_at=timezone.now())
    written()
    assert [text for text in descriptions("user") if "before" in text]
    long_ago("disabled_audit_log_event_types")
    sysadmin.post("/users", {"username": "ghost", "password": PASSWORD, "email": "g@example.org", "realname": "g"})
    sysadmin.put("/configurations", {"session_timeout": 59})
    sysadmin.put("/configurations", {"pull_audit_log_disable": True})
    written()
    told = descriptions("configuration")
    assert [text for text in told if "disabled_audit_log_event_types is" in text]
    assert [text for text in told if "pull_audit_log_disable is True" in text]
    assert not [text for text in told if "session_timeout" in text]
    assert not [text for text in descriptions("user") if "ghost" in text]


def test_failed_sign_ins_are_in_the_log_with_name_and_address(user: Api, sysadmin: Api) -> None:
    assert api_as("somebody", "Wrong-1-word").get("/users/current").status_code == 401
    assert api_as("robot$none", "Wrong-1-word").get("/users/current").status_code == 401
    written()
    entries = AuditEntry.objects.filter(operation="login", is_success=False).order_by("pk")
    assert [entry.resource for entry in entries] == ["somebody", "robot$none"]
    assert "at the address 127.0.0.1" in entries[0].description


def test_a_refresh_token_that_is_no_good_is_a_failed_sign_in(user: Api) -> None:
    with pytest.raises(Exception, match="expired or was revoked"):
        refresh_tokens.redeem(authority=authority(), token="nonsense", client="192.0.2.7")
    assert Event.objects.get(kind="user.sign_in_failed").client == "192.0.2.7"


def test_issuing_a_refresh_token_is_in_the_log(user: Api) -> None:
    subject = User.objects.get(username="somebody").subject
    refresh_tokens.issue(authority=authority(), device="docker", cause=on_behalf_of(subject))
    written()
    entry = AuditEntry.objects.get(resource_type="refresh_token")
    assert (entry.username, entry.operation, entry.resource) == ("somebody", "create", "docker")


def test_reading_settings_people_and_the_log_is_in_the_log(sysadmin: Api, user: Api) -> None:
    somebody = User.objects.get(username="somebody")
    for path in ("/configurations", "/users", f"/users/{somebody.pk}", "/auditlog-exts", "/auditlog-exts"):
        assert sysadmin.get(path).status_code == 200
    assert user.get(f"/users/{somebody.pk}").status_code == 200
    assert user.get("/configurations").status_code == 403
    written()
    entries = AuditEntry.objects.filter(operation="read").order_by("pk")
    assert [(entry.username, entry.resource_type, entry.resource) for entry in entries] == [
        ("root-admin", "configuration", "all settings"),
        ("root-admin", "user", "the list of users"),
        ("root-admin", "user", "somebody"),
        ("root-admin", "audit_log", "the audit log"),
    ]


class Told:
    """A counter with a clock that is set, and what it told."""

    def __init__(self, db: Any) -> None:
        self.now = 0.0
        self.told: list[tuple[str, str, int]] = []
        self.repeated = Repeated(
            lambda place, times: self.told.append((place.origin, place.name, times)), clock=lambda: self.now
        )

    def note(self, origin: str, name: str, times: int = 1) -> None:
        for _ in range(times):
            self.repeated.note(origin=origin, name=name)


@pytest.fixture
def told(db: None) -> Told:
    return Told(db)


def test_the_first_is_told_at_once_and_the_others_in_sum(told: Told) -> None:
    told.note("a", "anna", 5)
    assert told.told == [("a", "anna", 1)]
    assert not told.repeated.is_due()
    told.now = WINDOW_S
    assert told.repeated.is_due()
    told.repeated.flush()
    assert told.told == [("a", "anna", 1), ("a", "anna", 4)]
    told.note("a", "anna")
    assert told.told[-1] == ("a", "anna", 1)


def test_what_could_not_be_written_is_counted_on(told: Told) -> None:
    """Neither the first one, nor those of the minute before that are told with it."""
    told.note("a", "anna", 3)
    told.now = WINDOW_S
    write, told.repeated._write = told.repeated._write, _fail
    for name in ("anna", "bert"):
        with pytest.raises(InterfaceError):
            told.note("a", name)
    told.repeated._write = write
    told.repeated.flush()
    assert sorted(told.told) == [("a", "anna", 1), ("a", "anna", 3), ("a", "bert", 1)]


def _fail(_place: Place, _times: int) -> None:
    raise InterfaceError("the connection is closed")


def test_a_flood_of_names_is_told_in_sum_and_hides_nobody_else(told: Told) -> None:
    for number in range(10_000):
        told.note("flood", f"name{number}")
    told.note("other", "anna")
    assert len(told.told) == NAMES_EACH + 1
    assert told.told[-1] == ("other", "anna", 1)
    told.repeated.flush()
    assert told.told[-1] == ("flood", "", 10_000 - NAMES_EACH)


def test_a_flood_from_everywhere_fills_nothing_and_loses_no_count(told: Told) -> None:
    for number in range(5 * PLACES_MAX):
        told.note(f"origin{number}", "anna")
    told.repeated.flush()
    assert len(told.told) <= 4 * PLACES_MAX
    assert sum(times for _, _, times in told.told) == 5 * PLACES_MAX
    assert told.repeated._unreported == {}
    assert Place("", "").name == ""


def test_a_token_has_one_spelling(sysadmin: Api, make_user: Callable[..., User]) -> None:
    from registry_core.tokens.jwt import TokenError, mint, verify

    subject = make_user("holder").subject
    token = mint(subject=subject, grants=[], ttl_s=60, credential_version=1)
    verify(token)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    good = 0
    for last in alphabet:
        try:
            verify(token[:-1] + last)
            good += 1
        except TokenError:
            continue
    assert good == 1


def test_a_session_s_failed_sign_in_is_told_by_whichever_form(make_user: Callable[..., User]) -> None:
    make_user("somebody")
    Client().post("/c/login", {"principal": "somebody", "password": "Wrong-1-word"})
    Client().post("/sign-in", {"username": "nobody", "password": "Wrong-1-word"})
    told = Event.objects.filter(kind="user.sign_in_failed").order_by("pk")
    assert [event.payload["username"] for event in told] == ["somebody", "nobody"]
