"""A function in the sandbox can do nothing but read its input, and ends with a clear reason whatever it does."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_core.sandbox import places
from registry_core.sandbox.errors import (
    Damaged,
    SandboxBusy,
    SandboxUnavailable,
    TooLarge,
    TooSlow,
    Unreadable,
)
from registry_core.sandbox.packing import pack
from registry_core.sandbox.places import JOBS_MAX, SHARE_MAX, Queue
from registry_core.sandbox.reading import Limits, Reader, read
from registry_core.storage.interface import ObjectMissing
from tests.support.waiting import wait_until

MIB = 1 << 20
SHORT = Limits(cpu_s=1, wall_s=2.0)


def hostile(function: str, limits: Limits = SHORT, result: type[Any] = object) -> Reader[Any]:
    return Reader("tests.support.hostile_readers", function, result, limits)


def run(function: str, limits: Limits = SHORT, **arguments: Any) -> Any:
    return read(hostile(function, limits), [b""], share="test", **arguments)


def children() -> list[psutil.Process]:
    """Those of this process that read something now."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "registry_core.sandbox.child" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]
    assert not children()


def test_a_function_gets_the_content_and_its_arguments(tmp_path: Path) -> None:
    file = tmp_path / "object"
    file.write_bytes(b"from a file")
    assert read(hostile("echo"), file, share="test", name="a\0b", numbers=[1, -1]) == {
        "content": b"from a file", "name": "a\0b", "numbers": [1, -1],
    }  # fmt: skip
    assert read(hostile("echo"), iter([b"", b"in ", b"pieces"]), share="test") == {"content": b"in pieces"}


def test_much_content_goes_through_a_pipe_and_a_file(tmp_path: Path) -> None:
    piece = os.urandom(MIB)
    (tmp_path / "object").write_bytes(piece * 20)
    assert read(hostile("size"), (piece for _ in range(20)), share="test") == 20 * MIB
    assert read(hostile("size"), tmp_path / "object", share="test") == 20 * MIB


@pytest.mark.parametrize("is_file", [True, False])
def test_more_content_than_allowed_is_refused_without_reading_it_all(tmp_path: Path, is_file: bool) -> None:
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield bytes(MIB)

    (tmp_path / "object").touch()
    os.truncate(tmp_path / "object", 1 << 40)
    with pytest.raises(TooLarge, match="larger than 1048576 bytes"):
        read(hostile("size", Limits(input_bytes=MIB)), tmp_path / "object" if is_file else pieces(), share="test")
    assert taken < 10


@pytest.mark.parametrize(
    ("function", "error", "reason"),
    [
        ("spin", TooSlow, "too long"),
        ("hang", TooSlow, "too long"),
        ("swell", TooLarge, "memory"),
        ("flood", TooLarge, "larger than"),
        ("flood_directly", TooLarge, "too large"),
        ("crash", Damaged, "cannot be read"),
        ("fail", Damaged, "cannot be read"),
        ("lie", Damaged, "cannot be read"),
        ("nest", Damaged, "nested too deeply"),
    ],
)
def test_whatever_a_function_does_ends_in_time_with_a_reason(
    function: str, error: type[Unreadable], reason: str
) -> None:
    begin_s, memory = time.monotonic(), psutil.Process().memory_info().rss
    with pytest.raises(error, match=reason) as raised:
        read(hostile(function, result=int), [b""], share="test")
    assert time.monotonic() - begin_s < 10
    assert psutil.Process().memory_info().rss - memory < 16 * MIB
    assert "secret" not in str(raised.value)


def test_a_function_reaches_no_file_no_network_no_process(tmp_path: Path) -> None:
    possible = run("try_all", parent=os.getpid(), path=str(tmp_path / "made"))
    assert possible == []
    assert not list(tmp_path.iterdir())


def python_for_everybody() -> str:
    """An interpreter of this version that an ordinary user may run."""
    own = Path(sys.executable).resolve()
    folders = [own, *own.parents]
    if all(folder.stat().st_mode & 0o005 for folder in folders):
        return sys.executable
    return shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin") or pytest.skip(
        "there is no interpreter that ordinary users may run"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_nothing_more_is_possible_where_an_ordinary_user_reads(tmp_path: Path) -> None:
    code = (
        "import os, sys\nos.setgid(65533)\nos.setuid(65533)\n"
        "from registry_core.sandbox.reading import Reader, read\n"
        "reader = Reader('tests.support.hostile_readers', 'try_all', list)\n"
        "print(read(reader, [b''], share='x', parent=os.getpid(), path=sys.argv[1]))"
    )
    ours = os.pathsep.join([str(Path(__file__).parents[2]), *(e for e in sys.path if e.endswith("site-packages"))])
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are nobody else's to enter
        Path(folder).chmod(0o777)
        done = subprocess.run(
            [python_for_everybody(), "-B", "-c", code, f"{folder}/made"],
            capture_output=True, text=True, check=False, cwd="/",
            env=os.environ | {"PORTOLAN_DATA": folder, "PYTHONPATH": ours},
        )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr


