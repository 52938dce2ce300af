"""How much of a JSON document is parsed in a process that serves.

What parsing costs grows with the objects, lists and values rather than with the bytes: a MiB of empty lists takes a
quarter of a second, in which the process does nothing else, and some 30 MiB.
"""

from __future__ import annotations

from typing import Final

# More than an index of 4,096 manifests has, with a platform and annotations each.
CONTAINERS_MAX: Final = 20_000
MEMBERS_MAX: Final = 100_000


def excess(content: bytes) -> str:
    """What a JSON document has more of than is parsed here; empty when nothing.

    What stands in texts is counted as well, and the answer says what is counted: to tell the two apart takes as long
    as to parse.
    """
    if content.count(b"{") + content.count(b"[") > CONTAINERS_MAX:
        return f"more than {CONTAINERS_MAX} opening braces and brackets"
    if content.count(b",") + content.count(b":") > MEMBERS_MAX:
        return f"more than {MEMBERS_MAX} commas and colons"
    return ""
