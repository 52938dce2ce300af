"""How Django knows this app."""

from django.apps import AppConfig


class ProjectsConfig(AppConfig):
    """Projects, repositories and their policies."""

    name = "projects"
    label = "projects"

    def ready(self) -> None:
        """Register the audit log as a consumer of events, and the policies that protect content."""
        from projects.holds.policy import LegalHold
        from projects.immutability.policy import Immutability
        from registry_core.content.policies import policies
        from registry_core.database.partitions import register_partitioned
        from registry_core.events.follower import register_consumer

        register_partitioned("projects_auditentry")
        register_consumer("audit", _write_audit_log)
        policies.register(Immutability())
        policies.register(LegalHold())


def _write_audit_log() -> int:
    from projects.audit.consumer import write_entries

    return write_entries()
