"""How Django knows this app."""

from django.apps import AppConfig


class ProcessesConfig(AppConfig):
    """The processes of an installation, on all machines."""

    name = "registry_core.processes"
    label = "processes"
