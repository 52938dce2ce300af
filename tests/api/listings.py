"""Every list of the REST API with rows in it, many of them alike, and what each list says that it can be asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from projects.audit.consumer import write_entries
from projects.labels import create_label
from projects.services import create_project, delete_project
from rbac.models import Group, RobotPermission, Role
from rbac.services.groups import create_group
from rbac.services.members import add_member
from rbac.services.robots import RobotGrant, create_robot
from registry_core.content.manifests import delete_manifest
from registry_core.content.models import Project
from registry_core.content.tags import create_tag
from registry_core.digests import Digest
from registry_core.events.relay import relay
from tests.api.conftest import Api
from tests.api.content import put, put_about, repository_of
from tests.api.routes import names_in, routes, rows
from tests.api.tenants import NO_SUCH
from tests.support.operations import BY_SYSTEM

ROWS: Final = 3
PROJECT: Final = "listed"
KNOWN_KEYS: Final = re.compile(r": use one of (.*)")
NEEDED: Final = {
    "users/search": "username=er", "usergroups/search": "groupname=crew", "labels": "scope=p&project_id={project_id}",
}  # fmt: skip
"""What these lists do not answer without."""
EMPTY: Final = frozenset(
    {
        "registries",
        "replication/policies",
        "replication/executions",
        "projects/{}/scanner/candidates",
        "system/gc",
        "system/purgeaudit",
        "schedules",
        "projects/{}/holds",
        "projects/{}/immutabletagrules",
    }
)
"""Lists in which there is nothing yet."""


@dataclass(frozen=True)
class Listing:
    """One list: its address with what it needs to be asked, below `/api/v2.0`."""

    name: str
    address: str

    def at(self, question: str) -> str:
        """The address with a question, `sort=name`."""
        return f"{self.address}{'&' if '?' in self.address else '?'}{question}"

    def keys(self, api: Api, parameter: str) -> list[str]:
        """The keys that `q` or `sort` knows here, as the refusal of another one names them."""
        refused = api.get(self.at(f"{parameter}=no-such-key" + ("=1" if parameter == "q" else "")))
        if refused.status_code == 200:
            return []  # the contract gives this list none
        found = KNOWN_KEYS.search(refused.json()["errors"][0]["message"])
        return found[1].split(", ") if found and found[1] != "none" else []


@pytest.fixture
def listings(sysadmin: Api, make_user: Any, checked_once: None) -> list[Listing]:
    """The lists, each with ROWS rows or more."""
    project = _project(make_user)
    values = dict.fromkeys(("project_name", "project_name_or_id"), PROJECT)
    values |= {"repository_name": "app", "reference": "v0"}
    return list(_listings(sysadmin, values, project.pk))


def _listings(api: Api, values: dict[str, str], project_id: int) -> Iterator[Listing]:
    known = rows()
    for route in routes():
        if not route.is_rest or "GET" not in known.get(route.shape, ("", {}))[1]:
            continue
        name = route.shape.removeprefix("api/v2.0/")
        places = [values.get(place, str(NO_SUCH)) for place in names_in(known[route.shape][0])]
        path = route.at(places).removeprefix("/api/v2.0")
        address = f"{path}?{NEEDED[name].format(project_id=project_id)}" if name in NEEDED else path
        if "X-Total-Count" in api.get(address).headers:
            yield Listing(name, address)


def _project(make_user: Any) -> Project:
    """A project with ROWS of everything, made within one transaction: their times are the same."""
    project = create_project(name=PROJECT, is_public=True, cause=BY_SYSTEM)
    app = repository_of(project, "app")
    digest = put(app, "v0")
    for number in range(ROWS):
        create_project(name=f"{PROJECT}-{number}", is_public=True, cause=BY_SYSTEM, values={"auto_scan": "true"})
        put(app, f"a{number}")
        create_tag(repository=app, tag=f"t{number}", digest=digest, cause=BY_SYSTEM)
        put_about(app, digest, "application/vnd.cncf.notary.signature")
        put(repository_of(project, f"other-{number}"), "v1")
        add_member(project=project, role=Role.GUEST, cause=BY_SYSTEM, user=make_user(f"member-{number}"))
        create_group(name=f"crew-{number}", kind=Group.Kind.HTTP, cause=BY_SYSTEM)
        create_label(project=project, name=f"l{number}", description="", color="#00AA00", cause=BY_SYSTEM)
        _robots(project, number)
        _deletions(project, number)
    relay()
    write_entries()
    return project


def _deletions(project: Project, number: int) -> None:
    gone = repository_of(project, "gone")
    delete_manifest(repository=gone, digest=put(gone, f"d{number}"), cause=BY_SYSTEM)
    delete_project(project=create_project(name=f"gone-{number}", is_public=True, cause=BY_SYSTEM), cause=BY_SYSTEM)


def _robots(project: Project, number: int) -> None:
    system = RobotGrant(RobotPermission.Kind.SYSTEM, "project", "list")
    own = RobotGrant(RobotPermission.Kind.PROJECT, "repository", "pull", project_id=project.pk)
    create_robot(name=f"r{number}", grants=[system], cause=BY_SYSTEM)
    create_robot(name=f"r{number}", grants=[own], cause=BY_SYSTEM, project=project)


def digests_of(answer: Any) -> list[Digest]:
    """The digests that a list of artifacts shows."""
    return [Digest.parse(artifact["digest"]) for artifact in answer.json()]
