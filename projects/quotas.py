"""A project's storage limit, and what is used of it. Each change is one transaction."""

from __future__ import annotations

from typing import cast

from django.db.models import BigIntegerField, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from projects.services import check_storage_limit
from rbac.services.changes import project_key, rights_change
from registry_core.access import Subject
from registry_core.content.models import Project, QuotaStripe
from registry_core.content.quota import set_limit


def change_limit(*, project: Project, limit_bytes: int, by: Subject) -> None:
    """Set a project's limit (-1: none). What is over it stays, nothing more comes in. Raises InvalidInput."""
    check_storage_limit(limit_bytes)
    payload = {"name": project.name, "storage": limit_bytes}
    with rights_change(project_key(project.pk), kind="quota.updated", by=by, project_id=project.pk, payload=payload):
        set_limit(project_id=project.pk, limit_bytes=limit_bytes)


def with_used_bytes(projects: QuerySet[Project]) -> QuerySet[Project]:
    """The projects, each with the bytes that it uses as `used_bytes`, reservations of running uploads included."""
    stripes = QuotaStripe.objects.filter(project=OuterRef("pk")).order_by().values("project")
    used = Subquery(stripes.annotate(sum=Sum("used_bytes")).values("sum"), output_field=BigIntegerField())
    return cast("QuerySet[Project]", projects.annotate(used_bytes=Coalesce(used, 0)))
