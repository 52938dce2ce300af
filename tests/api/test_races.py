"""Two who change rights at the same moment, against a running registry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import psycopg
import pytest

from tests.conftest import ServerFactory
from tests.support.people import Account, admin, create_project, create_user
from tests.support.server import Server
from tests.support.waiting import wait_until

ROUNDS = 10


@pytest.fixture(scope="module")
def registry(start_server: ServerFactory) -> Server:
    """One whose administrators come and go."""
    return start_server()


def send(server: Server, by: Account, method: str, path: str, body: object) -> int:
    """The status of a request to the API."""
    address = f"{server.url}/api/v2.0{path}"
    return httpx.request(method, address, json=body, auth=(by.name, by.password), timeout=60).status_code


def user_id(server: Server, account: Account) -> int:
    answer = httpx.get(f"{server.url}/api/v2.0/users/current", auth=(account.name, account.password), timeout=60)
    return int(answer.json()["user_id"])


def administrators(server: Server) -> list[str]:
    with psycopg.connect(server.database_url) as connection:
        rows = connection.execute(
            "SELECT username FROM rbac_user WHERE is_sysadmin AND is_active AND deleted_at IS NULL ORDER BY username"
        )
        return [str(row[0]) for row in rows]


def test_of_two_administrators_who_demote_each_other_one_remains(registry: Server) -> None:
    both = [create_user(registry, name, is_sysadmin=True) for name in ("castor", "pollux")]
    ids = [user_id(registry, account) for account in both]
    first = user_id(registry, admin(registry))
    assert send(registry, both[0], "PUT", f"/users/{first}/sysadmin", {"sysadmin_flag": False}) == 200
    for _ in range(ROUNDS):
        start = Barrier(2)

        def demote(who: int, start: Barrier = start) -> int:
            start.wait()
            return send(registry, both[who], "PUT", f"/users/{ids[1 - who]}/sysadmin", {"sysadmin_flag": False})

        with ThreadPoolExecutor(2) as pool:
            statuses = sorted(pool.map(demote, range(2)))
        left = administrators(registry)
        assert (statuses, len(left)) == ([200, 403], 1)
        remaining = [account.name for account in both].index(left[0])
        promoted = f"/users/{ids[1 - remaining]}/sysadmin"
        assert send(registry, both[remaining], "PUT", promoted, {"sysadmin_flag": True}) == 200
    assert send(registry, both[0], "PUT", f"/users/{first}/sysadmin", {"sysadmin_flag": True}) == 200


def test_a_member_added_while_the_project_is_deleted_is_none(registry: Server, unique: str) -> None:
    create_project(registry, unique)
    create_user(registry, f"{unique}-m")
    boss = create_user(registry, f"{unique}-boss", is_sysadmin=True)
    body = {"role_id": 2, "member_user": {"username": f"{unique}-m"}}
    with psycopg.connect(registry.database_url) as deleting, ThreadPoolExecutor(1) as pool:
        deleting.execute("SELECT id FROM content_project WHERE name = %s FOR UPDATE", [unique])
        adding = pool.submit(send, registry, boss, "POST", f"/projects/{unique}/members", body)
        wait_until(lambda: adding.done() or is_waited_for(registry), what="the request waits for the deletion")
        deleting.execute("UPDATE content_project SET deleted_at = now() WHERE name = %s", [unique])
        deleting.commit()
        assert adding.result() == 404
    with psycopg.connect(registry.database_url) as connection:
        rows = connection.execute("SELECT 1 FROM rbac_projectmember WHERE role = 2").fetchall()
    assert rows == []


def is_waited_for(server: Server) -> bool:
    """Whether somebody waits for a lock."""
    with psycopg.connect(server.database_url) as connection:
        waiting = connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return waiting.fetchone() is not None
