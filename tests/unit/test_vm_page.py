"""Pages: allocation down to the reserve, queues, wiring, moving between objects."""

from __future__ import annotations

import pytest

from kernel_model.errors import KernelPanic
from kernel_model.vm.vm import OBJT_DEFAULT
from kernel_model.vm.vm_object import VmObject, vm_object_allocate, vm_object_deallocate
from kernel_model.vm.vm_page import (
    PG_POOL,
    PQ_ACTIVE,
    PQ_INACTIVE,
    PQ_LAUNDRY,
    PQ_NONE,
    VmPage,
    vm_page_activate,
    vm_page_alloc,
    vm_page_dequeue,
    vm_page_enqueue,
    vm_page_free,
    vm_page_launder,
    vm_page_range,
    vm_page_rename,
    vm_page_unwire,
    vm_page_wire,
)
from kernel_model.vm.vm_param import PAGE_SIZE
from tests.audit import assert_nothing_left
from tests.process import Process


def allocate(object_: VmObject, pindex: int) -> VmPage:
    m = vm_page_alloc(object_, pindex)
    assert m is not None
    m.valid = True
    return m


def test_consecutive_indexes_have_consecutive_frames() -> None:
    vm = Process(bare=True).vm
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, 8)
    first, second = allocate(object_, 2), allocate(object_, 3)
    assert second.frame == first.frame + 1
    assert object_.pages.get(2) is first
    assert vm.cnt.v_free_count == vm.cnt.v_page_count - 2
    vm_object_deallocate(object_)
    assert_nothing_left(vm)


def test_an_object_too_large_for_a_run_gets_frames_from_the_pool() -> None:
    vm = Process(bare=True).vm
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, 1 << 34)
    m = allocate(object_, (1 << 34) - 1)
    assert m.flags & PG_POOL
    vm.phys.page(m.frame)[0] = 7
    vm_page_free(m)
    again = allocate(object_, 5)
    assert again.frame == m.frame
    assert vm.phys.page(again.frame)[0] == 0
    vm_object_deallocate(object_)
    assert_nothing_left(vm)


def test_allocation_stops_at_the_reserve() -> None:
    vm = Process(ram=256 * PAGE_SIZE, bare=True).vm
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, 1000)
    for pindex in range(vm.cnt.v_page_count - vm.cnt.v_free_reserved):
        allocate(object_, pindex)
    assert vm_page_alloc(object_, 999) is None
    assert vm.cnt.v_free_count == vm.cnt.v_free_reserved
    assert vm.cnt.severe()
    vm_object_deallocate(object_)
    assert not vm.cnt.severe()


def test_a_grown_object_has_frames_for_its_new_pages() -> None:
    vm = Process(bare=True).vm
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, 4)
    allocate(object_, 0)
    for size in (40, 400, 4000):
        object_.size = size
        m = allocate(object_, size - 1)
        assert not m.flags & PG_POOL
        assert object_.frame_of(size - 1) == m.frame
    assert len(list(object_.runs())) <= 4
    vm_object_deallocate(object_)
    assert_nothing_left(vm)


def test_a_renamed_page_keeps_its_frame_which_its_old_object_then_does_not_use() -> None:
    vm = Process(bare=True).vm
    old, new = vm_object_allocate(vm, OBJT_DEFAULT, 8), vm_object_allocate(vm, OBJT_DEFAULT, 8)
    m = allocate(old, 3)
    frame = m.frame
    vm.phys.page(frame)[0] = 9
    m.dirty = False
    vm_page_rename(m, new, 1)
    assert (m.object, m.pindex, m.frame, m.dirty) == (new, 1, frame, True)
    assert old.pages.get(3) is None
    replacement = allocate(old, 3)
    assert replacement.frame != frame
    assert vm.phys.page(replacement.frame)[0] == 0
    vm_object_deallocate(old)
    assert vm.phys.page(frame)[0] == 9, "the run lives as long as the stray"
    vm_object_deallocate(new)
    assert_nothing_left(vm)


def test_rename_over_a_page_is_a_panic() -> None:
    vm = Process(bare=True).vm
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, 8)
    m = allocate(object_, 3)
    allocate(object_, 4)
    with pytest.raises(KernelPanic, match="rename over"):
        vm_page_rename(m, object_, 4)


def test_range_walks_in_order_and_does_not_walk_holes() -> None:
    vm = Process(bare=True).vm
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, 1 << 40)
    for pindex in (1 << 39, 7, 3):
        allocate(object_, pindex)
    assert [m.pindex for m in vm_page_range(object_, 0, 1 << 40)] == [3, 7, 1 << 39]
    assert [m.pindex for m in vm_page_range(object_, 4, 8)] == [7]
    assert vm_page_range(object_, 8, 9) == []


def test_queues_count_what_is_in_them() -> None:
    vm = Process(release="freebsd-12.1", bare=True).vm
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, 8)
    pages = [allocate(object_, pindex) for pindex in range(4)]
    for m in pages:
        vm_page_activate(m)
    assert (vm.cnt.v_active_count, vm.cnt.v_inactive_count) == (4, 0)
    vm_page_enqueue(pages[0], PQ_INACTIVE)
    vm_page_launder(pages[1])
    assert (vm.cnt.v_active_count, vm.cnt.v_inactive_count, vm.cnt.v_laundry_count) == (2, 1, 1)
    assert [m.queue for m in pages] == [PQ_INACTIVE, PQ_LAUNDRY, PQ_ACTIVE, PQ_ACTIVE]
    vm_page_dequeue(pages[2])
    vm_page_free(pages[3])
    assert (pages[2].queue, vm.cnt.v_active_count) == (PQ_NONE, 0)
    vm_object_deallocate(object_)
    assert_nothing_left(vm)


def test_without_a_laundry_dirty_pages_become_inactive() -> None:
    vm = Process(release="freebsd-9.3", bare=True).vm
    m = allocate(vm_object_allocate(vm, OBJT_DEFAULT, 8), 0)
    vm_page_launder(m)
    assert m.queue == PQ_INACTIVE


def test_places_that_pages_left_are_forgotten() -> None:
    vm = Process(bare=True).vm
    m = allocate(vm_object_allocate(vm, OBJT_DEFAULT, 8), 0)
    for _ in range(10_000):
        vm_page_enqueue(m, PQ_ACTIVE)
        vm_page_enqueue(m, PQ_INACTIVE, head=True)
    assert all(len(queue.places) < 5000 for queue in vm.pagequeues)
    assert [queue.cnt for queue in vm.pagequeues] == [1, 0, 0]
    assert m in vm.pagequeues[PQ_INACTIVE].places


def test_wiring_takes_a_page_out_of_the_queues() -> None:
    vm = Process(bare=True).vm
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, 8)
    m = allocate(object_, 0)
    vm_page_activate(m)
    vm_page_wire(m)
    vm_page_wire(m)
    vm_page_activate(m)
    assert (m.queue, vm.cnt.v_active_count, vm.cnt.v_wire_count) == (PQ_NONE, 0, 1)
    with pytest.raises(KernelPanic, match="wired"):
        vm_page_free(m)
    vm_page_unwire(m)
    assert m.queue == PQ_NONE
    vm_page_unwire(m, PQ_INACTIVE)
    assert (m.queue, vm.cnt.v_wire_count) == (PQ_INACTIVE, 0)
    with pytest.raises(KernelPanic, match="unwiring"):
        vm_page_unwire(m)
