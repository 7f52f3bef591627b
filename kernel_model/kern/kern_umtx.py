"""Waiting on an address, and threads, for a process that has one thread.

FreeBSD: sys/kern/kern_umtx.c, kern_thr.c.
Differs: a wake finds nobody; a wait ends by time, by a signal, or never (kern_synch); mutexes and locks that would
have to be taken over from another thread are refused aloud; thr_new is a later part.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.errno import ENOSYS, ESRCH, ETIMEDOUT
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyinstr, copyout, fuword32, fuword64, suword32
from kernel_model.kern.kern_synch import sleep_forever, sleep_until
from kernel_model.kern.kern_time import CLOCK_MONOTONIC, clock_read, read_timespec
from kernel_model.ktrace import Unsupported

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

UMTX_OP_WAIT = 2
UMTX_OP_WAKE = 3
UMTX_OP_CV_WAIT = 8
UMTX_OP_CV_SIGNAL = 9
UMTX_OP_CV_BROADCAST = 10
UMTX_OP_WAIT_UINT = 11
UMTX_OP_WAIT_UINT_PRIVATE = 15
UMTX_OP_WAKE_PRIVATE = 16
UMTX_OP_MUTEX_WAKE = 18
UMTX_OP_SEM_WAKE = 20
UMTX_OP_NWAKE_PRIVATE = 21
UMTX_OP_MUTEX_WAKE2 = 22
UMTX_OP_SEM2_WAIT = 23
UMTX_OP_SEM2_WAKE = 24
UMTX_OP_ROBUST_LISTS = 26
UMTX_ABSTIME = 1
SIZEOF_TIMESPEC = 16
SIZEOF_UMTX_TIME = 24
"""struct _umtx_time: a timespec, flags and the clock; older programs give the timespec alone."""
USEM_HAS_WAITERS = 0x80000000
_FIND_NOBODY = (
    UMTX_OP_WAKE, UMTX_OP_WAKE_PRIVATE, UMTX_OP_NWAKE_PRIVATE, UMTX_OP_CV_SIGNAL, UMTX_OP_CV_BROADCAST,
    UMTX_OP_MUTEX_WAKE, UMTX_OP_MUTEX_WAKE2, UMTX_OP_SEM_WAKE, UMTX_OP_SEM2_WAKE, UMTX_OP_ROBUST_LISTS,
)  # fmt: skip
"""Operations that wake others, or say what a thread that ends holds: with one thread nothing is to be done."""


def sys_umtx_op(td: Thread, obj: int, op: int, val: int, uaddr1: int, uaddr2: int) -> int:
    """_umtx_op(2)."""
    if op in _FIND_NOBODY:
        return 0
    if op == UMTX_OP_WAIT:
        return _wait(td, fuword64(td, obj) == val, uaddr1, uaddr2)
    if op in (UMTX_OP_WAIT_UINT, UMTX_OP_WAIT_UINT_PRIVATE):
        return _wait(td, fuword32(td, obj) == val & 0xFFFFFFFF, uaddr1, uaddr2)
    if op == UMTX_OP_SEM2_WAIT:
        count = fuword32(td, obj)
        if count & ~USEM_HAS_WAITERS == 0:
            suword32(td, obj, count | USEM_HAS_WAITERS)
        return _wait(td, count & ~USEM_HAS_WAITERS == 0, uaddr1, uaddr2)
    kt = td.td_proc.kernel.ktrace
    if kt.unsupported is not None:
        kt.emit(Unsupported("_umtx_op", f"operation {op}", op, pid=td.td_proc.p_pid))
    raise SyscallError(ENOSYS)


def _wait(td: Thread, equal: bool, uaddr1: int, uaddr2: int) -> int:
    """Sleep while the word has the expected value; *uaddr1* is the size of what *uaddr2* points to."""
    due = None
    if uaddr2:
        due = _due(td, uaddr1, uaddr2)
    if not equal:
        return 0
    if due is None:
        sleep_forever(td, "uwait")
    error = sleep_until(td, due)
    raise SyscallError(error or ETIMEDOUT)


def _due(td: Thread, size: int, va: int) -> int:
    """When a timespec or a struct _umtx_time ends, in nanouptime."""
    flags, clock = 0, CLOCK_MONOTONIC
    if size > SIZEOF_TIMESPEC:
        flags, clock = struct.unpack_from("<II", copyin(td, va, SIZEOF_UMTX_TIME), SIZEOF_TIMESPEC)
    due = td.td_proc.kernel.clock.nanouptime() + read_timespec(td, va)
    if flags & UMTX_ABSTIME:
        due -= clock_read(td, clock)
    return due


# -- threads ------------------------------------------------------------------------------------------------


def sys_thr_self(td: Thread, idp: int) -> int:
    """thr_self(2)."""
    copyout(td, idp, td.td_tid.to_bytes(8, "little"))
    return 0


def sys_thr_exit(td: Thread, state: int) -> int:
    """thr_exit(2): the last thread does not end so; its library calls exit(2) next."""
    if state:
        copyout(td, state, (1).to_bytes(8, "little"))
    return 0


def sys_thr_set_name(td: Thread, tid: int, name: int) -> int:
    """thr_set_name(2)."""
    if tid != td.td_tid:
        raise SyscallError(ESRCH)
    td.td_name = copyinstr(td, name, 20).decode("latin-1") if name else ""
    return 0


def sys_thr_suspend(td: Thread, timeout: int) -> int:
    """thr_suspend(2): nobody can wake the only thread."""
    if not timeout:
        sleep_forever(td, "lthr")
    error = sleep_until(td, _due(td, SIZEOF_TIMESPEC, timeout))
    raise SyscallError(error or ETIMEDOUT)


def sys_thr_wake(td: Thread, tid: int) -> int:
    """thr_wake(2)."""
    if tid != td.td_tid:
        raise SyscallError(ESRCH)
    return 0
