"""The clock of periodic jobs."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from celery import Celery

from registry_core.jobs import periodic
from registry_core.wiring.celery import PunctualScheduler

EVERY_S = 1.0
TIMES = 3


def test_the_clock_sleeps_until_a_job_is_due_and_does_not_ask_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Celery("clock", broker="memory://")
    monkeypatch.setattr(periodic, "schedule", lambda: {"often": {"task": "often", "schedule": EVERY_S}})
    clock = PunctualScheduler(app, schedule_filename=str(tmp_path / "schedule"))
    sent_s: list[float] = []
    monkeypatch.setattr(clock, "apply_entry", lambda entry, producer: sent_s.append(time.monotonic()))
    asked = 0
    while len(sent_s) < TIMES:
        asked += 1
        time.sleep(max(0.0, clock.tick()))
    clock.close()
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(sent_s)]
    assert min(pauses_s) >= EVERY_S - 0.01
    assert asked <= 5 * TIMES
