"""Reads untrusted content in a child process, which is started for one job, with limits, and ends with it.

Nothing runs while nothing is read, and nothing outlives a job: the kernel ends a child whose parent has ended or whose
time is up. The cost of starting an interpreter, and why there is no server to fork from, is in
docs/adr/0007-sandbox.md.
"""

from __future__ import annotations

import binascii
import functools
import marshal
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

from registry_core import logs
from registry_core.sandbox import child
from registry_core.sandbox.errors import Damaged, SandboxUnavailable, TooLarge, TooSlow
from registry_core.sandbox.places import place
from registry_core.storage.interface import ObjectMissing, ObjectStore

T = TypeVar("T")
Source = Path | Iterable[bytes]
"""The source: a file, which is opened for the child, or pieces, which are written to it."""

START_S: Final = 10.0  # enough to start an interpreter on the busiest machine
_ARGUMENTS_MAX_BYTES: Final = 64 << 10
_PIECE_BYTES: Final = 64 << 10
_TOO_SLOW: Final = frozenset({signal.SIGXCPU, signal.SIGALRM})
_CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
)
_logger = logs.get_logger("portolan.sandbox")


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one job. `memory_bytes` is address space, of which the interpreter itself takes some 40 MiB."""

    memory_bytes: int = 256 << 20
    cpu_s: int = 3
    wall_s: float = 10.0
    input_bytes: int = 64 << 20
    output_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True)
class Reader(Generic[T]):
    """A function that may run in the child: pure, in a module that imports as little as possible.

    It gets an `Input` and keyword arguments, and returns what `packing.pack` accepts and msgspec decodes as `result`.
    """

    module: str
    function: str
    result: type[T]
    limits: Limits = field(default_factory=Limits)


def read(reader: Reader[T], source: Source, *, share: str, **arguments: Any) -> T:
    """Run `reader` on the content and return its result.

    `share` names the client: each has as many places as any other (see `places`). Blocks, so call it in a thread.
    Raises TooLarge, TooSlow or Damaged for content that cannot be read, SandboxBusy or SandboxUnavailable (try again),
    and what `source` raises.
    """
    with place(share):
        packed = _message_of(reader, source, arguments)
    try:
        return msgspec.msgpack.decode(packed, type=reader.result)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Damaged("it cannot be read") from None


def source_in(store: ObjectStore, key: str) -> Source:
    """An object of a store: as a file if there is one, so that its bytes do not pass through this process."""
    located = store.locate(key)
    return located if isinstance(located, Path) else store.read(key)


def _message_of(reader: Reader[Any], source: Source, arguments: dict[str, Any]) -> bytes:
    limits = reader.limits
    until_s = time.monotonic() + START_S + limits.wall_s
    with _started(reader, source, arguments) as process:
        pieces = iter(()) if isinstance(source, Path) else iter(source)
        message = _Exchange(process, pieces, limits.output_bytes + 1, until_s).message()
        code = _exit_code(process, until_s)
    return _result(message, code, reader)


@contextmanager
def _started(reader: Reader[Any], source: Source, arguments: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """The child. It is ended when the block ends, in any way."""
    environment = {child.JOB: _job(reader, arguments)}
    with _opened(source) as content:
        try:
            process = subprocess.Popen(
                _command(), stdin=content, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd="/"
            )
        except OSError as error:
            raise SandboxUnavailable(f"no process could be started to read it ({error.strerror}): try again") from None
    try:
        yield process
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


@contextmanager
def _opened(source: Source) -> Iterator[int]:
    if not isinstance(source, Path):
        yield subprocess.PIPE
        return
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ObjectMissing("reading an object: the object is missing") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@functools.cache
def _command() -> list[str]:
    """A minimal interpreter: no site module, no environment, no user folder; the same import path as ours."""
    path = [entry for entry in sys.path if entry]
    code = f"import sys; sys.path[:] = {path!r}; from registry_core.sandbox.child import main; main()"
    return [sys.executable, "-I", "-S", *(["-B"] if sys.dont_write_bytecode else []), "-c", code]


def _job(reader: Reader[Any], arguments: dict[str, Any]) -> bytes:
    limits = reader.limits
    job = {
        "module": reader.module,
        "function": reader.function,
        "arguments": arguments,
        "input_bytes": limits.input_bytes,
        "output_bytes": limits.output_bytes,
        "confine": {
            "parent": os.getpid(),
            "memory_bytes": limits.memory_bytes,
            "cpu_s": limits.cpu_s,
            "wall_s": limits.wall_s,
        },
    }
    encoded = binascii.b2a_base64(marshal.dumps(job), newline=False)
    if len(encoded) > _ARGUMENTS_MAX_BYTES:
        raise TooLarge("the request is too long")
    return encoded


class _Exchange:
    """Feeds the child its content and receives its message, without either waiting for the other."""

    def __init__(
        self, process: subprocess.Popen[bytes], pieces: Iterator[bytes], message_max_bytes: int, until_s: float
    ) -> None:
        self._until_s = until_s
        self._pieces = pieces
        self._unwritten = memoryview(b"")
        self._message: list[bytes] = []
        self._left_bytes = message_max_bytes
        self._from, self._to = process.stdout, process.stdin
        self._poll = select.poll()
        if self._from is not None:
            self._poll.register(self._from, select.POLLIN)
        if self._to is not None:
            os.set_blocking(self._to.fileno(), False)
            self._poll.register(self._to, select.POLLOUT)

    def message(self) -> bytes:
        """The child's message, until it closes its output. Raises TooLarge or TooSlow."""
        while True:
            left_s = self._until_s - time.monotonic()
            ready = self._poll.poll(left_s * 1000) if left_s > 0 else []
            if not ready:
                raise TooSlow("reading it takes too long")
            for descriptor, _ in ready:
                if self._to is not None and descriptor == self._to.fileno():
                    self._write()
                elif not self._take(descriptor):
                    return b"".join(self._message)

    def _take(self, descriptor: int) -> bool:
        piece = os.read(descriptor, _PIECE_BYTES)
        self._message.append(piece)
        self._left_bytes -= len(piece)
        if self._left_bytes < 0:
            raise TooLarge("the result is too large")
        return bool(piece)

    def _write(self) -> None:
        assert self._to is not None  # noqa: S101 for the type checker
        try:
            while not self._unwritten:
                self._unwritten = memoryview(next(self._pieces))
            self._unwritten = self._unwritten[os.write(self._to.fileno(), self._unwritten[:_PIECE_BYTES]) :]
        except BlockingIOError:
            return
        except (StopIteration, BrokenPipeError):  # everything is written, or the child needs no more
            self._poll.unregister(self._to)
            self._to.close()
            self._to = None


def _exit_code(process: subprocess.Popen[bytes], until_s: float) -> int:
    try:
        return process.wait(max(0.0, until_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TooSlow("reading it takes too long") from None


def _result(message: bytes, code: int, reader: Reader[Any]) -> bytes:
    """The unpacked result of a successful job. Raises the error of a failed one."""
    kind, content = message[:1], message[1:]
    if code == 0 and kind == child.DONE:
        return content
    reason = content.decode("utf-8", errors="replace")
    if code == 0 and kind == child.TOO_LARGE:
        raise TooLarge(reason)
    if code == 0 and kind == child.DAMAGED:
        raise Damaged(reason)
    _logger.warning("content was not read", reader=reader.function, code=code, error=reason[:80])
    if -code in _TOO_SLOW:
        raise TooSlow("reading it takes too long")
    if -code in _CRASHES or (code == 0 and kind == child.UNEXPECTED):
        raise Damaged("it cannot be read")
    # The kernel also sends SIGKILL at the hard limit of processor time, and when memory runs out.
    raise SandboxUnavailable("the process that read it was killed: try again")
