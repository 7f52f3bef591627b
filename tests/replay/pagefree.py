"""The world in which the recordings were made: the map and the objects are real, no page is ever resident.

Faults, wiring and the copying of wired entries have their effects on maps, objects and charges, and on nothing else.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any
from unittest import mock

from kernel_model.vm import vmspace
from kernel_model.vm.pmap import NullHardware
from kernel_model.vm.vm import OBJT_DEFAULT, OBJT_SWAP, VM_PROT_FAULT_LOOKUP
from kernel_model.vm.vm_map_entry import MAP_ENTRY_COW, MAP_ENTRY_NEEDS_COPY, MAP_ENTRY_VN_EXEC, VM_FAULT_WIRE
from kernel_model.vm.vm_map_insert import curcred
from kernel_model.vm.vm_map_lookup import vm_map_lookup, vm_map_lookup_done
from kernel_model.vm.vm_object import vm_object_allocate, vm_object_deallocate, vm_object_reference
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_OUT_OF_BOUNDS,
    KERN_PROTECTION_FAILURE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
)
from kernel_model.vm.vm_stack import vm_map_growstack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry

vm_map_delete, vm_map_protect, vm_map_wire = (
    import_module(f"kernel_model.vm.vm_map_{name}") for name in ("delete", "protect", "wire")
)


class PageFreePmap:
    """Remembers which pages are wired, as the recording's pmap did; everything else is nothing."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.hardware = NullHardware(self)  # type: ignore[arg-type]
        self.wired: set[int] = set()
        self.changes: list[tuple[int, int]] = []

    @property
    def wired_count(self) -> int:
        return len(self.wired)

    def remove(self, start: int, end: int) -> None:
        self.unwire(start, end)

    def unwire(self, start: int, end: int) -> None:
        self.wired = {vpn for vpn in self.wired if not start >> PAGE_SHIFT <= vpn < end >> PAGE_SHIFT}

    def map_changed(self, start: int, end: int) -> None:
        assert start <= end

    def _nothing(self, *_: object) -> None:
        """protect, copy, advise, growkernel, release: no page is mapped."""

    protect = copy = advise = growkernel = enter_quick = object_init_pt = release = _nothing


class FaultRecord:
    """What the last simulated fault found, and which page must fail."""

    def __init__(self) -> None:
        self.out: dict[str, int] | None = None
        self.fault_fail = 0


def fault(record: FaultRecord, map_: VmMap, va: int, fault_type: int, fault_flags: int = 0) -> int:
    """The map's part of vm_fault."""
    vm = map_.vm
    record.out = None
    modern = vm.release.lookup_grows
    type_ = fault_type | VM_PROT_FAULT_LOOKUP if modern else fault_type
    rv, top, entry, obj, pindex, prot, wired = vm_map_lookup(map_, va, type_)
    if rv == KERN_INVALID_ADDRESS and not modern:
        assert vm.curproc is not None
        if vm_map_growstack(vm.curproc, va) != KERN_SUCCESS:
            return KERN_FAILURE
        rv, top, entry, obj, pindex, prot, wired = vm_map_lookup(map_, va, type_)
    if rv != KERN_SUCCESS:
        return rv
    assert obj is not None
    vm_map_lookup_done(top, entry)
    if pindex >= obj.size:
        return KERN_OUT_OF_BOUNDS if vm.release.fault_past_object == "bounds" else KERN_PROTECTION_FAILURE
    if record.fault_fail and va & ~PAGE_MASK == record.fault_fail:
        return KERN_FAILURE
    if fault_flags & VM_FAULT_WIRE:
        top.pmap.wired.add(va >> PAGE_SHIFT)  # type: ignore[attr-defined]
    record.out = {"prot": prot, "wired": int(wired), "pindex": pindex}
    return KERN_SUCCESS


def copy_entry(dst_map: VmMap, src_map: VmMap, dst: VmMapEntry, src: VmMapEntry, forking: bool) -> int:
    """vm_fault_copy_entry without its pages: object, charge and flags."""
    vm = src_map.vm
    upgrade = src is dst
    src_object = src.vm_object
    size = dst.end - dst.start
    if upgrade and not dst.eflags & MAP_ENTRY_NEEDS_COPY and vm.release.copy_entry_in_place:
        dst_object = src_object
        vm_object_reference(src_object)
    else:
        dst_object = vm_object_allocate(vm, OBJT_DEFAULT, size >> PAGE_SHIFT)
        dst_object.charge = size
        dst.object = dst_object
        dst.offset = 0
        dst.eflags &= ~MAP_ENTRY_VN_EXEC
    assert dst_object is not None
    charge = 0
    if forking:
        dst_object.cred = curcred(vm)
        charge = dst_object.charge
    elif dst_object.cred is None and dst_object.type in (OBJT_DEFAULT, OBJT_SWAP):
        dst_object.cred = dst.cred
        dst.cred = None
    if upgrade:
        dst.eflags &= ~(MAP_ENTRY_COW | MAP_ENTRY_NEEDS_COPY)
        vm_object_deallocate(src_object)
    return charge


@contextmanager
def page_free(record: FaultRecord) -> Iterator[None]:
    """Replace everything that would touch a page."""

    def map_fault(map_: VmMap, va: int, fault_type: int, fault_flags: int = 0) -> int:
        return fault(record, map_, va, fault_type, fault_flags)

    def nothing(*_: Any) -> None:
        return None

    with ExitStack() as stack:
        enter = stack.enter_context
        enter(mock.patch.object(vmspace, "Pmap", PageFreePmap))
        enter(mock.patch.object(vmspace, "vm_fault", map_fault))
        for module in (vmspace, vm_map_protect):
            enter(mock.patch.object(module, "vm_fault_copy_entry", copy_entry))
        enter(mock.patch.object(vm_map_delete, "vm_object_unwire", nothing))
        enter(mock.patch.object(vm_map_wire, "vm_object_unwire", nothing))
        yield
