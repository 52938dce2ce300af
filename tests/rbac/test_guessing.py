"""Guessing passwords over many names slows down the guesser, and nobody who knows a right one is kept out by it."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from rbac.services.throttle import FREE_PER_CLIENT, PACE_S, Throttle
from tests.conftest import ServerFactory
from tests.support.extent import IS_FULL
from tests.support.people import PASSWORD, admin, api_of
from tests.support.server import Server
from tests.support.settings import REAL_PASSWORDS
from tests.support.waiting import wait_until

GUESSERS, PEOPLE = (24, 12) if IS_FULL else (12, 6)
BESIDE_WITHIN_S = 60.0  # of a busy machine; a turn each for all of them takes some seconds
GUESSER, OFFICE = "127.0.0.3", "127.0.0.2"


@pytest.fixture(scope="module")
def server(start_server: ServerFactory) -> Server:
    return start_server(PORTOLAN_WORKERS="2", **REAL_PASSWORDS)


@pytest.fixture
def people(server: Server, unique: str) -> list[str]:
    names = [f"{unique}p{number}" for number in range(PEOPLE)]
    server.manage(
        "from rbac.services.users import create_user\n"
        "from registry_core.access import of_system\n"
        f"for name in {names!r}:\n"
        f"    create_user(username=name, password={PASSWORD!r}, email=name + '@example.org',"
        " cause=of_system('test'))"
    )
    return names


def client_at(server: Server, address: str) -> httpx.Client:
    """A client whose requests come from an address of this machine."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=server.url.replace("localhost", "127.0.0.1"), transport=transport, timeout=120)


@contextmanager
def guessing(server: Server, address: str) -> Iterator[Counter[int]]:
    """While the block runs, many connections of an address guess at ever new names; what they are answered."""
    is_done, answers = threading.Event(), Counter[int]()

    def guess(number: int) -> None:
        path = ("/v2/", "/service/token?service=harbor-registry", "/api/v2.0/users/current")[number % 3]
        with client_at(server, address) as client:
            while not is_done.is_set():
                answers[client.get(path, auth=(secrets.token_hex(6), "Wrong-1-password")).status_code] += 1

    with ThreadPoolExecutor(GUESSERS) as pool:
        guesses = [pool.submit(guess, number) for number in range(GUESSERS)]
        wait_until(lambda: answers.total() > FREE_PER_CLIENT + GUESSERS, what="they guess", within_s=120)
        yield answers
        is_done.set()
    assert not [error for future in guesses if (error := future.exception())]


def first_logins(server: Server, people: list[str], address: str) -> list[tuple[int, float]]:
    """All of them for the first time, at once: the statuses, and how long each took in seconds.

    At the address of the guesses some may be told to come again, and do.
    """

    def sign_in(name: str) -> tuple[int, float]:
        begin_s, status = time.monotonic(), 0
        with client_at(server, address) as client:
            while status in {0, 429} and time.monotonic() - begin_s < BESIDE_WITHIN_S:
                status = client.get("/service/token?service=harbor-registry", auth=(name, PASSWORD)).status_code
                if address != GUESSER:
                    break
        return status, time.monotonic() - begin_s

    with ThreadPoolExecutor(len(people)) as pool:
        return list(pool.map(sign_in, people))


@pytest.mark.parametrize("address", [OFFICE, GUESSER], ids=["another address", "the same address"])
def test_first_logins_beside_guesses_over_many_names_all_succeed(
    server: Server, people: list[str], address: str
) -> None:
    with guessing(server, GUESSER) as answers:
        logins = first_logins(server, people, address)
    longest_s = max(took_s for _, took_s in logins)
    print(f"{len(people)} first logins within {longest_s:.1f} s beside {dict(answers)}")
    assert [status for status, _ in logins] == [200] * PEOPLE
    assert longest_s < BESIDE_WITHIN_S
    assert answers.keys() <= {401, 429}


def test_the_administrator_signs_in_while_others_guess_at_his_name(server: Server) -> None:
    with client_at(server, GUESSER) as client:
        for _ in range(12):
            client.get("/v2/", auth=("admin", "Wrong-1-password"))
        assert client.get("/v2/", auth=("admin", "Wrong-1-password")).status_code == 429
    with client_at(server, OFFICE) as client:
        assert client.get("/v2/", auth=("admin", server.admin_password)).status_code == 200


def test_new_secrets_are_hashed_in_turns_too(server: Server, unique: str) -> None:
    """An administrator who gives robots chosen secrets takes neither all threads nor all memory."""
    with api_of(server, admin(server)) as api:
        api.post("projects", json={"project_name": unique})
        access = [{"resource": "repository", "action": "pull"}]
        made = api.post(f"projects/{unique}/robots", json={"name": "ci", "access": access}).json()

    def give(_number: int) -> int:
        with api_of(server, admin(server)) as api:
            return api.patch(f"robots/{made['id']}", json={"secret": f"Chosen-1-{secrets.token_hex(8)}"}).status_code

    with ThreadPoolExecutor(32) as pool, httpx.Client(base_url=server.url, timeout=60) as client:
        given = [pool.submit(give, number) for number in range(32)]
        took_s = []
        while not all(future.done() for future in given):
            begin_s = time.monotonic()
            assert client.get("/api/v2.0/projects").status_code == 200
            took_s.append(time.monotonic() - begin_s)
    print(f"others waited {max(took_s, default=0):.2f} s at most; {Counter(future.result() for future in given)}")
    assert {future.result() for future in given} <= {200, 429}
    assert max(took_s, default=0) < 5


def test_the_pace_begins_after_many_failures_and_spares_who_signed_in_there() -> None:
    now = time.monotonic()
    throttle = Throttle(clock=lambda: now)
    throttle.succeeded(client="192.0.2.1", name="anna")
    for number in range(FREE_PER_CLIENT + 3):
        assert throttle.lane(client="192.0.2.1", name="bob").pace_s == 0
        throttle.failed(client="192.0.2.1", name=f"guess{number}")
    throttle.failed(client="192.0.2.1", name="guess")
    assert throttle.lane(client="192.0.2.1", name="bob").pace_s == PACE_S
    anna, bob = throttle.lane(client="192.0.2.1", name="Anna"), throttle.lane(client="192.0.2.1", name="bob")
    assert (anna.pace_s, anna.name == bob.name) == (0, False)
    assert throttle.lane(client="192.0.2.2", name="bob").pace_s == 0
    now += 10_000
    assert throttle.lane(client="192.0.2.1", name="bob").pace_s == 0


def test_an_office_of_many_people_is_not_paced_for_its_mistakes() -> None:
    throttle = Throttle()
    for number in range(1000):
        for _ in range(2):
            throttle.failed(client="192.0.2.1", name=f"person{number}")
        throttle.succeeded(client="192.0.2.1", name=f"person{number}")
        assert throttle.lane(client="192.0.2.1", name="newcomer").pace_s == 0


def test_a_name_of_many_marks_costs_no_more_than_another(server: Server) -> None:
    """To put it into order would take minutes, in which the worker answers nobody."""
    name = "a" + "\u0301\u0316" * 100_000
    with httpx.Client(base_url=server.url, auth=(name.encode(), b"x"), timeout=60) as client:
        assert client.get("/v2/").status_code == 401
