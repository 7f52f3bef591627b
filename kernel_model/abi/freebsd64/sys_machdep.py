"""sysarch(2) of amd64, and processor sets.  FreeBSD: sys/amd64/amd64/sys_machdep.c, sys/kern/kern_cpuset.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errno import EDEADLK, EINVAL, ENOSYS, ERANGE, ESRCH
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyout, fuword64, suword32
from kernel_model.ktrace import Unsupported
from kernel_model.vm.vm_param import VM_MAXUSER_ADDRESS

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

AMD64_GET_FSBASE = 128
AMD64_SET_FSBASE = 129
AMD64_GET_GSBASE = 130
AMD64_SET_GSBASE = 131
CPUSET_SIZE = 32
"""Bytes of cpuset_t: 256 processors."""
CPU_MAXSIZE_BYTES = 128
CPU_WHICH_TID = 1
CPU_WHICH_PID = 2
DEFAULT_CPUSET = 1
"""Number of the set that every process starts in."""


def sys_sysarch(td: Thread, op: int, parms: int) -> int:
    """sysarch(2): the FS and GS bases."""
    if op in (AMD64_GET_FSBASE, AMD64_GET_GSBASE):
        frame = td.td_cpu.get_frame()
        base = frame.fs_base if op == AMD64_GET_FSBASE else frame.gs_base
        copyout(td, parms, base.to_bytes(8, "little"))
        return 0
    if op in (AMD64_SET_FSBASE, AMD64_SET_GSBASE):
        base = fuword64(td, parms)
        if base >= VM_MAXUSER_ADDRESS:
            raise SyscallError(EINVAL)
        if op == AMD64_SET_FSBASE:
            td.td_cpu.set_fsbase(base)
        else:
            td.td_cpu.set_gsbase(base)
        return 0
    kt = td.td_proc.kernel.ktrace
    if kt.unsupported is not None:
        kt.emit(Unsupported("sysarch", f"operation {op}", op, pid=td.td_proc.p_pid))
    raise SyscallError(EINVAL)


def _check(td: Thread, which: int, id_: int, size: int) -> None:
    if not CPUSET_SIZE <= size <= CPU_MAXSIZE_BYTES:
        raise SyscallError(ERANGE)
    if which in (CPU_WHICH_TID, CPU_WHICH_PID) and id_ not in (-1, td.td_tid, td.td_proc.p_pid):
        raise SyscallError(ESRCH)


def sys_cpuset_getaffinity(
    td: Thread, level: int, which: int, id_: int, size: int, mask: int
) -> int:
    """cpuset_getaffinity(2): one processor."""
    _check(td, which, id_, size)
    copyout(td, mask, (1).to_bytes(size, "little"))
    return 0


def sys_cpuset_setaffinity(
    td: Thread, level: int, which: int, id_: int, size: int, mask: int
) -> int:
    """cpuset_setaffinity(2): the one processor must be in it."""
    _check(td, which, id_, size)
    wanted = int.from_bytes(copyin(td, mask, size), "little")
    if wanted >> 8 * CPUSET_SIZE:
        raise SyscallError(EINVAL)
    if not wanted & 1:
        raise SyscallError(EDEADLK)
    return 0


def sys_cpuset_getid(td: Thread, level: int, which: int, id_: int, setid: int) -> int:
    """cpuset_getid(2): the default set."""
    suword32(td, setid, DEFAULT_CPUSET)
    return 0


def sys_cpuset(td: Thread, setid: int) -> int:
    """cpuset(2): no new sets."""
    raise SyscallError(ENOSYS)
