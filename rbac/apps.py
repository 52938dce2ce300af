"""How Django knows this app."""

from django.apps import AppConfig


class RbacConfig(AppConfig):
    """Users, groups, roles and robots; implements the registry's authority."""

    name = "rbac"
    label = "rbac"

    def ready(self) -> None:
        """Register the authority."""
        from rbac import sessions
        from rbac.authority import RbacAuthority
        from rbac.services.users import why_auth_mode_is_fixed
        from registry_core.access import register_authority
        from registry_core.settings_store.changes import register_obstacle

        register_authority(RbacAuthority())
        register_obstacle("auth_mode", why_auth_mode_is_fixed)
        sessions.follow()
