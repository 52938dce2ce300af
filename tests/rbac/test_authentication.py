"""Who gets in, who does not, and what an outsider can learn from it."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.contrib.auth.hashers import check_password
from django.utils import timezone

from rbac.services import authentication, passwords
from rbac.services.robots import (
    create_robot,
    delete_robot,
    full_name,
    refresh_robot_secret,
    robot_subject,
    set_disabled,
)
from rbac.services.throttle import Throttle
from rbac.services.users import delete_user, set_active, set_cli_secret, set_password
from registry_core.access import SubjectKind, TooManyAttempts, Unauthenticated, authority
from tests.rbac import arrange
from tests.support.operations import BY_SYSTEM, on_behalf_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "_throttle", Throttle())


def sign_in(username: str, secret: str, client: str = "192.0.2.1") -> str:
    return authority().authenticate(username=username, secret=secret, client=client).key


def refusal(username: str, secret: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        sign_in(username, secret)
    return str(caught.value)


def test_user_signs_in_in_any_case_of_the_name() -> None:
    anna = arrange.user("Anna")
    assert sign_in("anna", arrange.PASSWORD) == sign_in("ANNA", arrange.PASSWORD) == anna.subject.key


def test_names_that_differ_in_case_only_cannot_both_exist() -> None:
    arrange.user("Anna")
    with pytest.raises(Exception, match="already exists"):
        arrange.user("aNNa")


def test_wrong_password_and_unknown_name_are_answered_alike() -> None:
    arrange.user("anna")
    set_active(user=arrange.user("gone"), is_active=False, cause=BY_SYSTEM)
    answers = {refusal(name, "Wrong1Password") for name in ("anna", "nobody", "gone", "robot$none", "nul\x00")}
    assert len(answers) == 1


def test_unknown_name_costs_the_same_hash_as_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    arrange.user("anna")
    hashed: list[str] = []

    def counting(secret: str, encoded: str) -> bool:
        hashed.append(encoded.split("$")[1])
        return check_password(secret, encoded)

    monkeypatch.setattr(passwords, "check_password", counting)
    refusal("anna", "Wrong1Password")
    for_known, hashed[:] = hashed[:], []
    refusal("nobody", "Wrong1Password")
    assert hashed == for_known


def test_old_password_is_refused_at_once_after_a_change() -> None:
    anna = arrange.user("anna")
    sign_in("anna", arrange.PASSWORD)
    set_password(user=anna, password="Another1Password", cause=on_behalf_of(anna.subject))
    refusal("anna", arrange.PASSWORD)
    assert sign_in("anna", "Another1Password") == anna.subject.key


def test_a_password_that_was_right_within_the_minute_costs_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    anna = arrange.user("anna")
    sign_in("anna", arrange.PASSWORD)
    monkeypatch.setattr(passwords, "check_password", lambda secret, encoded: pytest.fail("hashed again"))
    assert sign_in("anna", arrange.PASSWORD) == anna.subject.key


def test_deleted_user_is_out_and_the_name_is_free_for_another_identity() -> None:
    first = arrange.user("anna")
    delete_user(user=first, cause=BY_SYSTEM)
    refusal("anna", arrange.PASSWORD)
    second = arrange.user("anna")
    assert sign_in("anna", arrange.PASSWORD) == second.subject.key != f"user:{first.pk}"


@pytest.mark.parametrize("chosen", ["", "Chosen1Secret"])
def test_cli_secret_works_beside_the_password(chosen: str) -> None:
    anna = arrange.user("anna")
    secret = set_cli_secret(user=anna, secret=chosen, cause=on_behalf_of(anna.subject))
    assert sign_in("anna", secret) == sign_in("anna", arrange.PASSWORD) == anna.subject.key


@pytest.mark.parametrize("password", ["short1A", "alllower1", "ALLUPPER1", "NoDigitsHere", "Aa1" * 43])
def test_weak_password_is_refused(password: str) -> None:
    anna = arrange.user("anna")
    with pytest.raises(Exception, match="characters"):
        set_password(user=anna, password=password, cause=on_behalf_of(anna.subject))


def test_robots_of_system_and_project_sign_in_by_their_full_names() -> None:
    harbour = arrange.project("harbour")
    of_system, system_secret = arrange.robot("ci")
    of_project, project_secret = arrange.robot("ci", of=harbour)
    assert (full_name(of_system), full_name(of_project)) == ("robot$ci", "robot$harbour+ci")
    assert sign_in("robot$ci", system_secret) == f"robot:{of_system.pk}"
    assert sign_in("robot$harbour+ci", project_secret) == f"robot:{of_project.pk}"
    refusal("robot$ci", project_secret)


def test_robot_with_a_chosen_secret_signs_in() -> None:
    robot, _ = create_robot(name="ci", grants=[], cause=BY_SYSTEM, secret="Chosen1Secret")
    assert sign_in("robot$ci", "Chosen1Secret") == f"robot:{robot.pk}"
    refusal("robot$ci", "Chosen1Secreu")


def test_no_user_can_take_a_robots_name() -> None:
    with pytest.raises(Exception, match="none of the characters"):
        arrange.user("robot$ci")


@pytest.mark.parametrize("name", ["robot$c", "robot$ci2", "robot$ci+", "robot$+ci", "robot$harbour+", "Robot$ci", "ci"])
def test_secret_of_a_robot_opens_no_name_that_is_like_it(name: str) -> None:
    arrange.project("harbour")
    _, secret = arrange.robot("ci")
    refusal(name, secret)


def test_robot_that_is_disabled_deleted_or_refreshed_is_out() -> None:
    disabled, its_secret = arrange.robot("disabled")
    set_disabled(robot=disabled, is_disabled=True, cause=BY_SYSTEM)
    refusal("robot$disabled", its_secret)
    deleted, its_secret = arrange.robot("deleted")
    delete_robot(robot=deleted, cause=BY_SYSTEM)
    refusal("robot$deleted", its_secret)
    refreshed, its_secret = arrange.robot("refreshed")
    renewed = refresh_robot_secret(robot=refreshed, cause=BY_SYSTEM)
    refusal("robot$refreshed", its_secret)
    assert sign_in("robot$refreshed", renewed) == f"robot:{refreshed.pk}"


def test_expired_robot_is_out() -> None:
    yesterday = timezone.now() - timedelta(days=1)
    robot, secret = create_robot(name="old", grants=[], cause=BY_SYSTEM, expires_at=yesterday)
    refusal("robot$old", secret)
    assert authority().subject(kind=SubjectKind.ROBOT, id=robot.pk) is None


def test_when_a_robot_expires_is_told_to_who_remembers_it() -> None:
    tomorrow = timezone.now() + timedelta(days=1)
    passing, _ = create_robot(name="passing", grants=[], cause=BY_SYSTEM, expires_at=tomorrow)
    lasting, _ = create_robot(name="lasting", grants=[], cause=BY_SYSTEM)
    subjects = (robot_subject(passing), robot_subject(lasting), arrange.user("anna").subject)
    assert [authority().expires_at(subject) for subject in subjects] == [tomorrow, None, None]


def test_guesses_from_one_address_slow_down_that_address_only() -> None:
    arrange.user("boss")
    for _ in range(5):
        refusal("boss", "Wrong1Password")
    with pytest.raises(TooManyAttempts):
        sign_in("BOSS", arrange.PASSWORD)
    assert sign_in("boss", arrange.PASSWORD, client="198.51.100.7")


def test_delay_grows_and_is_forgotten() -> None:
    now = time.monotonic()
    throttle = Throttle(clock=lambda: now)
    waits = []
    for _ in range(8):
        throttle.failed(client="192.0.2.1", name="anna")
        try:
            throttle.check(client="192.0.2.1", name="anna")
            waits.append(0)
        except TooManyAttempts as refused:
            waits.append(refused.retry_after_s)
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8]
    now += 10_000
    throttle.check(client="192.0.2.1", name="anna")
    throttle.failed(client="192.0.2.1", name="anna")
    throttle.check(client="192.0.2.1", name="anna")


def test_addresses_of_one_ipv6_network_count_together() -> None:
    throttle = Throttle()
    for host in range(5):
        throttle.failed(client=f"2001:db8::{host}", name="anna")
    with pytest.raises(TooManyAttempts):
        throttle.check(client="[2001:db8::ffff]", name="anna")
    throttle.check(client="2001:db8:0:1::1", name="anna")
