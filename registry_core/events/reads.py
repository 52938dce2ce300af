"""Events of reads: somebody looked at what only few may see."""

from __future__ import annotations

from collections.abc import Iterable

from registry_core.events.kinds import Names, Operation, Payload, event_kind


class Read(Payload):
    """`name`: what was read, in a few words; `times` times within a minute."""

    name: str = ""
    times: int = 1

    def resource(self, names: Names) -> str:
        del names
        return self.name

    def details(self, names: Names) -> Iterable[str]:
        del names
        if self.times > 1:
            yield f"{self.times} times within a minute"


@event_kind("records.read", Operation.READ)
class RecordsRead(Read):
    """Many different things were read, more than are told apart within a minute."""
