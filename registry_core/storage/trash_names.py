"""Names of objects in a store's trash: their key, the time of their removal, and a random suffix.

The suffix is for a key that is removed repeatedly. The time is in the name because moving a file does not change its
times.
"""

from __future__ import annotations

import re
import secrets
import time

from registry_core.storage.interface import TrashedObject
from registry_core.storage.object_keys import KEY

_NAME = re.compile(r"(?P<key>[^@]+)@(?P<at>[0-9]{1,12})-[0-9a-f]{8}")
_SLASH = "+"  # in no key


def trash_name(key: str) -> str:
    """A new name for the object `key`."""
    return f"{key.replace('/', _SLASH)}@{int(time.time())}-{secrets.token_hex(4)}"


def trash_prefix(key: str) -> str:
    """The common prefix of the trash names of a key."""
    return f"{key.replace('/', _SLASH)}@"


def parse_trash_name(name: str, size_bytes: int) -> TrashedObject | None:
    """None for a name of another form."""
    found = _NAME.fullmatch(name)
    key = found["key"].replace(_SLASH, "/") if found else ""
    if found is None or not KEY.fullmatch(key):
        return None
    return TrashedObject(name, key, size_bytes, float(found["at"]))
