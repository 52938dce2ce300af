"""Users, projects and members of a running server, made through its REST API."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.server import Server

PASSWORD = "Portolan-1"
ROLES = {"PROJECT_ADMIN": 1, "DEVELOPER": 2, "GUEST": 3, "MAINTAINER": 4, "LIMITED_GUEST": 5}  # the contract's numbers


@dataclass(frozen=True)
class Account:
    """Who signs in, and with what."""

    name: str
    password: str


def admin(server: Server) -> Account:
    return Account("admin", server.admin_password)


def create_user(server: Server, name: str, *, is_sysadmin: bool = False) -> Account:
    """Create a user who is a member of nothing."""
    with api_of(server, admin(server)) as api:
        body = {"username": name, "realname": name, "email": f"{name}@example.org", "password": PASSWORD}
        created = _expect(api.post("users", json=body))
        if is_sysadmin:
            user_id = created.headers["location"].rpartition("/")[2]
            _expect(api.put(f"users/{user_id}/sysadmin", json={"sysadmin_flag": True}))
    return Account(name, PASSWORD)


def create_project(
    server: Server, name: str, *, is_public: bool = False, allows_sparse_manifests: bool = False, by: str = "admin"
) -> None:
    """Create a project; the user named `by` becomes its administrator."""
    creator = admin(server) if by == "admin" else Account(by, PASSWORD)
    body: dict[str, Any] = {"project_name": name, "metadata": {"public": str(is_public).lower()}}
    with api_of(server, creator) as api:
        _expect(api.post("projects", json=body))
    if allows_sparse_manifests:  # which the contract does not know
        server.manage(
            "from registry_core.content.models import Project\n"
            f"Project.objects.filter(name={name!r}).update(allows_sparse_manifests=True)"
        )


def add_member(server: Server, project: str, account: Account, *, role: str) -> None:
    """Give a user the role named `role`, one of ROLES, in a project."""
    body = {"role_id": ROLES[role], "member_user": {"username": account.name}}
    with api_of(server, admin(server)) as api:
        _expect(api.post(f"projects/{project}/members", json=body, headers={"x-is-resource-name": "true"}))


def api_of(server: Server, account: Account) -> httpx.Client:
    """A client of the REST API as an account; the server's certificate is not what is tested with it."""
    return httpx.Client(
        base_url=f"{server.url}/api/v2.0/",
        auth=(account.name, account.password),
        timeout=60,
        verify=False,  # noqa: S501
    )


def _expect(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    return answer
