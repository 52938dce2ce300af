"""Writes the audit log: follows the outbox by `seq`, and makes an entry of each event.

Its place in the outbox moves on in the transaction of the entries, and an event makes one entry only: killed or run
twice, nothing is lost and nothing is there twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from projects.audit.mapping import entry_of, event_type
from projects.audit.models import AuditEntry
from projects.audit.names import names_in
from registry_core.events.consumers import consume
from registry_core.events.models import Event
from registry_core.settings_store.changes import DISABLED, LOG_SETTINGS, SKIP
from registry_core.settings_store.events import ConfigurationUpdated
from registry_core.settings_store.models import StoredSetting
from registry_core.settings_store.values import current

CURSOR: Final = "audit"
BATCH: Final = 1000


def write_entries() -> int:
    """Make entries of the events that have come since the last time; how many events there were."""
    return consume(CURSOR, _store, batch=BATCH)


def _store(events: list[Event]) -> None:
    names = names_in(events)
    silence = _silence()
    entries = [(event, entry_of(event, names)) for event in events]
    wanted = [entry for event, entry in entries if not silence.covers(event, event_type(entry))]
    AuditEntry.objects.bulk_create(wanted, ignore_conflicts=True)


@dataclass(frozen=True, slots=True)
class _Silence:
    """What the settings leave out of the log, and since when. A time of None: as long as anybody remembers."""

    is_total: bool
    total_since: datetime | None
    kinds: frozenset[str]
    kinds_since: datetime | None

    def covers(self, event: Event, kind: str) -> bool:
        """Whether the log does not tell of the event.

        It always tells of a change of what it leaves out, and of all that happened before it: who silences it neither
        hides that, nor what he did just before.
        """
        changed = event.struct
        if isinstance(changed, ConfigurationUpdated) and not LOG_SETTINGS.isdisjoint(changed.values):
            return False
        is_silent = self.is_total and _is_since(event, self.total_since)
        return is_silent or (kind in self.kinds and _is_since(event, self.kinds_since))


_NO_SILENCE: Final = _Silence(is_total=False, total_since=None, kinds=frozenset(), kinds_since=None)


def _silence() -> _Silence:
    settings = current()
    if not settings.truth(SKIP) and not settings.text(DISABLED).strip():
        return _NO_SILENCE
    since = dict(StoredSetting.objects.filter(key__in=[SKIP, DISABLED]).values_list("key", "updated_at"))
    kinds = frozenset(word.strip() for word in settings.text(DISABLED).split(","))
    return _Silence(settings.truth(SKIP), since.get(SKIP), kinds, since.get(DISABLED))


def _is_since(event: Event, moment: datetime | None) -> bool:
    return moment is None or event.at >= moment
