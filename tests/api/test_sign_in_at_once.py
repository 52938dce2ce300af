"""A job that begins with many requests at once, each with the same password that nobody gave before."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest

from tests.conftest import ServerFactory
from tests.support.people import Account, create_user
from tests.support.server import Server
from tests.support.settings import REAL_PASSWORDS

AT_ONCE = 24
DOORS = {"REST": "/api/v2.0/users/current", "tokens": "/service/token?service=harbor-registry", "OCI": "/v2/"}


@pytest.fixture(scope="module")
def server(start_server: ServerFactory) -> Server:
    return start_server(**REAL_PASSWORDS)


def _statuses(server: Server, path: str, account: Account) -> Counter[int]:
    together = Barrier(AT_ONCE)

    def ask(_number: int) -> int:
        together.wait()
        return httpx.get(f"{server.url}{path}", auth=(account.name, account.password), timeout=60).status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(pool.map(ask, range(AT_ONCE)))


@pytest.mark.parametrize("door", DOORS)
def test_all_of_them_are_let_in(server: Server, unique: str, door: str) -> None:
    """Checking a password takes much memory, so that few do it at a time: the others wait for the first."""
    assert _statuses(server, DOORS[door], create_user(server, unique)) == {200: AT_ONCE}


def test_guesses_that_come_at_once_are_slowed_down_as_if_they_came_in_turn(server: Server, unique: str) -> None:
    name = create_user(server, unique).name
    refused = _statuses(server, DOORS["REST"], Account(name, "Wrong-password-1"))
    assert refused[401] + refused[429] == AT_ONCE
    assert refused[401] <= 2 * 5  # each of two workers counts four that are free, and the one that is not
