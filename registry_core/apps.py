"""The Django app."""

from django.apps import AppConfig

from registry_core import caches
from registry_core.config import get_config


class RegistryCoreConfig(AppConfig):
    """The registry itself."""

    name = "registry_core"
    label = "registry_core"

    def ready(self) -> None:
        """Give the caches of this process the bytes that the configuration says."""
        caches.PROCESS.resize(get_config().cache_bytes)
