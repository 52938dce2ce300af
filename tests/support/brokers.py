"""A Valkey of a test's own: the one that all tests share has the jobs of others in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry_core.wiring.supervisor.valkey import EmbeddedValkey


@contextmanager
def own_broker() -> Iterator[str]:
    """The URL of an empty broker, which ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="portolan-broker-"))
    folder.chmod(0o711)  # Valkey runs as a user of its own when the tests run as root
    try:
        with (folder / "valkey.log").open("wb") as log:
            broker = EmbeddedValkey(folder, log=log)
            try:
                yield broker.start()
            finally:
                broker.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
