"""What rows do beside measuring."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.benchmarks.bench import Bench
from tests.benchmarks.contestants import Contestant
from tests.benchmarks.rows.base import Sample
from tests.benchmarks.rows.memory import PushMemoryRow
from tests.benchmarks.scale import FULL, LARGE_BYTES


def _blob(folder: Path, name: str) -> None:
    with (folder / name).open("wb") as file:
        file.truncate(LARGE_BYTES)  # a hole: it takes no room


class _Server(Contestant):
    """Runs nothing, and remembers whether it would."""

    def __init__(self) -> None:
        self.is_running = True

    def start(self) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def settle(self) -> None:
        assert self.is_running


class _ServerOnS3(_Server):
    """The same program, with its blobs elsewhere."""


class _AnotherProgram(Contestant):
    """It shares no memory with them."""

    def __init__(self) -> None:
        pass


def test_memory_at_rest_is_measured_without_another_server_of_the_same_program(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FULL, say=lambda _text: None)
    own, on_s3 = _Server(), _ServerOnS3()
    bench.contestants = {"portolan": own, "portolan:s3": on_s3, "nginx": _AnotherProgram()}
    with bench.without_twins("portolan"):
        assert (own.is_running, on_s3.is_running) == (True, False)
    assert on_s3.is_running


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


@pytest.mark.parametrize(("load_s", "rounds"), [(FULL.seconds, FULL.rounds), (FULL.seconds / 2, 9), (0.1, 9)])
def test_a_row_of_short_loads_is_measured_in_more_turns(tmp_path: Path, load_s: float, rounds: int) -> None:
    bench = Bench(tmp_path, FULL, say=lambda _text: None)
    sample = Sample(value=1, elapsed_s=load_s)
    row: Any = SimpleNamespace(
        name="row", unit="", who=("portolan", "v3", "debian"), most_rounds=9, measure=lambda _bench, _who: sample
    )
    measured = {who: len(samples) for who, samples in bench.measure(row).samples.items()}
    assert measured == {"portolan": rounds, "v3": rounds, "debian": 1}
