"""Projects that nobody owned before belong to the first administrator after the migration."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.db import connection

from projects.models import ProjectSettings
from projects.services import create_project
from rbac.services.users import FIRST_ADMIN, create_user
from tests.support.operations import BY_SYSTEM, on_behalf_of

MIGRATION = import_module("projects.migrations.0013_owner_of_projects_without_one")
PASSWORD = "Portolan-1"


def _migrate() -> None:
    with connection.cursor() as cursor:
        cursor.execute(MIGRATION._OWN)


@pytest.mark.django_db
def test_a_project_without_an_owner_gets_the_first_administrator_and_the_others_keep_theirs() -> None:
    create_project(name="library", is_public=True, cause=BY_SYSTEM)
    _migrate()
    assert ProjectSettings.objects.get(project__name="library").owner is None, "before anybody is there"
    create_user(username="early", password=PASSWORD, is_sysadmin=True, cause=BY_SYSTEM)
    admin = create_user(username=FIRST_ADMIN, password=PASSWORD, is_sysadmin=True, cause=BY_SYSTEM)
    ann = create_user(username="ann", password=PASSWORD, cause=BY_SYSTEM)
    create_project(name="anns", is_public=False, cause=on_behalf_of(ann.subject))
    for _ in range(2):
        _migrate()
        owners = dict(ProjectSettings.objects.values_list("project__name", "owner"))
        assert owners == {"library": admin.pk, "anns": ann.pk}
