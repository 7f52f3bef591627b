"""The auditor: every rule that pages, objects, page tables and counters must keep, counted anew."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kernel_model.vm.pmap import pmap_mappings
from kernel_model.vm.vm import VM_PROT_WRITE
from kernel_model.vm.vm_map import vm_map_assert_consistent
from kernel_model.vm.vm_map_entry import MAP_ENTRY_NEEDS_COPY
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_page import PQ_NONE
from kernel_model.vm.vm_param import PAGE_SHIFT
from tests.tlb import TlbHardware

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_object import VmObject
    from kernel_model.vm.vmspace import VmSpace


def reachable(spaces: Iterable[VmSpace], more: Iterable[VmObject] = ()) -> dict[VmObject, int]:
    """Every object that entries reach, with the references that entries hold."""
    seen: dict[VmObject, int] = {}
    for space in spaces:
        for entry in space.vm_map:
            if entry.vm_object is not None:
                seen[entry.vm_object] = seen.get(entry.vm_object, 0) + 1
    for object_ in more:
        seen[object_] = seen.get(object_, 0) + 1
    for object_ in list(seen):
        below = object_.backing_object
        while below is not None and below not in seen:
            seen[below] = 0
            below = below.backing_object
    return seen


def check_all(vm: Vm, spaces: list[VmSpace], more: Iterable[VmObject] = (), shared_inval: bool = True) -> None:
    """Assert every rule between page tables, pages, objects and counters."""
    objects = reachable(spaces, more)
    shadows = Counter(object_.backing_object for object_ in objects if object_.backing_object is not None)
    frames: set[int] = set()
    queued: Counter[int] = Counter()
    pages = wired = 0
    for object_, entries in objects.items():
        assert object_.shadow_count == len(object_.shadow_head) == shadows[object_]
        assert object_.ref_count == entries + shadows[object_], object_
        assert all(shadow.backing_object is object_ for shadow in object_.shadow_head)
        assert (object_ in vm.objects) == bool(object_.pages)
        for pindex, m in object_.pages.items():
            assert m.object is object_ and m.pindex == pindex
            assert m.frame not in frames, f"frame {m.frame:#x} is used twice"
            frames.add(m.frame)
            pages += 1
            wired += m.wire_count != 0
            if m.queue != PQ_NONE:
                queued[m.queue] += 1
                assert m.wire_count == 0
                assert m in vm.pagequeues[m.queue].places
            for pmap, vpn in pmap_mappings(m):
                assert pmap.ptes[vpn][0] is m
    assert vm.cnt.v_page_count - vm.cnt.v_free_count == pages, "pages counted and pages found differ"
    assert vm.cnt.v_wire_count == wired
    for which, queue in enumerate(vm.pagequeues):
        assert queue.cnt == queued[which]
    for space in spaces:
        _check_ptes(space, shared_inval)
        vm_map_assert_consistent(space.vm_map)


def _check_ptes(space: VmSpace, shared_inval: bool) -> None:
    """Each translation is the page that a walk down the shadow chain finds, with rights that it may have."""
    wired = 0
    for va, (m, prot, is_wired) in space.vm_pmap.mappings():
        wired += is_wired
        assert (space.vm_pmap, va >> PAGE_SHIFT) in pmap_mappings(m)
        found, entry = vm_map_lookup_entry(space.vm_map, va)
        assert found and entry.vm_object is not None
        object_ = entry.vm_object
        pindex = (va - entry.start + entry.offset) >> PAGE_SHIFT
        top = object_
        while pindex not in object_.pages:
            assert object_.swap is None or pindex not in object_.swap
            assert object_.backing_object is not None, f"{va:#x} maps {m!r}, which nothing holds"
            pindex += object_.backing_object_offset >> PAGE_SHIFT
            object_ = object_.backing_object
        if shared_inval:
            assert object_.pages[pindex] is m, f"{va:#x} maps {m!r}, the chain has {object_.pages[pindex]!r}"
        assert not prot & ~entry.protection
        if prot & VM_PROT_WRITE:
            assert m.dirty and m.object is top and not entry.eflags & MAP_ENTRY_NEEDS_COPY
    assert space.vm_pmap.wired_count == wired
    hardware = space.vm_pmap.hardware
    assert isinstance(hardware, TlbHardware)
    for vpn, (frame, prot) in hardware.tlb.items():
        pte = space.vm_pmap.ptes.get(vpn)
        assert pte is not None and pte[0].frame == frame and not prot & ~pte[1], f"stale translation of page {vpn:#x}"


def assert_nothing_left(vm: Vm) -> None:
    """After everything was freed no page, frame number, swap block or reservation is held."""
    assert vm.cnt.v_free_count == vm.cnt.v_page_count
    assert vm.cnt.v_wire_count == 0
    assert vm.phys.reserved_frames() == 0
    assert vm.swap_reserved == 0
    assert not vm.objects
    assert vm.swap_device is None or vm.swap_device.used == 0
    assert [queue.cnt for queue in vm.pagequeues] == [0, 0, 0]
