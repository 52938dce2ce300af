"""The periodic work of the outbox."""

from __future__ import annotations

from django.utils import timezone

from registry_core.database.partitions import ensure_partitions
from registry_core.events.follower import FOLLOW_S
from registry_core.events.relay import relay
from registry_core.jobs.periodic import periodic


@periodic("relay events", every_s=FOLLOW_S)
def relay_events() -> None:
    """Number the events that were committed since the last time."""
    relay()


@periodic("make partitions", every_s=3600)
def make_partitions() -> None:
    """Make next months' partitions before their first row comes."""
    ensure_partitions(timezone.now().date())
