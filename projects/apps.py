"""How Django knows this app."""

from django.apps import AppConfig


class ProjectsConfig(AppConfig):
    """Projects, repositories and their policies."""

    name = "projects"
    label = "projects"
