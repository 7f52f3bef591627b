"""madvise(2) of Linux.

Linux: mm/madvise.c.  FreeBSD: linux_madvise_common(), sys/compat/linux/linux_mmap.c.
Differs: MADV_DONTNEED really discards, as on Linux; advice about huge pages, KSM and core dumps is accepted
and has no effect; MADV_WIPEONFORK needs a release with INHERIT_ZERO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.linux64.linux_mmap import for_mapped, linux_page_range, mapped_until
from kernel_model.abi.linux64.linux_util import linux_msg
from kernel_model.errno import EINTR, EINVAL, ENOMEM
from kernel_model.errors import SyscallError
from kernel_model.kern.sysent import Support, Sysent
from kernel_model.vm import vm_map_advise as bsd
from kernel_model.vm import vm_mmap
from kernel_model.vm.vm import (
    VM_INHERIT_COPY,
    VM_INHERIT_DEFAULT,
    VM_INHERIT_NONE,
    VM_INHERIT_SHARE,
    VM_INHERIT_ZERO,
    VM_PROT_READ,
    VM_PROT_WRITE,
)
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_flags import MAP_ENTRY_USER_WIRED
from kernel_model.vm.vm_object import vm_object_reference
from kernel_model.vm.vm_object_pages import vm_object_page_remove
from kernel_model.vm.vm_param import (
    KERN_PROTECTION_FAILURE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    WORD_MASK,
    VmOffset,
)

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry

MADV_NORMAL = 0
MADV_RANDOM = 1
MADV_SEQUENTIAL = 2
MADV_WILLNEED = 3
MADV_DONTNEED = 4
MADV_FREE = 8
MADV_REMOVE = 9
MADV_DONTFORK = 10
MADV_DOFORK = 11
MADV_MERGEABLE = 12
MADV_UNMERGEABLE = 13
MADV_HUGEPAGE = 14
MADV_NOHUGEPAGE = 15
MADV_DONTDUMP = 16
MADV_DODUMP = 17
MADV_WIPEONFORK = 18
MADV_KEEPONFORK = 19
MADV_COLD = 20
MADV_PAGEOUT = 21
MADV_POPULATE_READ = 22
MADV_POPULATE_WRITE = 23
_BSD_ADVICE = {
    MADV_NORMAL: bsd.MADV_NORMAL, MADV_RANDOM: bsd.MADV_RANDOM, MADV_SEQUENTIAL: bsd.MADV_SEQUENTIAL,
    MADV_WILLNEED: bsd.MADV_WILLNEED, MADV_FREE: bsd.MADV_FREE,
}  # fmt: skip
"""Advice that FreeBSD knows as well."""
_HARMLESS = frozenset((
    MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP, MADV_COLD,
    MADV_PAGEOUT,
))  # fmt: skip
"""KSM, huge pages, core dumps, cold and pageout: nothing here depends on them."""
_INHERIT = {
    MADV_DONTFORK: VM_INHERIT_NONE, MADV_DOFORK: VM_INHERIT_COPY, MADV_WIPEONFORK: VM_INHERIT_ZERO,
    MADV_KEEPONFORK: VM_INHERIT_COPY,
}  # fmt: skip


def sys_madvise(td: Thread, addr: int, size: int, advice: int) -> int:
    """madvise(2): ENOMEM when there was a hole, after the rest was done."""
    map_ = td.td_proc.p_vmspace.vm_map
    known = advice in _BSD_ADVICE or advice in _HARMLESS or advice in _INHERIT
    populate = advice in (MADV_POPULATE_READ, MADV_POPULATE_WRITE)
    if not (known or populate or advice in (MADV_DONTNEED, MADV_REMOVE)) or addr & PAGE_MASK:
        raise SyscallError(EINVAL)
    start, end = linux_page_range(addr, size)
    if (size and start == end) or end > WORD_MASK:
        raise SyscallError(EINVAL)
    if start == end:
        return 0
    if advice == MADV_REMOVE:
        linux_msg(td, "flag", "MADV_REMOVE")
        raise SyscallError(EINVAL)
    if populate:
        return _madvise_populate(td, start, end, write=advice == MADV_POPULATE_WRITE)
    for_mapped(map_, start, end, lambda low, high: _advise(td, map_, low, high, advice))
    return 0


def _advise(td: Thread, map_: VmMap, start: VmOffset, end: VmOffset, advice: int) -> None:
    if advice == MADV_DONTNEED:
        discard(map_, start, end)
    elif advice in _INHERIT:
        if map_.inherit(start, end, _INHERIT[advice]) != KERN_SUCCESS:
            linux_msg(td, "flag", "MADV_WIPEONFORK")
            raise SyscallError(EINVAL)
    elif advice in _BSD_ADVICE:
        _ = map_.madvise(start, end, _BSD_ADVICE[advice])


def _madvise_populate(td: Thread, start: VmOffset, end: VmOffset, *, write: bool) -> int:
    """A signal ends it: without one it can take hours, because what is only read never uses up the memory."""
    map_ = td.td_proc.p_vmspace.vm_map
    if mapped_until(map_, start, end) < end:
        raise SyscallError(ENOMEM)
    access = VM_PROT_WRITE if write else VM_PROT_READ
    for va in range(start, end, PAGE_SIZE):
        rv = vm_fault(map_, va, access)
        if rv != KERN_SUCCESS:
            raise SyscallError(EINVAL if rv == KERN_PROTECTION_FAILURE else ENOMEM)
        if td.td_ast:
            raise SyscallError(EINTR)
    return 0


def discard(map_: VmMap, start: VmOffset, end: VmOffset) -> None:
    """MADV_DONTNEED of Linux: private pages are gone, the next touch sees zeros or the file again.

    Requires: [start, end) is mapped without holes.
    """
    here = start
    while here < end:
        found, entry = map_.lookup_entry(here)
        if not found:
            return
        stop = min(entry.end, end)
        if entry.eflags & MAP_ENTRY_USER_WIRED:
            raise SyscallError(EINVAL)
        _discard_entry(map_, entry, here, stop)
        here = stop


def _discard_entry(map_: VmMap, entry: VmMapEntry, start: VmOffset, end: VmOffset) -> None:
    obj = entry.vm_object
    if obj is None or entry.inheritance == VM_INHERIT_SHARE:
        return
    first = (entry.offset + start - entry.start) >> PAGE_SHIFT
    count = (end - start) >> PAGE_SHIFT
    chain = []
    while obj is not None and obj.is_anon:
        if obj.ref_count > 1:
            _replace(map_, entry, start, end)
            return
        chain.append((obj, first))
        first += obj.backing_object_offset >> PAGE_SHIFT
        obj = obj.backing_object
    for private, index in chain:
        vm_object_page_remove(private, index, index + count)


def _replace(map_: VmMap, entry: VmMapEntry, start: VmOffset, end: VmOffset) -> None:
    """Map the same range anew: what is shared with another process must stay as it is there."""
    prot, maxprot, inheritance = entry.protection, entry.max_protection, entry.inheritance
    offset = entry.offset + start - entry.start
    obj = entry.vm_object
    while obj is not None and obj.is_anon:
        offset += obj.backing_object_offset
        obj = obj.backing_object
    cow = 0
    if obj is None:
        offset = 0
    else:
        vm_object_reference(obj)
        cow = vm_mmap.docow_flags(vm_mmap.MAP_PRIVATE, writecounted=False)
    if map_.fixed(obj, offset, start, end - start, prot, maxprot, cow) != KERN_SUCCESS:
        raise SyscallError(ENOMEM)
    if inheritance != VM_INHERIT_DEFAULT:
        _ = map_.inherit(start, end, inheritance)


SYSCALLS: dict[int, Sysent] = {
    28: Sysent("madvise", "pud", Support.PARTIAL, sys_madvise, "no MADV_REMOVE"),
}
"""Number to row."""
