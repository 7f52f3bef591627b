"""Limits at the border of the Linux ABI.

FreeBSD: linux_prlimit64(), sys/compat/linux/linux_misc.c.  Linux: do_prlimit(), kernel/sys.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.errno import EINVAL, ESRCH
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_resource import kern_setrlimit
from kernel_model.kern.resourcevar import LINUX_ONLY
from kernel_model.rlimit import (
    RLIM_INFINITY,
    RLIM_NLIMITS,
    RLIMIT_CORE,
    RLIMIT_CPU,
    RLIMIT_DATA,
    RLIMIT_FSIZE,
    RLIMIT_MEMLOCK,
    RLIMIT_NOFILE,
    RLIMIT_NPROC,
    RLIMIT_RSS,
    RLIMIT_STACK,
    RLIMIT_VMEM,
)
from kernel_model.vm.vm_param import WORD_MASK

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

LINUX_RLIMITS: tuple[int, ...] = (
    RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS, RLIMIT_NPROC, RLIMIT_NOFILE,
    RLIMIT_MEMLOCK, RLIMIT_VMEM, *range(RLIM_NLIMITS, RLIM_NLIMITS + LINUX_ONLY),
)  # fmt: skip
"""Linux's number to the place in ``Plimit.pl_rlimit``."""
LINUX_RLIM_INFINITY = WORD_MASK


def _linux_which(resource: int) -> int:
    if resource >= len(LINUX_RLIMITS):
        raise SyscallError(EINVAL)
    return LINUX_RLIMITS[resource]


def _linux_pack(limit: tuple[int, int]) -> bytes:
    shown = [LINUX_RLIM_INFINITY if value == RLIM_INFINITY else value for value in limit]
    return struct.pack("<QQ", *shown)


def linux_getrlimit(td: Thread, resource: int, rlim: int) -> int:
    """getrlimit(2) of Linux."""
    copyout(td, rlim, _linux_pack(td.td_proc.p_limit.pl_rlimit[_linux_which(resource)]))
    return 0


def linux_setrlimit(td: Thread, resource: int, rlim: int) -> int:
    """setrlimit(2) of Linux: EINVAL when the soft limit is above the hard one."""
    data = copyin(td, rlim, 16)
    which = _linux_which(resource)
    cur, max_ = (min(value, RLIM_INFINITY) for value in struct.unpack("<QQ", data))
    if cur > max_:
        raise SyscallError(EINVAL)
    kern_setrlimit(td, which, cur, max_)
    return 0


def linux_prlimit64(td: Thread, pid: int, resource: int, new: int, old: int) -> int:
    """prlimit(2) of Linux, for the process itself."""
    if pid not in (0, td.td_proc.p_pid):
        raise SyscallError(ESRCH)
    before = _linux_pack(td.td_proc.p_limit.pl_rlimit[_linux_which(resource)])
    if new:
        _ = linux_setrlimit(td, resource, new)
    if old:
        copyout(td, old, before)
    return 0
