"""How Django knows this app."""

from django.apps import AppConfig


class SettingsStoreConfig(AppConfig):
    """Settings that are rows."""

    name = "registry_core.settings_store"
    label = "settings_store"

    def ready(self) -> None:
        """Have a say about every change of content."""
        from registry_core.distribution.hooks import hooks
        from registry_core.settings_store import read_only

        read_only.register(hooks)
