"""Waiting on an address in the Linux ABI, for a process that has one thread.

FreeBSD: sys/compat/linux/linux_futex.c.  Linux: kernel/futex/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.linux64.linux_util import linux_msg
from kernel_model.errno import EAGAIN, EINVAL, ENOSYS, ESRCH, ETIMEDOUT
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyout, fuword32, suword32
from kernel_model.kern.kern_synch import sleep_forever, sleep_until
from kernel_model.kern.kern_time import read_timespec

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

FUTEX_WAIT = 0
FUTEX_WAKE = 1
FUTEX_REQUEUE = 3
FUTEX_CMP_REQUEUE = 4
FUTEX_WAKE_OP = 5
FUTEX_WAIT_BITSET = 9
FUTEX_WAKE_BITSET = 10
FUTEX_PRIVATE_FLAG = 128
FUTEX_CLOCK_REALTIME = 256
FUTEX_CMD_MASK = ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)
FUTEX_OP_SET, FUTEX_OP_ADD, FUTEX_OP_OR, FUTEX_OP_ANDN, FUTEX_OP_XOR = range(5)
FUTEX_OP_OPARG_SHIFT = 8
"""In the operation of FUTEX_WAKE_OP: the operand is the number of a bit."""


def sys_futex(td: Thread, uaddr: int, op: int, val: int, timeout: int, uaddr2: int, val3: int) -> int:
    """futex(2) with one thread: a wake finds nobody; a wait ends by time, by a signal, or never."""
    if uaddr & 3:
        raise SyscallError(EINVAL)
    command = op & FUTEX_CMD_MASK
    if command in (FUTEX_WAIT, FUTEX_WAIT_BITSET):
        return _futex_wait(td, uaddr, op, val, timeout, absolute=command == FUTEX_WAIT_BITSET)
    if command in (FUTEX_WAKE, FUTEX_WAKE_BITSET, FUTEX_REQUEUE):
        return 0
    if command == FUTEX_CMP_REQUEUE:
        if fuword32(td, uaddr) != val3:
            raise SyscallError(EAGAIN)
        return 0
    if command == FUTEX_WAKE_OP:
        _futex_wake_op(td, uaddr2, val3)
        return 0
    linux_msg(td, "futex", f"operation {command}", command)
    raise SyscallError(ENOSYS)


def _futex_wait(td: Thread, uaddr: int, op: int, val: int, timeout: int, *, absolute: bool) -> int:
    clock = td.td_proc.kernel.clock
    span = read_timespec(td, timeout) if timeout else None
    if fuword32(td, uaddr) != val:
        raise SyscallError(EAGAIN)
    if span is None:
        sleep_forever(td, "futex")
    due = clock.nanouptime() + span
    if absolute:
        due -= clock.nanotime() if op & FUTEX_CLOCK_REALTIME else clock.nanouptime()
    error = sleep_until(td, due)
    raise SyscallError(error or ETIMEDOUT)


def _futex_wake_op(td: Thread, uaddr2: int, val3: int) -> None:
    """Change the word at *uaddr2*; *val3* holds operation, comparison and their operands (FUTEX_OP of futex(2))."""
    operation, operand = val3 >> 28 & 0xF, val3 >> 12 & 0xFFF
    if operand & 0x800:
        operand -= 0x1000
    if operation & FUTEX_OP_OPARG_SHIFT:
        operand = 1 << (operand & 31)
    old = fuword32(td, uaddr2)
    new = {
        FUTEX_OP_SET: operand,
        FUTEX_OP_ADD: old + operand,
        FUTEX_OP_OR: old | operand,
        FUTEX_OP_ANDN: old & ~operand,
        FUTEX_OP_XOR: old ^ operand,
    }.get(operation & ~FUTEX_OP_OPARG_SHIFT)
    if new is None:
        raise SyscallError(ENOSYS)
    suword32(td, uaddr2, new)


# -- robust lists ---------------------------------------------------------------------------------------------

SIZEOF_ROBUST_LIST_HEAD = 24


def sys_set_robust_list(td: Thread, head: int, size: int) -> int:
    """set_robust_list(2)."""
    if size != SIZEOF_ROBUST_LIST_HEAD:
        raise SyscallError(EINVAL)
    td.td_robust_list = head
    return 0


def sys_get_robust_list(td: Thread, pid: int, head: int, size: int) -> int:
    """get_robust_list(2)."""
    if pid not in (0, td.td_tid):
        raise SyscallError(ESRCH)
    copyout(td, size, SIZEOF_ROBUST_LIST_HEAD.to_bytes(8, "little"))
    copyout(td, head, td.td_robust_list.to_bytes(8, "little"))
    return 0
