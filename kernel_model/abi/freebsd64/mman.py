"""The FreeBSD calls on memory.  FreeBSD: sys/vm/vm_mmap.c, sys/vm/vm_unix.c, tests in tests/sys/vm/mmap_test.c."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kernel_model.errno import EOPNOTSUPP
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyout
from kernel_model.kern.sysent import Support, Sysent
from kernel_model.kern.vfs_vnops import fo_mmap
from kernel_model.vm import vm_mmap
from kernel_model.vm.vm_param import PAGE_SIZE

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread


def sys_break(td: Thread, nsize: int) -> int:
    """break(2): returns 0, and from 12 on the new end of the heap."""
    end = vm_mmap.kern_break(td.td_proc, nsize)
    return end if td.td_proc.kernel.release.break_below_base == "unchanged" else 0


def sys_sbrk(td: Thread, incr: int) -> int:
    """sbrk(2) and sstk(2): never there."""
    raise SyscallError(EOPNOTSUPP)


def sys_mmap(td: Thread, addr: int, size: int, prot: int, flags: int, fd: int, pos: int) -> int:
    """mmap(2)."""
    return vm_mmap.kern_mmap(td.td_proc, addr, size, prot, flags, fd, pos, partial(fo_mmap, td))


def sys_munmap(td: Thread, addr: int, size: int) -> int:
    """munmap(2)."""
    vm_mmap.kern_munmap(td.td_proc, addr, size)
    return 0


def sys_mprotect(td: Thread, addr: int, size: int, prot: int) -> int:
    """mprotect(2)."""
    vm_mmap.kern_mprotect(td.td_proc, addr, size, prot)
    return 0


def sys_madvise(td: Thread, addr: int, size: int, behav: int) -> int:
    """madvise(2)."""
    vm_mmap.kern_madvise(td.td_proc, addr, size, behav)
    return 0


def sys_mincore(td: Thread, addr: int, size: int, vec: int) -> int:
    """mincore(2)."""
    for piece in vm_mmap.kern_mincore(td.td_proc, addr, size):
        copyout(td, vec, piece)
        vec += len(piece)
    return 0


def sys_msync(td: Thread, addr: int, size: int, flags: int) -> int:
    """msync(2)."""
    vm_mmap.kern_msync(td.td_proc, addr, size, flags)
    return 0


def sys_minherit(td: Thread, addr: int, size: int, inherit: int) -> int:
    """minherit(2)."""
    vm_mmap.kern_minherit(td.td_proc, addr, size, inherit)
    return 0


def sys_mlock(td: Thread, addr: int, size: int) -> int:
    """mlock(2)."""
    vm_mmap.kern_mlock(td.td_proc, addr, size)
    return 0


def sys_munlock(td: Thread, addr: int, size: int) -> int:
    """munlock(2)."""
    vm_mmap.kern_munlock(td.td_proc, addr, size)
    return 0


def sys_mlockall(td: Thread, how: int) -> int:
    """mlockall(2)."""
    vm_mmap.kern_mlockall(td.td_proc, how)
    return 0


def sys_munlockall(td: Thread) -> int:
    """munlockall(2)."""
    vm_mmap.kern_munlockall(td.td_proc)
    return 0


def sys_getpagesize(td: Thread) -> int:
    """getpagesize(2) of 4.3BSD."""
    return PAGE_SIZE


SYSCALLS: dict[int, Sysent] = {
    17: Sysent("break", "p", Support.FULL, sys_break),
    64: Sysent("ogetpagesize", "", Support.FULL, sys_getpagesize),
    65: Sysent("msync", "pux", Support.FULL, sys_msync),
    69: Sysent("sbrk", "d", Support.FULL, sys_sbrk),
    70: Sysent("sstk", "d", Support.FULL, sys_sbrk),
    73: Sysent("munmap", "pu", Support.FULL, sys_munmap),
    74: Sysent("mprotect", "pux", Support.FULL, sys_mprotect),
    75: Sysent("madvise", "pud", Support.PARTIAL, sys_madvise, "MADV_PROTECT is accepted, nothing kills"),
    78: Sysent("mincore", "pub", Support.FULL, sys_mincore),
    203: Sysent("mlock", "pu", Support.FULL, sys_mlock),
    204: Sysent("munlock", "pu", Support.FULL, sys_munlock),
    250: Sysent("minherit", "pud", Support.FULL, sys_minherit),
    324: Sysent("mlockall", "x", Support.FULL, sys_mlockall),
    325: Sysent("munlockall", "", Support.FULL, sys_munlockall),
    477: Sysent("mmap", "puxxfl", Support.PARTIAL, sys_mmap, "no devices but /dev/zero"),
}
"""Number to row."""
