"""How Django knows this app."""

from django.apps import AppConfig


class ScanningConfig(AppConfig):
    """Scanners and their reports."""

    name = "scanning"
    label = "scanning"
