"""No list costs more than six statements, the caller's sign-in, the count and everything around the rows included.

Counted in Postgres, of a running server that knows the caller but was never asked this question.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest

from registry_core.distribution.tail import APPLICATION_NAME
from registry_core.events.bell import APPLICATION_NAME as BELL
from tests.conftest import ServerFactory
from tests.support.jobs import audit_log_written
from tests.support.people import Account, add_member, admin, api_of, create_project, create_user
from tests.support.plans import PlanLog
from tests.support.registry import make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

STATEMENTS_MAX = 6
LISTS_MIN = 12  # of those that everybody may ask for
IMAGES = 10  # more than statements: one for each would be seen
NEEDED = {"users/search": {"username": "c"}, "usergroups/search": {"groupname": "c"}, "labels": {"scope": "g"}}


@dataclass(frozen=True)
class Counted:
    """A server with something in each list, and the log of what it asks the database."""

    server: Server
    log: PlanLog
    callers: dict[str, Account]

    def statements(self, api: httpx.Client, path: str, query: dict[str, str]) -> list[str]:
        """What a page of this list lets the server ask the database for."""
        before = len(self._asked())
        api.get(path, params=query).raise_for_status()
        asked = self._asked()[before:]
        # What is told of earlier reads is told once a minute, whoever asks then.
        return [statement for statement in asked if "INSERT INTO events_event" not in statement]

    def _asked(self) -> list[str]:
        with psycopg.connect(self.server.database_url) as database:
            rows = database.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name <> ALL(%s)",
                [[APPLICATION_NAME, BELL]],
            ).fetchall()
            asked = self.log.statements_of({pid for (pid,) in rows} - {database.info.backend_pid})
            return [statement for statement in asked if "processes_heartbeat" not in statement]


@pytest.fixture(scope="module")
def counted(start_server: ServerFactory) -> Counted:
    server = start_server(PORTOLAN_WORKERS="1")
    server.stop()
    log = PlanLog(server.database_url)
    server.start()
    create_project(server, "counted")
    owner = create_user(server, "counter")
    add_member(server, "counted", owner, role="PROJECT_ADMIN")
    for number in range(IMAGES):
        add_member(server, "counted", create_user(server, f"guest-{number}"), role="GUEST")
        create_project(server, f"other-{number}", is_public=True)
    with api_of(server, owner) as api:
        robot = _robot(api, "ci")
        for number in range(IMAGES):
            _robot(api, f"r{number}")
    with api_of(server, owner) as api:
        project = api.get("projects/counted").json()["project_id"]
        api.post("retentions", json={"scope": {"level": "project", "ref": project}}).raise_for_status()
        for _ in range(IMAGES):
            run = api.post("retentions/1/executions", json={"dry_run": True}).raise_for_status().headers["location"]
            api.patch(run.rpartition("/api/v2.0/")[2], json={"action": "stop"}).raise_for_status()
    with audit_log_written(server):
        _push(server, owner)
        with api_of(server, owner) as api:
            wait_until(
                lambda: int(api.get("projects/counted/logs").headers["x-total-count"]) >= IMAGES,
                what="the pushes are in the log",
            )
    return Counted(server, log, {"sysadmin": admin(server), "member": owner, "robot": robot})


@pytest.mark.parametrize(("who", "page_size"), [("sysadmin", 40), ("member", 41), ("robot", 42)])
def test_a_list_takes_six_statements_at_the_most(counted: Counted, who: str, page_size: int) -> None:
    """Each asks for pages of another size, for a page that somebody else had is remembered."""
    found: dict[str, list[str]] = {}
    with api_of(counted.server, counted.callers[who]) as api:
        for path, options in _lists(api):
            everything = {name: "true" for name in options if name.startswith("with_")}
            query = {"page_size": str(page_size), **everything, **NEEDED.get(path, {})}
            answer = api.get(path, params=query | {"page": "2"})  # the caller is known; the next page is not
            if answer.status_code not in {401, 403} and answer.headers.get("x-total-count", "0") != "0":
                found[path] = counted.statements(api, path, query)
    print(*sorted(f"{len(statements)} {path}" for path, statements in found.items()), sep="\n")
    too_many = {path: statements for path, statements in found.items() if len(statements) > STATEMENTS_MAX}
    assert not too_many, "\n".join(itertools.chain.from_iterable([path, *found] for path, found in too_many.items()))
    assert len(found) >= LISTS_MIN
    assert all(found.values()), "a page that was remembered was not counted"


def _lists(api: httpx.Client) -> Iterator[tuple[str, list[str]]]:
    """The lists of the schema, with the names of what each can be asked."""
    places = {
        "project_name": "counted", "project_name_or_id": "counted", "repository_name": "app", "reference": "v1",
        "user_id": "1", "immutable_rule_id": "1", "id": "1", "eid": "1",
    }  # fmt: skip
    schema: dict[str, Any] = api.get("openapi.json").raise_for_status().json()
    for path, methods in schema["paths"].items():
        operation = methods.get("get", {})
        options = [parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
        if "page_size" in options and not operation.get("x-not-implemented") and "page" in options:
            yield path.removeprefix("/api/v2.0").lstrip("/").format(**places), options


def _robot(api: httpx.Client, name: str) -> Account:
    access = [
        {"resource": resource, "action": "list"}
        for resource in ("repository", "artifact", "tag", "accessory", "label", "log", "member", "robot")
    ] + [{"resource": "repository", "action": "pull"}]
    permission = {"kind": "project", "namespace": "counted", "access": access}
    body = {"name": name, "level": "project", "duration": -1, "permissions": [permission]}
    made = api.post("robots", json=body).raise_for_status().json()
    return Account(made["name"], made["secret"])


def _push(server: Server, owner: Account) -> None:
    headers = sign_in(server, owner, *(f"repository:counted/{name}:pull,push" for name in ("app", "team/app")))
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as registry:
        for number in range(IMAGES):
            for repository in ("counted/app", "counted/team/app"):
                image = make_image(layer_bytes=100)
                for blob in image.blobs:
                    push_blob(registry, repository, blob)
                put_manifest(registry, repository, f"v{number}", image)
