"""How Django knows this app."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Background work."""

    name = "registry_core.jobs"
    label = "jobs"

    def ready(self) -> None:
        """Have every app declare its periodic work and its jobs: its module `tasks`."""
        from django.utils.module_loading import autodiscover_modules

        autodiscover_modules("tasks")
