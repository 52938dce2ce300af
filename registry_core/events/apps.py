from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "registry_core.events"
    label = "events"
    verbose_name = "Events"
