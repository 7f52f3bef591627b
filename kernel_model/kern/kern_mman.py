"""mmap(2) from the arguments to the file: the checks in their order.

FreeBSD: kern_mmap_fpcheck(), sys/vm/vm_mmap.c.
It stands above sys/vm here because it looks at descriptors; what happens to the map is vm/vm_mmap.py, to a file
vfs_vnops.vn_mmap().
Differs: no capability rights, no MAC; a device that can be mapped is one whose vnode says how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errno import EINVAL, ENOMEM, ENOTSUP
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.kern_descrip import OFF_MAX
from kernel_model.kern.vfs_vnops import file_maxprot, vn_mmap
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_WRITE
from kernel_model.vm.vm_mmap import (
    MAP_32BIT,
    MAP_32BIT_MAX_ADDR,
    MAP_ALIGNED_SUPER,
    MAP_ALIGNMENT_MASK,
    MAP_ALIGNMENT_SHIFT,
    MAP_ANON,
    MAP_EXCL,
    MAP_FIXED,
    MAP_GUARD,
    MAP_HASSEMAPHORE,
    MAP_NOCORE,
    MAP_NOSYNC,
    MAP_PREFAULT_READ,
    MAP_PRIVATE,
    MAP_RESERVED0020,
    MAP_RESERVED0040,
    MAP_SHARED,
    MAP_STACK,
    P_OSREL_MAP_ANON,
    P_OSREL_MAP_FSTRICT,
    PROT_ALL,
    PROT_MAX_SHIFT,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    place_hint,
    vm_mmap_object,
)
from kernel_model.vm.vm_param import PAGE_MASK, WORD_MASK, VmOffset

if TYPE_CHECKING:
    from kernel_model.kern.proc import Proc, Thread

_KNOWN = (
    MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_HASSEMAPHORE | MAP_STACK | MAP_NOSYNC | MAP_ANON | MAP_EXCL
    | MAP_NOCORE | MAP_PREFAULT_READ | MAP_32BIT | MAP_ALIGNMENT_MASK
)  # fmt: skip
_GUARD_MAY = MAP_FIXED | MAP_GUARD | MAP_EXCL | MAP_32BIT | MAP_ALIGNMENT_MASK
_GUARD_MAY_NOT_10 = MAP_SHARED | MAP_PRIVATE | MAP_PREFAULT_READ | MAP_ANON | MAP_STACK


def kern_mmap(td: Thread, addr: VmOffset, size: VmOffset, prot: int, flags: int, fd: int, pos: int) -> VmOffset:
    """mmap(2): returns the address.  FreeBSD: kern_mmap_fpcheck(); sys_mmap() until 10."""
    proc = td.td_proc
    release = proc.kernel.release
    maxprot = VM_PROT_ALL
    if release.mmap_prot_max:
        prot, maxprot = _split_prot_max(prot)
    elif not release.mmap_checks_flags:
        prot &= VM_PROT_ALL
    if release.mmap_checks_flags:
        flags &= ~(MAP_RESERVED0020 | MAP_RESERVED0040)
    anonymous = bool(flags & MAP_ANON)
    if (size == 0 and proc.p_osrel >= P_OSREL_MAP_ANON) or (anonymous and (fd != -1 or pos != 0)):
        raise SyscallError(EINVAL)
    if flags & MAP_STACK:
        if fd != -1 or prot & (PROT_READ | PROT_WRITE) != PROT_READ | PROT_WRITE:
            raise SyscallError(EINVAL)
        flags |= MAP_ANON
        pos = 0
    _check_flags(proc, prot, flags, fd, pos)
    pageoff = pos & PAGE_MASK
    pos -= pageoff
    asked = size
    size = (size + pageoff + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    if release.mmap_prot_max and asked and size == 0:
        raise SyscallError(ENOMEM)
    _check_alignment(flags)
    addr = _check_address(proc, addr, size, flags, pageoff)
    kassert(not (addr | size | pos) & PAGE_MASK or not flags & MAP_FIXED, "mmap: %#x, %#x, %#x", addr, size, pos)
    if size == 0:
        return addr + pageoff
    if release.map_guard and flags & MAP_GUARD:
        addr = vm_mmap_object(proc, addr, size, PROT_NONE, PROT_NONE, flags, foff=pos)
    elif flags & MAP_ANON:
        addr = vm_mmap_object(proc, addr, size, prot, maxprot, flags)
    else:
        addr = _mmap_file(td, addr, size, prot, maxprot, flags, fd, pos)
    return addr + pageoff


def _split_prot_max(prot: int) -> tuple[int, int]:
    """PROT_MAX() of FreeBSD 13: the protection, and what mprotect may ever add."""
    if prot & ~(PROT_ALL | PROT_ALL << PROT_MAX_SHIFT):
        raise SyscallError(EINVAL)
    maxprot = prot >> PROT_MAX_SHIFT & PROT_ALL
    prot &= PROT_ALL
    if maxprot and prot & ~maxprot:
        raise SyscallError(ENOTSUP)
    return prot, maxprot or VM_PROT_ALL


def _check_flags(proc: Proc, prot: int, flags: int, fd: int, pos: int) -> None:
    release = proc.kernel.release
    known = _KNOWN | MAP_GUARD if release.map_guard else _KNOWN
    strict = release.mmap_checks_flags
    both = MAP_SHARED | MAP_PRIVATE
    bad_guard = fd != -1 or pos != 0 or prot != PROT_NONE
    if strict:
        bad_guard = bad_guard or bool(flags & ~_GUARD_MAY)
    else:
        bad_guard = bad_guard or bool(flags & _GUARD_MAY_NOT_10)
    if (
        (strict and flags & ~known)
        or (release.fixed_check_excl and flags & (MAP_EXCL | MAP_FIXED) == MAP_EXCL)
        or (strict and flags & both == both)
        or (strict and prot & ~PROT_ALL)
        or (release.map_guard and flags & MAP_GUARD and bad_guard)
    ):
        raise SyscallError(EINVAL)


def _check_alignment(flags: int) -> None:
    align = flags & MAP_ALIGNMENT_MASK
    if align and align != MAP_ALIGNED_SUPER and not 12 <= align >> MAP_ALIGNMENT_SHIFT < 64:
        raise SyscallError(EINVAL)


def _check_address(proc: Proc, addr: VmOffset, size: VmOffset, flags: int, pageoff: int) -> VmOffset:
    map_ = proc.p_vmspace.vm_map
    end = (addr + size) & WORD_MASK
    low = bool(flags & MAP_32BIT) and proc.kernel.release.find_max_addr
    if flags & MAP_FIXED:
        addr = (addr - pageoff) & WORD_MASK
        end = (addr + size) & WORD_MASK
        outside = addr < map_.min_offset or end > map_.max_offset or end < addr
        if addr & PAGE_MASK or outside or (low and end > MAP_32BIT_MAX_ADDR):
            raise SyscallError(EINVAL)
        return addr
    if low:
        return 0 if end > MAP_32BIT_MAX_ADDR else addr
    return place_hint(proc, addr)


# -- files --------------------------------------------------------------------------------------------------


def _mmap_file(
    td: Thread,
    addr: VmOffset,
    size: VmOffset,
    prot: int,
    cap_maxprot: int,
    flags: int,
    fd: int,
    pos: int,
) -> VmOffset:
    proc = td.td_proc
    fp = proc.p_fd.fget(fd)
    neither = not flags & (MAP_SHARED | MAP_PRIVATE)
    strict = proc.kernel.release.mmap_checks_flags
    if neither and strict and proc.p_osrel >= P_OSREL_MAP_FSTRICT:
        raise SyscallError(EINVAL)
    maxprot = file_maxprot(fp, prot, flags)
    if flags & MAP_SHARED:
        maxprot &= cap_maxprot
    else:
        maxprot &= cap_maxprot | VM_PROT_WRITE
    if size > OFF_MAX or not 0 <= pos <= OFF_MAX - size:
        raise SyscallError(EINVAL)
    return vn_mmap(proc, fp.f_vnode, addr, size, prot, maxprot, flags, pos)
