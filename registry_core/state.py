"""What the processes of one machine share: the generations, and the machine's own id."""

from __future__ import annotations

import functools
import uuid

from registry_core.config import get_config
from registry_core.generations import Generations
from registry_core.secretfiles import read_or_create_secret


@functools.cache
def generations() -> Generations:
    """The generations that every process of this machine shares."""
    return Generations(get_config().run_dir / "generations")


@functools.cache
def machine_id() -> str:
    """The id of this machine, the same in each of its processes; made at first use."""
    return read_or_create_secret(get_config().run_dir / "machine-id", make=lambda: uuid.uuid4().hex)
