"""An address is the same with a slash at its end, and with several slashes in the place of one."""

from __future__ import annotations

from typing import Any

import pytest

from rbac.models import User
from tests.api.conftest import Api
from tests.api.routes import names_in, routes, rows
from tests.api.tenants import OWN
from tests.api.world import World, ask, world

pytestmark = pytest.mark.slow

__all__ = ["world"]


def test_slashes_make_no_difference_to_any_address(world: World) -> None:
    caller, known, wrong, seen = world.callers["projectAdmin"], rows(), [], 0
    for route in routes():
        if not route.is_rest or route.shape not in known or route.shape.endswith(("health", "openapi.json")):
            continue
        path = world.path(route, names_in(known[route.shape][0]), OWN, caller)
        for method in sorted(route.methods):
            wanted = _told(ask(caller.api, method, f"{path}?page=1", {}))
            seen += 1
            for written in (f"{path}/", f"{path}//", f"/{path[1:].replace('/', '//')}"):
                found = _told(ask(caller.api, method, f"{written}?page=1", {}))
                if found != wanted:
                    wrong.append(f"{method} {written}: {found}, not {wanted}")
    assert not wrong, "\n".join(wrong)
    assert seen > 80


def _told(answer: Any) -> tuple[int, str]:
    """The status, and what a list says of its other pages: the addresses in it are the plain ones."""
    return answer.status_code, answer.headers.get("Link", "").partition("cursor=")[0]


def test_a_change_is_made_where_the_address_ends_in_a_slash(sysadmin: Api) -> None:
    body = {"username": "ann", "password": "Portolan-1", "email": "ann@example.org", "realname": "A", "comment": "c"}
    made = sysadmin.post("/users/", body)
    assert made.status_code == 201
    user = User.objects.get(username="ann")
    assert made["Location"] == f"/api/v2.0/users/{user.pk}"
    assert sysadmin.put(f"//users//{user.pk}//sysadmin/", {"sysadmin_flag": True}).status_code == 200
    assert sysadmin.delete(f"/users/{user.pk}/").status_code == 200


def test_only_addresses_of_the_api_are_read_so(anonymous: Api) -> None:
    assert anonymous.client.get("/projects//").status_code in {302, 404}
    assert anonymous.client.get("/api/v2.0/ping/../ping").status_code == 404
