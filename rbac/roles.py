"""The five project roles and their permissions, and what everybody may do in a public project. Data, no decisions.

A permission is a resource and an action; the resource "" is the project itself.
"""

from __future__ import annotations

from typing import Final

from rbac.models import Role

Permission = tuple[str, str]


def permissions_of(table: dict[str, str]) -> frozenset[Permission]:
    """The permissions of a table from resource to its actions, which are separated by blanks."""
    return frozenset((resource, action) for resource, actions in table.items() for action in actions.split())


_PROJECT_ADMIN: Final = {
    "": "delete read update",
    "accessory": "list",
    "artifact": "create delete list read",
    "artifact-addition": "read",
    "artifact-label": "create delete",
    "configuration": "read update",
    "export-cve": "create list read",
    "immutable-tag": "create delete list update",
    "label": "create delete list read update",
    "log": "list",
    "member": "create delete list read update",
    "metadata": "create delete read update",
    "notification-policy": "create delete list read update",
    "preheat-policy": "create delete list read update",
    "quota": "read",
    "repository": "create delete list pull push read update",
    "robot": "create delete list read update",
    "sbom": "create read stop",
    "scan": "create read stop",
    "scanner": "create read",
    "tag": "create delete list",
    "tag-retention": "create delete list operate read update",
}
_MAINTAINER: Final = {
    "": "read",
    "accessory": "list",
    "artifact": "create delete list read",
    "artifact-addition": "read",
    "artifact-label": "create delete",
    "configuration": "read",
    "export-cve": "create list read",
    "immutable-tag": "create delete list update",
    "label": "create delete list read update",
    "member": "list read",
    "metadata": "read",
    "notification-policy": "list read",
    "quota": "read",
    "repository": "create delete list pull push read update",
    "robot": "list read",
    "sbom": "create read stop",
    "scan": "create read stop",
    "scanner": "read",
    "tag": "create delete list",
    "tag-retention": "create delete list operate read update",
}
_DEVELOPER: Final = {
    "": "read",
    "accessory": "list",
    "artifact": "create list read",
    "artifact-addition": "read",
    "artifact-label": "create delete",
    "configuration": "read",
    "export-cve": "create list read",
    "label": "list read",
    "member": "list read",
    "quota": "read",
    "repository": "create list pull push read update",
    "robot": "list read",
    "sbom": "read",
    "scan": "read",
    "scanner": "read",
    "tag": "create list",
    "tag-retention": "create delete list operate read update",
}
_GUEST: Final = {
    "": "read",
    "accessory": "list",
    "artifact": "list read",
    "artifact-addition": "read",
    "configuration": "read",
    "label": "list read",
    "member": "list read",
    "quota": "read",
    "repository": "list pull read",
    "robot": "list read",
    "sbom": "read",
    "scan": "read",
    "scanner": "read",
    "tag": "list",
}
_LIMITED_GUEST: Final = {
    "": "read",
    "accessory": "list",
    "artifact": "list read",
    "artifact-addition": "read",
    "configuration": "read",
    "quota": "read",
    "repository": "list pull read",
    "sbom": "read",
    "scan": "read",
    "scanner": "read",
    "tag": "list",
}

ROLE_PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.PROJECT_ADMIN: permissions_of(_PROJECT_ADMIN),
    Role.MAINTAINER: permissions_of(_MAINTAINER),
    Role.DEVELOPER: permissions_of(_DEVELOPER),
    Role.GUEST: permissions_of(_GUEST),
    Role.LIMITED_GUEST: permissions_of(_LIMITED_GUEST),
}

PUBLIC_ANONYMOUS: Final = permissions_of(
    {"": "read", "repository": "pull list read", "artifact": "list read", "tag": "list", "accessory": "list"}
)
PUBLIC_SIGNED_IN: Final = PUBLIC_ANONYMOUS | permissions_of(
    {
        "artifact-addition": "read",
        "configuration": "read",
        "label": "list read",
        "sbom": "read",
        "scan": "read",
        "scanner": "read",
    }
)
