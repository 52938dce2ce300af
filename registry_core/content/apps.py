"""How Django knows this app."""

from django.apps import AppConfig


class ContentConfig(AppConfig):
    """Blobs, manifests, tags and uploads."""

    name = "registry_core.content"
    label = "content"
    verbose_name = "Content"

    def ready(self) -> None:
        """Register partitioned tables and consumers of events.

        Times of pushes are written in batches.
        """
        from registry_core.database.partitions import register_partitioned
        from registry_core.events.follower import register_consumer

        register_partitioned("content_taghistory", "content_quotaentry")
        register_consumer("push times", _note_push_times, pause_s=1.0)


def _note_push_times() -> int:
    from registry_core.content.push_times import note_push_times

    return note_push_times()
