"""From a faulting address to the object and page behind it.

FreeBSD: vm_map_lookup(), vm_map_lookup_locked(), vm_map_lookup_done() in sys/vm/vm_map.c; vm_map_lookup(9).
Differs: the six results come as one tuple instead of through pointers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from kernel_model.errors import some
from kernel_model.vm.swap_pager import swap_release_by_cred, swap_reserve_by_cred
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_COPY, VM_PROT_FAULT_LOOKUP, VM_PROT_WRITE
from kernel_model.vm.vm_map import vm_map_entry_allocate_object, vm_map_entry_set_object, vm_map_entry_submap
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_COW,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_NEEDS_COPY,
    MAP_ENTRY_STACK_GAP_DN,
    MAP_ENTRY_STACK_GAP_UP,
    MAP_ENTRY_USER_WIRED,
)
from kernel_model.vm.vm_map_insert import curcred
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_object import vm_object_shadow
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    PAGE_SHIFT,
    KernReturn,
)
from kernel_model.vm.vm_stack_gap import vm_map_growstack_gap

if TYPE_CHECKING:
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_object import VmObject

LookupResult: TypeAlias = "tuple[KernReturn, VmMap, VmMapEntry, VmObject | None, int, int, bool]"
"""(code, map, entry, object, page index, protection, wired); what follows the entry only counts with KERN_SUCCESS."""

_GAP = MAP_ENTRY_STACK_GAP_DN | MAP_ENTRY_STACK_GAP_UP


def vm_map_lookup(map_: VmMap, va: int, fault_typea: int) -> LookupResult:
    """Find what backs *va* and make it ready for the access: shadow on a first write, create a missing object.

    *fault_typea*: VM_PROT bits, VM_PROT_COPY for a debugger's write, VM_PROT_FAULT_LOOKUP to let a stack
    grow (since 10.4). On success the result's map is read-locked until vm_map_lookup_done.
    Returns: ``(code, map, entry, object, page index, rights, wired)``, of which all after the entry only count with
             KERN_SUCCESS.  KERN_INVALID_ADDRESS unmapped; KERN_PROTECTION_FAILURE not allowed, also the gap of a
             stack that cannot grow; KERN_RESOURCE_SHORTAGE no swap for the copy.
    FreeBSD: vm_map_lookup(9).
    """
    map_.lock_read()
    grows = fault_typea & VM_PROT_FAULT_LOOKUP and map_.vm.release.lookup_grows
    steps = map_.vm.steps
    while True:
        found, entry = vm_map_lookup_entry(map_, va)
        eflags = entry.eflags
        if not (found if steps is None else steps.check("mapped", found, va=va, start=entry.start, end=entry.end)):
            map_.unlock_read()
            return KERN_INVALID_ADDRESS, map_, entry, None, 0, 0, False
        if eflags & MAP_ENTRY_IS_SUB_MAP:
            map_ = _into_submap(map_, entry)
            continue
        if grows:
            grows = 0
            if _is_gap(map_, entry) and vm_map_growstack_gap(map_, va, entry) == KERN_SUCCESS:
                continue
        break
    prot = entry.protection
    rv = _allowed(map_, entry, fault_typea)
    if rv != KERN_SUCCESS:
        map_.unlock_read()
        return rv, map_, entry, None, 0, 0, False
    wired = entry.wired_count != 0
    if eflags & MAP_ENTRY_NEEDS_COPY:
        fault_type = prot if wired else fault_typea
        if fault_type & VM_PROT_WRITE or fault_typea & VM_PROT_COPY:
            if not _shadow(map_, entry):
                map_.unlock()
                return KERN_RESOURCE_SHORTAGE, map_, entry, None, 0, 0, False
            map_.lock_downgrade()
        else:
            prot &= ~VM_PROT_WRITE
    obj: VmObject | None = entry.object  # type: ignore[assignment]  # no submap here
    if obj is None and not map_.system_map:
        map_.lock_upgrade()
        obj = vm_map_entry_allocate_object(map_, entry)
        map_.lock_downgrade()
    return KERN_SUCCESS, map_, entry, obj, (va - entry.start + entry.offset) >> PAGE_SHIFT, prot, wired


def _into_submap(map_: VmMap, entry: VmMapEntry) -> VmMap:
    sub = some(vm_map_entry_submap(entry), "map of a submap entry")
    map_.unlock_read()
    sub.lock_read()
    return sub


def _is_gap(map_: VmMap, entry: VmMapEntry) -> bool:
    """The address is in the reserve of a stack."""
    gap = (
        entry.protection == 0
        and not map_.system_map
        and entry.eflags & MAP_ENTRY_GUARD != 0
        and entry.eflags & _GAP != 0
    )
    return gap and map_.vm.check("gap", gap, start=entry.start, end=entry.end)


def _allowed(map_: VmMap, entry: VmMapEntry, fault_typea: int) -> KernReturn:
    """Check the wanted access against the entry's rights."""
    prot = entry.protection
    fault_type = fault_typea & VM_PROT_ALL
    steps = map_.vm.steps
    ok = fault_type & prot == fault_type and prot != 0
    if steps is not None:
        ok = steps.check(
            "protection", ok, access=fault_type, prot=prot, max_prot=entry.max_protection, eflags=entry.eflags
        )
    if not ok:
        return KERN_PROTECTION_FAILURE
    if fault_typea & VM_PROT_WRITE and map_.vm.release.lookup_refuses_wired_cow:
        ok = entry.eflags & (MAP_ENTRY_USER_WIRED | MAP_ENTRY_COW) != MAP_ENTRY_USER_WIRED | MAP_ENTRY_COW
        if not map_.vm.check("wired_cow", ok, eflags=entry.eflags):
            return KERN_PROTECTION_FAILURE
    if fault_typea & VM_PROT_COPY and not entry.eflags & MAP_ENTRY_COW:
        ok = entry.max_protection & VM_PROT_WRITE != 0
        if not map_.vm.check("max_protection", ok, max_prot=entry.max_protection):
            return KERN_PROTECTION_FAILURE
    return KERN_SUCCESS


