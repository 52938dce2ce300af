"""URLs of sessions, outside `/api/v2.0`."""

from django.urls import path

from rbac.api import sessions

urlpatterns = [
    path("login", sessions.log_in),
    path("log_out", sessions.log_out),
    path("userExists", sessions.UserExistsView.as_view()),
]
