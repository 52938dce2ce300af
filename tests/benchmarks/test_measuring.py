"""Other work is what neither the bench nor its servers nor the kernel did."""

import psutil
import pytest

from tests.benchmarks.measuring import Kind, Moment, Process, used

BENCH, SERVER, RESTING = 100, 200, 300
ROOTS = {BENCH: Kind.BENCH, SERVER: Kind.SERVER, RESTING: Kind.RESTING}
_QUIET = {
    1: Process(0, "init", 5.0),
    2: Process(0, "kthreadd", 0.0),
    3: Process(2, "kworker/0:1", 40.0),
    BENCH: Process(1, "python", 10.0),
    SERVER: Process(BENCH, "portolan", 2.0),
    201: Process(SERVER, "portolan-serve", 3.0),
    202: Process(SERVER, "postgres", 4.0),
    RESTING: Process(BENCH, "registry", 6.0),
}


@pytest.fixture(autouse=True)
def _one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda: 1)


def _later(changed: dict[int, Process], *, gone: tuple[int, ...] = (), stolen_s: float = 0.0) -> Moment:
    processes = {pid: process for pid, process in (_QUIET | changed).items() if pid not in gone}
    return Moment(10.0, processes, stolen_s)


def test_a_server_and_its_database_are_told_apart_and_are_no_other_work() -> None:
    later = _later({201: Process(SERVER, "portolan-serve", 8.0), 202: Process(SERVER, "postgres", 5.0)})
    cpu = used(Moment(0.0, _QUIET), later, ROOTS)
    assert (cpu.server_s, cpu.postgres_s) == (5.0, 1.0)
    assert (cpu.resting_share, cpu.kernel_share, cpu.other_share) == (0.0, 0.0, 0.0)


def test_what_the_bench_started_is_no_other_work_even_while_it_runs() -> None:
    later = _later({400: Process(BENCH, "loadgen", 3.0), 401: Process(BENCH, "minio", 2.0)})
    assert used(Moment(0.0, _QUIET), later, ROOTS).other_share == 0.0


def test_servers_at_rest_and_kernel_threads_have_shares_of_their_own() -> None:
    later = _later({RESTING: Process(BENCH, "registry", 7.0), 3: Process(2, "kworker/0:1", 42.0)})
    cpu = used(Moment(0.0, _QUIET), later, ROOTS)
    assert (cpu.resting_share, cpu.kernel_share, cpu.other_share) == (0.1, 0.2, 0.0)


def test_a_strangers_work_is_other_work_while_it_runs_and_when_it_ended() -> None:
    before = Moment(0.0, _QUIET | {500: Process(1, "cc", 1.0)})
    assert used(before, _later({500: Process(1, "cc", 4.0)}), ROOTS).other_share == pytest.approx(0.3)
    # Its parent has waited for it: all its time is in the parent's count now.
    ended = _later({1: Process(0, "init", 9.0)}, gone=(500,))
    assert used(before, ended, ROOTS).other_share == pytest.approx(0.3)


def test_what_the_host_gave_to_other_machines_is_other_work() -> None:
    assert used(Moment(0.0, _QUIET, 1.0), _later({}, stolen_s=3.0), ROOTS).other_share == pytest.approx(0.2)


def test_a_child_of_the_server_that_ended_still_counts_as_the_servers() -> None:
    later = _later({SERVER: Process(BENCH, "portolan", 9.0)}, gone=(201,))
    assert used(Moment(0.0, _QUIET), later, ROOTS).server_s == 4.0


def test_this_process_is_seen_with_its_parent() -> None:
    seen = Moment.now().processes[psutil.Process().pid]
    assert seen.parent == psutil.Process().ppid()
    assert seen.used_s > 0
