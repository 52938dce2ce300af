"""The addresses under `/api/v2.0`."""

from django.urls import path, re_path

from registry_core.api.views import HealthView, PingView, SchemaView, UnknownView

urlpatterns = [
    path("ping", PingView.as_view()),
    path("health", HealthView.as_view()),
    path("openapi.json", SchemaView.as_view()),
    re_path(r"^.*$", UnknownView.as_view()),
]
