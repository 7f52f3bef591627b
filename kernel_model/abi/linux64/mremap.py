"""mremap(2): FreeBSD has no such call, so a mapping is moved piece by piece, object and all.

    old  [ entry A | entry B )          each piece keeps object, offset, rights and inheritance
    new  [ entry A'| entry B'| more )   then the old range is removed

Linux: mm/mremap.c for checks and errnos.
Model only: vm_map has no verb for it; a private piece whose object is shared by nobody else keeps its pages in place.
Differs: a range of several FreeBSD entries with equal attributes counts as one mapping (Linux would have merged them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.linux64.linux_mmap import TASK_SIZE, map_error, mapped_until
from kernel_model.abi.linux64.linux_util import linux_msg
from kernel_model.errno import EAGAIN, EFAULT, EINVAL, ENOMEM
from kernel_model.errors import SyscallError
from kernel_model.kern.sysent import Support, Sysent
from kernel_model.rlimit import RLIMIT_MEMLOCK, RLIMIT_VMEM
from kernel_model.vm.vm import OBJT_VNODE, VM_INHERIT_SHARE
from kernel_model.vm.vm_map_advise import vm_map_inherit
from kernel_model.vm.vm_map_delete import vm_map_remove
from kernel_model.vm.vm_map_entry import (
    MAP_COPY_ON_WRITE,
    MAP_DISABLE_COREDUMP,
    MAP_DISABLE_SYNCER,
    MAP_ENTRY_COW,
    MAP_ENTRY_NEEDS_COPY,
    MAP_ENTRY_NOCOREDUMP,
    MAP_ENTRY_NOSYNC,
    MAP_ENTRY_USER_WIRED,
    MAP_INHERIT_SHARE,
    VM_MAP_WIRE_NOHOLES,
    VM_MAP_WIRE_USER,
)
from kernel_model.vm.vm_map_find import vm_map_findspace
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_map_wire import vm_map_wire
from kernel_model.vm.vm_mmap import place_hint
from kernel_model.vm.vm_object import bottom_object, vm_object_deallocate, vm_object_reference
from kernel_model.vm.vm_param import KERN_SUCCESS, PAGE_MASK, PAGE_SHIFT, WORD_MASK, VmOffset

if TYPE_CHECKING:
    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_object import VmObject

MREMAP_MAYMOVE = 1
MREMAP_FIXED = 2
MREMAP_DONTUNMAP = 4


def sys_mremap(td: Thread, addr: int, old_size: int, new_size: int, flags: int, new_addr: int) -> int:
    """mremap(2): shrink, grow in place, or move."""
    proc = td.td_proc
    _check_flags(td, addr, flags)
    old_size = (old_size + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    new_size = (new_size + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    if new_size == 0:
        raise SyscallError(EINVAL)
    map_ = proc.p_vmspace.vm_map
    if not vm_map_lookup_entry(map_, addr)[0]:
        raise SyscallError(EFAULT)
    if flags & MREMAP_FIXED:
        return _move_fixed(proc, addr, old_size, new_size, new_addr)
    if old_size >= new_size:
        if addr + old_size > TASK_SIZE:
            raise SyscallError(EINVAL)
        if old_size > new_size:
            _ = vm_map_remove(map_, addr + new_size, addr + old_size)
        return addr
    last = _check(proc, addr, old_size, new_size)
    if _grow_in_place(map_, last, addr, old_size, new_size):
        return addr
    if not flags & MREMAP_MAYMOVE:
        raise SyscallError(ENOMEM)
    target = _find(proc, new_size)
    return _move(proc, addr, old_size, new_size, target)


def _check_flags(td: Thread, addr: VmOffset, flags: int) -> None:
    if flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP):
        raise SyscallError(EINVAL)
    if flags & MREMAP_FIXED and not flags & MREMAP_MAYMOVE:
        raise SyscallError(EINVAL)
    if flags & MREMAP_DONTUNMAP:
        linux_msg(td, "flag", "MREMAP_DONTUNMAP")
        raise SyscallError(EINVAL)
    if addr & PAGE_MASK:
        raise SyscallError(EINVAL)


def _check(proc: Proc, addr: VmOffset, old_size: VmOffset, new_size: VmOffset) -> VmMapEntry:
    """The range is one mapping and may get larger; returns its last entry.  Linux: vma_to_resize()."""
    map_ = proc.p_vmspace.vm_map
    if old_size == 0:
        raise SyscallError(EINVAL)
    if mapped_until(map_, addr, addr + old_size) < addr + old_size:
        raise SyscallError(EFAULT)
    _found, entry = vm_map_lookup_entry(map_, addr)
    first = entry
    while entry.end < addr + old_size:
        entry = entry.next
        same = (
            entry.protection == first.protection
            and entry.inheritance == first.inheritance
            and _file(entry) is _file(first)
        )
        if not same:
            raise SyscallError(EFAULT)
    more = max(new_size - old_size, 0)
    limit = proc.p_limit
    if map_.size + more > limit.lim_cur(RLIMIT_VMEM):
        raise SyscallError(ENOMEM)
    if entry.eflags & MAP_ENTRY_USER_WIRED and proc.p_ucred.cr_uid != 0:
        wired = map_.pmap.wired_count << PAGE_SHIFT
        if wired + more > limit.lim_cur(RLIMIT_MEMLOCK):
            raise SyscallError(EAGAIN)
    return entry


def _file(entry: VmMapEntry) -> object:
    """The vnode object at the bottom of an entry's shadow chain, or None for anonymous memory."""
    obj = entry.vm_object
    bottom = None if obj is None else bottom_object(obj)[0]
    return bottom if bottom is not None and bottom.type == OBJT_VNODE else None


