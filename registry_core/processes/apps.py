"""How Django knows this app."""

from django.apps import AppConfig


class ProcessesConfig(AppConfig):
    """The processes of an installation, on whichever machines."""

    name = "registry_core.processes"
    label = "processes"
