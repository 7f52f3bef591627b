"""Clocks of the Linux ABI: their numbers, and the calls that FreeBSD lacks.

FreeBSD: linux_to_native_clockid(), sys/compat/linux/linux_time.c; linux_time(), linux_times(), linux_alarm(),
linux_misc.c.  Linux: include/uapi/linux/time.h, kernel/time/.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.errno import EINVAL
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyout
from kernel_model.kern.kern_clock import ITIMER_REAL, itimer_now
from kernel_model.kern.kern_time import (
    CLOCK_MONOTONIC,
    CLOCK_PROCESS_CPUTIME_ID,
    CLOCK_REALTIME,
    CLOCK_THREAD_CPUTIME_ID,
    NS,
)
from kernel_model.kern.proc import Itimer

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

LINUX_CLOCK_REALTIME = 0
LINUX_CLOCK_MONOTONIC = 1
LINUX_CLOCK_PROCESS_CPUTIME_ID = 2
LINUX_CLOCK_THREAD_CPUTIME_ID = 3
LINUX_CLOCK_MONOTONIC_RAW = 4
LINUX_CLOCK_REALTIME_COARSE = 5
LINUX_CLOCK_MONOTONIC_COARSE = 6
LINUX_CLOCK_BOOTTIME = 7
LINUX_CLOCK_REALTIME_ALARM = 8
LINUX_CLOCK_BOOTTIME_ALARM = 9
LINUX_CLOCK_TAI = 11

USER_TICK_NS = 10_000_000
"""A tick of times(2): USER_HZ is 100."""
COARSE_CLOCKS = frozenset({LINUX_CLOCK_REALTIME_COARSE, LINUX_CLOCK_MONOTONIC_COARSE})
_NATIVE = {
    LINUX_CLOCK_REALTIME: CLOCK_REALTIME,
    LINUX_CLOCK_MONOTONIC: CLOCK_MONOTONIC,
    LINUX_CLOCK_PROCESS_CPUTIME_ID: CLOCK_PROCESS_CPUTIME_ID,
    LINUX_CLOCK_THREAD_CPUTIME_ID: CLOCK_THREAD_CPUTIME_ID,
    LINUX_CLOCK_MONOTONIC_RAW: CLOCK_MONOTONIC,
    LINUX_CLOCK_REALTIME_COARSE: CLOCK_REALTIME,
    LINUX_CLOCK_MONOTONIC_COARSE: CLOCK_MONOTONIC,
    LINUX_CLOCK_BOOTTIME: CLOCK_MONOTONIC,
    LINUX_CLOCK_REALTIME_ALARM: CLOCK_REALTIME,
    LINUX_CLOCK_BOOTTIME_ALARM: CLOCK_MONOTONIC,
    LINUX_CLOCK_TAI: CLOCK_REALTIME,
}


def linux_to_native_clockid(number: int) -> int:
    """The kernel's clock for Linux's *number*; EINVAL for an unknown one."""
    clock = _NATIVE.get(number)
    if clock is None:
        if number < 0:  # the clock of a process: all of them are this one's
            return CLOCK_PROCESS_CPUTIME_ID
        raise SyscallError(EINVAL)
    return clock


def sys_time(td: Thread, tp: int) -> int:
    """time(2) of Linux."""
    now = td.td_proc.kernel.clock.nanotime() // NS
    if tp:
        copyout(td, tp, struct.pack("<q", now))
    return now


def sys_alarm(td: Thread, seconds: int) -> int:
    """alarm(2) of Linux: returns the seconds that were left."""
    proc = td.td_proc
    timer = proc.p_itimers.pop(ITIMER_REAL, None)
    now = itimer_now(proc, ITIMER_REAL)
    if seconds:
        proc.p_itimers[ITIMER_REAL] = Itimer(now + seconds * NS)
        td.td_ast = True
    return 0 if timer is None else max((timer.it_due - now + NS // 2) // NS, 1)


def sys_times(td: Thread, buf: int) -> int:
    """times(2) of Linux: clock ticks of 10 ms since boot, and this process's processor time."""
    clock = td.td_proc.kernel.clock
    ticks = clock.cputime() // USER_TICK_NS
    if buf:
        copyout(td, buf, struct.pack("<qqqq", ticks, 0, 0, 0))
    return clock.nanouptime() // USER_TICK_NS
