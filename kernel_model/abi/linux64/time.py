"""Numbers of clocks at the border of the Linux ABI.

FreeBSD: linux_to_native_clockid(), sys/compat/linux/linux_time.c.  Linux: include/uapi/linux/time.h.
"""

from __future__ import annotations

from kernel_model.errno import EINVAL
from kernel_model.errors import SyscallError
from kernel_model.kern.kern_time import (
    CLOCK_MONOTONIC,
    CLOCK_PROCESS_CPUTIME_ID,
    CLOCK_REALTIME,
    CLOCK_THREAD_CPUTIME_ID,
)

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
