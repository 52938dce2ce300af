"""What the processes of one machine share: the generations, the machine's own id, and that of its last start."""

from __future__ import annotations

import functools
import uuid
from pathlib import Path

from registry_core.config import get_config
from registry_core.machine.generations import Generations
from registry_core.machine.secretfiles import read_or_create_secret


@functools.cache
def generations() -> Generations:
    """The generations that every process of this machine shares."""
    return Generations(get_config().run_dir / "generations")


@functools.cache
def machine_id() -> str:
    """The id of this machine, the same in each of its processes; made at first use."""
    return read_or_create_secret(get_config().run_dir / "machine-id", make=lambda: uuid.uuid4().hex)


@functools.cache
def boot_id() -> str:
    """The id that the kernel gave itself when the machine was started; empty where a kernel has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
