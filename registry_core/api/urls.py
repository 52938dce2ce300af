"""URLs under `/api/v2.0` that belong to no app above, and the fallback for all others."""

from django.urls import path, re_path

from registry_core.api import jobservice, not_yet, storage
from registry_core.api.configurations import ConfigurationsView, InternalConfigurationView
from registry_core.api.systeminfo import CertificateView, SystemInfoView, VolumesView
from registry_core.api.views import HealthView, PingView, SchemaView, UnknownView

urlpatterns = [
    path("ping", PingView.as_view()),
    path("health", HealthView.as_view()),
    path("openapi.json", SchemaView.as_view(), name="openapi"),
    path("configurations", ConfigurationsView.as_view()),
    path("systeminfo", SystemInfoView.as_view()),
    path("systeminfo/volumes", VolumesView.as_view()),
    path("systeminfo/getcert", CertificateView.as_view()),
    path("internalconfig", InternalConfigurationView.as_view()),
    path("jobservice/pools", jobservice.PoolsView.as_view()),
    path("jobservice/pools/<str:pool_id>/workers", jobservice.WorkersView.as_view()),
    path("jobservice/jobs/<str:job_id>", jobservice.JobView.as_view()),
    path("jobservice/jobs/<str:job_id>/log", jobservice.JobLogView.as_view()),
    path("jobservice/queues", jobservice.QueuesView.as_view()),
    path("jobservice/queues/<str:job_type>", jobservice.QueueView.as_view()),
    path("schedules", jobservice.SchedulesView.as_view()),
    path("schedules/<str:job_type>/paused", jobservice.PausedView.as_view()),
    *storage.gc_patterns,
    path("system/storage", storage.StorageView.as_view()),
    *not_yet.patterns(),
    re_path(r"^.*$", UnknownView.as_view()),
]