def _shadow(map_: VmMap, entry: VmMapEntry) -> bool:
    """Put a shadow object in front of what the entry maps; False without swap.  The map ends exclusively locked."""
    vm = map_.vm
    size = entry.end - entry.start
    map_.lock_upgrade()
    if entry.cred is None:
        cred = curcred(vm)
        ok = swap_reserve_by_cred(vm, size, cred)
        if not vm.check("swap", ok, size=size, reserved=vm.swap_reserved):
            return False
        entry.cred = cred
    obj, offset = vm_object_shadow(vm, entry.vm_object, entry.offset, size)
    if obj.cred is not None:
        swap_release_by_cred(vm, size, entry.cred)
    else:
        obj.cred = entry.cred
        obj.charge = size
    entry.cred = None
    vm_map_entry_set_object(map_, entry, obj, offset, clear=MAP_ENTRY_NEEDS_COPY)
    return True


def vm_map_lookup_done(map_: VmMap, entry: VmMapEntry) -> None:
    """Let go of what vm_map_lookup locked.  FreeBSD: vm_map_lookup_done()."""
    map_.unlock_read()


def vm_map_lookup_locked(map_: VmMap, va: int, fault_typea: int) -> LookupResult:
    """vm_map_lookup on a map that is locked already: KERN_FAILURE where that would change the map.

    FreeBSD: vm_map_lookup_locked().
    """
    found, entry = vm_map_lookup_entry(map_, va)
    if not found:
        return KERN_INVALID_ADDRESS, map_, entry, None, 0, 0, False
    if entry.eflags & MAP_ENTRY_IS_SUB_MAP:
        return KERN_FAILURE, map_, entry, None, 0, 0, False
    prot = entry.protection
    fault_type = fault_typea & VM_PROT_ALL
    if fault_type & prot != fault_type:
        return KERN_PROTECTION_FAILURE, map_, entry, None, 0, 0, False
    wired = entry.wired_count != 0
    if wired:
        fault_type = prot
    if entry.eflags & MAP_ENTRY_NEEDS_COPY:
        if fault_type & VM_PROT_WRITE:
            return KERN_FAILURE, map_, entry, None, 0, 0, False
        prot &= ~VM_PROT_WRITE
    obj = entry.vm_object
    if obj is None and not map_.system_map:
        return KERN_FAILURE, map_, entry, None, 0, 0, False
    return KERN_SUCCESS, map_, entry, obj, (va - entry.start + entry.offset) >> PAGE_SHIFT, prot, wired
