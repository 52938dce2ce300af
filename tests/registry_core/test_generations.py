"""Generations: what one process changes, every other sees; and a dead writer blocks nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.machine.generations import MARKS, SLOTS, Generations, process_start_time
from tests.support.waiting import wait_until

KEY = "repository:1"
OTHER = "repository:2"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "generations"


@pytest.fixture
def generations(path: Path) -> Generations:
    return Generations(path)


@pytest.fixture
def dead_mark(path: Path) -> None:
    """A mark on KEY by a process that was killed while it changed things."""
    code = (
        "import sys, time, pathlib\nfrom registry_core.machine.generations import Generations\n"
        f"with Generations(pathlib.Path(sys.argv[1])).changing([{KEY!r}]):\n"
        "    print('marked', flush=True); time.sleep(600)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"marked\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()


def value(generations: Generations, key: str = KEY) -> int:
    return generations.value(generations.slot(key))


@given(st.text())
def test_every_key_has_a_slot(key: str) -> None:
    assert 0 <= Generations.slot(key) < SLOTS


def test_a_bump_changes_its_key_for_every_process_and_no_other_key(generations: Generations, path: Path) -> None:
    another = Generations(path)
    before, before_other = value(another), value(another, OTHER)
    generations.bump([KEY])
    assert value(another) != before
    assert value(another, OTHER) == before_other


def test_a_change_is_unclean_while_it_goes_on_and_another_generation_after(generations: Generations) -> None:
    before = value(generations)
    assert generations.is_clean(before)
    with generations.changing([KEY, KEY]):
        assert not generations.is_clean(value(generations))
        assert generations.is_clean(value(generations, OTHER))
    assert generations.is_clean(value(generations))
    assert value(generations) != before


def test_a_change_that_fails_bumps_too(generations: Generations) -> None:
    before = value(generations)
    with pytest.raises(ZeroDivisionError), generations.changing([KEY]):
        _ = 1 / 0
    assert generations.is_clean(value(generations))
    assert value(generations) != before


def test_two_changes_at_once_are_unclean_until_both_ended(generations: Generations, path: Path) -> None:
    another = Generations(path)
    with generations.changing([KEY]):
        with another.changing([KEY]):
            inner = value(generations)
        assert not generations.is_clean(value(generations))
        assert value(generations) != inner
    assert generations.is_clean(value(generations))


@given(st.lists(st.lists(st.sampled_from([KEY, OTHER, "a", "b"]), max_size=4), max_size=12))
def test_no_generation_ever_comes_back(tmp_path_factory: pytest.TempPathFactory, changes: list[list[str]]) -> None:
    generations = Generations(tmp_path_factory.getbasetemp() / "generations-of-hypothesis")
    seen = {value(generations)}
    for keys in changes:
        with generations.changing(keys):
            pass
        if KEY in keys:
            assert value(generations) not in seen
            seen.add(value(generations))
        assert value(generations) in seen


@pytest.mark.usefixtures("dead_mark")
def test_the_mark_of_a_dead_process_is_cleared_by_a_bump(generations: Generations) -> None:
    marked = value(generations)
    assert not generations.is_clean(marked)
    assert generations.clear_dead() == 1
    assert generations.is_clean(value(generations))
    assert value(generations) >> 16 != marked >> 16
    assert generations.clear_dead() == 0


def test_the_mark_of_a_living_process_is_not_cleared(generations: Generations, path: Path) -> None:
    with generations.changing([KEY]):
        assert Generations(path).clear_dead() == 0
        assert not generations.is_clean(value(generations))


def test_more_marks_than_there_is_room_for_are_refused_and_leave_none(generations: Generations) -> None:
    before = value(generations, "key-0")
    with pytest.raises(RuntimeError, match="no room"), generations.changing(f"key-{n}" for n in range(MARKS + 500)):
        pass
    assert value(generations, "key-0") == before


def test_a_process_has_a_start_time_while_it_lives() -> None:
    assert process_start_time(os.getpid()) > 0
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    wait_until(lambda: process_start_time(ended.pid) == 0, what="the process is gone")


def test_a_process_that_ended_is_gone_even_if_nobody_asks_for_its_exit_code() -> None:
    ended = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    assert process_start_time(ended.pid) > 0
    ended.kill()
    wait_until(lambda: process_start_time(ended.pid) == 0, what="the process is gone")
    ended.wait()


def test_file_has_room_on_the_disk_for_all_of_it_also_when_an_earlier_release_made_it(tmp_path: Path) -> None:
    """A mapped page for which the disk has none is the end of the process that writes to it."""
    path = tmp_path / "generations"
    with path.open("wb") as file:
        file.truncate(700_000)
    Generations(path)
    status = path.stat()
    assert status.st_size == 700_000
    assert status.st_blocks * 512 >= 620_000
