"""`/statistics`: the number of projects and repositories that the caller may see; for administrators also the storage
used."""

from __future__ import annotations

from typing import Final

import msgspec
from django.db.models import Count, Sum
from rest_framework.request import Request
from rest_framework.response import Response

from projects.api.projects import visible_projects
from registry_core.access import Subject
from registry_core.api.base import ApiView
from registry_core.api.openapi import operation
from registry_core.api.permissions import SIGNED_IN
from registry_core.content.models import QuotaLease, QuotaStripe, Repository
from registry_core.distribution.rights import is_sysadmin

TAG: Final = "statistic"


class Statistic(msgspec.Struct, kw_only=True):
    """Counts of what the caller may see; storage in bytes."""

    private_project_count: int
    private_repo_count: int
    public_project_count: int
    public_repo_count: int
    total_project_count: int
    total_repo_count: int
    total_storage_consumption: int


class StatisticsView(ApiView):
    """`/statistics`."""

    access = {"GET": SIGNED_IN}

    @operation("getStatistic", TAG, answer=Statistic, errors=(401,))
    def get(self, _request: Request) -> Response:
        """Count what the caller may see."""
        return Response(statistic_for(self.subject))


def statistic_for(subject: Subject) -> Statistic:
    """The counts for a subject. Only administrators get the storage used by all projects."""
    visible = visible_projects(subject).order_by()
    living = Repository.objects.filter(deleted_at=None, project__in=visible).order_by()
    projects = dict(visible.values_list("is_public").annotate(Count("pk")))
    repositories = dict(living.values_list("project__is_public").annotate(Count("pk")))
    return Statistic(
        private_project_count=projects.get(False, 0),
        private_repo_count=repositories.get(False, 0),
        public_project_count=projects.get(True, 0),
        public_repo_count=repositories.get(True, 0),
        total_project_count=sum(projects.values()),
        total_repo_count=sum(repositories.values()),
        total_storage_consumption=_stored_bytes() if is_sysadmin(subject) else 0,
    )


def _stored_bytes() -> int:
    stripes = QuotaStripe.objects.filter(project__deleted_at=None)
    leases = QuotaLease.objects.filter(project__deleted_at=None)
    charged = stripes.aggregate(sum=Sum("used_bytes"))["sum"] or 0
    return int(charged - (leases.aggregate(sum=Sum("leased_bytes"))["sum"] or 0))
