"""Settings and the audit log of a running registry with several workers: what is changed holds in each at once."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conftest import ServerFactory
from tests.support.people import Account, admin, create_project
from tests.support.registry import make_image, push_blob, put_manifest, sign_in
from tests.support.server import Server
from tests.support.waiting import wait_until

CONNECTIONS = 12


@pytest.fixture(scope="module")
def workers(start_server: ServerFactory) -> Server:
    return start_server(PORTOLAN_WORKERS="2")


def rest(server: Server, account: Account) -> httpx.Client:
    return httpx.Client(base_url=f"{server.url}/api/v2.0", auth=(account.name, account.password), timeout=30)


def configure(server: Server, **values: Any) -> None:
    with rest(server, admin(server)) as client:
        assert client.put("/configurations", json=values).status_code == 200


def push(server: Server, repository: str) -> httpx.Response:
    """Push an image by a connection of its own, which any worker may take; how the push began."""
    headers = sign_in(server, admin(server), f"repository:{repository}:pull,push")
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
        begun = client.post(f"/v2/{repository}/blobs/uploads/")
        if begun.status_code == 202:
            image = make_image(layer_bytes=1000)
            for blob in image.blobs:
                push_blob(client, repository, blob)
            put_manifest(client, repository, "1", image)
        return begun


def test_read_only_holds_in_every_worker_with_the_next_request(workers: Server, unique: str) -> None:
    create_project(workers, unique)
    for _ in range(3):
        configure(workers, read_only=True)
        refused = [push(workers, f"{unique}/new") for _ in range(CONNECTIONS)]
        assert {(answer.status_code, answer.json()["errors"][0]["code"]) for answer in refused} == {(403, "DENIED")}
        assert "read-only" in refused[0].json()["errors"][0]["message"]
        configure(workers, read_only=False)
        assert {push(workers, f"{unique}/app").status_code for _ in range(3)} == {202}
    with rest(workers, admin(workers)) as client:
        assert client.get(f"/projects/{unique}").json()["repo_count"] == 1


def test_a_token_lives_as_long_as_the_settings_say(workers: Server) -> None:
    for minutes in (7, 30):
        configure(workers, token_expiration=minutes)
        for _ in range(CONNECTIONS):
            account = admin(workers)
            answer = httpx.get(
                f"{workers.url}/service/token?service=harbor-registry&scope=repository:library/a:pull",
                auth=(account.name, account.password),
            )
            assert answer.json()["expires_in"] == minutes * 60


def test_many_pulls_of_one_subject_are_one_entry_within_seconds(workers: Server, unique: str) -> None:
    create_project(workers, unique)
    assert push(workers, f"{unique}/app").status_code == 202
    headers = sign_in(workers, admin(workers), f"repository:{unique}/app:pull")
    with httpx.Client(base_url=workers.url, headers=headers) as client:
        for _ in range(20):
            assert client.get(f"/v2/{unique}/app/manifests/1").status_code == 200
    wait_until(lambda: sum(pulls_told(workers, unique)) == 20, what="the pulls are told", within_s=20)
    assert len(pulls_told(workers, unique)) <= 4
    entries = workers.manage(
        "from registry_core.events.relay import relay\n"
        "from projects.audit.consumer import write_entries\n"
        "relay(), write_entries()\n"
        "from projects.models import AuditEntry\n"
        f"found = AuditEntry.objects.filter(operation='pull', resource='{unique}/app:1', username='admin')\n"
        "print(found.count())"
    )
    assert int(entries) == len(pulls_told(workers, unique))


def test_pulls_are_not_counted_while_the_settings_say_so(workers: Server, unique: str) -> None:
    create_project(workers, unique)
    assert push(workers, f"{unique}/app").status_code == 202
    headers = sign_in(workers, admin(workers), f"repository:{unique}/app:pull")
    configure(workers, pull_count_update_disable=True)
    with httpx.Client(base_url=workers.url, headers=headers) as client, rest(workers, admin(workers)) as api:
        assert client.get(f"/v2/{unique}/app/manifests/1").status_code == 200
        wait_until(lambda: sum(pulls_told(workers, unique)) == 1, what="the pull is told", within_s=20)
        assert api.get(f"/projects/{unique}/repositories/app").json()["pull_count"] == 0
        configure(workers, pull_count_update_disable=False)
        assert client.get(f"/v2/{unique}/app/manifests/1").status_code == 200
        wait_until(lambda: sum(pulls_told(workers, unique)) == 2, what="the pull is told", within_s=20)
        assert api.get(f"/projects/{unique}/repositories/app").json()["pull_count"] == 1


def pulls_told(server: Server, project: str) -> list[int]:
    told = server.manage(
        "from registry_core.events.models import Event\n"
        "from registry_core.content.models import Project\n"
        f"project = Project.objects.get(name={project!r})\n"
        "events = Event.objects.filter(kind='artifact.pulled', project_id=project.pk)\n"
        "print(*[event.payload.get('pulls', 1) for event in events])"
    )
    return [int(word) for word in told.split()]
