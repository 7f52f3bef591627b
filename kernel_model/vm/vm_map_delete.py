"""Taking entries out of a map.

FreeBSD: vm_map_delete(), vm_map_remove(), vm_map_entry_delete(), vm_map_entry_unwire() in sys/vm/vm_map.c;
vm_map_delete(9), vm_map_remove(9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.vm.swap_pager import swap_pager_freespace, swap_release_by_cred
from kernel_model.vm.vm import OBJ_NOSPLIT, OBJ_ONEMAPPING, OBJT_SWAP
from kernel_model.vm.vm_map import EXCLUSIVE, vm_map_entry_unlink
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_GUARD,
    MAP_ENTRY_IN_TRANSITION,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_NEEDS_WAKEUP,
    MAP_ENTRY_USER_WIRED,
    entry_system_wired_count,
)
from kernel_model.vm.vm_map_insert import clip_allowed, vm_map_clip_end, vm_map_clip_start
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_object import (
    OBJPR_NOTMAPPED,
    vm_object_collapse,
    vm_object_page_remove,
    vm_object_unwire,
)
from kernel_model.vm.vm_page import PQ_ACTIVE
from kernel_model.vm.vm_param import KERN_INVALID_ARGUMENT, KERN_SUCCESS, PAGE_SHIFT, WORD_MASK, KernReturn

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_object import VmObject


def vm_map_delete(map_: VmMap, start: int, end: int) -> KernReturn:
    """Unmap ``[start, end)``; holes are fine.  The objects are let go at unlock.

    Requires: the map locked.
    Returns:  KERN_SUCCESS; KERN_INVALID_ARGUMENT when an edge would cut a large page (15.0).
    FreeBSD:  vm_map_delete(9).
    """
    kassert(map_.lock_state == EXCLUSIVE, "vm_map_delete: map not locked")
    if start == end:
        return KERN_SUCCESS
    found, entry = vm_map_lookup_entry(map_, start)
    if found:
        if not clip_allowed(entry, start):
            return KERN_INVALID_ARGUMENT
        vm_map_clip_start(map_, entry, start)
    else:
        entry = entry.next
    header = map_.header
    while entry is not header and entry.start < end:
        eflags = entry.eflags
        if eflags & MAP_ENTRY_IN_TRANSITION or (
            entry.wired_count and not map_.system_map and entry_system_wired_count(entry)
        ):
            entry.eflags |= MAP_ENTRY_NEEDS_WAKEUP
            map_.unlock_and_wait("deleting an entry that the kernel has wired")
        if end < entry.end:
            if not clip_allowed(entry, end):
                return KERN_INVALID_ARGUMENT
            vm_map_clip_end(map_, entry, end)
        nxt = entry.next
        if entry.wired_count:
            vm_map_entry_unwire(map_, entry)
        if entry.object is not None:
            map_.pmap.remove(entry.start, entry.end)
        if entry.end == map_.anon_loc:
            map_.anon_loc = entry.start
        vm_map_entry_delete(map_, entry)
        entry = nxt
    return KERN_SUCCESS


def vm_map_remove(map_: VmMap, start: int, end: int) -> KernReturn:
    """Unmap ``[start, end)``: vm_map_delete with the lock taken here and the range clamped into the map.

    Returns: as vm_map_delete.
    FreeBSD: vm_map_remove(9).
    """
    map_.lock()
    start, end = map_.range_check(start, end)
    rv = vm_map_delete(map_, start, end)
    map_.unlock()
    return rv


def vm_map_wire_user_count_sub(vm: Vm, npages: int) -> None:
    """Count pages out of vm.user_wire_count.

    A wired stack that grew upwards has pages that were never counted in, so the unsigned count may wrap; it then
    refuses every further wiring, as the kernel's does.
    FreeBSD: vm_map_wire_user_count_sub().
    """
    vm.user_wire_count = (vm.user_wire_count - npages) & WORD_MASK


def vm_map_entry_unwire(map_: VmMap, entry: VmMapEntry) -> None:
    """Make the pages of *entry* pageable, whoever wired them.  FreeBSD: vm_map_entry_unwire()."""
    kassert(entry.wired_count > 0, "vm_map_entry_unwire: %r is not wired", entry)
    size = entry.end - entry.start
    if entry.eflags & MAP_ENTRY_USER_WIRED and map_.vm.release.wire_user_cap:
        vm_map_wire_user_count_sub(map_.vm, size >> PAGE_SHIFT)
    map_.pmap.unwire(entry.start, entry.end)
    obj = entry.vm_object
    if obj is not None:
        vm_object_unwire(obj, entry.offset, size, PQ_ACTIVE)
    entry.wired_count = 0


def vm_map_entry_delete(map_: VmMap, entry: VmMapEntry) -> None:
    """Take *entry* out, give its swap back and throw away pages that only it could reach.

    FreeBSD: vm_map_entry_delete().
    """
    vm_map_entry_unlink(map_, entry)
    size = entry.end - entry.start
    if entry.eflags & MAP_ENTRY_GUARD:
        return
    if entry.cred is not None:
        swap_release_by_cred(map_.vm, size, entry.cred)
    obj = entry.vm_object
    if obj is not None:
        if obj.ref_count != 1 and obj.flags & (OBJ_NOSPLIT | OBJ_ONEMAPPING) == OBJ_ONEMAPPING:
            _drop_range(obj, entry.offset >> PAGE_SHIFT, size >> PAGE_SHIFT)
        map_.deferred.append(entry)
    elif not entry.eflags & MAP_ENTRY_IS_SUB_MAP:
        entry.object = None


def _drop_range(obj: VmObject, first: int, count: int) -> None:
    """The mapping that goes was the only one of these pages: free them, and shorten the object if they were
    its end.
    """
    vm_object_collapse(obj)
    last = first + count
    vm_object_page_remove(obj, first, last, OBJPR_NOTMAPPED)
    if obj.type == OBJT_SWAP:
        swap_pager_freespace(obj, first, count)
    if last >= obj.size > first:
        gone = (obj.size - first) << PAGE_SHIFT
        obj.size = first
        if obj.cred is not None:
            kassert(obj.charge >= gone, "object charge < 0")
            swap_release_by_cred(obj.vm, gone, obj.cred)
            obj.charge -= gone
