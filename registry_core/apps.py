"""The Django app."""

from django.apps import AppConfig


class RegistryCoreConfig(AppConfig):
    """The registry itself."""

    name = "registry_core"
    label = "registry_core"
