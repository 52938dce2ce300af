"""What the processes of one machine share: the generations of its data folder, and the machine's own id."""

from __future__ import annotations

import functools
import uuid
from pathlib import Path

from registry_core.config import get_config
from registry_core.generations import Generations
from registry_core.secretfiles import read_or_create_secret


def run_folder() -> Path:
    """DATA/run: what lives no longer than the processes of this machine."""
    return get_config().data / "run"


@functools.cache
def generations() -> Generations:
    """The generations that every process on this data folder shares."""
    return Generations(run_folder() / "generations")


@functools.cache
def machine_id() -> str:
    """An id of this data folder, the same in each of its processes; made at first use."""
    return read_or_create_secret(run_folder() / "machine-id", make=lambda: uuid.uuid4().hex)
