"""How Django knows this app."""

from django.apps import AppConfig


class EventsConfig(AppConfig):
    """The outbox."""

    name = "registry_core.events"
    label = "events"
    verbose_name = "Events"

    def ready(self) -> None:
        """Declare what is partitioned, and have every app register its kinds of events: its module `events`."""
        from django.utils.module_loading import autodiscover_modules

        from registry_core.database.partitions import register_partitioned

        register_partitioned("events_event")
        autodiscover_modules("events")
