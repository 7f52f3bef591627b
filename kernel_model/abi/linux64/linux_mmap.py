"""The Linux calls on memory, in terms of the one vm_map there is.

FreeBSD: linux_mmap_common(), sys/compat/linux/linux_mmap.c.  Linux: mm/mmap.c, mm/mprotect.c for the order of checks
and the errnos.  mremap, madvise and the mlock family have files of their own.
Differs: mappings are placed bottom-up; PROT_WRITE or PROT_EXEC always grants PROT_READ, as x86 does in effect;
MAP_GROWSDOWN reserves 2 MiB below; MAP_LOCKED and MAP_POPULATE that fail are silent, as on Linux.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.linux64.linux_util import linux_msg
from kernel_model.errno import (
    EACCES,
    EBADF,
    EEXIST,
    EINVAL,
    ENODEV,
    ENOMEM,
    EOPNOTSUPP,
    EOVERFLOW,
    EPERM,
)
from kernel_model.errors import SyscallError
from kernel_model.kern.kern_descrip import FREAD, FWRITE, O_PATH
from kernel_model.kern.sysent import Support, Sysent
from kernel_model.kern.vfs_vnops import vn_mmap
from kernel_model.kern.vnode import VREG
from kernel_model.vm import vm_mmap
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_delete import vm_map_remove
from kernel_model.vm.vm_map_entry import MAP_ENTRY_GROWS_DOWN, MAP_ENTRY_GUARD, VM_MAP_WIRE_NOHOLES, VM_MAP_WIRE_USER
from kernel_model.vm.vm_map_protect import vm_map_protect
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_map_wire import vm_map_wire
from kernel_model.vm.vm_param import (
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SIZE,
    VM_MAXUSER_ADDRESS,
    WORD_MASK,
    VmOffset,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.kern_descrip import File
    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.vm.vm_map import VmMap

TASK_SIZE = VM_MAXUSER_ADDRESS - PAGE_SIZE
MMAP_MIN_ADDR = 65536

MAP_SHARED = 0x01
MAP_PRIVATE = 0x02
MAP_SHARED_VALIDATE = 0x03
MAP_TYPE = 0x0F
MAP_FIXED = 0x10
MAP_ANONYMOUS = 0x20
MAP_32BIT = 0x40
MAP_GROWSDOWN = 0x100
MAP_DENYWRITE = 0x800
MAP_EXECUTABLE = 0x1000
MAP_LOCKED = 0x2000
MAP_NORESERVE = 0x4000
MAP_POPULATE = 0x8000
MAP_NONBLOCK = 0x10000
MAP_STACK = 0x20000
MAP_HUGETLB = 0x40000
MAP_FIXED_NOREPLACE = 0x100000
_VALIDATED = (
    MAP_SHARED_VALIDATE | MAP_FIXED | MAP_ANONYMOUS | MAP_32BIT | MAP_GROWSDOWN | MAP_DENYWRITE | MAP_EXECUTABLE
    | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB
)  # fmt: skip

PROT_SEM = 0x8
PROT_GROWSDOWN = 0x01000000
PROT_GROWSUP = 0x02000000
READ_IMPLIES_EXEC = 0x0400000

GROWSDOWN_RESERVE = 2 << 20
"""Bytes reserved for a MAP_GROWSDOWN mapping, as by the FreeBSD Linux ABI."""


def linux_page_range(addr: VmOffset, size: VmOffset) -> tuple[VmOffset, VmOffset]:
    """[addr, addr + size) in whole pages, the size wrapping to 0 as in C."""
    size = (size + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    return addr, addr + size


def _prot(proc: Proc, prot: int) -> int:
    """VM_PROT_* of Linux's PROT_*; unknown bits are ignored."""
    prot &= VM_PROT_ALL
    if prot & (VM_PROT_WRITE | VM_PROT_EXECUTE):
        prot |= VM_PROT_READ
    if prot & VM_PROT_READ and proc.p_personality & READ_IMPLIES_EXEC:
        prot |= VM_PROT_EXECUTE
    return prot


