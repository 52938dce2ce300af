"""Shared state of the processes of one machine: the generations, the machine's id, and the id of its last boot."""

from __future__ import annotations

import functools
import uuid
from pathlib import Path

from registry_core.config import get_config
from registry_core.machine.generations import Generations
from registry_core.machine.secretfiles import read_or_create_secret


@functools.cache
def generations() -> Generations:
    """The generations of this machine."""
    return Generations(get_config().run_dir / "generations")


@functools.cache
def machine_id() -> str:
    """The id of this machine, the same in each of its processes; created at first use."""
    return read_or_create_secret(get_config().run_dir / "machine-id", make=lambda: uuid.uuid4().hex)


@functools.cache
def boot_id() -> str:
    """The kernel's id of the machine's last boot; empty if the kernel has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
