"""The clocks a kernel reads: the host's, or a deterministic one for repeatable runs.

FreeBSD: kern_tc.c (timecounters): nanotime(9) is the time of day, nanouptime(9) the time since boot.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

SLICE = 100_000_000
"""Longest sleep on the host's clock without a look at signals, nanoseconds."""


class Clock(Protocol):
    """Nanoseconds as ints."""

    def nanotime(self) -> int:
        """Since 1970."""
        ...

    def nanouptime(self) -> int:
        """Since boot; never goes back."""
        ...

    def cputime(self) -> int:
        """Spent by the machine for its program."""
        ...

    def sleep(self, nanoseconds: int) -> None:
        """Let that much time pass; may end early when the host interrupts it."""
        ...


@dataclass(slots=True, eq=False)
class HostClock:
    """The host's clocks."""

    boottime: int = field(default_factory=time.monotonic_ns)

    def nanotime(self) -> int:
        """The host's time of day."""
        return time.time_ns()

    def nanouptime(self) -> int:
        """Since the machine was made, and never 0."""
        return time.monotonic_ns() - self.boottime + 1

    def cputime(self) -> int:
        """What the host's process has used."""
        return time.process_time_ns()

    def sleep(self, nanoseconds: int) -> None:
        """Sleep, at most one slice of it."""
        # Python goes on sleeping after a signal of the host: only between slices can the caller look at it.
        time.sleep(min(max(nanoseconds, 0), SLICE) / 1e9)


@dataclass(slots=True, eq=False)
class SteppedClock:
    """A clock that only moves when it is read or slept on: the same program sees the same times.

    Model only: ``emu run --seed``.
    """

    now: int = 0
    step: int = 1000
    epoch: int = 1_400_000_000_000_000_000

    def nanotime(self) -> int:
        """One step later than at the last look."""
        self.now += self.step
        return self.epoch + self.now

    def nanouptime(self) -> int:
        """One step later than at the last look."""
        self.now += self.step
        return self.now

    def cputime(self) -> int:
        """As if the program had always been running."""
        return self.now

    def sleep(self, nanoseconds: int) -> None:
        """Move on at once."""
        self.now += nanoseconds
