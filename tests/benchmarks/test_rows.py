"""What rows do beside measuring."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from tests.benchmarks.rows.base import Sample
from tests.benchmarks.rows.memory import PushMemoryRow
from tests.benchmarks.scale import LARGE_BYTES


def _blob(folder: Path, name: str) -> None:
    with (folder / name).open("wb") as file:
        file.truncate(LARGE_BYTES)  # a hole: it takes no room


def test_blobs_that_were_pushed_for_their_memory_alone_leave_the_disk_again(tmp_path: Path) -> None:
    contestant = SimpleNamespace(folder=tmp_path, workers=lambda: [psutil.Process()])

    def load(_who: str, _work: Callable[[], object]) -> Sample:
        _blob(tmp_path, "pushed")
        (tmp_path / "small").write_bytes(b"log")
        return Sample(value=1, bytes=LARGE_BYTES, elapsed_s=1)

    _blob(tmp_path, "there before")
    bench: Any = SimpleNamespace(on=lambda _who: contestant, load=load)
    PushMemoryRow().measure(bench, "portolan")
    assert {path.name for path in tmp_path.iterdir()} == {"there before", "small"}
