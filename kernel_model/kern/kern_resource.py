"""Resource limits of a process, and what it has used.

FreeBSD: sys/kern/kern_resource.c, struct plimit in sys/sys/resourcevar.h.
Differs: limits nobody enforces here (cpu, nproc, sbsize, npts, kqueues, umtxp) are kept and told, no more; so are the
six that only Linux has, which stand behind FreeBSD's in the same list.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel_model.errno import EINVAL, EPERM
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_descrip import MAXFILESPERPROC
from kernel_model.kern.kern_time import pack_timeval
from kernel_model.kern.proc import P_INEXEC
from kernel_model.rlimit import (
    RLIM_INFINITY,
    RLIM_NLIMITS,
    RLIMIT_DATA,
    RLIMIT_MEMLOCK,
    RLIMIT_NOFILE,
    RLIMIT_NPROC,
    RLIMIT_RSS,
    RLIMIT_STACK,
)
from kernel_model.vm.vm import VM_PROT_NONE
from kernel_model.vm.vm_param import DFLDSIZ, DFLSSIZ, MAXSSIZ, PAGE_MASK, PAGE_SHIFT

if TYPE_CHECKING:
    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.vm.vm_init import Vm

MAXDSIZ = 32 << 30
MAXPROCPERUID = 6164
"""kern.maxprocperuid of a machine with 2 GiB."""
LINUX_ONLY = 6
"""LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME."""


def _defaults() -> list[tuple[int, int]]:
    table = [(RLIM_INFINITY, RLIM_INFINITY)] * (RLIM_NLIMITS + LINUX_ONLY)
    table[RLIMIT_DATA] = (DFLDSIZ, MAXDSIZ)
    table[RLIMIT_STACK] = (DFLSSIZ, MAXSSIZ)
    table[RLIMIT_MEMLOCK] = (64 << 20, RLIM_INFINITY)
    table[RLIMIT_NOFILE] = (1024, 4096)
    table[RLIMIT_NPROC] = (1024, 1024)
    for index, value in enumerate((RLIM_INFINITY, 15000, 819200, 0, 0, RLIM_INFINITY)):
        table[RLIM_NLIMITS + index] = (value, value)
    return table


@dataclass(slots=True, eq=False)
class Plimit:
    """Soft and hard limits, bytes or counts, indexed by RLIMIT_*."""

    pl_rlimit: list[tuple[int, int]] = field(default_factory=_defaults)

    @classmethod
    def initial(cls, vm: Vm) -> Plimit:
        """The limits of the first process.  FreeBSD: proc0_init(), sys/kern/init_main.c."""
        limit = cls()
        free = vm.cnt.v_free_count << PAGE_SHIFT
        limit.set(RLIMIT_DATA, vm.release.dfldsiz, MAXDSIZ)
        limit.set(RLIMIT_STACK, min(DFLSSIZ, vm.maxssiz), vm.maxssiz)
        limit.set(RLIMIT_RSS, free, free)
        limit.set(RLIMIT_MEMLOCK, free // 3, free)
        return limit

    def lim_cur(self, which: int) -> int:
        """The soft limit."""
        return self.pl_rlimit[which][0]

    def lim_max(self, which: int) -> int:
        """The hard limit."""
        return self.pl_rlimit[which][1]

    def set(self, which: int, cur: int, max_: int) -> None:
        """Replace both, unchecked; setrlimit(2) is kern_proc_setrlimit()."""
        self.pl_rlimit[which] = (cur, max_)

    def copy(self) -> Plimit:
        """lim_copy(): what a child starts with."""
        return Plimit(list(self.pl_rlimit))


# -- limits as system calls ---------------------------------------------------------------------------------


def kern_setrlimit(td: Thread, which: int, cur: int, max_: int) -> None:
    """setrlimit(2) with FreeBSD's number and values.  Raises EINVAL, EPERM.

    After a change of RLIMIT_STACK the band between the old and the new limit is protected anew: raising makes it
    accessible, lowering takes it away (freebsd-vm-facts: quirk Q9).
    FreeBSD: kern_proc_setrlimit().
    Differs: a Linux program's stack is not touched, as on Linux.
    """
    proc = td.td_proc
    if not 0 <= which < len(proc.p_limit.pl_rlimit):
        raise SyscallError(EINVAL)
    cur = RLIM_INFINITY if cur < 0 else cur
    max_ = RLIM_INFINITY if max_ < 0 else max_
    old_cur, old_max = proc.p_limit.pl_rlimit[which]
    if (cur > old_max or max_ > old_max) and proc.p_ucred.cr_uid != 0:
        raise SyscallError(EPERM)
    cur = min(cur, max_)
    ceiling = {
        RLIMIT_DATA: MAXDSIZ,
        RLIMIT_STACK: proc.kernel.vm.maxssiz,
        RLIMIT_NOFILE: MAXFILESPERPROC,
        RLIMIT_NPROC: MAXPROCPERUID,
    }.get(which, RLIM_INFINITY)
    floor = 1 if which == RLIMIT_NPROC else 0
    cur, max_ = max(min(cur, ceiling), floor), max(min(max_, ceiling), floor)
    proc.p_limit.set(which, cur, max_)
    if which == RLIMIT_STACK and cur != old_cur and not proc.p_flag & P_INEXEC:
        _protect_band(proc, old_cur, cur)


def _protect_band(proc: Proc, old: int, new: int) -> None:
    if not proc.p_sysent.exec.limit_protects_stack:
        return
    vms = proc.p_vmspace
    top = vms.vm_stacktop or proc.p_sysent.sv_usrstack
    prot = proc.p_sysent.sv_stackprot if new > old else VM_PROT_NONE
    start = (top - max(old, new)) & ~PAGE_MASK
    size = (abs(new - old) + PAGE_MASK) & ~PAGE_MASK
    _ = vms.vm_map.protect(start, start + size, prot)


def sys_getrlimit(td: Thread, which: int, rlp: int) -> int:
    """getrlimit(2) of FreeBSD."""
    if which >= RLIM_NLIMITS:
        raise SyscallError(EINVAL)
    copyout(td, rlp, struct.pack("<qq", *td.td_proc.p_limit.pl_rlimit[which]))
    return 0


def sys_setrlimit(td: Thread, which: int, rlp: int) -> int:
    """setrlimit(2) of FreeBSD."""
    cur, max_ = struct.unpack("<qq", copyin(td, rlp, 16))
    if which >= RLIM_NLIMITS:
        raise SyscallError(EINVAL)
    kern_setrlimit(td, which, cur, max_)
    return 0


# -- usage --------------------------------------------------------------------------------------------------

RUSAGE_SELF = 0
RUSAGE_CHILDREN = -1
RUSAGE_THREAD = 1


def pack_rusage(proc: Proc) -> bytes:
    """struct rusage; both ABIs agree.  Differs: all processor time is user time."""
    cnt = proc.kernel.vm.cnt
    resident = proc.p_vmspace.vm_pmap.resident_count
    return pack_timeval(proc.kernel.clock.cputime()) + struct.pack(
        "<qq14q", 0, 0, resident << (PAGE_SHIFT - 10), 0, 0, 0, cnt.v_vm_faults, cnt.v_vnodein, *([0] * 8)
    )  # fmt: skip


def sys_getrusage(td: Thread, who: int, rusage: int) -> int:
    """getrusage(2)."""
    if who not in (RUSAGE_SELF, RUSAGE_CHILDREN, RUSAGE_THREAD):
        raise SyscallError(EINVAL)
    copyout(td, rusage, bytes(144) if who == RUSAGE_CHILDREN else pack_rusage(td.td_proc))
    return 0
