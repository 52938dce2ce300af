"""A project's storage limit and usage. Each change is one transaction."""

from __future__ import annotations

from typing import cast

from django.db.models import BigIntegerField, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from projects.events import QuotaUpdated
from projects.services import check_storage_limit
from rbac.services.changes import rights_change
from registry_core.access import Cause
from registry_core.content.models import Project, QuotaLease, QuotaStripe
from registry_core.content.quota import set_limit
from registry_core.content.repositories import name_key, project_key


def change_limit(*, project: Project, limit_bytes: int, cause: Cause) -> None:
    """Set a project's limit (-1: none). Existing content stays even if it exceeds the limit; further pushes are
    refused. Raises InvalidInput."""
    check_storage_limit(limit_bytes)
    event = QuotaUpdated(name=project.name, storage=limit_bytes)
    keys = [project_key(project.pk), name_key(project.name)]  # the cached entry of the name says whether it has a limit
    with rights_change(event, *keys, cause=cause, project_id=project.pk):
        set_limit(project_id=project.pk, limit_bytes=limit_bytes)


def with_used_bytes(projects: QuerySet[Project]) -> QuerySet[Project]:
    """The projects, each with its usage as `used_bytes`. Reservations of uploads that have a row are included; staged
    bytes are not (`registry_core.content.staged_quota.staged_bytes`)."""
    stripes = QuotaStripe.objects.filter(project=OuterRef("pk")).order_by().values("project")
    charged = Subquery(stripes.annotate(sum=Sum("used_bytes")).values("sum"), output_field=BigIntegerField())
    leased = Subquery(QuotaLease.objects.filter(project=OuterRef("pk")).values("leased_bytes"))
    return cast("QuerySet[Project]", projects.annotate(used_bytes=Coalesce(charged, 0) - Coalesce(leased, 0)))