def mapped_until(map_: VmMap, start: VmOffset, end: VmOffset) -> VmOffset:
    """How far [start, end) is mapped without a hole; reserves of stacks are holes."""
    found, entry = vm_map_lookup_entry(map_, start)
    if not found:
        return start
    here = start
    while here < end and entry is not map_.header and entry.start <= here:
        if entry.eflags & MAP_ENTRY_GUARD:
            break
        here = entry.end
        entry = entry.next
    return min(here, end)


def for_mapped(map_: VmMap, start: VmOffset, end: VmOffset, act: Callable[[VmOffset, VmOffset], None]) -> None:
    """Call *act* for each piece of [start, end) that is mapped; raises ENOMEM afterwards when there was a hole."""
    here = start
    hole = False
    while here < end:
        stop = mapped_until(map_, here, end)
        if stop > here:
            act(here, stop)
            here = stop
        if here < end:
            hole = True
            here = _next_mapped(map_, here, end)
    if hole:
        raise SyscallError(ENOMEM)


def _next_mapped(map_: VmMap, here: VmOffset, end: VmOffset) -> VmOffset:
    """Where, from the hole at *here* on, something is mapped again; *end* when nothing is."""
    _found, entry = vm_map_lookup_entry(map_, here)
    entry = entry.next
    while entry is not map_.header and entry.eflags & MAP_ENTRY_GUARD:
        entry = entry.next
    return end if entry is map_.header else min(entry.start, end)


# -- mmap ---------------------------------------------------------------------------------------------------


def sys_mmap(td: Thread, addr: int, size: int, prot: int, flags: int, fd: int, offset: int) -> int:
    """mmap(2).  Linux: ksys_mmap_pgoff(), do_mmap()."""
    proc = td.td_proc
    if offset & PAGE_MASK:
        raise SyscallError(EINVAL)
    fp = None
    if not flags & MAP_ANONYMOUS:
        fp = proc.p_fd.fget(fd)
        if fp.f_flag & O_PATH:
            raise SyscallError(EBADF)
    if flags & MAP_HUGETLB:
        linux_msg(td, "flag", "MAP_HUGETLB")
        raise SyscallError(EINVAL if fp is not None else ENOMEM)
    if size == 0:
        raise SyscallError(EINVAL)
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    addr, size = _place(proc, addr, size, flags)
    if fp is not None and (offset + size > (1 << 63) - 1):
        raise SyscallError(EOVERFLOW)
    bsd = _bsd_flags(flags)
    vmprot = _prot(proc, prot)
    if fp is not None:
        maxprot = _file_rights(fp, prot, flags)
        addr = vn_mmap(proc, fp.f_vnode, addr, size, vmprot, maxprot | vmprot, bsd, offset)
    else:
        if flags & MAP_TYPE not in (MAP_SHARED, MAP_PRIVATE):
            raise SyscallError(EINVAL)
        if flags & MAP_GROWSDOWN and flags & MAP_TYPE == MAP_PRIVATE:
            return _mmap_growsdown(proc, addr, size, vmprot, flags)
        addr = _mmap_anonymous(proc, addr, size, vmprot, bsd)
    if flags & (MAP_LOCKED | MAP_POPULATE):
        _populate(td, addr, size, vmprot, lock=bool(flags & MAP_LOCKED))
    return addr


