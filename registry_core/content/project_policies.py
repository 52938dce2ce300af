"""Which policies apply in a project."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from django.db import connection

from registry_core.access import Cause
from registry_core.content.events import ProjectPoliciesChanged
from registry_core.content.repositories import ProjectRef, changing, name_key, project_key
from registry_core.errors import NotFound
from registry_core.events.outbox import emit

_APPLY: Final = """
    UPDATE content_project SET policies = ARRAY(
        SELECT DISTINCT name FROM unnest(policies || %s::text[]) AS applied (name)
        WHERE name <> ALL(%s::text[]) ORDER BY name)
    WHERE id = %s AND deleted_at IS NULL RETURNING policies
"""


@contextmanager
def policies_changing(
    *, project: ProjectRef, cause: Cause, add: Collection[str] = (), remove: Collection[str] = ()
) -> Iterator[None]:
    """One transaction that turns policies on or off in a project; the block writes their settings.

    It applies to requests that begin afterwards. Not within another transaction. Raises NotFound if the project is
    deleted.
    """
    keys = [project_key(project.id), name_key(project.name)]
    with changing(*keys):
        yield
        with connection.cursor() as cursor:
            cursor.execute(_APPLY, [list(add), list(remove), project.id])
            row = cursor.fetchone()
        if row is None:
            raise NotFound(f"there is no project {project.name}")
        changed = ProjectPoliciesChanged(name=project.name, policies=row[0])
        emit(changed, cause=cause, project_id=project.id, changed=keys)
