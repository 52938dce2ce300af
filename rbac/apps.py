"""How Django knows this app."""

from django.apps import AppConfig


class RbacConfig(AppConfig):
    """Users, groups, roles and robots; the registry's authority."""

    name = "rbac"
    label = "rbac"

    def ready(self) -> None:
        """Become the one that the registry asks."""
        from rbac.authority import RbacAuthority
        from registry_core.access import register_authority

        register_authority(RbacAuthority())
