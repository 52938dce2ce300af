"""docs/roles.md, made from the tables that the registry decides by: `python -m tests.docs.roles > docs/roles.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

INTRODUCTION = """\
# Roles

Made from `rbac/roles.py` and `rbac/robot_permissions.py` by `python -m tests.docs.roles > docs/roles.md`; a test fails
while they differ. A user has the union of what he has himself and through his groups. System administrators may do
everything in every project. An action that is not named is allowed to nobody else.

"""
ROBOTS = """
## Robots

A robot may do what it was given, and nothing more, whoever made it. Nobody gives what it does not have itself: a
member's role, a robot's permissions and its life, a new secret for a robot, or (by making a project public) what
everybody may do are refused to who has less; what is only allowed because a project is public does not count. So no
robot can make an administrator of a project, who may give robots new secrets. A robot that another one made keeps what
it was given when its creator ends or loses rights, and is found by `q=creator_type=robot,creator_ref=ID`.

The first table is what can be given to it in a
project (its own, or for a robot of the system in those that are named, or in all), the second what can be given to a
robot of the system beside that.

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
