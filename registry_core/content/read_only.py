"""The setting `read_only`: content is served, and nothing is changed, through any endpoint.

The data path and the REST API check it before they begin; `policies.ask` enforces it for changes without a request.
"""

from __future__ import annotations

from typing import Final

from registry_core.content.errors import Refused
from registry_core.settings_store.values import acurrent, current

MESSAGE: Final = "the registry is read-only at the moment: existing content can be pulled, but nothing can be changed"


def check_writable() -> None:
    """Raises Refused while the registry is read only."""
    if current().truth("read_only"):
        raise Refused(MESSAGE)


async def admit_writing() -> None:
    """As `check_writable`, for the event loop."""
    if (await acurrent()).truth("read_only"):
        raise Refused(MESSAGE)
