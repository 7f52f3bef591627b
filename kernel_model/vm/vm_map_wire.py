"""Keeping pages in memory: wire and unwire.

FreeBSD: vm_map_wire(), vm_map_wire_locked(), vm_map_unwire() in sys/vm/vm_map.c; vm_map_wire(9), vm_map_unwire(9).
Differs: nobody else can wire or unwire meanwhile, so entries are never found in transition and never waited for.
A range whose end lies before its start is empty; the sources make an entry of no length (9.3) or assert (12.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert, some
from kernel_model.vm.vm import VM_PROT_EXECUTE, VM_PROT_NONE, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_map import UNWIRE, WIRE, vm_map_entry_set_eflags
from kernel_model.vm.vm_map_delete import vm_map_entry_unwire, vm_map_wire_user_count_sub
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_IN_TRANSITION,
    MAP_ENTRY_USER_WIRED,
    MAP_ENTRY_WIRE_SKIPPED,
    VM_FAULT_WIRE,
    VM_MAP_WIRE_HOLESOK,
    VM_MAP_WIRE_USER,
    VM_MAP_WIRE_WRITE,
    entry_system_wired_count,
)
from kernel_model.vm.vm_map_insert import vm_map_clip_end, vm_map_clip_start, vm_map_simplify_entry
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_object import vm_object_unwire
from kernel_model.vm.vm_page import PQ_ACTIVE
from kernel_model.vm.vm_param import (
    KERN_INVALID_ADDRESS,
    KERN_INVALID_ARGUMENT,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    PAGE_SHIFT,
    PAGE_SIZE,
    WORD_MASK,
    KernReturn,
)

if TYPE_CHECKING:
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry

_TRANSITION = MAP_ENTRY_IN_TRANSITION | MAP_ENTRY_WIRE_SKIPPED
WIRING_FAILED = -1
"""``wired_count`` of an entry whose pages could not all be wired."""


def vm_map_wire(map_: VmMap, start: int, end: int, flags: int) -> KernReturn:
    """Fault every page of ``[start, end)`` in and keep it there.

    *flags*: VM_MAP_WIRE_USER or the system's; VM_MAP_WIRE_HOLESOK to skip holes; VM_MAP_WIRE_WRITE to demand
    write access.
    Returns: KERN_SUCCESS; KERN_INVALID_ADDRESS for a hole or an entry without access; KERN_RESOURCE_SHORTAGE over the
             limit of user-wired pages (12); else the first failing fault's code.  A failing call has wired nothing.
    FreeBSD: vm_map_wire(9).
    """
    if start == end and not map_.vm.release.wire_locks_first:
        return KERN_SUCCESS
    map_.lock()
    rv = vm_map_wire_locked(map_, start, end, flags)
    map_.unlock()
    return rv


def vm_map_wire_locked(map_: VmMap, start: int, end: int, flags: int) -> KernReturn:
    """vm_map_wire on a locked map; the lock is dropped while pages are faulted in.  FreeBSD: vm_map_wire_locked()."""
    if start == end:
        return KERN_SUCCESS
    start, end = map_.range_check(start, end)
    first = _first(map_, start, flags)
    if first is None:
        return KERN_INVALID_ADDRESS
    if start >= end:
        return KERN_SUCCESS
    rv, end = _wire_entries(map_, first, start, end, flags)
    entry = vm_map_lookup_entry(map_, start)
    first = entry[1] if entry[0] else entry[1].next
    header = map_.header
    cur = first
    while cur is not header and cur.start < end:
        if cur.eflags & MAP_ENTRY_IN_TRANSITION:
            _wire_done(map_, cur, rv, flags)
        cur = cur.next
    return rv


def _first(map_: VmMap, start: int, flags: int) -> VmMapEntry | None:
    """The first entry of the range, None for a hole that is not allowed."""
    found, entry = vm_map_lookup_entry(map_, start)
    if found:
        return entry
    return entry.next if flags & VM_MAP_WIRE_HOLESOK else None


def _wire_entries(map_: VmMap, first: VmMapEntry, start: int, end: int, flags: int) -> tuple[KernReturn, int]:
    """Mark and wire entry by entry; on a failure returns where to stop rolling back."""
    user = flags & VM_MAP_WIRE_USER
    prot = VM_PROT_WRITE if flags & VM_MAP_WIRE_WRITE else 0
    header = map_.header
    entry = first
    while entry is not header and entry.start < end:
        vm_map_clip_start(map_, entry, start)
        vm_map_clip_end(map_, entry, end)
        entry.eflags |= MAP_ENTRY_IN_TRANSITION
        if not entry.protection & (VM_PROT_READ | VM_PROT_EXECUTE) or entry.protection & prot != prot:
            entry.eflags |= MAP_ENTRY_WIRE_SKIPPED
            if not flags & VM_MAP_WIRE_HOLESOK:
                return KERN_INVALID_ADDRESS, entry.end
        elif entry.wired_count == 0:
            rv = _wire_pages(map_, entry, user)
            if rv != KERN_SUCCESS:
                return rv, entry.end
        elif not user or not entry.eflags & MAP_ENTRY_USER_WIRED:
            entry.wired_count += 1
        if _hole_above(map_, entry, end, flags):
            return KERN_INVALID_ADDRESS, entry.end
        entry = entry.next
    return KERN_SUCCESS, end


def _hole_above(map_: VmMap, entry: VmMapEntry, end: int, flags: int) -> bool:
    """The range goes on above *entry* but the mappings do not, and that is not allowed."""
    if flags & VM_MAP_WIRE_HOLESOK or entry.end >= end:
        return False
    return entry.next is map_.header or entry.next.start > entry.end


def _wire_pages(map_: VmMap, entry: VmMapEntry, user: int) -> KernReturn:
    """Fault in every page of an entry that nobody wired yet; on failure it is left marked WIRING_FAILED."""
    vm = map_.vm
    entry.wired_count = 1
    npages = (entry.end - entry.start) >> PAGE_SHIFT
    capped = user and vm.release.wire_user_cap
    if capped:
        if (vm.user_wire_count + npages) & WORD_MASK > vm.max_user_wired:
            _wire_failure(map_, entry, entry.start)
            return KERN_RESOURCE_SHORTAGE
        vm.user_wire_count = (vm.user_wire_count + npages) & WORD_MASK
    fault = some(map_.fault, "fault handler of a map that is wired")
    map_.set_busy()
    map_.unlock()
    rv = KERN_SUCCESS
    va = entry.start
    while va < entry.end:
        rv = fault(map_, va, VM_PROT_NONE, VM_FAULT_WIRE)
        if rv != KERN_SUCCESS:
            break
        va += PAGE_SIZE
    map_.lock()
    map_.unbusy()
    if rv != KERN_SUCCESS:
        _wire_failure(map_, entry, va)
        if capped:
            vm_map_wire_user_count_sub(vm, npages)
    return rv


def _wire_failure(map_: VmMap, entry: VmMapEntry, failed: int) -> None:
    """Unwire the pages below *failed*.  FreeBSD: vm_map_wire_entry_failure()."""
    kassert(entry.wired_count == 1, "vm_map_wire_entry_failure: %r is not being wired", entry)
    if failed > entry.start:
        map_.pmap.unwire(entry.start, failed)
        obj = entry.vm_object
        if obj is not None:
            vm_object_unwire(obj, entry.offset, failed - entry.start, PQ_ACTIVE)
    entry.wired_count = WIRING_FAILED


def _wire_done(map_: VmMap, entry: VmMapEntry, rv: KernReturn, flags: int) -> None:
    """Keep the wiring, or take it back when the call failed."""
    user = flags & VM_MAP_WIRE_USER
    if not entry.eflags & MAP_ENTRY_WIRE_SKIPPED:
        if rv == KERN_SUCCESS:
            vm_map_entry_set_eflags(map_, entry, MAP_ENTRY_USER_WIRED if user else 0, 0, WIRE)
        elif entry.wired_count == WIRING_FAILED:
            entry.wired_count = 0
        elif not user or not entry.eflags & MAP_ENTRY_USER_WIRED:
            _undo(map_, entry, user)
    entry.eflags &= ~_TRANSITION
    vm_map_simplify_entry(map_, entry)


def _undo(map_: VmMap, entry: VmMapEntry, user: int) -> None:
    """Wiring this entry went well but a later one failed."""
    if entry.wired_count != 1:
        entry.wired_count -= 1
        return
    vm_map_entry_unwire(map_, entry)
    if user and map_.vm.release.wire_user_cap:
        vm_map_wire_user_count_sub(map_.vm, (entry.end - entry.start) >> PAGE_SHIFT)


def vm_map_unwire(map_: VmMap, start: int, end: int, flags: int) -> KernReturn:
    """Undo one wiring of ``[start, end)``.

    Returns: KERN_SUCCESS; KERN_INVALID_ADDRESS for a hole without VM_MAP_WIRE_HOLESOK; KERN_INVALID_ARGUMENT when the
             system unwires what it did not wire.  A user may unwire what was never wired.
    FreeBSD: vm_map_unwire(9).
    """
    if start == end:
        return KERN_SUCCESS
    map_.lock()
    start, end = map_.range_check(start, end)
    first = _first(map_, start, flags)
    if first is None or start >= end:
        map_.unlock()
        return KERN_INVALID_ADDRESS if first is None else KERN_SUCCESS
    rv, end = _check_unwire(map_, first, start, end, flags)
    header = map_.header
    entry = first
    while entry is not header and entry.start < end:
        if entry.eflags & MAP_ENTRY_IN_TRANSITION:
            if rv == KERN_SUCCESS:
                _unwire_entry(map_, entry, flags & VM_MAP_WIRE_USER)
            entry.eflags &= ~MAP_ENTRY_IN_TRANSITION
            vm_map_simplify_entry(map_, entry)
        entry = entry.next
    map_.unlock()
    return rv


def _check_unwire(map_: VmMap, first: VmMapEntry, start: int, end: int, flags: int) -> tuple[KernReturn, int]:
    """Clip and mark; on a failure returns where to stop cleaning up."""
    header = map_.header
    entry = first
    while entry is not header and entry.start < end:
        vm_map_clip_start(map_, entry, start)
        vm_map_clip_end(map_, entry, end)
        entry.eflags |= MAP_ENTRY_IN_TRANSITION
        if _hole_above(map_, entry, end, flags):
            return KERN_INVALID_ADDRESS, entry.end
        if not flags & VM_MAP_WIRE_USER and entry_system_wired_count(entry) == 0:
            return KERN_INVALID_ARGUMENT, entry.end
        entry = entry.next
    return KERN_SUCCESS, end


def _unwire_entry(map_: VmMap, entry: VmMapEntry, user: int) -> None:
    if user and not entry.eflags & MAP_ENTRY_USER_WIRED:
        return
    if entry.wired_count == 1:
        vm_map_entry_unwire(map_, entry)
    else:
        entry.wired_count -= 1
    vm_map_entry_set_eflags(map_, entry, 0, MAP_ENTRY_USER_WIRED if user else 0, UNWIRE)
