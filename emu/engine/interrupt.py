"""Signals of the host, and the clock's ticks, while guest code runs.

Model only.  Python runs a signal handler between two of its own instructions, and while the engine runs there are
none.  A thread waits on the descriptor that Python writes to when a signal arrives, and interrupts the engine; then
the handler runs, and posts the signal to the program.
"""

from __future__ import annotations

import _thread
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType, TracebackType

PATIENCE = 3
"""So many signals in a row that the program did not die of end the run."""


class HostSignals:
    """``with HostSignals(stop, post, numbers):`` around the run: they go to *post*, after *stop* left the engine.

    Does nothing outside of the main thread, where Python takes no signals, and leaves alone what the host ignores.
    """

    __slots__ = ("_before", "_count", "_fd", "_numbers", "_post", "_reader", "_stop", "_wakeup")

    def __init__(self, stop: Callable[[], None], post: Callable[[int], None], numbers: Iterable[int]) -> None:
        self._stop = stop
        self._post = post
        self._numbers = numbers
        self._before: dict[int, object] = {}
        self._fd = self._reader = -1
        self._wakeup = -1
        self._count = 0

    def __enter__(self) -> HostSignals:
        try:
            for number in self._numbers:
                before = signal.getsignal(number)
                if before in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self._handle)
        except ValueError:
            return self  # not the main thread
        if not self._before:
            return self  # somebody else's business: a test runner, a debugger
        self._reader, self._fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self._reader, True)
        self._wakeup = signal.set_wakeup_fd(self._fd, warn_on_full_buffer=False)
        _thread.start_new_thread(self._watch, (self._reader,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._fd >= 0:
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._fd)  # the watcher reads its end and closes the other side

    def _watch(self, reader: int) -> None:
        while os.read(reader, 64):
            # Python noted the signal before it wrote: the handler runs as soon as the engine has been left.
            self._stop()
        os.close(reader)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count >= PATIENCE:
            raise KeyboardInterrupt
        self._post(number)


class Ticker:
    """``with Ticker(stop):`` around the engine while the program has a timer: leaves it every *interval* seconds."""

    __slots__ = ("_done", "_interval", "_stop")

    def __init__(self, stop: Callable[[], None], interval: float) -> None:
        self._stop = stop
        self._interval = interval
        self._done = _thread.allocate_lock()

    def __enter__(self) -> Ticker:
        self._done.acquire()
        _thread.start_new_thread(self._tick, ())
        return self

    def __exit__(self, *_: object) -> None:
        self._done.release()

    def _tick(self) -> None:
        while not self._done.acquire(timeout=self._interval):
            self._stop()
        self._done.release()
