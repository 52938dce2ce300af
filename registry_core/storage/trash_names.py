"""How objects are called in a store's trash: their key, when they came there, and a random end.

The end is for a key that comes there again. The time stands in the name, because moving a file changes none of its
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
    """A fresh name for the object under `key`."""
    return f"{key.replace('/', _SLASH)}@{int(time.time())}-{secrets.token_hex(4)}"


def trash_prefix(key: str) -> str:
    """What the names of all objects that had this key begin with."""
    return f"{key.replace('/', _SLASH)}@"


def parse_trash_name(name: str, size_bytes: int) -> TrashedObject | None:
    """None for a name that is not one of ours."""
    found = _NAME.fullmatch(name)
    key = found["key"].replace(_SLASH, "/") if found else ""
    if found is None or not KEY.fullmatch(key):
        return None
    return TrashedObject(name, key, size_bytes, float(found["at"]))
