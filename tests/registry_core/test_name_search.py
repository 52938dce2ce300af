"""Searching by a part of a name has its indexes, and goes on without where the extension cannot be had."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.db import connection
from structlog.testing import capture_logs

from registry_core.content.models import Repository

MIGRATION: Any = import_module("registry_core.content.migrations.0006_name_search")


def indexes() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE '%_name_part'")
        return {row[0] for row in cursor.fetchall()}


@pytest.mark.django_db
def test_a_part_of_a_name_is_found_by_an_index() -> None:
    assert indexes() == {"project_name_part", "repository_name_part"}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "repository_name_part" in Repository.objects.filter(name__contains="needle").explain()


@pytest.mark.django_db(transaction=True)
def test_the_migration_goes_on_without_the_extension_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MIGRATION, "EXTENSION", "CREATE EXTENSION IF NOT EXISTS one_that_nobody_has")
    with connection.schema_editor(atomic=False) as editor:
        MIGRATION.drop_indexes(None, editor)
        with capture_logs() as said:
            MIGRATION.make_indexes(None, editor)
        assert indexes() == set()
        assert "CREATE EXTENSION" in said[0]["remedy"]
        monkeypatch.undo()
        MIGRATION.make_indexes(None, editor)
    assert len(indexes()) == 2
