"""What a load costs: processor seconds of the server's processes, their memory, and what else kept the machine busy."""

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import psutil

MIB = 1 << 20
_SAMPLE_S = 0.1
_KERNEL_THREADS = 2  # the parent of all of them, where it can be seen: not in a container


@dataclass(frozen=True)
class Cpu:
    """Processor seconds of a server during a load, and shares of the machine's processors that went elsewhere: to the
    servers that are not measured just now, to the kernel's own threads (writing back, above all), and to other work:
    processes that are none of the bench's, and what the host gave to other machines."""

    server_s: float
    postgres_s: float
    resting_share: float
    kernel_share: float
    other_share: float


@dataclass(frozen=True)
class Memory:
    """Memory of a server's processes in MiB; Postgres apart."""

    rss_mib: float
    pss_mib: float
    postgres_pss_mib: float


class Kind(Enum):
    """Whose processor time it is. The bench's own is the load, and what it started beside the servers."""

    SERVER = auto()
    POSTGRES = auto()
    RESTING = auto()
    BENCH = auto()
    KERNEL = auto()
    OTHER = auto()


@dataclass(frozen=True)
class Process:
    """A process at a moment. `used_s` are its processor seconds, with those of its children that ended."""

    parent: int
    name: str
    used_s: float


@dataclass(frozen=True)
class Moment:
    """All processes of the machine by number, and the seconds that the host has kept from it so far."""

    at_s: float
    processes: Mapping[int, Process]
    stolen_s: float = 0.0

    @classmethod
    def now(cls) -> "Moment":
        found = psutil.process_iter(["ppid", "name", "cpu_times"])
        processes = {
            process.pid: Process(process.info["ppid"], process.info["name"], sum(process.info["cpu_times"][:4]))
            for process in found
            if process.info["cpu_times"] is not None
        }
        return cls(time.monotonic(), processes, psutil.cpu_times().steal)


class CpuMeter:
    """Measures from when it is made to `stop`. `root`: the first process of the server, `resting`: those of the servers
    that are started but not measured."""

    def __init__(self, root: psutil.Process | None, resting: Iterable[psutil.Process] = ()) -> None:
        self._roots = {process.pid: Kind.RESTING for process in resting} | {os.getpid(): Kind.BENCH}
        if root is not None:
            self._roots[root.pid] = Kind.SERVER
        self._before = Moment.now()

    def stop(self) -> Cpu:
        """What was used since this meter was made."""
        return used(self._before, Moment.now(), self._roots)


def used(before: Moment, after: Moment, roots: Mapping[int, Kind]) -> Cpu:
    """What was used between two moments. A process is of the kind of the nearest of `roots` above it.

    The processes are summed up, and not taken from the machine's total: the kernel may count the time of interrupts (on
    loopback, a good part of all work) in the total alone.
    """
    earlier, later = _by_kind(before, roots), _by_kind(after, roots)
    seconds = {kind: later[kind] - earlier[kind] for kind in Kind}
    seconds[Kind.OTHER] += after.stolen_s - before.stolen_s
    machine_s = (after.at_s - before.at_s) * (psutil.cpu_count() or 1)
    elsewhere = (max(0.0, seconds[kind]) / machine_s for kind in (Kind.RESTING, Kind.KERNEL, Kind.OTHER))
    return Cpu(seconds[Kind.SERVER], seconds[Kind.POSTGRES], *elsewhere)


def _by_kind(moment: Moment, roots: Mapping[int, Kind]) -> dict[Kind, float]:
    seconds = dict.fromkeys(Kind, 0.0)
    for pid, process in moment.processes.items():
        kind = _kind(pid, moment.processes, roots)
        is_database = kind is Kind.SERVER and _is_postgres(process.name)
        seconds[Kind.POSTGRES if is_database else kind] += process.used_s
    return seconds


def _kind(pid: int, processes: Mapping[int, Process], roots: Mapping[int, Kind]) -> Kind:
    while pid in processes:
        if pid in roots:
            return roots[pid]
        if pid == _KERNEL_THREADS and processes[pid].name == "kthreadd":
            return Kind.KERNEL
        pid = processes[pid].parent
    return Kind.OTHER


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
            if _is_postgres(process.name()):
                postgres_pss += full.pss
            else:
                rss, pss = rss + full.rss, pss + full.pss
    return Memory(rss / MIB, pss / MIB, postgres_pss / MIB)


def _is_postgres(name: str) -> bool:
    return "postgres" in name


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
