"""Clocks, sleeping and interval timers.

FreeBSD: sys/kern/kern_time.c.  Times are ints in nanoseconds; the layouts of both ABIs agree (two 64-bit words), so
the handlers serve both, apart from the numbers of clocks.
Differs: nothing sets the clock; a timer is looked at when the machine has left the engine, when a call sleeps, and at
the machine's regular slices (kern_clock); virtual and profiling timers run on the machine's own processor time.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.errno import EINTR, EINVAL, EPERM
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_clock import ITIMER_PROF, itimer_now
from kernel_model.kern.kern_synch import sleep_until
from kernel_model.kern.proc import Itimer

if TYPE_CHECKING:
    from kernel_model.kern.proc import Proc, Thread

NS = 1_000_000_000
CLOCK_REALTIME = 0
CLOCK_VIRTUAL = 1
CLOCK_PROF = 2
CLOCK_MONOTONIC = 4
CLOCK_UPTIME = 5
CLOCK_UPTIME_PRECISE = 7
CLOCK_UPTIME_FAST = 8
CLOCK_REALTIME_PRECISE = 9
CLOCK_REALTIME_FAST = 10
CLOCK_MONOTONIC_PRECISE = 11
CLOCK_MONOTONIC_FAST = 12
CLOCK_SECOND = 13
CLOCK_THREAD_CPUTIME_ID = 14
CLOCK_PROCESS_CPUTIME_ID = 15
TIMER_ABSTIME = 1
HZ_NS = 1_000_000
"""Resolution of what counts ticks: kern.hz is 1000."""
LONGEST = (1 << 33) * NS
"""272 years: nothing waits longer, and a clock that was slept on so often still fits its structures."""

_REAL = (CLOCK_REALTIME, CLOCK_REALTIME_PRECISE, CLOCK_REALTIME_FAST)
_UP = (
    CLOCK_MONOTONIC, CLOCK_UPTIME, CLOCK_UPTIME_PRECISE, CLOCK_UPTIME_FAST, CLOCK_MONOTONIC_PRECISE,
    CLOCK_MONOTONIC_FAST,
)  # fmt: skip
_CPU = (CLOCK_VIRTUAL, CLOCK_PROF, CLOCK_THREAD_CPUTIME_ID, CLOCK_PROCESS_CPUTIME_ID)


def clock_read(td: Thread, clock: int) -> int:
    """The time on FreeBSD's *clock*; EINVAL for an unknown one."""
    source = td.td_proc.kernel.clock
    if clock in _REAL:
        return source.nanotime()
    if clock in _UP:
        return source.nanouptime()
    if clock in _CPU:
        return source.cputime()
    if clock == CLOCK_SECOND:
        return source.nanotime() // NS * NS
    raise SyscallError(EINVAL)


def _clock(td: Thread, number: int) -> int:
    """FreeBSD's number of a clock named by the program."""
    return td.td_proc.p_sysent.time.clockid(number)


