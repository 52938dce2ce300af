"""How Django knows this app."""

from django.apps import AppConfig


class SettingsStoreConfig(AppConfig):
    """Settings stored in rows."""

    name = "registry_core.settings_store"
    label = "settings_store"
