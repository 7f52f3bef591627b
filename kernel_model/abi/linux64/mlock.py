"""Residency and wiring: mincore, msync and the mlock family of Linux.

Linux: mm/mincore.c, mm/msync.c, mm/mlock.c.  FreeBSD: linux_msync(), linux_mincore() in sys/compat/linux/linux_mmap.c.
Differs: MLOCK_ONFAULT locks at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.linux64.linux_mmap import TASK_SIZE, for_mapped, linux_page_range, mapped_until
from kernel_model.errno import (
    EBUSY,
    EFAULT,
    EINVAL,
    EIO,
    ENOMEM,
    EPERM,
)
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyout
from kernel_model.kern.sysent import Support, Sysent
from kernel_model.rlimit import RLIMIT_MEMLOCK
from kernel_model.vm import vm_mmap
from kernel_model.vm.vm_map_flags import (
    MAP_ENTRY_GUARD,
    MAP_ENTRY_USER_WIRED,
    MAP_WIREFUTURE,
    VM_MAP_WIRE_NOHOLES,
    VM_MAP_WIRE_USER,
)
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
    WORD_MASK,
    VmOffset,
)

if TYPE_CHECKING:
    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.vm.vm_map import VmMap

MS_ASYNC = 1
MS_INVALIDATE = 2
MS_SYNC = 4
MCL_CURRENT = 1
MCL_FUTURE = 2
MCL_ONFAULT = 4
MLOCK_ONFAULT = 1
_INCORE = bytes(info & 1 for info in range(256))
"""MINCORE_* to Linux's one bit."""


def sys_mincore(td: Thread, addr: int, size: int, vec: int) -> int:
    """mincore(2): one bit a page."""
    map_ = td.td_proc.p_vmspace.vm_map
    if addr & PAGE_MASK:
        raise SyscallError(EINVAL)
    start, end = addr, addr + size
    if end > TASK_SIZE:
        raise SyscallError(ENOMEM)
    if vec + ((size + PAGE_MASK) >> PAGE_SHIFT) > TASK_SIZE:
        raise SyscallError(EFAULT)
    end = (end + PAGE_MASK) & ~PAGE_MASK
    if end == start:
        return 0
    stop = mapped_until(map_, start, end)
    if stop > start:
        for piece in vm_mmap.kern_mincore(td.td_proc, start, stop - start):
            copyout(td, vec, piece.translate(_INCORE))
            vec += len(piece)
    if stop < end:
        raise SyscallError(ENOMEM)
    return 0


def sys_msync(td: Thread, addr: int, size: int, flags: int) -> int:
    """msync(2)."""
    map_ = td.td_proc.p_vmspace.vm_map
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or addr & PAGE_MASK:
        raise SyscallError(EINVAL)
    if flags & MS_ASYNC and flags & MS_SYNC:
        raise SyscallError(EINVAL)
    start, end = linux_page_range(addr, size)
    if end > WORD_MASK:
        raise SyscallError(ENOMEM)
    for_mapped(map_, start, end, lambda low, high: _msync_piece(map_, low, high, flags))
    return 0


def _msync_piece(map_: VmMap, start: VmOffset, end: VmOffset, flags: int) -> None:
    if flags & MS_INVALIDATE:
        found, entry = map_.lookup_entry(start)
        while found and entry is not map_.header and entry.start < end:
            if entry.eflags & MAP_ENTRY_USER_WIRED:
                raise SyscallError(EBUSY)
            entry = entry.next
    if flags & MS_SYNC and map_.sync(start, end, True, False) == KERN_FAILURE:
        raise SyscallError(EIO)


def _may_lock(proc: Proc, size: VmOffset) -> None:
    """Linux: can_do_mlock() and RLIMIT_MEMLOCK, from which the super-user is free."""
    if proc.p_ucred.cr_uid == 0:
        return
    limit = proc.p_limit.lim_cur(RLIMIT_MEMLOCK)
    if limit == 0:
        raise SyscallError(EPERM)
    if (proc.p_vmspace.vm_pmap.wired_count << PAGE_SHIFT) + size > limit:
        raise SyscallError(ENOMEM)


def _lock_range(addr: VmOffset, size: VmOffset) -> tuple[VmOffset, VmOffset]:
    size = (size + (addr & PAGE_MASK) + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    addr &= ~PAGE_MASK
    if addr + size > WORD_MASK:
        raise SyscallError(EINVAL)
    return addr, addr + size


def sys_mlock(td: Thread, addr: int, size: int) -> int:
    """mlock(2)."""
    proc = td.td_proc
    start, end = _lock_range(addr, size)
    _may_lock(proc, end - start)
    if start == end:
        return 0
    map_ = proc.p_vmspace.vm_map
    if mapped_until(map_, start, end) < end:
        raise SyscallError(ENOMEM)
    if map_.wire(start, end, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES) != KERN_SUCCESS:
        raise SyscallError(ENOMEM)
    return 0


def sys_mlock2(td: Thread, addr: int, size: int, flags: int) -> int:
    """mlock2(2): MLOCK_ONFAULT locks at once here."""
    if flags & ~MLOCK_ONFAULT:
        raise SyscallError(EINVAL)
    return sys_mlock(td, addr, size)


def sys_munlock(td: Thread, addr: int, size: int) -> int:
    """munlock(2)."""
    map_ = td.td_proc.p_vmspace.vm_map
    start, end = _lock_range(addr, size)
    if start == end:
        return 0
    if mapped_until(map_, start, end) < end:
        raise SyscallError(ENOMEM)
    here = start
    while here < end:
        _found, entry = map_.lookup_entry(here)
        stop = min(entry.end, end)
        if entry.eflags & MAP_ENTRY_USER_WIRED:
            _ = map_.unwire(here, stop, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)
        here = stop
    return 0


def sys_mlockall(td: Thread, flags: int) -> int:
    """mlockall(2)."""
    proc = td.td_proc
    if not flags or flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) or flags == MCL_ONFAULT:
        raise SyscallError(EINVAL)
    map_ = proc.p_vmspace.vm_map
    _may_lock(proc, map_.size if flags & MCL_CURRENT else 0)
    map_.modflags(MAP_WIREFUTURE if flags & MCL_FUTURE else 0, 0)
    if flags & MCL_CURRENT:
        for entry in list(map_.entries()):
            if not entry.eflags & MAP_ENTRY_GUARD and entry.protection:
                _ = map_.wire(entry.start, entry.end, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)
    return 0


def sys_munlockall(td: Thread) -> int:
    """munlockall(2)."""
    vm_mmap.kern_munlockall(td.td_proc)
    return 0


SYSCALLS: dict[int, Sysent] = {
    26: Sysent("msync", "pux", Support.FULL, sys_msync),
    27: Sysent("mincore", "pub", Support.FULL, sys_mincore),
    149: Sysent("mlock", "pu", Support.FULL, sys_mlock),
    150: Sysent("munlock", "pu", Support.FULL, sys_munlock),
    151: Sysent("mlockall", "x", Support.FULL, sys_mlockall),
    152: Sysent("munlockall", "", Support.FULL, sys_munlockall),
    325: Sysent("mlock2", "pux", Support.FULL, sys_mlock2),
}
"""Number to row."""
