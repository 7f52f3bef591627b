"""Resource limits of a process, and what it has used.

FreeBSD: sys/kern/kern_resource.c.
Differs: limits nobody enforces here (cpu, nproc, sbsize, npts, kqueues, umtxp) are kept and told, no more; so are the
six that only Linux has, which stand behind FreeBSD's in the same list.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.errno import EINVAL, EPERM
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_descrip import MAXFILESPERPROC
from kernel_model.kern.kern_time import pack_timeval
from kernel_model.kern.proc import P_INEXEC
from kernel_model.kern.resourcevar import MAXDSIZ
from kernel_model.rlimit import (
    RLIM_INFINITY,
    RLIM_NLIMITS,
    RLIMIT_DATA,
    RLIMIT_NOFILE,
    RLIMIT_NPROC,
    RLIMIT_STACK,
)
from kernel_model.vm.vm import VM_PROT_NONE
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT

if TYPE_CHECKING:
    from kernel_model.kern.proc import Proc, Thread

MAXPROCPERUID = 6164
"""kern.maxprocperuid of a machine with 2 GiB."""


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
