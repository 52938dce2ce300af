"""This Python for accounts without rights, where it lies in a folder that only root may enter.

The command runs in a mount namespace of its own, so that nothing on the machine changes: each closed folder on the way
is covered there by an empty open one, in which only Python itself is mounted.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

OTHERS_MAY_ENTER = 0o001


def reachable(command: list[str], *, scratch: Path) -> list[str]:
    """`command` so that it can be run as any account; `scratch` is a folder of the test's own. For root only."""
    steps = ["set -e"]
    for number, place in enumerate(_closed_places()):
        kept = scratch / f"python-{number}"
        closed = _first_closed(place)
        assert closed is not None
        steps += [
            f"mkdir -p {_quoted(kept)}",
            f"mount --bind {_quoted(place)} {_quoted(kept)}",
            f"mount -t tmpfs -o mode=0755 tmpfs {_quoted(closed)}",
            f"mkdir -p {_quoted(place)}",
            f"mount --bind {_quoted(kept)} {_quoted(place)}",
        ]
    script = "; ".join([*steps, 'exec "$@"'])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *command]


def _closed_places() -> list[Path]:
    """Where Python and this code lie, as far as not everybody may go there."""
    code = Path(__file__).parents[2]
    places = dict.fromkeys([Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), code])
    return [place for place in places if _first_closed(place) is not None]


def _first_closed(place: Path) -> Path | None:
    steps = [*reversed(place.parents), place]
    return next((step for step in steps if not os.stat(step).st_mode & OTHERS_MAY_ENTER), None)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
