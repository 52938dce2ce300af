"""The child: it imports one function, gives up everything but its input and its output, and runs it.

Its job is in its environment, the content arrives on its standard input, and it writes one message to its standard
output: a letter for the outcome, then the packed result or the reason.
"""

from __future__ import annotations

import binascii
import marshal
import os

from registry_core.sandbox.confinement import confine
from registry_core.sandbox.errors import Damaged, TooLarge
from registry_core.sandbox.packing import pack

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` takes as long as most jobs
    from collections.abc import Callable
    from typing import Any

JOB = "SANDBOX_JOB"
DONE, TOO_LARGE, DAMAGED, UNEXPECTED = b"+", b"L", b"D", b"?"
_REASON_CHARACTERS = 500
_PIECE_BYTES = 64 << 10


class Input:
    """The content: a stream of at most `limit_bytes`."""

    def __init__(self, descriptor: int, *, limit_bytes: int) -> None:
        self._descriptor = descriptor
        self._limit_bytes = limit_bytes
        self.read_bytes = 0

    def read(self) -> bytes:
        """The next piece; empty at the end. Raises TooLarge."""
        piece = os.read(self._descriptor, _PIECE_BYTES)
        self.read_bytes += len(piece)
        if self.read_bytes > self._limit_bytes:
            raise TooLarge(f"it is larger than {self._limit_bytes} bytes")
        return piece

    def read_all(self) -> bytes:
        """All of it. Raises TooLarge."""
        pieces = []
        while piece := self.read():
            pieces.append(piece)
        return b"".join(pieces)


def main() -> None:
    """Do the job and exit."""
    # Written by our parent, which runs the same interpreter; a text parser would be one more import.
    job = marshal.loads(binascii.a2b_base64(os.environb.pop(JOB.encode())))  # noqa: S302
    function = getattr(__import__(job["module"], fromlist=["_"]), job["function"])
    confine(**job["confine"])
    message = _run(function, Input(0, limit_bytes=job["input_bytes"]), job["arguments"], job["output_bytes"])
    os.close(0)  # tells the writer that no more input is needed
    left = memoryview(message)
    while left:
        left = left[os.write(1, left) :]
    os._exit(0)  # nothing is left to be done


def _run(function: Callable[..., object], source: Input, arguments: dict[str, Any], output_bytes: int) -> bytes:
    try:
        packed = pack(function(source, **arguments))
        if len(packed) > output_bytes:
            raise TooLarge(f"the result is larger than {output_bytes} bytes")
        return DONE + packed
    except TooLarge as error:
        return TOO_LARGE + _reason(error)
    except Damaged as error:
        return DAMAGED + _reason(error)
    except MemoryError:
        return TOO_LARGE + b"reading it takes more memory than the limit"
    except RecursionError:
        return DAMAGED + b"it is nested too deeply"
    except Exception as error:
        return UNEXPECTED + type(error).__name__.encode()


def _reason(error: Exception) -> bytes:
    return str(error)[:_REASON_CHARACTERS].encode("utf-8", errors="replace")
