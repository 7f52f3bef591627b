"""Copying a wired entry's pages at once instead of on the first write.

FreeBSD: vm_fault_copy_entry(), sys/vm/vm_fault.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import some
from kernel_model.vm.vm import OBJT_DEFAULT, OBJT_SWAP, OBJT_VNODE, VM_PROT_WRITE
from kernel_model.vm.vm_map import vm_map_entry_changed
from kernel_model.vm.vm_map_entry import MAP_ENTRY_COW, MAP_ENTRY_NEEDS_COPY, MAP_ENTRY_VN_EXEC
from kernel_model.vm.vm_object import (
    resident_page,
    vm_object_allocate,
    vm_object_deallocate,
    vm_object_set_writeable_dirty,
)
from kernel_model.vm.vm_page import (
    PQ_INACTIVE,
    vm_page_activate,
    vm_page_alloc,
    vm_page_unwire,
    vm_page_wire,
)
from kernel_model.vm.vm_pageout import vm_wait
from kernel_model.vm.vm_param import PAGE_SHIFT

if TYPE_CHECKING:
    from kernel_model.ucred import Ucred
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_object import VmObject


def vm_fault_copy_entry(
    dst_map: VmMap, src_map: VmMap, dst_entry: VmMapEntry, src_entry: VmMapEntry, forking: bool
) -> int:
    """Copy the pages of a wired entry at once, for a fork or because the entry itself becomes writable.

    Requires: both maps locked; the source is wired, so its pages are resident.
    Returns:  bytes of swap to be charged to the child when *forking*, else 0.
    FreeBSD:  vm_fault_copy_entry().
    Differs:  an absent page is left out (FreeBSD asserts that there is none), and so is a page for which no memory
              can be had (FreeBSD waits for ever).
    """
    release = dst_map.vm.release
    upgrade = src_entry is dst_entry
    source = some(src_entry.vm_object, "object of a wired entry")
    first = src_entry.offset >> PAGE_SHIFT
    size = dst_entry.end - dst_entry.start
    in_place = upgrade and release.copy_entry_in_place and not dst_entry.eflags & MAP_ENTRY_NEEDS_COPY
    if in_place:
        target = source
        target.ref_count += 1
    else:
        target = vm_object_allocate(dst_map.vm, OBJT_DEFAULT, size >> PAGE_SHIFT)
        if forking or release.copy_entry_charges == "always":
            target.charge = size
        dst_entry.object = target
        dst_entry.offset = 0
        dst_entry.eflags &= ~MAP_ENTRY_VN_EXEC
    charge = 0
    if forking:
        target.cred = _curcred(dst_map.vm)
        charge = target.charge
    elif target.cred is None and target.type <= OBJT_SWAP:
        target.cred = dst_entry.cred
        dst_entry.cred = None
    _copy_pages(dst_map, dst_entry, source, target, first, upgrade)
    if upgrade:
        dst_entry.eflags &= ~(MAP_ENTRY_COW | MAP_ENTRY_NEEDS_COPY)
        vm_object_deallocate(source)
    vm_map_entry_changed(dst_map, dst_entry)
    return charge


def _copy_pages(
    dst_map: VmMap, dst_entry: VmMapEntry, source: VmObject, target: VmObject, first: int, upgrade: bool
) -> None:
    """The loop of vm_fault_copy_entry(): every page into *target*, and mapped."""
    vm = dst_map.vm
    target_first = first if source is target else 0
    for number in range((dst_entry.end - dst_entry.start) >> PAGE_SHIFT):
        src_m = resident_page(source, first + number)
        if src_m is None:
            continue
        dst_m = src_m
        if src_m.object is not target:
            copied = vm_page_alloc(target, target_first + number)
            if copied is None and vm_wait(vm):
                copied = vm_page_alloc(target, target_first + number)
            if copied is None:
                continue
            dst_m = copied
            vm.phys.copy(src_m.frame, dst_m.frame)
            dst_m.valid = src_m.valid
            dst_m.dirty = True
        elif number + first >= target.size:
            break
        if dst_m.valid:
            prot = dst_entry.protection
            if prot & VM_PROT_WRITE and target.type == OBJT_VNODE:
                vm_object_set_writeable_dirty(target)
            dst_map.pmap.enter(dst_entry.start + (number << PAGE_SHIFT), dst_m, prot, upgrade)
        if not upgrade:
            vm_page_activate(dst_m)
        elif src_m is not dst_m:
            vm_page_unwire(src_m, PQ_INACTIVE)
            vm_page_wire(dst_m)


def _curcred(vm: Vm) -> Ucred:
    return some(vm.curproc, "curproc").p_ucred
