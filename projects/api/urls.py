"""URLs of projects and their content."""

from typing import Final

from django.urls import path

from projects import tasks
from projects.api import (
    additions,
    artifacts,
    audit_logs,
    holds,
    immutability,
    labels,
    metadata,
    project_details,
    projects,
    quotas,
    repositories,
    retentions,
    search,
    statistics,
    system_allowlist,
    tags,
    trash,
)
from registry_core.api import system_jobs
from registry_core.api.system_jobs import SystemJob

PURGE: Final = SystemJob(
    kind=tasks.purge_audit_log,
    address="system/purgeaudit",
    resource="purge-audit",
    tag="purge",
    names=(
        "getPurgeHistory", "getPurgeJob", "stopPurge", "getPurgeJobLog",
        "getPurgeSchedule", "createPurgeSchedule", "updatePurgeSchedule",
    ),
)  # fmt: skip

# Repository names may contain slashes, so longer routes come first.
REPOSITORIES: Final = "projects/<str:project_name>/repositories"
ARTIFACTS: Final = f"{REPOSITORIES}/<repository:repository_name>/artifacts"
ARTIFACT: Final = f"{ARTIFACTS}/<str:reference>"
IMMUTABLE: Final = "projects/<str:project_name_or_id>/immutabletagrules"

urlpatterns = [
    path("audit-logs", audit_logs.AuditLogsView.as_view()),
    path("auditlog-exts", audit_logs.AuditLogExtsView.as_view()),
    path("auditlog-exts/events", audit_logs.EventTypesView.as_view()),
    path("quotas", quotas.QuotasView.as_view()),
    path("quotas/<int:id>", quotas.QuotaView.as_view()),
    path("system/CVEAllowlist", system_allowlist.SystemAllowlistView.as_view()),
    *system_jobs.patterns(PURGE, "purge_id"),
    path("statistics", statistics.StatisticsView.as_view()),
    path("projects", projects.ProjectsView.as_view()),
    path("projects/<str:project_name_or_id>", projects.ProjectView.as_view()),
    path("projects/<str:project_name_or_id>/_deletable", projects.DeletableView.as_view()),
    path("projects/<str:project_name_or_id>/artifacts", artifacts.ProjectArtifactsView.as_view()),
    path(f"{ARTIFACT}/additions/vulnerabilities", additions.VulnerabilitiesView.as_view()),
    path(f"{ARTIFACT}/additions/<str:addition>", additions.AdditionView.as_view()),
    path(f"{ARTIFACT}/labels/<int:label_id>", labels.ArtifactLabelView.as_view()),
    path(f"{ARTIFACT}/labels", labels.ArtifactLabelsView.as_view()),
    path(f"{ARTIFACT}/hold", holds.HoldView.as_view()),
    path(f"{ARTIFACT}/tags/<str:tag_name>", tags.TagView.as_view()),
    path(f"{ARTIFACT}/tags", tags.TagsView.as_view()),
    path(f"{ARTIFACT}/accessories", artifacts.AccessoriesView.as_view()),
    path(ARTIFACT, artifacts.ArtifactOfReferenceView.as_view()),
    path(ARTIFACTS, artifacts.ArtifactsView.as_view()),
    path(REPOSITORIES, repositories.RepositoriesView.as_view()),
    path(f"{REPOSITORIES}/<last_repository:repository_name>", repositories.RepositoryView.as_view()),
    path("repositories", repositories.AllRepositoriesView.as_view()),
    path("labels", labels.LabelsView.as_view()),
    path("labels/<int:label_id>", labels.LabelView.as_view()),
    path("retentions/metadatas", retentions.MetadataView.as_view()),
    path("retentions", retentions.RetentionsView.as_view()),
    path("retentions/<int:id>", retentions.RetentionView.as_view()),
    path("retentions/<int:id>/upcoming", retentions.UpcomingView.as_view()),
    path("retentions/<int:id>/executions", retentions.ExecutionsView.as_view()),
    path("retentions/<int:id>/executions/<int:eid>", retentions.ExecutionView.as_view()),
    path("retentions/<int:id>/executions/<int:eid>/tasks", retentions.TasksView.as_view()),
    path("retentions/<int:id>/executions/<int:eid>/tasks/<int:tid>", retentions.TaskLogView.as_view()),
    path("search", search.SearchView.as_view()),
    path("icons/<str:digest>", search.IconView.as_view()),
    path("projects/<str:project_name_or_id>/summary", project_details.SummaryView.as_view()),
    path("projects/<str:project_name_or_id>/scanner", project_details.ProjectScannerView.as_view()),
    path("projects/<str:project_name_or_id>/scanner/candidates", project_details.ScannerCandidatesView.as_view()),
    path("projects/<str:project_name_or_id>/metadatas", metadata.MetadatasView.as_view()),
    path("projects/<str:project_name_or_id>/metadatas/<str:meta_name>", metadata.MetadataView.as_view()),
    path("projects/<str:project_name_or_id>/holds", holds.HoldsView.as_view()),
    path(IMMUTABLE, immutability.RulesView.as_view()),
    path(f"{IMMUTABLE}/preview", immutability.PreviewView.as_view()),
    path(f"{IMMUTABLE}/<int:immutable_rule_id>", immutability.RuleView.as_view()),
    path(f"{IMMUTABLE}/<int:immutable_rule_id>/preview", immutability.RulePreviewView.as_view()),
    path("projects/<str:project_name_or_id>/trash", trash.TrashView.as_view()),
    path("projects/<str:project_name_or_id>/trash/<int:deletion_id>", trash.DeletionView.as_view()),
    path("projects/<str:project_name_or_id>/trash/<int:deletion_id>/restore", trash.RestoreView.as_view()),
    path("trash/projects", trash.ProjectsTrashView.as_view()),
    path("trash/projects/<int:deletion_id>", trash.ProjectDeletionView.as_view()),
    path("trash/projects/<int:deletion_id>/restore", trash.ProjectRestoreView.as_view()),
    path("projects/<str:project_name>/logs", audit_logs.ProjectLogsView.as_view()),
    path("projects/<str:project_name>/auditlog-exts", audit_logs.ProjectLogExtsView.as_view()),
]
