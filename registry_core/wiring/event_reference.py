"""docs/events.md: every kind of event with its fields, made from the registry, so that it is true."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import django
import msgspec

from registry_core.events.kinds import Kind, all_kinds
from registry_core.wiring.settings_reference import type_name

PAGE: Final = Path(__file__).parents[2] / "docs" / "events.md"
_HEAD: Final = """\
# Events

Made from the registry of kinds (`registry_core/events/kinds.py`) by `make settings`; do not edit. An event is written
in the transaction of what it reports. Each has a `kind`, the time (`at`), the account that caused it (`subject_kind`,
`subject_id`), the address of its client and the id of its request where there is one (`client`, `request_id`), how it
ended (`result`), the project and the repository that it is about, and a payload with the fields below. The audit log
makes an entry of each; the audit type is what the setting `disabled_audit_log_event_types` calls it.

An app defines its kinds in its module `events`: a struct with a docstring, a default for every field, and what people
call the thing that it is about.

| kind | audit type | what happened | payload |
|---|---|---|---|
"""


def markdown() -> str:
    """The page."""
    return _HEAD + "".join(map(_row, all_kinds()))


def _row(kind: Kind) -> str:
    fields = ", ".join(
        f"`{field.encode_name}` ({type_name(field.type)})" for field in msgspec.structs.fields(kind.payload)
    )
    return f"| `{kind.name}` | `{kind.audit_type}` | {kind.summary} | {fields or '-'} |\n"


if __name__ == "__main__":
    django.setup()
    PAGE.write_text(markdown())
