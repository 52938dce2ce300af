"""The addresses of projects and of what is in them."""

from django.urls import path

from projects.api import projects

urlpatterns = [
    path("projects", projects.ProjectsView.as_view()),
    path("projects/<str:project_name_or_id>", projects.ProjectView.as_view()),
    path("projects/<str:project_name_or_id>/_deletable", projects.DeletableView.as_view()),
]
