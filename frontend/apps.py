"""How Django knows this app."""

from django.apps import AppConfig


class FrontendConfig(AppConfig):
    """The web console."""

    name = "frontend"
    label = "frontend"