def _cow(entry: VmMapEntry) -> int:
    cow = 0
    if entry.eflags & MAP_ENTRY_NEEDS_COPY:
        cow |= MAP_COPY_ON_WRITE
    if entry.inheritance == VM_INHERIT_SHARE:
        cow |= MAP_INHERIT_SHARE
    if entry.eflags & MAP_ENTRY_NOSYNC:
        cow |= MAP_DISABLE_SYNCER
    if entry.eflags & MAP_ENTRY_NOCOREDUMP:
        cow |= MAP_DISABLE_COREDUMP
    return cow


def _insert(
    map_: VmMap, entry: VmMapEntry, delta: VmOffset, start: VmOffset, end: VmOffset, *, more: bool = False
) -> None:
    """Map at [start, end) what *entry* maps *delta* bytes from its start on.

    With *more* it is new: more of the file, or fresh memory; never what the entry holds there already.
    """
    obj = entry.vm_object
    offset = entry.offset + delta
    cow = _cow(entry)
    if more:
        obj, offset, cow = _continuation(entry, delta)
    vm_object_reference(obj)
    with map_.locked():
        rv = vm_map_insert(map_, obj, offset, start, end, entry.protection, entry.max_protection, cow)
    if rv != KERN_SUCCESS:
        vm_object_deallocate(obj)
        raise SyscallError(map_error(rv))
    if entry.inheritance not in (VM_INHERIT_SHARE, 1):
        _ = vm_map_inherit(map_, start, end, entry.inheritance)
    if entry.eflags & MAP_ENTRY_USER_WIRED:
        _ = vm_map_wire(map_, start, end, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)


def _continuation(entry: VmMapEntry, delta: VmOffset) -> tuple[VmObject | None, int, int]:
    cow = _cow(entry)
    obj = entry.vm_object
    offset = entry.offset + delta
    if _file(entry) is None:
        if entry.inheritance == VM_INHERIT_SHARE and obj is not None:
            # Shared memory keeps one object: the part past its end is beyond the object and refused.
            return obj, offset, cow
        return None, 0, cow & ~MAP_COPY_ON_WRITE
    if obj is not None:
        obj, offset = bottom_object(obj, offset)
    if entry.eflags & MAP_ENTRY_COW:
        cow |= MAP_COPY_ON_WRITE
    return obj, offset, cow


def _grow_in_place(map_: VmMap, last: VmMapEntry, addr: VmOffset, old_size: VmOffset, new_size: VmOffset) -> bool:
    start, end = addr + old_size, addr + new_size
    if last.end != start or end > TASK_SIZE:
        return False
    following = last.next
    if following is not map_.header and following.start < end:
        return False
    _insert(map_, last, start - last.start, start, end, more=True)
    return True


def _find(proc: Proc, size: VmOffset) -> VmOffset:
    map_ = proc.p_vmspace.vm_map
    target = vm_map_findspace(map_, place_hint(proc, 0), size)
    if target is None or target + size > TASK_SIZE:
        raise SyscallError(ENOMEM)
    return target


def _move_fixed(proc: Proc, addr: VmOffset, old_size: VmOffset, new_size: VmOffset, target: VmOffset) -> VmOffset:
    if target & PAGE_MASK or new_size > TASK_SIZE or target > TASK_SIZE - new_size:
        raise SyscallError(EINVAL)
    if addr + old_size > target and target + new_size > addr:
        raise SyscallError(EINVAL)
    map_ = proc.p_vmspace.vm_map
    _ = vm_map_remove(map_, target, target + new_size)
    if old_size > new_size:
        _ = vm_map_remove(map_, addr + new_size, addr + old_size)
        old_size = new_size
    _ = _check(proc, addr, old_size, new_size)
    return _move(proc, addr, old_size, new_size, target)


def _move(proc: Proc, addr: VmOffset, old_size: VmOffset, new_size: VmOffset, target: VmOffset) -> VmOffset:
    """Map everything of the old range at *target*, what is more behind it, and remove the old range."""
    map_ = proc.p_vmspace.vm_map
    here = addr
    end = addr + old_size
    last = None
    while here < end:
        found, entry = vm_map_lookup_entry(map_, here)
        if not found:
            raise SyscallError(EFAULT)
        stop = min(entry.end, end)
        _insert(map_, entry, here - entry.start, target + here - addr, target + stop - addr)
        last = entry
        here = stop
    if new_size > old_size and last is not None:
        _insert(map_, last, end - last.start, target + old_size, target + new_size, more=True)
    _ = vm_map_remove(map_, addr, end)
    return target


SYSCALLS: dict[int, Sysent] = {
    25: Sysent("mremap", "puuxp", Support.PARTIAL, sys_mremap, "no MREMAP_DONTUNMAP"),
}
"""Number to row."""
