"""Changing what a range allows, and asking.

FreeBSD: vm_map_protect(), vm_map_check_protection() in sys/vm/vm_map.c; vm_map_protect(9), vm_map_check_protection(9).
Differs: an entry in transition would be waited for; nothing can be in transition here while somebody else runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from kernel_model.vm.swap_pager import swap_reserve_by_cred
from kernel_model.vm.vm import OBJT_DEFAULT, OBJT_SWAP, VM_PROT_ALL, VM_PROT_EXECUTE, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault_copy_entry
from kernel_model.vm.vm_map import vm_map_entry_protected
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_COW,
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_IN_TRANSITION,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_NEEDS_COPY,
    MAP_ENTRY_STACK_GAP_DN,
    MAP_ENTRY_STACK_GAP_UP,
    MAP_ENTRY_USER_WIRED,
    MAP_WXORX,
    VM_MAP_PROTECT_GROWSDOWN,
    VM_MAP_PROTECT_SET_MAXPROT,
    VM_MAP_PROTECT_SET_PROT,
    entry_charged,
)
from kernel_model.vm.vm_map_insert import (
    clip_allowed,
    curcred,
    vm_map_clip_end,
    vm_map_clip_start,
    vm_map_simplify_entry,
)
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import (
    KERN_INVALID_ARGUMENT,
    KERN_OUT_OF_BOUNDS,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    PAGE_SHIFT,
    KernReturn,
)

if TYPE_CHECKING:
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry

_GAP = MAP_ENTRY_STACK_GAP_DN | MAP_ENTRY_STACK_GAP_UP
_WX = VM_PROT_WRITE | VM_PROT_EXECUTE


ProtectRequest: TypeAlias = "tuple[int, int, int]"
"""What vm_map_protect is asked for, made once at the door: (new protection, new maximum, VM_MAP_PROTECT_*).

