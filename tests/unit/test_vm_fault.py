"""The page fault: every stage and every result, by release."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from kernel_model.errors import KernelPanic
from kernel_model.vm.vm import (
    OBJ_DEAD,
    OBJ_MIGHTBEDIRTY,
    OBJ_ONEMAPPING,
    OBJT_DEFAULT,
    OBJT_PHYS,
    VM_PROT_ALL,
    VM_PROT_COPY,
    VM_PROT_EXECUTE,
    VM_PROT_NONE,
    VM_PROT_READ,
    VM_PROT_RW,
    VM_PROT_WRITE,
)
from kernel_model.vm.vm_check import StepRecorder
from kernel_model.vm.vm_fault import MAX_RESTARTS, vm_fault, vm_fault_copy_entry
from kernel_model.vm.vm_map_advise import vm_map_inherit, vm_map_madvise
from kernel_model.vm.vm_map_delete import vm_map_remove
from kernel_model.vm.vm_map_entry import (
    MAP_COPY_ON_WRITE,
    MAP_NOFAULT,
    MAP_STACK_GROWS_DOWN,
    VM_FAULT_DIRTY,
    VM_FAULT_WIRE,
    VM_MAP_WIRE_USER,
)
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_protect import vm_map_protect
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_map_wire import vm_map_unwire, vm_map_wire
from kernel_model.vm.vm_object import (
    VmObject,
    vm_object_allocate,
    vm_object_reference,
    vm_object_shadow,
)
from kernel_model.vm.vm_page import PG_NOSYNC, PQ_ACTIVE, VmPage, vm_page_alloc
from kernel_model.vm.vm_pager import (
    VM_PAGER_BAD,
    VM_PAGER_ERROR,
    VM_PAGER_FAIL,
    VM_PAGER_OK,
    device_pager_allocate,
    phys_pager_allocate,
    sg_pager_allocate,
)
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_OUT_OF_BOUNDS,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    PAGE_SIZE,
)
from kernel_model.vm.vm_stack import vm_map_stack
from kernel_model.vm.vmspace import VmSpace, vmspace_free
from kernel_model.vm.vnode_pager import vnode_pager_alloc
from tests.audit import assert_nothing_left
from tests.memory_vnode import MemoryVnode
from tests.process import Process

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm

BASE = 0x10_0000
CLASSIC = ["freebsd-9.3", "freebsd-10.1", "freebsd-11.0"]
MODERN = ["freebsd-10.4", "freebsd-12.1", "freebsd-15.0"]
ALL = CLASSIC + MODERN


def insert(space: VmSpace, object_: VmObject | None, npages: int, prot: int = VM_PROT_RW, cow: int = 0) -> None:
    map_ = space.vm_map
    with map_.locked():
        assert vm_map_insert(map_, object_, 0, BASE, BASE + npages * PAGE_SIZE, prot, VM_PROT_ALL, cow) == 0


def counters(vm: Vm) -> tuple[int, int, int, int]:
    cnt = vm.cnt
    return cnt.v_vm_faults, cnt.v_zfod, cnt.v_cow_faults, cnt.v_cow_optim


def test_a_first_touch_zero_fills_and_queues() -> None:
    process = Process(bare=True)
    process.map_at(BASE, 4 * PAGE_SIZE)
    assert vm_fault(process.map, BASE + PAGE_SIZE + 123, VM_PROT_WRITE) == KERN_SUCCESS
    m, prot, wired = process.space.vm_pmap.ptes[(BASE >> 12) + 1]
    assert (prot, wired, m.pindex, m.queue, m.dirty) == (VM_PROT_RW, False, 1, PQ_ACTIVE, True)
    assert bytes(process.vm.phys.page(m.frame)) == bytes(PAGE_SIZE)
    assert counters(process.vm) == (1, 1, 0, 0)
    assert (process.space.vm_pmap.minflt, process.space.vm_pmap.majflt) == (1, 0)


def test_nothing_mapped_and_no_right() -> None:
    process = Process(bare=True)
    insert(process.space, None, 1, VM_PROT_READ)
    assert vm_fault(process.map, BASE - 1, VM_PROT_READ) == KERN_INVALID_ADDRESS
    assert vm_fault(process.map, BASE, VM_PROT_WRITE) == KERN_PROTECTION_FAILURE
    assert vm_fault(process.map, BASE, VM_PROT_EXECUTE) == KERN_PROTECTION_FAILURE
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_SUCCESS
    assert vm_fault(process.map, BASE, VM_PROT_WRITE) == KERN_PROTECTION_FAILURE, "the hint must not forget rights"
    assert vm_map_protect(process.map, BASE, BASE + PAGE_SIZE, VM_PROT_NONE) == 0
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_PROTECTION_FAILURE, "nor outlive a change"
    assert vm_map_remove(process.map, BASE, BASE + PAGE_SIZE) == 0
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_INVALID_ADDRESS


def test_in_a_section_without_faults_every_fault_is_refused() -> None:
    process = Process(bare=True)
    process.map_at(BASE, PAGE_SIZE)
    with process.vm.nofault():
        assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_PROTECTION_FAILURE
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_SUCCESS


def test_a_nofault_entry_panics() -> None:
    process = Process(bare=True)
    insert(process.space, None, 1, VM_PROT_RW, MAP_NOFAULT)
    with pytest.raises(KernelPanic, match="nofault entry"):
        vm_fault(process.map, BASE, VM_PROT_READ)


def test_a_dead_object_cannot_be_read() -> None:
    process = Process(bare=True)
    object_ = vm_object_allocate(process.vm, OBJT_DEFAULT, 1)
    object_.flags |= OBJ_DEAD
    insert(process.space, object_, 1)
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_PROTECTION_FAILURE


@pytest.mark.parametrize("release", ALL)
def test_a_page_beyond_the_object(release: str) -> None:
    process = Process(release=release, bare=True)
    insert(process.space, vm_object_allocate(process.vm, OBJT_DEFAULT, 1), 2)
    modern = release in ("freebsd-12.1", "freebsd-15.0")
    assert vm_fault(process.map, BASE + PAGE_SIZE, VM_PROT_READ) == (
        KERN_OUT_OF_BOUNDS if modern else KERN_PROTECTION_FAILURE
    )
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_SUCCESS


@pytest.mark.parametrize("release", ALL)
def test_a_page_beyond_the_file_and_a_file_that_cannot_be_read(release: str) -> None:
    process = Process(release=release, bare=True)
    vnode = MemoryVnode(b"x" * 100)
    insert(process.space, vnode_pager_alloc(process.vm, vnode), 2)
    bounds = release in ("freebsd-12.1", "freebsd-15.0")
    assert vm_fault(process.map, BASE + PAGE_SIZE, VM_PROT_READ) == (
        KERN_OUT_OF_BOUNDS if bounds else KERN_PROTECTION_FAILURE
    )
    vnode.refuse = True
    assert vm_fault(process.map, BASE, VM_PROT_READ) == (KERN_OUT_OF_BOUNDS if bounds else KERN_FAILURE)
    assert process.vm.cnt.v_free_count == process.vm.cnt.v_page_count, "the page allocated for the input is freed"
    vnode.refuse = False
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_SUCCESS


def test_a_write_to_a_private_file_copies_and_a_read_does_not() -> None:
    process = Process(bare=True)
    vnode = MemoryVnode(b"abc" * 2000)
    insert(process.space, vnode_pager_alloc(process.vm, vnode), 2, VM_PROT_RW, MAP_COPY_ON_WRITE)
    assert process.peek(BASE + 3, 3) == b"abc"
    lower = process.space.vm_pmap.ptes[BASE >> 12][0]
    assert lower.object is vnode.v_object
    assert process.space.vm_pmap.ptes[BASE >> 12][1] == VM_PROT_READ
    process.poke(BASE, b"X")
    upper = process.space.vm_pmap.ptes[BASE >> 12][0]
    assert upper is not lower
    assert process.peek(BASE, 4) == b"Xbca"
    assert bytes(process.vm.phys.page(lower.frame)[:3]) == b"abc"
    assert vnode.writes == []
    assert counters(process.vm)[2:] == (1, 0)
    process.check()


def test_the_last_user_of_a_lower_page_moves_it_up_instead_of_copying() -> None:
    process = Process(bare=True)
    bottom = vm_object_allocate(process.vm, OBJT_DEFAULT, 1)
    m = vm_page_alloc(bottom, 0)
    assert m is not None
    m.valid = True
    process.vm.phys.page(m.frame)[:5] = b"moved"
    vm_object_reference(bottom)
    top, _ = vm_object_shadow(process.vm, bottom, 0, PAGE_SIZE)
    bottom.ref_count -= 1  # without vm_object_deallocate, which would collapse it right away
    insert(process.space, top, 1)
    assert process.peek(BASE, 5) == b"moved"
    assert m.object is bottom
    process.poke(BASE, b"M")
    assert process.space.vm_pmap.ptes[BASE >> 12][0] is m
    assert (m.object, bottom.pages, process.vm.cnt.v_cow_optim) == (top, {}, 1)
    assert process.peek(BASE, 5) == b"Moved"
    process.check()
    process.exit()
    assert_nothing_left(process.vm)


def test_copying_leaves_a_sharer_with_the_new_page_only_since_13() -> None:
    """FreeBSD-SA-21:08.vm: P1 shares its copy-on-write memory with P2; both have read the page before P1 writes."""
    seen = {}
    for release in ("freebsd-12.1", "freebsd-15.0"):
        parent = Process(release=release, bare=True)
        parent.map_at(BASE, PAGE_SIZE)
        parent.poke(BASE, b"old")
        writer = parent.fork()
        assert vm_map_inherit(writer.map, BASE, BASE + PAGE_SIZE, 0) == 0
        sharer = writer.fork()
        assert sharer.peek(BASE, 3) == writer.peek(BASE, 3) == b"old"
        writer.poke(BASE, b"new")
        seen[release] = sharer.peek(BASE, 3)
    assert seen == {"freebsd-12.1": b"old", "freebsd-15.0": b"new"}


@pytest.mark.parametrize("release", ALL)
def test_a_debuggers_copy_of_read_only_memory(release: str) -> None:
    process = Process(release=release, bare=True)
    vnode = MemoryVnode(b"text" * 1024)
    insert(process.space, vnode_pager_alloc(process.vm, vnode), 1, VM_PROT_READ, MAP_COPY_ON_WRITE)
    assert vm_fault(process.map, BASE, VM_PROT_READ | VM_PROT_COPY) == KERN_SUCCESS
    m, prot, _ = process.space.vm_pmap.ptes[BASE >> 12]
    assert prot == VM_PROT_READ
    assert m.object is not vnode.v_object


def test_a_clean_page_is_mapped_without_write_access_until_it_is_written() -> None:
    process = Process(bare=True)
    vnode = MemoryVnode(bytes(PAGE_SIZE))
    insert(process.space, vnode_pager_alloc(process.vm, vnode), 1)
    assert process.peek(BASE, 1) == b"\0"
    m, prot, _ = process.space.vm_pmap.ptes[BASE >> 12]
    assert (prot, m.dirty) == (VM_PROT_READ, False)
    process.poke(BASE, b"1")
    assert process.space.vm_pmap.ptes[BASE >> 12][1] == VM_PROT_RW
    assert m.dirty


def test_nosync_marks_pages_that_become_dirty() -> None:
    process = Process(bare=True)
    vnode = MemoryVnode(bytes(2 * PAGE_SIZE))
    insert(process.space, vnode_pager_alloc(process.vm, vnode), 2)
    vm_map_madvise(process.map, BASE, BASE + PAGE_SIZE, 6)
    process.poke(BASE, b"1")
    process.poke(BASE + PAGE_SIZE, b"2")
    first, second = (process.space.vm_pmap.ptes[(BASE >> 12) + number][0] for number in range(2))
    assert first.flags & PG_NOSYNC
    assert not second.flags & PG_NOSYNC
    vm_map_madvise(process.map, BASE, BASE + PAGE_SIZE, 7)
    process.space.vm_pmap.remove(BASE, BASE + PAGE_SIZE)
    process.poke(BASE, b"3")
    assert not first.flags & PG_NOSYNC


def test_resident_neighbours_are_mapped_along_nearest_first_until_one_is_missing() -> None:
    process = Process(bare=True)
    object_ = vm_object_allocate(process.vm, OBJT_DEFAULT, 16)
    for pindex in (3, 4, 6, 7, 8, 9, 10, 12):
        m = vm_page_alloc(object_, pindex)
        assert m is not None
        m.valid = True
    insert(process.space, object_, 16)
    assert vm_fault(process.map, BASE + 8 * PAGE_SIZE, VM_PROT_READ) == KERN_SUCCESS
    mapped = [(va - BASE) // PAGE_SIZE for va, _ in process.space.vm_pmap.mappings()]
    assert mapped == [6, 7, 8, 9, 10], "5 is not resident, which ends the search"
    rights = {(va - BASE) // PAGE_SIZE: pte[1] for va, pte in process.space.vm_pmap.mappings()}
    assert rights == {6: VM_PROT_READ, 7: VM_PROT_READ, 8: VM_PROT_RW, 9: VM_PROT_READ, 10: VM_PROT_READ}


def test_prefault_stays_inside_the_entry() -> None:
    process = Process(bare=True)
    object_ = vm_object_allocate(process.vm, OBJT_DEFAULT, 16)
    for pindex in range(16):
        m = vm_page_alloc(object_, pindex)
        assert m is not None
        m.valid = True
    with process.map.locked():
        rv = vm_map_insert(
            process.map, object_, 4 * PAGE_SIZE, BASE, BASE + 3 * PAGE_SIZE, VM_PROT_READ, VM_PROT_ALL, 0
        )
    assert rv == 0
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_SUCCESS
    assert [pte[0].pindex for _, pte in process.space.vm_pmap.mappings()] == [4, 5, 6]


@pytest.mark.parametrize(("advice", "pages"), [(0, 16), (1, 1), (2, 32)])
def test_input_brings_neighbours_by_advice(advice: int, pages: int) -> None:
    process = Process(bare=True)
    vnode = MemoryVnode(bytes(range(256)) * 16 * 64)
    insert(process.space, vnode_pager_alloc(process.vm, vnode), 64)
    vm_map_madvise(process.map, BASE, BASE + 64 * PAGE_SIZE, advice)
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_SUCCESS
    assert (process.vm.cnt.v_vnodein, process.vm.cnt.v_vnodepgsin, process.vm.cnt.v_io_faults, vnode.reads) == (
        1,
        pages,
        1,
        1,
    )
    assert process.space.vm_pmap.majflt == 1
    process.check()


@pytest.mark.parametrize("release", ALL)
def test_next_read_is_what_follows_the_pages_read(release: str) -> None:
    """The first fault of a mapping is a sequential one: next_read is OFF_TO_IDX(offset) in 9.3 and 10.4 and compared
    with fs.pindex; since 11 it is start and compared with vaddr.  After it it follows the last page that was read.
    """
    process = Process(release=release, bare=True)
    vm, map_ = process.vm, process.map
    vnode = MemoryVnode(bytes(64 * PAGE_SIZE))
    object_ = vnode_pager_alloc(vm, vnode)
    with map_.locked():
        end = BASE + 56 * PAGE_SIZE
        assert vm_map_insert(map_, object_, 8 * PAGE_SIZE, BASE, end, VM_PROT_READ, VM_PROT_ALL, 0) == 0
    by_address = vm.release.next_read_is_address
    assert by_address == (release in ("freebsd-11.0", "freebsd-12.1", "freebsd-15.0"))
    entry = vm_map_lookup_entry(map_, BASE)[1]
    assert entry.next_read == (BASE if by_address else 8)
    assert vm_fault(map_, BASE, VM_PROT_READ) == KERN_SUCCESS
    first = 24 if by_address else 16
    assert vm.cnt.v_vnodepgsin == first
    assert entry.next_read == (BASE + first * PAGE_SIZE if by_address else 8 + first)
    assert vm_fault(map_, BASE + 44 * PAGE_SIZE, VM_PROT_READ) == KERN_SUCCESS
    assert vm.cnt.v_vnodepgsin == first + 16, "not sequential"
    assert sorted(object_.pages)[first] == (48 if by_address else 44), "the cluster of page 52, or 8 behind"
    assert entry.next_read == (BASE + 56 * PAGE_SIZE if by_address else 60)
    assert vm_fault(map_, BASE + 34 * PAGE_SIZE, VM_PROT_READ) == KERN_SUCCESS
    assert entry.next_read == (BASE + 40 * PAGE_SIZE if by_address else 44), "what is there already is not read"


@pytest.mark.parametrize("release", ALL)
def test_the_window_of_sequential_faults(release: str) -> None:
    """Pages read by each fault right behind the last: era + behind (vm_fault.c of 9.3 and 10.4), era + 8 since 11."""
    process = Process(release=release, bare=True)
    vm = process.vm
    vnode = MemoryVnode(bytes(512 * PAGE_SIZE))
    insert(process.space, vnode_pager_alloc(vm, vnode), 512)
    read = []
    page = 0
    while len(read) < 5:
        before = vm.cnt.v_vnodepgsin
        assert vm_fault(process.map, BASE + page * PAGE_SIZE, VM_PROT_READ) == KERN_SUCCESS
        read.append(vm.cnt.v_vnodepgsin - before)
        page += read[-1]
    assert read == ([24, 32, 32, 32, 32] if vm.release.read_cluster else [16, 24, 32, 32, 32])


def test_sequential_input_reads_more_and_more() -> None:
    process = Process(bare=True)
    vnode = MemoryVnode(bytes(256 * PAGE_SIZE))
    insert(process.space, vnode_pager_alloc(process.vm, vnode), 256)
    for page in range(256):
        process.peek(BASE + page * PAGE_SIZE, 1)
    assert process.vm.cnt.v_vnodepgsin == 256
    assert vnode.reads < 20
    process.check()


@pytest.mark.parametrize("release", ALL)
def test_the_stack_grows_in_a_fault(release: str) -> None:
    """V1 of the facts: a growth of 0x20000, and what an overflow is called."""
    process = Process(release=release, bare=True)
    top = 0x7FFF_FFFF_F000
    process.space.vm_maxsaddr = top - (512 << 20)
    process.space.vm_stacktop = top
    process.space.vm_ssize = 0x20
    process.limit("stack", 8 << 20)
    process.give_program()
    assert vm_map_stack(process.map, top - (512 << 20), 512 << 20, VM_PROT_ALL, VM_PROT_ALL, MAP_STACK_GROWS_DOWN) == 0
    assert vm_fault(process.map, top - 0x21000 + 8, VM_PROT_WRITE) == KERN_SUCCESS
    assert process.space.vm_ssize == 0x40
    overflow = vm_fault(process.map, top - (8 << 20) - 1, VM_PROT_WRITE)
    assert overflow == (KERN_FAILURE if release in CLASSIC else KERN_PROTECTION_FAILURE)


@pytest.mark.parametrize("release", CLASSIC)
def test_without_a_current_process_no_classic_stack_grows(release: str) -> None:
    process = Process(release=release, bare=True)
    process.vm.pcpu.switch(None)
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_FAILURE


def test_wiring_makes_pages_resident_and_unwiring_gives_them_back() -> None:
    process = Process(bare=True)
    process.map_at(BASE, 3 * PAGE_SIZE)
    assert vm_map_wire(process.map, BASE, BASE + 3 * PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    assert (process.space.vm_pmap.wired_count, process.vm.cnt.v_wire_count, process.vm.cnt.v_active_count) == (3, 3, 0)
    process.poke(BASE, b"wired")
    process.check()
    assert vm_map_unwire(process.map, BASE, BASE + 3 * PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    assert (process.space.vm_pmap.wired_count, process.vm.cnt.v_wire_count, process.vm.cnt.v_active_count) == (0, 0, 3)
    process.check()


@pytest.mark.parametrize("release", ALL)
def test_forking_wired_memory_copies_at_once(release: str) -> None:
    process = Process(release=release, bare=True)
    process.map_at(BASE, 2 * PAGE_SIZE)
    process.poke(BASE, b"parent")
    assert vm_map_wire(process.map, BASE, BASE + 2 * PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    reserved = process.vm.swap_reserved
    child = process.fork()
    assert process.vm.swap_reserved - reserved == 2 * PAGE_SIZE
    process.poke(BASE, b"PARENT")
    assert child.peek(BASE, 6) == b"parent"
    assert child.space.vm_pmap.wired_count == 0
    process.check(child)


@pytest.mark.parametrize("release", ALL)
def test_making_wired_private_file_memory_writable_copies_and_wires_the_copies(release: str) -> None:
    process = Process(release=release, bare=True)
    vnode = MemoryVnode(b"file" * 1024)
    insert(process.space, vnode_pager_alloc(process.vm, vnode), 1, VM_PROT_READ, MAP_COPY_ON_WRITE)
    assert vm_map_wire(process.map, BASE, BASE + PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    assert vm_map_protect(process.map, BASE, BASE + PAGE_SIZE, VM_PROT_RW) == 0
    m, prot, wired = process.space.vm_pmap.ptes[BASE >> 12]
    assert (prot, wired, m.wire_count, process.vm.cnt.v_wire_count) == (VM_PROT_RW, True, 1, 1)
    assert m.object is not vnode.v_object
    process.poke(BASE, b"FILE")
    assert vnode.data[:4] == b"file"
    process.check()
    assert vm_map_unwire(process.map, BASE, BASE + PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    process.exit()
    assert_nothing_left(process.vm)


def test_fault_flags_dirty_and_wire() -> None:
    process = Process(bare=True)
    insert(process.space, None, 1, VM_PROT_READ)
    assert vm_fault(process.map, BASE, VM_PROT_READ, VM_FAULT_DIRTY) == KERN_SUCCESS
    assert process.space.vm_pmap.ptes[BASE >> 12][0].dirty
    with pytest.raises(KernelPanic, match="!wired"):
        vm_fault(process.map, BASE, VM_PROT_NONE, VM_FAULT_WIRE)
    assert process.vm.cnt.v_wire_count == 0


def test_device_and_physical_memory() -> None:
    process = Process(bare=True)
    shared = phys_pager_allocate(process.vm, "shared page", b"\x0f\x05code", 2)
    assert shared.type == OBJT_PHYS
    insert(process.space, shared, 2, VM_PROT_READ | VM_PROT_EXECUTE)
    assert process.peek(BASE, 6) == b"\x0f\x05code"
    assert process.peek(BASE + PAGE_SIZE, 2) == b"\0\0"
    assert process.vm.cnt.v_wire_count == 2
    for allocate in (device_pager_allocate, sg_pager_allocate):
        other = process.fork()
        device = allocate(
            process.vm, "dev", 2, lambda pindex, frame: frame.__setitem__(slice(0, 1), bytes([pindex + 65]))
        )
        vm_map_remove(other.map, BASE, BASE + 2 * PAGE_SIZE)
        insert(other.space, device, 2)
        assert other.peek(BASE + PAGE_SIZE, 1) == b"B"
        other.poke(BASE, b"!")
        assert vm_map_wire(other.map, BASE, BASE + PAGE_SIZE, VM_MAP_WIRE_USER) == 0
        assert vm_map_unwire(other.map, BASE, BASE + PAGE_SIZE, VM_MAP_WIRE_USER) == 0
        vmspace_free(other.space)
    process.exit()
    assert_nothing_left(process.vm)


def test_the_steps_are_told_to_a_probe() -> None:
    process = Process(bare=True)
    vnode = MemoryVnode(bytes(PAGE_SIZE))
    insert(process.space, vnode_pager_alloc(process.vm, vnode), 1, VM_PROT_RW, MAP_COPY_ON_WRITE)
    probe = StepRecorder()
    process.vm.listen(probe)
    assert vm_fault(process.map, BASE, VM_PROT_WRITE) == KERN_SUCCESS
    stages = [step.name for step in probe.steps if step.kind == "stage"]
    assert stages == ["lookup", "pagein", "cow_copy", "enter"]
    assert [step.name for step in probe.steps if step.kind == "visit"] == ["absent", "pager"]
    probe.steps.clear()
    assert vm_fault(process.map, BASE + PAGE_SIZE, VM_PROT_WRITE) != KERN_SUCCESS
    failed = probe.failed()
    assert failed is not None


@pytest.mark.parametrize("release", ALL)
def test_when_no_memory_can_be_had_the_fault_fails_and_nothing_hangs(release: str) -> None:
    process = Process(release=release, ram=128 * PAGE_SIZE, swap=0, bare=True)
    process.map_at(BASE, 1000 * PAGE_SIZE)
    touched = 0
    while vm_fault(process.map, BASE + touched * PAGE_SIZE, VM_PROT_WRITE) == KERN_SUCCESS:
        touched += 1
        assert touched < 128
    assert touched == 128 - process.vm.cnt.v_free_reserved
    assert vm_fault(process.map, BASE + touched * PAGE_SIZE, VM_PROT_WRITE) == KERN_RESOURCE_SHORTAGE
    process.check()
    process.exit()
    assert_nothing_left(process.vm)


def test_a_fault_that_keeps_waiting_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(ram=128 * PAGE_SIZE, swap=0, bare=True)
    process.map_at(BASE, 1000 * PAGE_SIZE)
    process.vm.cnt.v_free_reserved = process.vm.cnt.v_page_count
    waits = []
    monkeypatch.setattr(import_module("kernel_model.vm.vm_fault"), "vm_wait", lambda _vm: not waits.append(1))
    assert vm_fault(process.map, BASE, VM_PROT_WRITE) == KERN_RESOURCE_SHORTAGE
    assert len(waits) == MAX_RESTARTS


def test_a_mapping_of_64_tib_costs_only_what_is_touched() -> None:
    process = Process(bare=True)
    with process.map.locked():
        rv = vm_map_insert(process.map, None, 0, 1 << 40, (1 << 40) + (1 << 46), VM_PROT_RW, VM_PROT_ALL, 0)
    assert rv == 0
    for va in (1 << 40, (1 << 41) + 5, (1 << 46) - 1):
        process.poke(va, b"x")
        assert process.peek(va, 1) == b"x"
    child = process.fork()
    child.poke(1 << 40, b"y")
    assert process.peek(1 << 40, 1) == b"x"
    for advice in (3, 4, 5):
        assert vm_map_madvise(child.map, 1 << 40, (1 << 40) + (1 << 46), advice) == 0
    process.check(child)
    child.exit()
    process.exit()
    assert_nothing_left(process.vm)


def test_onemapping_is_taken_into_account_by_the_shared_invalidation() -> None:
    """An object with one mapping has no sharer whose view would have to be taken away."""
    parent = Process(release="freebsd-15.0", bare=True)
    parent.map_at(BASE, PAGE_SIZE)
    parent.poke(BASE, b"old")
    child = parent.fork()
    assert child.peek(BASE, 3) == b"old"
    child.poke(BASE, b"new")
    top = next(iter(child.map)).vm_object
    assert top is not None and top.flags & OBJ_ONEMAPPING
    assert parent.space.vm_pmap.lookup(BASE) is not None, "the parent's mapping stays"


class StubPager:
    """A pager that answers as it is told."""

    def __init__(self, answer: int) -> None:
        self.answer = answer

    def haspage(self, object_: VmObject, pindex: int) -> bool:
        return True

    def getpages(self, object_: VmObject, m: VmPage, behind: int, ahead: int) -> tuple[int, int]:
        m.valid = self.answer == VM_PAGER_OK
        return self.answer, 0

    def putpages(self, object_: VmObject, m: VmPage) -> int:
        return self.answer

    def dealloc(self, object_: VmObject) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(
    ("answer", "classic", "modern"),
    [
        (VM_PAGER_OK, KERN_SUCCESS, KERN_SUCCESS),
        (VM_PAGER_FAIL, KERN_SUCCESS, KERN_SUCCESS),
        (VM_PAGER_BAD, KERN_PROTECTION_FAILURE, KERN_OUT_OF_BOUNDS),
        (VM_PAGER_ERROR, KERN_FAILURE, KERN_OUT_OF_BOUNDS),
    ],
)
def test_what_a_pager_can_answer(answer: int, classic: int, modern: int) -> None:
    """FAIL means: not mine, look further; at the end of the chain that is a zero page."""
    for release, expected in (("freebsd-10.1", classic), ("freebsd-12.1", modern)):
        process = Process(release=release, bare=True)
        object_ = vm_object_allocate(process.vm, OBJT_PHYS, 1)
        object_.pager = StubPager(answer)
        insert(process.space, object_, 1)
        assert vm_fault(process.map, BASE, VM_PROT_READ) == expected
        assert len(object_.pages) == (expected == KERN_SUCCESS)
        assert process.vm.cnt.v_zfod == (answer == VM_PAGER_FAIL)


def test_input_needs_memory_too() -> None:
    process = Process(ram=128 * PAGE_SIZE, swap=0, bare=True)
    insert(
        process.space, vnode_pager_alloc(process.vm, MemoryVnode(bytes(PAGE_SIZE))), 1, VM_PROT_RW, MAP_COPY_ON_WRITE
    )
    process.vm.cnt.v_free_reserved = process.vm.cnt.v_free_count
    probe = StepRecorder()
    process.vm.listen(probe)
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_RESOURCE_SHORTAGE
    assert probe.failed() is not None
    assert probe.failed().name == "page_alloc"  # type: ignore[union-attr]
    process.vm.cnt.v_free_reserved -= 1
    assert vm_fault(process.map, BASE, VM_PROT_WRITE) == KERN_RESOURCE_SHORTAGE, "one for input, none to copy"
    process.vm.cnt.v_free_reserved -= 1
    assert vm_fault(process.map, BASE, VM_PROT_WRITE) == KERN_SUCCESS


def test_more_steps_for_the_probe() -> None:
    process = Process(bare=True)
    probe = StepRecorder()
    process.vm.listen(probe)

    def stages() -> list[str]:
        names = [step.name for step in probe.steps if step.kind != "check"]
        probe.steps.clear()
        return names

    process.map_at(BASE, 2 * PAGE_SIZE)
    assert vm_fault(process.map, BASE, VM_PROT_READ) == KERN_SUCCESS
    assert stages() == ["lookup", "absent", "zerofill", "enter"]
    assert vm_fault(process.map, BASE, VM_PROT_WRITE) == KERN_SUCCESS
    assert stages() == ["lookup", "enter"]
    child = process.fork()
    assert vm_fault(child.map, BASE, VM_PROT_WRITE) == KERN_SUCCESS
    assert stages() == ["lookup", "absent", "resident", "cow_copy", "enter"]
    lower = vm_object_allocate(process.vm, OBJT_DEFAULT, 1)
    m = vm_page_alloc(lower, 0)
    assert m is not None
    m.valid = True
    vm_object_reference(lower)
    top, _ = vm_object_shadow(process.vm, lower, 0, PAGE_SIZE)
    lower.ref_count -= 1
    other = process.fork()
    vm_map_remove(other.map, BASE, BASE + 2 * PAGE_SIZE)
    insert(other.space, top, 1)
    stages()
    assert vm_fault(other.map, BASE, VM_PROT_WRITE) == KERN_SUCCESS
    assert stages() == ["lookup", "absent", "resident", "cow_move", "enter"]


def test_a_store_into_a_wired_entry_that_shares_its_pages_wires_the_copy() -> None:
    """A wired entry whose top object lacks the page: the wiring moves from the lower page to the copy."""
    process = Process(bare=True)
    lower = vm_object_allocate(process.vm, OBJT_DEFAULT, 1)
    vm_object_reference(lower)
    top, _ = vm_object_shadow(process.vm, lower, 0, PAGE_SIZE)
    insert(process.space, top, 1, VM_PROT_READ)
    m = vm_page_alloc(lower, 0)
    assert m is not None
    m.valid = True
    assert vm_map_wire(process.map, BASE, BASE + PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    assert m.wire_count == 1
    entry = next(iter(process.map))
    entry.protection = VM_PROT_RW
    assert vm_fault(process.map, BASE, VM_PROT_WRITE) == KERN_SUCCESS
    copy, _, wired = process.space.vm_pmap.ptes[BASE >> 12]
    assert (copy.object, copy.wire_count, m.wire_count, wired, process.vm.cnt.v_wire_count) == (top, 1, 0, True, 1)


def test_copying_a_wired_entry_copes_with_what_is_not_there() -> None:
    process = Process(ram=128 * PAGE_SIZE, swap=0, bare=True)
    process.map_at(BASE, 4 * PAGE_SIZE)
    assert vm_map_wire(process.map, BASE, BASE + 4 * PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    for page in range(4):
        process.poke(BASE + page * PAGE_SIZE, b"%d" % page)
    object_ = next(iter(process.map)).vm_object
    assert object_ is not None
    process.vm.cnt.v_free_reserved = process.vm.cnt.v_free_count - 2
    child = process.fork()
    process.vm.cnt.v_free_reserved = 2
    copied = next(iter(child.map)).vm_object
    assert copied is not None
    assert sorted(copied.pages) == [0, 1], "for the others there was no memory"
    assert child.peek(BASE, 1) == b"0"
    process.check(child)


def test_a_wired_shared_file_mapping_becomes_writable_in_place() -> None:
    process = Process(bare=True)
    vnode = MemoryVnode(b"x" * PAGE_SIZE)
    object_ = vnode_pager_alloc(process.vm, vnode)
    insert(process.space, object_, 1, VM_PROT_READ)
    assert vm_map_wire(process.map, BASE, BASE + PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    entry = next(iter(process.map))
    entry.protection = VM_PROT_RW
    with process.map.locked():
        assert vm_fault_copy_entry(process.map, process.map, entry, entry, False) == 0
    assert entry.vm_object is object_
    process.poke(BASE, b"y")
    assert object_.flags & OBJ_MIGHTBEDIRTY
    process.check()
    object_.pages[0].valid = False
    entry.protection = VM_PROT_READ
    with process.map.locked():
        assert vm_fault_copy_entry(process.map, process.map, entry, entry, False) == 0
    object_.size = 0
    with process.map.locked():
        assert vm_fault_copy_entry(process.map, process.map, entry, entry, False) == 0