def test_limits_that_are_lower_already_stay() -> None:
    code = (
        "import resource\n"
        "for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE): resource.setrlimit(what, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (600, 600))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGXCPU])\n"
        "from tests.registry_core.test_sandbox import run\nfrom registry_core.sandbox.errors import TooSlow\n"
        "print(run('echo'))\n"
        "try: run('hang')\nexcept TooSlow: print('ended')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert {"{'content': b''}", "ended"} <= set(done.stdout.splitlines()), done.stderr


def test_a_child_that_is_killed_is_said_to_be_tried_again() -> None:
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(run, "spin", Limits(cpu_s=60, wall_s=60.0))
        wait_until(lambda: bool(children()), what="it reads")
        for child in children():
            child.kill()
        with pytest.raises(SandboxUnavailable, match="try again"):
            reading.result()


def test_a_child_ends_with_its_killed_parent() -> None:
    code = (
        "from tests.registry_core.test_sandbox import *\n"
        "run('spin', Limits(cpu_s=600, wall_s=600.0))"
    )  # fmt: skip
    parent = subprocess.Popen([sys.executable, "-c", code])
    started = psutil.Process(parent.pid)
    wait_until(lambda: bool(started.children()), what="it reads")
    child = started.children()[0]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, what="the child ends")
    assert run("echo") == {"content": b""}  # and its place is free


def test_an_object_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        read(hostile("echo"), tmp_path / "none", share="test")


def test_an_error_of_the_source_ends_the_child() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise ConnectionError("the store is gone")

    with pytest.raises(ConnectionError):
        read(hostile("echo"), pieces(), share="test")


def test_where_no_process_can_be_started_it_is_said_to_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_core.sandbox.reading._command", lambda: ["/nonexistent/python"])
    with pytest.raises(SandboxUnavailable, match="try again"):
        run("echo")


def test_no_secret_of_the_registry_is_in_the_childs_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTOLAN_DATABASE_URL", "postgresql://secret")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(run, "hang")
        wait_until(lambda: bool(children()), what="it reads")
        assert b"secret" not in Path(f"/proc/{children()[0].pid}/environ").read_bytes()
        with pytest.raises(TooSlow):
            reading.result()


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_packed_is_what_is_unpacked(value: Any) -> None:
    assert msgspec.msgpack.decode(pack(value)) == value


@given(st.binary(max_size=300))
def test_no_message_of_a_child_is_taken_for_more_than_it_is(message: bytes) -> None:
    """A child that was taken over writes what it likes: it is decoded strictly, or refused."""
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        found = msgspec.msgpack.decode(message, type=list[dict[str, str]])
        assert all(isinstance(value, str) for entry in found for value in entry.values())


class Jobs:
    """Jobs in threads, each of which has its place until it is told to end."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.begun: list[str] = []
        self.refused: list[str] = []
        self.threads: list[threading.Thread] = []
        self.may_end = threading.Semaphore(0)

    def add(self, share: str) -> None:
        """One more job; returns when it is in the queue, has its place, or was refused."""
        known = len(self.queue._jobs) + len(self.refused)
        thread = threading.Thread(target=self._work, args=(share,), daemon=True)
        self.threads.append(thread)
        thread.start()
        wait_until(lambda: len(self.queue._jobs) + len(self.refused) > known, what="the job is known")

    def _work(self, share: str) -> None:
        try:
            with self.queue.turn(share):
                self.begun.append(share)
                self.may_end.acquire()
        except SandboxBusy:
            self.refused.append(share)

    def finish(self) -> None:
        """Let all end that are there."""
        while any(thread.is_alive() for thread in self.threads):
            self.may_end.release()
            time.sleep(0.01)


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    class OnePlace:
        run_dir = tmp_path
        sandboxes_at_once = 1

    monkeypatch.setattr(places, "get_config", OnePlace)
    made = Jobs()
    yield made
    made.finish()


def begun(jobs: Jobs, number: int) -> Callable[[], bool]:
    return lambda: len(jobs.begun) >= number


def test_who_asks_for_the_most_waits_the_longest(jobs: Jobs) -> None:
    for share in ("greedy", "greedy", "greedy", "modest"):
        jobs.add(share)
    wait_until(begun(jobs, 1), what="one has a place")
    jobs.may_end.release()
    wait_until(begun(jobs, 2), what="the next has it")
    assert jobs.begun == ["greedy", "modest"]


def test_one_client_may_not_ask_for_more_than_its_share(jobs: Jobs) -> None:
    for _ in range(SHARE_MAX + 2):
        jobs.add("greedy")
    assert jobs.refused == ["greedy", "greedy"]


def test_two_clients_cannot_take_all_places_from_a_third(jobs: Jobs) -> None:
    for _ in range(JOBS_MAX // 2):
        jobs.add("greedy")
        jobs.add("greedy too")
    jobs.add("modest")
    wait_until(lambda: len(jobs.refused) == 1, what="one gives up its place")
    assert jobs.refused[0].startswith("greedy")
    jobs.may_end.release()
    wait_until(begun(jobs, 2), what="another has a place")
    jobs.may_end.release()
    wait_until(begun(jobs, 3), what="another has a place")
    assert "modest" in jobs.begun


def test_the_places_of_a_machine_are_shared_by_its_processes(jobs: Jobs, tmp_path: Path) -> None:
    code = (
        "import fcntl, sys\nfile = open(sys.argv[1], 'w')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('has it', flush=True)\nsys.stdin.read()"
    )
    lock = tmp_path / "sandbox-0.lock"
    other = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"has it\n"
    jobs.add("here")
    assert jobs.begun == []
    other.kill()
    other.wait()
    wait_until(begun(jobs, 1), what="the place of a dead process is free")