def _place(proc: Proc, addr: VmOffset, size: VmOffset, flags: int) -> tuple[VmOffset, VmOffset]:
    """Linux: get_unmapped_area() and the checks around it."""
    size = (size + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    if size == 0 or size > TASK_SIZE:
        raise SyscallError(ENOMEM)
    if not flags & MAP_FIXED:
        addr &= ~PAGE_MASK
        if addr and (addr < MMAP_MIN_ADDR or addr + size > TASK_SIZE):
            addr = 0
        return (addr if flags & MAP_32BIT else vm_mmap.place_hint(proc, addr)), size
    if addr > TASK_SIZE - size:
        raise SyscallError(ENOMEM)
    if addr & PAGE_MASK:
        raise SyscallError(EINVAL)
    if addr < MMAP_MIN_ADDR and not (proc.p_ucred.cr_uid == 0 and addr):
        raise SyscallError(EPERM)
    if flags & MAP_FIXED_NOREPLACE and _occupied(proc.p_vmspace.vm_map, addr, addr + size):
        raise SyscallError(EEXIST)
    return addr, size


def _occupied(map_: VmMap, start: VmOffset, end: VmOffset) -> bool:
    found, entry = vm_map_lookup_entry(map_, start)
    following = entry.next
    return found or (following is not map_.header and following.start < end)


def _bsd_flags(flags: int) -> int:
    result = vm_mmap.MAP_SHARED if flags & MAP_SHARED else vm_mmap.MAP_PRIVATE
    if flags & MAP_TYPE == MAP_PRIVATE:
        result = vm_mmap.MAP_PRIVATE
    if flags & MAP_FIXED:
        result |= vm_mmap.MAP_FIXED
    if flags & MAP_ANONYMOUS:
        result |= vm_mmap.MAP_ANON
    if flags & MAP_32BIT and not flags & MAP_FIXED:
        result |= vm_mmap.MAP_32BIT
    return result


def _file_rights(fp: File, prot: int, flags: int) -> int:
    """VM_PROT_* that the open file allows for ever; EACCES, EINVAL, ENODEV.  Linux: do_mmap()."""
    kind = flags & MAP_TYPE
    if kind == MAP_SHARED_VALIDATE and flags & ~_VALIDATED:
        raise SyscallError(EOPNOTSUPP)
    if kind not in (MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE):
        raise SyscallError(EINVAL)
    shared = kind != MAP_PRIVATE
    if shared and prot & VM_PROT_WRITE and not fp.f_flag & FWRITE:
        raise SyscallError(EACCES)
    if not fp.f_flag & FREAD:
        raise SyscallError(EACCES)
    if fp.f_vnode is None:
        raise SyscallError(ENODEV)
    if fp.f_vnode.v_type != VREG and not fp.f_vnode.maps_anonymous():
        raise SyscallError(ENODEV)
    maxprot = VM_PROT_READ | VM_PROT_EXECUTE
    if not shared or fp.f_flag & FWRITE:
        maxprot |= VM_PROT_WRITE
    return maxprot


def _mmap_anonymous(proc: Proc, addr: VmOffset, size: VmOffset, prot: int, flags: int) -> VmOffset:
    return vm_mmap.vm_mmap_object(proc, addr, size, prot, VM_PROT_ALL, flags)


def _mmap_growsdown(proc: Proc, addr: VmOffset, size: VmOffset, prot: int, flags: int) -> VmOffset:
    """A stack entry that ends where the mapping ends; its lower part grows when it is touched."""
    reserve = max(size, GROWSDOWN_RESERVE)
    bottom = addr + size - reserve if flags & MAP_FIXED else addr
    bsd = vm_mmap.MAP_ANON | vm_mmap.MAP_PRIVATE | vm_mmap.MAP_STACK
    map_ = proc.p_vmspace.vm_map
    if flags & MAP_FIXED:
        _ = vm_map_remove(map_, addr, addr + size)
        bottom = max(bottom, _floor(map_, addr))
        bsd |= vm_mmap.MAP_FIXED
    reserve = addr + size - bottom if flags & MAP_FIXED else reserve
    got = vm_mmap.vm_mmap_object(proc, bottom, reserve, prot | VM_PROT_READ, VM_PROT_ALL, bsd)
    return got + reserve - size


def _floor(map_: VmMap, addr: VmOffset) -> VmOffset:
    """The end of the nearest mapping below *addr*."""
    _found, entry = vm_map_lookup_entry(map_, addr)
    return map_.min_offset if entry is map_.header else min(entry.end, addr)


def _populate(td: Thread, addr: VmOffset, size: VmOffset, prot: int, *, lock: bool) -> None:
    """Make a new mapping resident, until a signal comes; failures are silent.  Linux: mm_populate()."""
    map_ = td.td_proc.p_vmspace.vm_map
    if lock:
        _ = vm_map_wire(map_, addr, addr + size, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)
        return
    access = VM_PROT_WRITE if prot & VM_PROT_WRITE else VM_PROT_READ
    if not prot & access:
        return
    for va in range(addr, addr + size, PAGE_SIZE):
        if vm_fault(map_, va, access) != KERN_SUCCESS or td.td_ast:
            return


# -- munmap, mprotect ---------------------------------------------------------------------------------------


def sys_munmap(td: Thread, addr: int, size: int) -> int:
    """munmap(2): holes are fine."""
    if addr & PAGE_MASK or addr > TASK_SIZE or size > TASK_SIZE - addr or size == 0:
        raise SyscallError(EINVAL)
    start, end = linux_page_range(addr, size)
    _ = vm_map_remove(td.td_proc.p_vmspace.vm_map, start, end)
    return 0


def sys_mprotect(td: Thread, addr: int, size: int, prot: int) -> int:
    """mprotect(2): ENOMEM at the first hole, what precedes it being changed."""
    proc = td.td_proc
    map_ = proc.p_vmspace.vm_map
    grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~(PROT_GROWSDOWN | PROT_GROWSUP)
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or addr & PAGE_MASK:
        raise SyscallError(EINVAL)
    if size == 0:
        return 0
    start, end = linux_page_range(addr, size)
    if end <= start or end > WORD_MASK:
        raise SyscallError(ENOMEM)
    if prot & ~(VM_PROT_ALL | PROT_SEM):
        raise SyscallError(EINVAL)
    if grows:
        start = _grows_from(map_, start, grows)
    stop = mapped_until(map_, start, end)
    if stop > start:
        rv = vm_map_protect(map_, start, stop, _prot(proc, prot))
        if rv != KERN_SUCCESS:
            raise SyscallError(EACCES if rv == KERN_PROTECTION_FAILURE else ENOMEM)
    if stop < end:
        raise SyscallError(ENOMEM)
    return 0


def _grows_from(map_: VmMap, start: VmOffset, grows: int) -> VmOffset:
    found, entry = vm_map_lookup_entry(map_, start)
    if not found:
        raise SyscallError(ENOMEM)
    if grows == PROT_GROWSUP or not entry.eflags & MAP_ENTRY_GROWS_DOWN:
        raise SyscallError(EINVAL)
    return entry.start


# -- brk ----------------------------------------------------------------------------------------------------


def sys_brk(td: Thread, addr: int) -> int:
    """brk(2): returns the break as it is afterwards, moved or not; it is exact to the byte."""
    proc = td.td_proc
    end = vm_mmap.current_break(proc)
    exact = proc.p_linux_brk
    if not end - PAGE_SIZE < exact <= end:
        exact = end
    base = (proc.p_vmspace.vm_daddr + PAGE_MASK) & ~PAGE_MASK
    if addr < base or addr > TASK_SIZE:
        return exact
    try:
        _ = vm_mmap.kern_break(proc, addr)
    except SyscallError:
        return exact
    proc.p_linux_brk = addr
    return addr


def map_error(rv: int) -> int:
    """Errno of a failed insertion."""
    return ENOMEM if rv == KERN_RESOURCE_SHORTAGE else vm_mmap.vm_mmap_to_errno(rv)


SYSCALLS: dict[int, Sysent] = {
    9: Sysent("mmap", "puxxfu", Support.PARTIAL, sys_mmap, "no MAP_HUGETLB; placed bottom-up"),
    10: Sysent("mprotect", "pux", Support.FULL, sys_mprotect),
    11: Sysent("munmap", "pu", Support.FULL, sys_munmap),
    12: Sysent("brk", "p", Support.FULL, sys_brk),
}
"""Number to row."""
