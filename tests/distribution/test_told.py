"""What the logs tell of requests: mounts in the audit log's outbox, and who asked in the access log, REST included."""

from __future__ import annotations

import json

import httpx
import psycopg

from tests.support.people import Account, admin, create_project, create_user
from tests.support.registry import push_blob, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until


def users_of(server: Server, request_id: str) -> list[str]:
    """As whom the access log has a request."""
    lines = [line for line in server.log_path.read_text(errors="replace").splitlines() if request_id in line]
    return [json.loads(line)["user"] for line in lines if '"event":"access"' in line]


def test_a_mount_is_told_with_where_it_is_from(server: Server, unique: str) -> None:
    create_project(server, unique)
    names = [f"{unique}/{name}" for name in ("source", "target")]
    token = sign_in(server, admin(server), *(f"repository:{name}:pull,push" for name in names))
    with httpx.Client(base_url=server.url, headers=token, timeout=60) as client:
        digest = push_blob(client, names[0], b"to be mounted")
        mounted = client.post(f"/v2/{names[1]}/blobs/uploads/", params={"mount": digest, "from": names[0]})
    assert mounted.status_code == 201
    with psycopg.connect(server.database_url) as database:
        told = database.execute(
            "SELECT payload ->> 'source' FROM events_event WHERE kind = 'blob.mounted' AND payload ->> 'digest' = %s",
            [digest],
        ).fetchall()
    assert told == [(names[0],)]


def test_the_access_log_names_who_asked_by_rest_and_in_a_session(server: Server, unique: str) -> None:
    person = create_user(server, unique)
    wrong = Account(person.name, "Wrong-1-word")
    ids = {name: f"{unique}-{name}" for name in ("basic", "session", "page", "nobody", "wrong")}

    def ask(client: httpx.Client, path: str, name: str, account: Account | None = None) -> None:
        auth = (account.name, account.password) if account else None
        client.get(path, headers={"x-request-id": ids[name]}, auth=auth)

    with httpx.Client(base_url=server.url, timeout=60) as client:
        ask(client, "/api/v2.0/users/current", "basic", person)
        ask(client, "/api/v2.0/projects", "nobody")
        ask(client, "/api/v2.0/projects", "wrong", wrong)
        client.post("/c/login", data={"principal": person.name, "password": person.password}).raise_for_status()
        ask(client, "/api/v2.0/users/current", "session")
        ask(client, "/projects", "page")

    def logged() -> dict[str, list[str]]:
        return {name: users_of(server, request_id) for name, request_id in ids.items()}

    wait_until(lambda: all(logged().values()), what="the lines are written", within_s=20)
    assert logged() == {
        "basic": [person.name], "session": [person.name], "page": [person.name], "nobody": ["-"], "wrong": ["-"],
    }  # fmt: skip