def pack_timespec(nanoseconds: int) -> bytes:
    """struct timespec."""
    return struct.pack("<qq", nanoseconds // NS, nanoseconds % NS)


def pack_timeval(nanoseconds: int) -> bytes:
    """struct timeval."""
    return struct.pack("<qq", nanoseconds // NS, nanoseconds % NS // 1000)


def read_timespec(td: Thread, va: int) -> int:
    """The struct timespec at *va* in nanoseconds, at most LONGEST; EINVAL unless it is a valid span of time."""
    seconds, nanoseconds = struct.unpack("<qq", copyin(td, va, 16))
    if seconds < 0 or not 0 <= nanoseconds < NS:
        raise SyscallError(EINVAL)
    return min(int(seconds * NS + nanoseconds), LONGEST)


def read_timeval(td: Thread, va: int) -> int:
    """The struct timeval at *va* in nanoseconds, at most LONGEST; EINVAL unless it is a valid span of time."""
    seconds, microseconds = struct.unpack("<qq", copyin(td, va, 16))
    if seconds < 0 or not 0 <= microseconds < 1_000_000:
        raise SyscallError(EINVAL)
    return min(int(seconds * NS + microseconds * 1000), LONGEST)


# -- reading ------------------------------------------------------------------------------------------------


def sys_gettimeofday(td: Thread, tp: int, tzp: int) -> int:
    """gettimeofday(2): the time zone is Greenwich."""
    if tp:
        copyout(td, tp, pack_timeval(td.td_proc.kernel.clock.nanotime()))
    if tzp:
        copyout(td, tzp, bytes(8))
    return 0


def sys_clock_gettime(td: Thread, clock: int, tp: int) -> int:
    """clock_gettime(2)."""
    copyout(td, tp, pack_timespec(clock_read(td, _clock(td, clock))))
    return 0


def sys_clock_getres(td: Thread, clock: int, tp: int) -> int:
    """clock_getres(2): a nanosecond, a tick for the coarse clocks, a second for CLOCK_SECOND."""
    number = _clock(td, clock)
    _ = clock_read(td, number)
    coarse = clock in td.td_proc.p_sysent.time.coarse_clocks
    resolution = HZ_NS if coarse else NS if number == CLOCK_SECOND else 1
    if tp:
        copyout(td, tp, pack_timespec(resolution))
    return 0


def sys_clock_settime(td: Thread, clock: int, tp: int) -> int:
    """clock_settime(2), settimeofday(2): nobody may."""
    raise SyscallError(EPERM)


# -- sleeping -----------------------------------------------------------------------------------------------


def _nanosleep(td: Thread, due: int, rmtp: int, *, absolute: bool) -> int:
    up = td.td_proc.kernel.clock
    error = sleep_until(td, due)
    if not error:
        return 0
    if rmtp and not absolute:
        copyout(td, rmtp, pack_timespec(max(due - up.nanouptime(), 0)))
    raise SyscallError(EINTR)


def sys_nanosleep(td: Thread, rqtp: int, rmtp: int) -> int:
    """nanosleep(2)."""
    span = read_timespec(td, rqtp)
    due = td.td_proc.kernel.clock.nanouptime() + span
    return _nanosleep(td, due, rmtp, absolute=False)


def sys_clock_nanosleep(td: Thread, clock: int, flags: int, rqtp: int, rmtp: int) -> int:
    """clock_nanosleep(2)."""
    number = _clock(td, clock)
    if number in (CLOCK_THREAD_CPUTIME_ID,):
        raise SyscallError(EINVAL)
    if flags & ~td.td_proc.p_sysent.time.nanosleep_flags:
        raise SyscallError(EINVAL)
    span = read_timespec(td, rqtp)
    up = td.td_proc.kernel.clock
    absolute = bool(flags & TIMER_ABSTIME)
    due = up.nanouptime() + span
    if absolute:
        due -= clock_read(td, number)
    return _nanosleep(td, due, rmtp, absolute=absolute)


# -- interval timers ----------------------------------------------------------------------------------------

def _pack_itimer(proc: Proc, which: int) -> bytes:
    timer = proc.p_itimers.get(which)
    if timer is None:
        return bytes(32)
    left = max(timer.it_due - itimer_now(proc, which), 1000)
    return pack_timeval(timer.it_interval) + pack_timeval(left)


def sys_getitimer(td: Thread, which: int, itv: int) -> int:
    """getitimer(2)."""
    if which > ITIMER_PROF:
        raise SyscallError(EINVAL)
    copyout(td, itv, _pack_itimer(td.td_proc, which))
    return 0


def sys_setitimer(td: Thread, which: int, itv: int, oitv: int) -> int:
    """setitimer(2)."""
    proc = td.td_proc
    if which > ITIMER_PROF:
        raise SyscallError(EINVAL)
    if not itv:
        if proc.p_sysent.time.null_itimer_stops:
            _ = proc.p_itimers.pop(which, None)
        return sys_getitimer(td, which, oitv) if oitv else 0
    interval = read_timeval(td, itv)
    value = read_timeval(td, itv + 16)
    old = _pack_itimer(proc, which)
    if value:
        proc.p_itimers[which] = Itimer(itimer_now(proc, which) + value, interval)
        td.td_ast = True  # the machine must begin to look at the clock
    else:
        _ = proc.p_itimers.pop(which, None)
    if oitv:
        copyout(td, oitv, old)
    return 0
