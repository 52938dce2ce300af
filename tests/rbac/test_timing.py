"""What a stranger could learn with a stopwatch: nothing. Who is unknown takes as long as who has another password."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import psutil
import pytest

from tests.conftest import ServerFactory
from tests.support.extent import IS_FULL
from tests.support.people import PASSWORD
from tests.support.server import Server
from tests.support.settings import REAL_PASSWORDS

# Four wrong passwords for a name are free; then it has to wait.
PEOPLE, TRIES = (4, 2) if IS_FULL else (2, 2)
# Two argon2 hashes for each request: without both an answer would take a hundredth of the time,
# and with one of them half.
FACTOR = 1.8
ANSWERS: dict[str, Callable[[Server, str], httpx.Response]] = {
    "the token endpoint": lambda server, name: httpx.get(
        f"{server.url}/service/token",
        params={"service": "harbor-registry"},
        auth=(name, "Wrong-1-password"),
        timeout=60,
    ),
    "the API": lambda server, name: httpx.get(f"{server.url}/v2/", auth=(name, "Wrong-1-password"), timeout=60),
}


@pytest.fixture(scope="module")
def server(start_server: ServerFactory) -> Server:
    return start_server(PORTOLAN_WORKERS="2", **REAL_PASSWORDS)


def _people(server: Server, unique: str) -> dict[str, list[str]]:
    """The names of each kind: of living users, of disabled ones, and of nobody."""
    kinds = {kind: [f"{unique}{kind}{number}" for number in range(PEOPLE)] for kind in ("known", "off", "nobody")}
    server.manage(
        "from rbac.models import User\n"
        "from rbac.services.users import create_user\n"
        "from registry_core.access import of_system\n"
        f"for name in {kinds['known'] + kinds['off']!r}:\n"
        f"    create_user(username=name, password={PASSWORD!r}, email=name + '@example.org',"
        " cause=of_system('test'))\n"
        f"User.objects.filter(username__in={kinds['off']!r}).update(is_active=False)"
    )
    return kinds


def _cpu_s(server: Server) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in server.pids())


@pytest.mark.parametrize("door", ANSWERS)
def test_an_unknown_name_takes_as_long_as_a_wrong_password(server: Server, unique: str, door: str) -> None:
    ask, kinds = ANSWERS[door], _people(server, unique)
    for number in range(2 * PEOPLE):  # what each worker makes once
        ask(server, f"{unique}warm{number}")
    took_s: dict[str, list[float]] = {kind: [] for kind in kinds}
    cost_s = dict.fromkeys(kinds, 0.0)
    for _ in range(TRIES):
        for names in zip(*kinds.values(), strict=True):  # in turn, so that what else is going on meets all of them
            for kind, name in zip(kinds, names, strict=True):
                begin_s, cpu_s = time.monotonic(), _cpu_s(server)
                assert ask(server, name).status_code == 401
                took_s[kind].append(time.monotonic() - begin_s)
                cost_s[kind] += _cpu_s(server) - cpu_s

    # What else runs on the machine makes an answer later and never earlier.
    shortest_s = {kind: min(times) for kind, times in took_s.items()}
    print({kind: f"{shortest * 1000:.0f} ms" for kind, shortest in shortest_s.items()}, cost_s)
    for figures in (shortest_s, cost_s):
        assert max(figures.values()) < FACTOR * min(figures.values()), figures
