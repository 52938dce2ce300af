"""Projects with a storage limit on a server under test, and whether what they are charged is what they have."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx

from tests.distribution.client import Client
from tests.support.people import admin
from tests.support.server import Server


def make_project(server: Server, name: str, limit_bytes: int) -> int:
    """A private project with a limit (-1: none); its id."""
    with _api(server) as api:
        body = {"project_name": name, "storage_limit": limit_bytes}
        assert api.post("/projects", json=body).status_code == 201
        return int(api.get("/projects", params={"name": name}).json()[0]["project_id"])


def set_limit(server: Server, project_id: int, limit_bytes: int) -> None:
    """By REST, as an administrator."""
    with _api(server) as api:
        assert api.put(f"/quotas/{project_id}", json={"hard": {"storage": limit_bytes}}).status_code == 200


def used_bytes(server: Server, project_id: int) -> int:
    """What the project uses as REST says it; both places must agree."""
    with _api(server) as api:
        quota = api.get(f"/quotas/{project_id}").json()
        summary = api.get(f"/projects/{project_id}/summary").json()
    assert quota["used"] == summary["quota"]["used"]
    return int(quota["used"]["storage"])


@dataclass(frozen=True)
class Audit:
    """What `quota_audit.audit` finds; `charged_bytes` includes `leased_bytes`."""

    is_exact: bool
    charged_bytes: int
    leased_bytes: int
    found: dict[str, Any]


def audit(server: Server, project_id: int, *, before: str = "") -> Audit:
    """Compare the counters with the content, after the code `before`."""
    printed = server.manage(
        f"import dataclasses, json\nfrom registry_core.content import quota_audit, staged_quota, uploads\n{before}\n"
        f"found = quota_audit.audit({project_id})\n"
        "print(json.dumps(dataclasses.asdict(found) | {'is_exact': found.is_exact}))"
    )
    found = json.loads(printed.splitlines()[-1])
    return Audit(found["is_exact"], found["charged_bytes"], found["leased_bytes"], found)


def pusher(server: Server, repository: str) -> Client:
    """A client of the administrator's, at work in a repository."""
    return Client(server.url, admin(server), repository)


def _api(server: Server) -> httpx.Client:
    account = admin(server)
    return httpx.Client(base_url=f"{server.url}/api/v2.0", auth=(account.name, account.password), timeout=30)
