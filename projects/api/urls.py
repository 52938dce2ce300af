"""The addresses of projects and of what is in them."""

from django.urls import path

from projects.api import audit_logs, metadata, project_details, projects, quotas, statistics

urlpatterns = [
    path("audit-logs", audit_logs.AuditLogsView.as_view()),
    path("auditlog-exts", audit_logs.AuditLogExtsView.as_view()),
    path("auditlog-exts/events", audit_logs.EventTypesView.as_view()),
    path("quotas", quotas.QuotasView.as_view()),
    path("quotas/<int:id>", quotas.QuotaView.as_view()),
    path("statistics", statistics.StatisticsView.as_view()),
    path("projects", projects.ProjectsView.as_view()),
    path("projects/<str:project_name_or_id>", projects.ProjectView.as_view()),
    path("projects/<str:project_name_or_id>/_deletable", projects.DeletableView.as_view()),
    path("projects/<str:project_name_or_id>/summary", project_details.SummaryView.as_view()),
    path("projects/<str:project_name_or_id>/scanner", project_details.ProjectScannerView.as_view()),
    path("projects/<str:project_name_or_id>/scanner/candidates", project_details.ScannerCandidatesView.as_view()),
    path("projects/<str:project_name_or_id>/metadatas/", metadata.MetadatasView.as_view()),
    path("projects/<str:project_name_or_id>/metadatas", metadata.MetadatasUnslashedView.as_view()),
    path("projects/<str:project_name_or_id>/metadatas/<str:meta_name>", metadata.MetadataView.as_view()),
    path("projects/<str:project_name>/logs", audit_logs.ProjectLogsView.as_view()),
    path("projects/<str:project_name>/auditlog-exts", audit_logs.ProjectLogExtsView.as_view()),
]
