"""docs/roles.md, made from the tables that the registry decides by: `python -m tests.docs.roles > docs/roles.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

INTRODUCTION = """\
# Roles

Generated from `rbac/roles.py` and `rbac/robot_permissions.py` by `python -m tests.docs.roles > docs/roles.md`; a test
fails if they differ. A user has the union of its own roles and those of its groups. System administrators may do
everything in every project; only they may do what is not listed.

"""
ROBOTS = """
## Robots

A robot may do what it was given, and nothing more, whoever created it. No account can give permissions that it does
not have: a member's role, a robot's permissions and lifetime, a new secret for a robot, or (by making a project
public) what everybody may do. Permissions that everybody has in a public project do not count. So no robot can
appoint an administrator of a project, who may give robots new secrets. A robot created by another one keeps its
permissions when its creator is deleted or loses its own, and is found by `q=creator_type=robot,creator_ref=ID`.

The first table lists the permissions that a robot can have in a project (its own, or for a robot of the system the
named ones, or all), the second the additional permissions of a robot of the system.

"""


def document() -> str:
    """The page."""
    from rbac.models import Role
    from rbac.robot_permissions import PROJECT_PERMISSIONS, SYSTEM_PERMISSIONS
    from rbac.roles import PUBLIC_ANONYMOUS, PUBLIC_SIGNED_IN, ROLE_PERMISSIONS

    order = (Role.PROJECT_ADMIN, Role.MAINTAINER, Role.DEVELOPER, Role.GUEST, Role.LIMITED_GUEST)
    columns = {f"{role.label} ({role.value})": ROLE_PERMISSIONS[role] for role in order}
    columns |= {"anyone signed in, public project": PUBLIC_SIGNED_IN, "anonymous, public project": PUBLIC_ANONYMOUS}
    robots = _table({"actions": PROJECT_PERMISSIONS}) + "\n" + _table({"actions": SYSTEM_PERMISSIONS})
    return INTRODUCTION + _table(columns) + ROBOTS + robots


def _table(columns: dict[str, frozenset[tuple[str, str]]]) -> str:
    resources = sorted({resource for held in columns.values() for resource, _ in held})
    lines = [_row(["resource", *columns]), _row(["---"] * (len(columns) + 1))]
    lines += [_row([resource or "the project", *(_actions(held, resource) for held in columns.values())])
              for resource in resources]  # fmt: skip
    return "\n".join(lines) + "\n"


def _actions(held: frozenset[tuple[str, str]], resource: str) -> str:
    return ", ".join(sorted(action for of, action in held if of == resource))


def _row(cells: Iterable[str]) -> str:
    return ("| " + " | ".join(cells) + " |").replace("|  |", "| |").replace("|  |", "| |")


if __name__ == "__main__":
    import django

    django.setup()
    sys.stdout.write(document())
