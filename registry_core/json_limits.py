"""How much of a JSON document may be parsed in a serving process.

The cost of parsing grows with the number of objects, lists and values rather than with the bytes: a MiB of empty lists
blocks the process for a quarter of a second and takes some 30 MiB.
"""

from __future__ import annotations

from typing import Final

# More than an index of 4,096 manifests has, with a platform and annotations each.
CONTAINERS_MAX: Final = 20_000
MEMBERS_MAX: Final = 100_000


def excess(content: bytes) -> str:
    """What a JSON document has too much of to be parsed here; empty if it is within the limits.

    Characters inside strings are counted as well, and the message says what is counted: telling them apart would cost
    as much as parsing.
    """
    if content.count(b"{") + content.count(b"[") > CONTAINERS_MAX:
        return f"more than {CONTAINERS_MAX} opening braces and brackets"
    if content.count(b",") + content.count(b":") > MEMBERS_MAX:
        return f"more than {MEMBERS_MAX} commas and colons"
    return ""
