"""What a load costs: processor seconds of the server's processes, their memory, and what else kept the machine busy."""

import contextlib
import resource
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil

MIB = 1 << 20
_SAMPLE_S = 0.1


@dataclass(frozen=True)
class Cpu:
    """Processor seconds during a load. `other_share`: of the machine's processors, what neither server nor load
    took."""

    server_s: float
    postgres_s: float
    other_share: float


@dataclass(frozen=True)
class Memory:
    """Memory of a server's processes in MiB; Postgres apart."""

    rss_mib: float
    pss_mib: float
    postgres_pss_mib: float


class CpuMeter:
    """Measures from `start` to `stop`."""

    def __init__(self, root: psutil.Process | None) -> None:
        self._root = root
        self._before = self._now()
        self._started_s = time.monotonic()

    def stop(self) -> Cpu:
        """What was used since this meter was made."""
        elapsed_s = time.monotonic() - self._started_s
        server, postgres, machine, load = (now - before for now, before in zip(self._now(), self._before, strict=True))
        other_s = max(0.0, machine - server - postgres - load)
        return Cpu(server, postgres, other_s / (elapsed_s * (psutil.cpu_count() or 1)))

    def _now(self) -> tuple[float, float, float, float]:
        server, postgres = _cpu_seconds(tree(self._root))
        times = psutil.cpu_times()
        machine = times.user + times.nice + times.system + times.irq + times.softirq
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return server, postgres, machine, sum(usage.ru_utime + usage.ru_stime for usage in own)


def tree(root: psutil.Process | None) -> list[psutil.Process]:
    """`root` and all processes below it."""
    if root is None:
        return []
    with contextlib.suppress(psutil.NoSuchProcess):
        return [root, *root.children(recursive=True)]
    return []


def memory(root: psutil.Process) -> Memory:
    """Memory of the tree below `root`, now."""
    rss = pss = postgres_pss = 0
    for process in tree(root):
        with contextlib.suppress(psutil.NoSuchProcess):
            full = process.memory_full_info()
            if is_postgres(process):
                postgres_pss += full.pss
            else:
                rss, pss = rss + full.rss, pss + full.pss
    return Memory(rss / MIB, pss / MIB, postgres_pss / MIB)


def is_postgres(process: psutil.Process) -> bool:
    """Whether a process is one of the embedded database's."""
    return "postgres" in process.name()


@contextlib.contextmanager
def peaks(processes: Iterable[psutil.Process]) -> Iterator[dict[int, int]]:
    """While the block runs: by process id, how many bytes its resident memory grew at most."""
    watched = list(processes)
    before = {process.pid: process.memory_info().rss for process in watched}
    grown = dict.fromkeys(before, 0)
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_SAMPLE_S):
            for process in watched:
                with contextlib.suppress(psutil.NoSuchProcess):
                    rss = process.memory_info().rss
                    grown[process.pid] = max(grown[process.pid], rss - before[process.pid])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield grown
    finally:
        is_over.set()
        thread.join()


def _cpu_seconds(processes: Iterable[psutil.Process]) -> tuple[float, float]:
    """Of the server and of Postgres. A process that ended is in its parent's count of children."""
    server = postgres = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            used = sum(process.cpu_times()[:4])
            if is_postgres(process):
                postgres += used
            else:
                server += used
    return server, postgres