A plain tuple, because mprotect(2) is short: a named one costs it a tenth.
"""


def vm_map_protect(map_: VmMap, start: int, end: int, new_prot: int, set_max: bool = False) -> KernReturn:
    """Set the protection of ``[start, end)``, or with *set_max* the maximum and with it the protection.
    Holes are fine.

    Returns: KERN_SUCCESS; KERN_INVALID_ARGUMENT over a submap; KERN_PROTECTION_FAILURE beyond a maximum;
             KERN_RESOURCE_SHORTAGE without swap. Before 13 a refused call leaves the entries clipped; with a
             shortage what was charged so far stays charged.
    FreeBSD: vm_map_protect(9), the five-argument form.
    """
    flags = VM_MAP_PROTECT_SET_MAXPROT if set_max else VM_MAP_PROTECT_SET_PROT
    return _protect(map_, start, end, (new_prot, new_prot, flags))


def vm_map_protect_flags(map_: VmMap, start: int, end: int, new_prot: int, new_maxprot: int, flags: int) -> KernReturn:
    """Set protection and maximum as *flags* says: VM_MAP_PROTECT_SET_PROT, _SET_MAXPROT, _GROWSDOWN.

    Returns: as vm_map_protect; KERN_OUT_OF_BOUNDS when the new protection exceeds the new maximum;
             KERN_PROTECTION_FAILURE for W|X on a W^X map.  A refused call changes nothing, cuts nothing.
    FreeBSD: vm_map_protect() since 13.0.
    """
    return _protect(map_, start, end, (new_prot, new_maxprot, flags))


def _protect(map_: VmMap, start: int, end: int, request: ProtectRequest) -> KernReturn:
    release = map_.vm.release
    if start == end:
        return KERN_SUCCESS
    new_prot, new_maxprot, flags = request
    both = VM_MAP_PROTECT_SET_PROT | VM_MAP_PROTECT_SET_MAXPROT
    if flags & both == both and new_prot & ~new_maxprot:
        return KERN_OUT_OF_BOUNDS
    map_.lock()
    rv = KERN_SUCCESS
    if map_.flags & MAP_WXORX and flags & VM_MAP_PROTECT_SET_PROT and new_prot & _WX == _WX:
        rv = KERN_PROTECTION_FAILURE
    else:
        if release.protect_waits_busy:
            map_.wait_busy()
        start, end = map_.range_check(start, end)
        rv = _protect_locked(map_, start, end, request)
    map_.unlock()
    return rv


def _protect_locked(map_: VmMap, start: int, end: int, request: ProtectRequest) -> KernReturn:
    release = map_.vm.release
    found, first = vm_map_lookup_entry(map_, start)
    if not found:
        first = first.next
    elif release.protect_clips_first:
        vm_map_clip_start(map_, first, start)
    if request[2] & VM_MAP_PROTECT_GROWSDOWN and first.eflags & MAP_ENTRY_GROWS_DOWN:
        start, first = _down_to_gap(map_, first)
    rv = _check_entries(map_, first, end, request)
    if rv != KERN_SUCCESS:
        return rv
    if not release.protect_clips_first:
        if first is not map_.header and not clip_allowed(first, start):
            return KERN_INVALID_ARGUMENT
        vm_map_clip_start(map_, first, start)
    rv, end = _charge_entries(map_, first, end, request)
    if rv != KERN_SUCCESS and release.protect_clips_first:
        return rv
    _set_entries(map_, first, end, request, rv)
    return rv


def _down_to_gap(map_: VmMap, first: VmMapEntry) -> tuple[int, VmMapEntry]:
    """PROT_GROWSDOWN: begin at the gap of the stack, or at the lowest entry of the map when there is none."""
    gap = MAP_ENTRY_GUARD | MAP_ENTRY_STACK_GAP_DN
    while first.eflags & gap != gap and first.prev is not map_.header:
        first = first.prev
    return first.start, first


def _check_entries(map_: VmMap, first: VmMapEntry, end: int, request: ProtectRequest) -> KernReturn:
    """The first pass: nothing of the range may forbid the change."""
    release = map_.vm.release
    new_prot, new_maxprot, flags = request
    wanted = new_prot if flags & VM_MAP_PROTECT_SET_PROT else 0
    if flags & VM_MAP_PROTECT_SET_MAXPROT:
        wanted |= new_maxprot
    header = map_.header
    entry = first
    while entry is not header and entry.start < end:
        eflags = entry.eflags
        if eflags & MAP_ENTRY_GUARD and release.protect_guard_first:
            entry = entry.next
            continue
        if eflags & MAP_ENTRY_IS_SUB_MAP:
            return KERN_INVALID_ARGUMENT
        max_protection = entry.max_protection
        skipped = False
        if eflags & MAP_ENTRY_GUARD:
            if release.stack_prot_saved and eflags & _GAP:
                max_protection = entry.offset >> 16 & VM_PROT_ALL
            else:
                skipped = True
        if not skipped and wanted & ~max_protection:
            return KERN_PROTECTION_FAILURE
        if eflags & MAP_ENTRY_IN_TRANSITION:
            map_.unlock_and_wait("protecting an entry in transition")
        entry = entry.next
    return KERN_SUCCESS


def _charge_entries(map_: VmMap, first: VmMapEntry, end: int, request: ProtectRequest) -> tuple[KernReturn, int]:
    """The second pass: what becomes writable needs swap.  Returns where to stop setting as well."""
    header = map_.header
    entry = first
    new_prot, _, flags = request
    sets_write = flags & VM_MAP_PROTECT_SET_PROT and new_prot & VM_PROT_WRITE
    while entry is not header and entry.start < end:
        if not clip_allowed(entry, end):
            return KERN_INVALID_ARGUMENT, entry.start
        vm_map_clip_end(map_, entry, end)
        if (
            sets_write
            and not entry.protection & VM_PROT_WRITE
            and not entry.eflags & MAP_ENTRY_GUARD
            and not entry_charged(entry)
            and not _charge(map_, entry)
        ):
            return KERN_RESOURCE_SHORTAGE, entry.end
        entry = entry.next
    return KERN_SUCCESS, end


def _charge(map_: VmMap, entry: VmMapEntry) -> bool:
    """Reserve swap for an entry that becomes writable: on the entry, or for the whole of an anonymous object.

    Differs: an object that vm_fault_copy_entry left with a charge nobody pays for (9.3) is charged anew;
    FreeBSD asserts.
    """
    vm = map_.vm
    cred = curcred(vm)
    obj = entry.vm_object
    if obj is None or entry.eflags & MAP_ENTRY_NEEDS_COPY:
        if not swap_reserve_by_cred(vm, entry.end - entry.start, cred):
            return False
        entry.cred = cred
        return True
    if obj.type not in (OBJT_DEFAULT, OBJT_SWAP):
        return True
    if not swap_reserve_by_cred(vm, obj.size << PAGE_SHIFT, cred):
        return False
    obj.cred = cred
    obj.charge = obj.size << PAGE_SHIFT
    return True


def _set_entries(map_: VmMap, first: VmMapEntry, end: int, request: ProtectRequest, rv: KernReturn) -> None:
    """The third pass: set, copy what is wired, take rights away, merge.  With an *rv* only merge (since 13)."""
    release = map_.vm.release
    header = map_.header
    entry = first
    while entry is not header and entry.start < end:
        guard = entry.eflags & MAP_ENTRY_GUARD
        if guard and release.protect_clips_first and release.insert_guards:
            entry = entry.next
            continue
        if rv == KERN_SUCCESS:
            if guard:
                _set_gap(map_, entry, request)
            else:
                _set_entry(map_, entry, request)
        vm_map_simplify_entry(map_, entry)
        entry = entry.next
    if rv == KERN_SUCCESS and not release.protect_clips_first and entry is not header:
        vm_map_simplify_entry(map_, entry)


def _set_gap(map_: VmMap, entry: VmMapEntry, request: ProtectRequest) -> None:
    """A stack gap keeps the protections that its stack will grow with; a plain guard keeps nothing."""
    if not entry.eflags & _GAP or not map_.vm.release.stack_prot_saved:
        return
    new_prot, new_maxprot, flags = request
    prot, max_ = entry.offset & VM_PROT_ALL, entry.offset >> 16 & VM_PROT_ALL
    if flags & VM_MAP_PROTECT_SET_MAXPROT:
        max_ = new_maxprot
        prot &= new_maxprot
    if flags & VM_MAP_PROTECT_SET_PROT:
        prot = new_prot
    entry.offset = prot | max_ << 16


def _copies_wired(map_: VmMap, entry: VmMapEntry) -> bool:
    return map_.vm.release.protect_copies_wired == "all" or entry.eflags & MAP_ENTRY_COW != 0


def _set_entry(map_: VmMap, entry: VmMapEntry, request: ProtectRequest) -> None:
    new_prot, new_maxprot, flags = request
    old_prot = entry.protection
    if flags & VM_MAP_PROTECT_SET_MAXPROT:
        entry.max_protection = new_maxprot
        entry.protection = new_maxprot & old_prot
    if flags & VM_MAP_PROTECT_SET_PROT:
        entry.protection = new_prot
    prot = entry.protection
    if entry.eflags & MAP_ENTRY_USER_WIRED and prot & ~old_prot & VM_PROT_WRITE and _copies_wired(map_, entry):
        vm_fault_copy_entry(map_, map_, entry, entry, forking=False)
    vm_map_entry_protected(map_, entry, old_prot)


def vm_map_check_protection(map_: VmMap, start: int, end: int, protection: int) -> bool:
    """Whether all of ``[start, end)`` is mapped and every entry allows *protection* now.

    Requires: the map locked, a read lock is enough.
    FreeBSD:  vm_map_check_protection(9).
    """
    found, entry = vm_map_lookup_entry(map_, start)
    if not found:
        return False
    header = map_.header
    while start < end:
        if entry is header or start < entry.start or entry.protection & protection != protection:
            return False
        start = entry.end
        entry = entry.next
    return True
