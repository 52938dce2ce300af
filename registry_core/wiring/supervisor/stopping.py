"""Stop signals: SIGINT, SIGTERM and SIGHUP as a condition that a loop can wait for."""

import select
import signal
import socket
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignal:
    """While entered, the signals do not end the process but make `wait` return True. Main thread only."""

    def __init__(self, *, on_hangup: Callable[[], None] | None = None) -> None:
        """With `on_hangup`, SIGHUP does not stop: `wait` calls that instead, and continues waiting."""
        self.is_set = False
        self._on_hangup = on_hangup
        self._is_hung_up = False
        self._bell, self._wakeup = socket.socketpair()

    def __enter__(self) -> Self:
        self._bell.setblocking(False)
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        self._bell.close()
        self._wakeup.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` seconds; True as soon as one of the signals has arrived, now or before."""
        if not self.is_set and select.select([self._bell], [], [], timeout_s)[0]:
            self._bell.recv(64)
        if self._is_hung_up and self._on_hangup is not None:
            self._is_hung_up = False
            self._on_hangup()
        return self.is_set

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self._on_hangup is not None:
            self._is_hung_up = True
        else:
            self.is_set = True
