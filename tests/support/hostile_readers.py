"""Functions for the sandbox that do what a function that was taken over by its input might do."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable


def echo(source, **arguments):  # type: ignore[no-untyped-def]
    """What it was given."""
    return {"content": source.read_all(), **arguments}


def size(source):  # type: ignore[no-untyped-def]
    """How much it was given."""
    return len(source.read_all())


def spin(_source):  # type: ignore[no-untyped-def]
    """Use the processor for ever."""
    while True:
        pass


def hang(_source):  # type: ignore[no-untyped-def]
    """Wait for ever, and let no signal that can be caught end it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1000)


def swell(_source):  # type: ignore[no-untyped-def]
    """Take all memory."""
    return [bytearray(1 << 20) for _ in range(1 << 20)]


def flood(_source):  # type: ignore[no-untyped-def]
    """Return more than anybody wants."""
    return b"x" * (8 << 20)


def flood_directly(_source):  # type: ignore[no-untyped-def]
    """Write without end, past what counts it here."""
    while True:
        os.write(1, b"+" * 65_536)


def crash(_source):  # type: ignore[no-untyped-def]
    """A fault of memory."""
    ctypes.string_at(0)


def fail(_source):  # type: ignore[no-untyped-def]
    """A fault of ours."""
    raise KeyError("a secret")


def lie(_source):  # type: ignore[no-untyped-def]
    """Another result than was promised."""
    return {"no": "such result"}


def nest(_source: object) -> object:
    """Call itself without end."""
    return nest(_source)


def try_all(_source: object, *, parent: int, path: str) -> list[str]:
    """Everything that is none of its business; what of that was possible."""
    attempts: dict[str, Callable[[], object]] = {
        "write a file": lambda: open(path, "w").close(),
        "read a file": lambda: open("/etc/passwd").close(),
        "make a folder": lambda: os.mkdir(path + ".d"),
        "make a socket": lambda: socket.socket().close(),
        "start a process": lambda: os.fork() or os._exit(0),
        "run a program": lambda: os.execv(sys.executable, ["python"]),  # noqa: S606
        "signal its parent": lambda: os.kill(parent, 0),
        "have files": lambda: os.fstat(3),
    }
    possible = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        possible.append(name)
    return possible
