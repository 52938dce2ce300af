"""The events of settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from registry_core.events.kinds import Names, Operation, Payload, event_kind
from registry_core.events.reads import Read


@event_kind("configuration.updated", Operation.UPDATE)
class ConfigurationUpdated(Payload):
    """Settings were changed: each new value by its name; of a secret only that it was changed (`***`)."""

    values: Mapping[str, Any] = {}

    def resource(self, names: Names) -> str:
        del names
        return ", ".join(self.values)

    def details(self, names: Names) -> Iterable[str]:
        del names
        yield ", ".join(f"{name} is {value}" for name, value in self.values.items())


@event_kind("configuration.read", Operation.READ)
class ConfigurationRead(Read):
    """The settings were read."""
