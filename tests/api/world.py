"""Everything that an address can name and everybody who can ask, and requests that leave no trace."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from projects.tasks import purge_audit_log
from rbac.models import Group
from rbac.services.users import create_user
from registry_core.content.tasks import collect
from registry_core.jobs.executions import start
from registry_core.jobs.models import Task
from tests.api.conftest import PASSWORD, Api
from tests.api.routes import Route
from tests.api.tenants import (
    ABSENT,
    FOREIGN,
    NO_SUCH,
    OWN,
    PUBLIC,
    Caller,
    Tenant,
    absent_tenant,
    make_callers,
    make_tenant,
)
from tests.support.operations import BY_SYSTEM


@dataclass(frozen=True)
class World:
    """Four projects, and everybody who asks."""

    tenants: dict[str, Tenant]
    callers: dict[str, Caller]
    others: dict[str, str]

    def path(self, route: Route, names: list[str], target: str, caller: Caller) -> str:
        """The address for a target, by the names that the row has for what varies."""
        values = dict(self.tenants[target].values) | self.others
        values["id"] = values["project_name_or_id"]
        if target == OWN and caller.user:
            values["user_id"] = str(caller.user.pk)
        return route.at(values[name] for name in names)


@pytest.fixture
def world(sysadmin: Api, checked_once: None) -> World:
    tenants = {
        OWN: make_tenant("own", api=sysadmin),
        FOREIGN: make_tenant("foreign", api=sysadmin),
        PUBLIC: make_tenant("public", api=sysadmin, is_public=True),
        ABSENT: absent_tenant(),
    }
    victim = create_user(username="victim", password=PASSWORD, email="victim@example.org", cause=BY_SYSTEM)
    group = Group.objects.create(name="crew", kind=Group.Kind.HTTP)
    own = tenants[OWN].project
    assert own is not None
    digest = tenants[OWN].values["reference"]
    return World(
        tenants,
        make_callers(own),
        {
            "user_id": str(victim.pk),
            "group_id": str(group.pk),
            "digest": digest,
            "token_id": str(NO_SUCH),
            "deletion_id": str(NO_SUCH),
            **_jobs(),
        },
    )


def _jobs() -> dict[str, str]:
    """One job of each kind that has addresses of its own."""
    purge = start(purge_audit_log, cause=BY_SYSTEM, parameters={"audit_retention_hour": 1})
    collection = start(collect, cause=BY_SYSTEM)
    task = Task.objects.get(execution_id=purge)
    words = {"pool_id": "all", "job_type": "all"}
    return words | {"purge_id": str(purge), "gc_id": str(collection), "job_id": str(task.pk)}


def ask(api: Api, method: str, path: str, body: Any = None, *, content: bytes | None = None) -> Any:
    """The answer to `body` as JSON, or to these bytes; what the request changed is taken back."""
    if content is None:
        content = b"" if body is None else json.dumps(body).encode()
    client: Client = api.client
    client.raise_request_exception = False  # the 500 is to be seen among the others
    with transaction.atomic():
        answer = client.generic(method, path, content, content_type="application/json", headers=api.headers)
        transaction.set_rollback(True)
    return answer
