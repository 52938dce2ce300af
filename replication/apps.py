"""How Django knows this app."""

from django.apps import AppConfig


class ReplicationConfig(AppConfig):
    """Replication between registries."""

    name = "replication"
    label = "replication"
