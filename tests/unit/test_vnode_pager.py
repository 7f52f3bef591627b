"""Mapped files: input, write-back, truncation, agreement with read and write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.kern.vfs_vnops import vn_write
from kernel_model.vm.vm import OBJ_MIGHTBEDIRTY, VM_PROT_ALL, VM_PROT_READ, VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_map_advise import vm_map_madvise, vm_map_sync
from kernel_model.vm.vm_map_entry import MAP_INHERIT_SHARE, VM_MAP_WIRE_USER
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_wire import vm_map_unwire, vm_map_wire
from kernel_model.vm.vm_object import VmObject, vm_object_page_clean, vm_object_reference
from kernel_model.vm.vm_page import PQ_ACTIVE, PQ_INACTIVE
from kernel_model.vm.vm_pager import vm_pager_has_page, vm_pager_put_pages
from kernel_model.vm.vm_param import KERN_FAILURE, KERN_PROTECTION_FAILURE, PAGE_SIZE
from kernel_model.vm.vmspace import vmspace_free
from kernel_model.vm.vnode_pager import (
    VnodePager,
    vfs_msync,
    vnode_pager_alloc,
    vnode_pager_flush,
    vnode_pager_setsize,
)
from tests.audit import assert_nothing_left
from tests.memory_vnode import MemoryVnode
from tests.process import Process

if TYPE_CHECKING:
    import pytest

BASE = 0x10_0000


def setup(contents: bytes, npages: int, release: str = "freebsd-10.1") -> tuple[Process, MemoryVnode, VmObject]:
    """A process that has a file mapped shared and writable at BASE."""
    process = Process(release=release, bare=True)
    vnode = MemoryVnode(contents)
    object_ = vnode_pager_alloc(process.vm, vnode)
    with process.map.locked():
        end = BASE + npages * PAGE_SIZE
        rv = vm_map_insert(process.map, object_, 0, BASE, end, VM_PROT_RW, VM_PROT_ALL, MAP_INHERIT_SHARE)
    assert rv == 0
    return process, vnode, object_


def test_the_tail_of_the_last_page_is_zero_and_is_never_written() -> None:
    process, vnode, object_ = setup(b"x" * 5000, 2)
    assert object_.size == 2
    assert process.peek(BASE + 4990, 20) == b"x" * 10 + bytes(10)
    process.poke(BASE + 4998, b"yyyy")
    assert process.peek(BASE + 4998, 4) == b"yyyy"
    assert vm_map_sync(process.map, BASE, BASE + 2 * PAGE_SIZE, True, False) == 0
    assert len(vnode.data) == 5000
    assert vnode.data[4996:] == b"xxyy"
    assert vnode.writes == [(4096, 904)]


def test_one_object_per_file() -> None:
    process, vnode, object_ = setup(b"x" * PAGE_SIZE, 1)
    again = vnode_pager_alloc(process.vm, vnode)
    assert again is object_
    assert object_.ref_count == 2
    with process.map.locked():
        rv = vm_map_insert(process.map, again, 0, 2 * BASE, 2 * BASE + PAGE_SIZE, VM_PROT_READ, VM_PROT_ALL, 0)
    assert rv == 0
    process.poke(BASE, b"seen")
    assert process.peek(2 * BASE, 4) == b"seen"


def test_msync_writes_only_what_is_dirty_and_the_next_store_is_seen_again() -> None:
    process, vnode, object_ = setup(bytes(4 * PAGE_SIZE), 4)
    child = process.fork()
    process.poke(BASE + PAGE_SIZE, b"a")
    process.peek(BASE + 2 * PAGE_SIZE, 1)
    assert object_.flags & OBJ_MIGHTBEDIRTY
    assert vm_map_sync(process.map, BASE, BASE + 4 * PAGE_SIZE, True, False) == 0
    assert vnode.writes == [(PAGE_SIZE, PAGE_SIZE)]
    assert not object_.flags & OBJ_MIGHTBEDIRTY
    assert vm_map_sync(process.map, BASE, BASE + 4 * PAGE_SIZE, True, False) == 0
    assert len(vnode.writes) == 1
    process.poke(BASE + PAGE_SIZE, b"b")
    assert vm_map_sync(process.map, BASE + PAGE_SIZE, BASE + 2 * PAGE_SIZE, True, False) == 0
    assert len(vnode.writes) == 2
    assert vnode.data[PAGE_SIZE] == ord("b")
    process.check(child)
    assert process.proc.p_vmspace is process.space


def test_msync_invalidate_drops_clean_pages_and_reads_the_file_afresh() -> None:
    process, vnode, object_ = setup(b"1" * 2 * PAGE_SIZE, 2)
    process.peek(BASE, 1)
    process.poke(BASE + PAGE_SIZE, b"mine")
    vnode.data[0:3] = b"new"
    assert vm_map_sync(process.map, BASE, BASE + 2 * PAGE_SIZE, True, True) == 0
    assert object_.pages == {}
    assert process.peek(BASE, 3) == b"new"
    assert process.peek(BASE + PAGE_SIZE, 4) == b"mine"


def test_a_refused_write_is_a_failure_and_the_page_stays_dirty() -> None:
    process, vnode, object_ = setup(bytes(PAGE_SIZE), 1)
    process.poke(BASE, b"kept")
    vnode.refuse = True
    assert vm_map_sync(process.map, BASE, BASE + PAGE_SIZE, True, False) == KERN_FAILURE
    assert object_.pages[0].dirty
    assert object_.flags & OBJ_MIGHTBEDIRTY
    vnode.refuse = False
    assert vm_map_sync(process.map, BASE, BASE + PAGE_SIZE, True, False) == 0
    assert vnode.data[:4] == b"kept"


def test_a_short_write_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    process, vnode, object_ = setup(bytes(PAGE_SIZE), 1)
    process.poke(BASE, b"kept")
    monkeypatch.setattr(vnode, "v_pwrite", lambda data, offset: len(data) - 1)
    assert not vm_object_page_clean(object_, 0, 0, 0)
    assert object_.pages[0].dirty


def test_the_syncer_leaves_nosync_pages_alone() -> None:
    process, vnode, object_ = setup(bytes(2 * PAGE_SIZE), 2)
    vm_map_madvise(process.map, BASE, BASE + PAGE_SIZE, 6)
    process.poke(BASE, b"quiet")
    process.poke(BASE + PAGE_SIZE, b"loud")
    assert vfs_msync(process.vm) == 1
    assert vnode.writes == [(PAGE_SIZE, PAGE_SIZE)]
    assert object_.flags & OBJ_MIGHTBEDIRTY
    assert vfs_msync(process.vm, skip_nosync=False) == 1
    assert vnode.data[:5] == b"quiet"
    assert vfs_msync(process.vm) == 0


def test_the_last_unmapping_writes_back_and_forgets() -> None:
    process, vnode, _ = setup(b"old" + bytes(PAGE_SIZE), 2)
    process.poke(BASE, b"new")
    child = process.fork()
    vmspace_free(process.space)
    assert vnode.v_object is not None
    vmspace_free(child.space)
    assert vnode.v_object is None
    assert vnode.data[:3] == b"new"
    assert_nothing_left(process.vm)


def test_truncation_takes_pages_away_and_zeroes_the_new_tail() -> None:
    """Also mlock_test:truncate_and_resize: a wired page that was cut off reads as zero when the file grows again."""
    process, vnode, object_ = setup(b"z" * 3 * PAGE_SIZE, 3)
    for page in range(3):
        process.poke(BASE + page * PAGE_SIZE, b"Z")
    assert vm_map_wire(process.map, BASE + 2 * PAGE_SIZE, BASE + 3 * PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    del vnode.data[PAGE_SIZE + 100 :]
    vnode_pager_setsize(vnode, PAGE_SIZE + 100)
    assert object_.size == 2
    assert sorted(object_.pages) == [0, 1, 2]
    assert process.peek(BASE + PAGE_SIZE + 98, 4) == b"zz\0\0"
    assert process.touch(BASE + 2 * PAGE_SIZE, VM_PROT_READ) == KERN_PROTECTION_FAILURE
    vnode.data.extend(bytes(2 * PAGE_SIZE - 100))
    vnode_pager_setsize(vnode, 3 * PAGE_SIZE)
    assert process.peek(BASE + 2 * PAGE_SIZE, 4) == bytes(4)
    assert vm_map_unwire(process.map, BASE + 2 * PAGE_SIZE, BASE + 3 * PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    process.check()
    vmspace_free(process.space)
    assert_nothing_left(process.vm)


def test_growth_behind_a_partly_filled_page_is_seen() -> None:
    process, vnode, _ = setup(b"a" * 100, 1)
    assert process.peek(BASE + 98, 4) == b"aa\0\0"
    vnode.data.extend(b"b" * 100)
    vnode_pager_setsize(vnode, 200)
    assert process.peek(BASE + 98, 4) == b"aabb"


def test_a_write_is_seen_by_mappings_and_a_mapping_by_a_read() -> None:
    process, vnode, object_ = setup(b"." * 3 * PAGE_SIZE, 3)
    process.peek(BASE, 1)
    process.peek(BASE + PAGE_SIZE, 1)
    data = b"#" * 200
    assert vn_write(vnode, [memoryview(data)], PAGE_SIZE - 100) == 200
    assert process.peek(BASE + PAGE_SIZE - 101, 101) == b"." + b"#" * 100
    assert process.peek(BASE + PAGE_SIZE, 101) == b"#" * 100 + b"."
    process.poke(BASE, b"map")
    vnode_pager_flush(vnode, 0, 10)
    assert vnode.data[:3] == b"map"
    assert vn_write(vnode, [memoryview(b"!")], 4 * PAGE_SIZE) == 1
    assert object_.size == 5
    assert vn_write(MemoryVnode(), [memoryview(b"unmapped")], 0) == 8
    vnode_pager_flush(MemoryVnode(), 0, 10)
    vnode_pager_setsize(MemoryVnode(), 7)


def test_a_file_cut_short_behind_our_back_reads_as_zero() -> None:
    process, vnode, _ = setup(b"q" * 2 * PAGE_SIZE, 2)
    del vnode.data[10:]
    assert process.peek(BASE + 8, 4) == b"qq\0\0"
    assert process.peek(BASE + PAGE_SIZE, 4) == bytes(4)
    process.check()


def test_pages_read_along_wait_on_the_inactive_queue() -> None:
    process, _, object_ = setup(bytes(8 * PAGE_SIZE), 8)
    process.peek(BASE, 1)
    assert len(object_.pages) == 8
    assert object_.pages[0].queue == PQ_ACTIVE
    assert object_.pages[7].queue == PQ_INACTIVE


def test_input_behind_the_fault_and_around_resident_pages() -> None:
    process, vnode, object_ = setup(bytes(range(64)) * 64 * 16, 16)
    process.peek(BASE + 8 * PAGE_SIZE, 1)
    assert sorted(object_.pages) == list(range(16))
    assert vnode.reads == 1
    vnode_pager_setsize(vnode, 6 * PAGE_SIZE)
    vnode_pager_setsize(vnode, 16 * PAGE_SIZE)
    process.peek(BASE + 7 * PAGE_SIZE, 1)
    assert sorted(object_.pages) == [*range(6), *range(6, 15)]
    process.check()


def test_short_memory_brings_no_neighbours() -> None:
    process, _, object_ = setup(bytes(8 * PAGE_SIZE), 8)
    process.vm.cnt.v_free_min = process.vm.cnt.v_page_count
    process.peek(BASE, 1)
    assert len(object_.pages) == 1


def test_the_pager_interface() -> None:
    process, vnode, object_ = setup(bytes(PAGE_SIZE + 1), 3)
    assert isinstance(object_.pager, VnodePager)
    assert [vm_pager_has_page(object_, pindex) for pindex in range(3)] == [True, True, False]
    process.poke(BASE, b"!")
    assert vm_pager_put_pages(object_, object_.pages[0]) == 0
    assert vnode.writes == [(0, PAGE_SIZE)]
    object_.pager.vnp_size = 0
    assert vm_pager_put_pages(object_, object_.pages[0]) != 0
    vm_object_reference(object_)


def test_a_read_error_in_the_middle_still_gives_the_pages_before_it() -> None:
    process, vnode, object_ = setup(bytes(8 * PAGE_SIZE), 8)
    real = vnode.v_pread_into

    def two_pages(buf: memoryview, offset: int) -> int:
        if offset >= 2 * PAGE_SIZE:
            vnode.refuse = True
        return real(buf[: 2 * PAGE_SIZE], offset)

    vnode.v_pread_into = two_pages  # type: ignore[method-assign]
    assert process.touch(BASE, VM_PROT_WRITE) == 0
    assert sorted(object_.pages) == [0, 1]
    process.check()
