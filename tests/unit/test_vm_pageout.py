"""Short memory: what the page daemon takes, writes, spares, and what happens when that is not enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel_model.vm.swap_pager import swap_device
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_advise import vm_map_madvise
from kernel_model.vm.vm_map_entry import MAP_COPY_ON_WRITE, VM_MAP_WIRE_USER
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_wire import vm_map_wire
from kernel_model.vm.vm_page import MADV_DONTNEED, MADV_FREE, MADV_WILLNEED
from kernel_model.vm.vm_pageout import vm_pageout_oom, vm_pageout_oom_pagecount, vm_pageout_scan, vm_wait
from kernel_model.vm.vm_param import KERN_RESOURCE_SHORTAGE, PAGE_SIZE
from kernel_model.vm.vmspace import VmSpace, vmspace_alloc, vmspace_free
from kernel_model.vm.vnode_pager import vnode_pager_alloc
from tests.unit.vm_check import (
    USER_MAX,
    USER_MIN,
    FakeProc,
    FakeVnode,
    assert_nothing_left,
    check_all,
    fork,
    make_vm,
    map_anon,
    peek,
    poke,
)

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm

BASE = 0x10_0000
RAM = 256
ALL = ["freebsd-9.3", "freebsd-10.1", "freebsd-10.4", "freebsd-12.1", "freebsd-15.0"]


def fill(space: VmSpace, first: int, last: int) -> None:
    for page in range(first, last):
        poke(space, BASE + page * PAGE_SIZE, page.to_bytes(4, "little"))


def verify(space: VmSpace, first: int, last: int) -> None:
    for page in range(first, last):
        assert peek(space, BASE + page * PAGE_SIZE, 4) == page.to_bytes(4, "little")


def drain(vm: Vm) -> None:
    """Have the daemon take all that it may take."""
    target, vm.cnt.v_free_target = vm.cnt.v_free_target, vm.cnt.v_page_count
    vm_pageout_scan(vm)
    vm.cnt.v_free_target = target


@pytest.mark.parametrize("release", ALL)
def test_a_program_four_times_the_memory_keeps_its_contents(release: str) -> None:
    vm, proc = make_vm(release, RAM * PAGE_SIZE)
    space = proc.p_vmspace
    map_anon(space, BASE, 4 * RAM)
    fill(space, 0, 4 * RAM)
    assert vm.cnt.v_swappgsout >= 3 * RAM
    verify(space, 0, 4 * RAM)
    assert vm.cnt.v_swappgsin >= 3 * RAM
    assert vm.cnt.v_free_count >= vm.cnt.v_free_reserved
    check_all(vm, [space])
    vmspace_free(space)
    assert_nothing_left(vm)


def test_two_processes_share_what_is_paged_out() -> None:
    vm, proc = make_vm(ram=RAM * PAGE_SIZE)
    space = proc.p_vmspace
    map_anon(space, BASE, 2 * RAM)
    fill(space, 0, 2 * RAM)
    child = fork(vm, space)
    for page in range(0, 2 * RAM, 3):
        poke(child, BASE + page * PAGE_SIZE, b"kid!")
    verify(space, 0, 2 * RAM)
    for page in range(2 * RAM):
        expected = b"kid!" if page % 3 == 0 else page.to_bytes(4, "little")
        assert peek(child, BASE + page * PAGE_SIZE, 4) == expected
    check_all(vm, [space, child])
    vmspace_free(space)
    for page in range(2 * RAM):
        expected = b"kid!" if page % 3 == 0 else page.to_bytes(4, "little")
        assert peek(child, BASE + page * PAGE_SIZE, 4) == expected
    vmspace_free(child)
    assert_nothing_left(vm)


def test_what_is_used_again_and_again_stays() -> None:
    vm, proc = make_vm(ram=RAM * PAGE_SIZE)
    space = proc.p_vmspace
    map_anon(space, BASE, 8 * RAM)
    fill(space, 0, 8)
    for page in range(8, 4 * RAM):
        fill(space, page, page + 1)
        verify(space, 0, 8)
    swapped_in = vm.cnt.v_swappgsin
    assert swapped_in < 4 * RAM, "eight hot pages come back far less often than once a cold page"
    object_ = next(iter(space.vm_map)).vm_object
    assert object_ is not None
    assert sum(page in object_.pages for page in range(8)) >= 6


def test_wired_pages_are_never_taken() -> None:
    vm, proc = make_vm(ram=RAM * PAGE_SIZE)
    space = proc.p_vmspace
    map_anon(space, BASE, 4 * RAM)
    fill(space, 0, 20)
    assert vm_map_wire(space.vm_map, BASE, BASE + 20 * PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    frames = [space.vm_pmap.extract(BASE + page * PAGE_SIZE) for page in range(20)]
    fill(space, 20, 4 * RAM)
    assert [space.vm_pmap.extract(BASE + page * PAGE_SIZE) for page in range(20)] == frames
    check_all(vm, [space])


@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1"])
def test_advice_decides_who_goes_first(release: str) -> None:
    vm, proc = make_vm(release, RAM * PAGE_SIZE)
    space = proc.p_vmspace
    map_ = space.vm_map
    map_anon(space, BASE, RAM)
    fill(space, 0, 60)
    assert vm_map_madvise(map_, BASE + 20 * PAGE_SIZE, BASE + 40 * PAGE_SIZE, MADV_DONTNEED) == 0
    vm.cnt.v_free_target = vm.cnt.v_free_count + 20
    vm_pageout_scan(vm)
    object_ = next(iter(map_)).vm_object
    assert object_ is not None
    gone = [page for page in range(60) if page not in object_.pages]
    assert gone == list(range(20, 40))
    assert vm_map_madvise(map_, BASE + 40 * PAGE_SIZE, BASE + 60 * PAGE_SIZE, MADV_WILLNEED) == 0
    verify(space, 0, 60)


def test_freed_pages_are_dropped_without_being_written() -> None:
    vm, proc = make_vm(ram=RAM * PAGE_SIZE)
    space = proc.p_vmspace
    map_anon(space, BASE, 10)
    fill(space, 0, 10)
    assert vm_map_madvise(space.vm_map, BASE, BASE + 8 * PAGE_SIZE, MADV_FREE) == 0
    poke(space, BASE, b"back")
    drain(vm)
    assert vm.cnt.v_swappgsout == 3, "the page written again and the two that were not freed"
    assert peek(space, BASE, 4) == b"back"
    assert peek(space, BASE + 5 * PAGE_SIZE, 4) == b"\0\0\0\0"
    verify(space, 8, 10)


@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1"])
def test_dirty_file_pages_go_to_the_file_and_clean_ones_nowhere(release: str) -> None:
    vm, proc = make_vm(release, RAM * PAGE_SIZE)
    space = proc.p_vmspace
    vnode = FakeVnode(b"0123456789abcdef" * 256 * 8)
    map_ = space.vm_map
    object_ = vnode_pager_alloc(vm, vnode)
    with map_.locked():
        assert vm_map_insert(map_, object_, 0, BASE, BASE + 8 * PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, 0) == 0
    for page in range(8):
        peek(space, BASE + page * PAGE_SIZE, 1)
    poke(space, BASE + 3 * PAGE_SIZE, b"dirty")
    drain(vm)
    assert vnode.writes == [(3 * PAGE_SIZE, PAGE_SIZE)]
    assert vnode.data[3 * PAGE_SIZE : 3 * PAGE_SIZE + 7] == b"dirty56"
    assert object_.pages == {}
    assert peek(space, BASE + 3 * PAGE_SIZE, 7) == b"dirty56"
    assert vm.cnt.v_swappgsout == 0


def test_a_file_that_refuses_keeps_its_dirty_pages() -> None:
    vm, proc = make_vm(ram=RAM * PAGE_SIZE)
    space = proc.p_vmspace
    vnode = FakeVnode(bytes(2 * PAGE_SIZE))
    map_ = space.vm_map
    with map_.locked():
        rv = vm_map_insert(
            map_, vnode_pager_alloc(vm, vnode), 0, BASE, BASE + 2 * PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, 0
        )
    assert rv == 0
    poke(space, BASE, b"kept")
    vnode.refuse = True
    drain(vm)
    assert peek(space, BASE, 4) == b"kept"
    check_all(vm, [space])


def test_private_file_pages_that_were_written_go_to_swap() -> None:
    vm, proc = make_vm(ram=RAM * PAGE_SIZE)
    space = proc.p_vmspace
    vnode = FakeVnode(b"file" * 2048)
    map_ = space.vm_map
    object_ = vnode_pager_alloc(vm, vnode)
    with map_.locked():
        rv = vm_map_insert(map_, object_, 0, BASE, BASE + 2 * PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, MAP_COPY_ON_WRITE)
    assert rv == 0
    poke(space, BASE, b"mine")
    drain(vm)
    assert (vm.cnt.v_swappgsout, vnode.writes) == (1, [])
    assert peek(space, BASE, 8) == b"minefile"


def test_full_swap_ends_in_a_shortage_unless_somebody_is_killed() -> None:
    vm, proc = make_vm(ram=RAM * PAGE_SIZE, swap=16 * PAGE_SIZE)
    space = proc.p_vmspace
    victim = FakeProc(vmspace_alloc(vm, USER_MIN, USER_MAX))
    map_anon(victim.p_vmspace, BASE, RAM)
    fill(victim.p_vmspace, 0, 100)
    map_anon(space, BASE, 2 * RAM)
    touched = 0
    while vm_fault(space.vm_map, BASE + touched * PAGE_SIZE, VM_PROT_WRITE) == 0:
        touched += 1
    assert touched == RAM - vm.cnt.v_free_reserved + 16 - 100
    assert vm_fault(space.vm_map, BASE + touched * PAGE_SIZE, VM_PROT_WRITE) == KERN_RESOURCE_SHORTAGE
    assert vm_pageout_oom([proc, victim]) is proc
    killed = []

    def kill() -> bool:
        killed.append(vm_pageout_oom([victim]))
        vmspace_free(victim.p_vmspace)
        return True

    vm.on_oom = kill
    assert vm_fault(space.vm_map, BASE + touched * PAGE_SIZE, VM_PROT_WRITE) == 0
    assert killed == [victim]
    check_all(vm, [space])


def test_size_counts_memory_and_swap_of_the_process_alone() -> None:
    vm, proc = make_vm(ram=RAM * PAGE_SIZE)
    map_anon(proc.p_vmspace, BASE, RAM)
    fill(proc.p_vmspace, 0, 50)
    assert vm_pageout_oom_pagecount(proc) == 50
    drain(vm)
    assert vm_pageout_oom_pagecount(proc) == 50
    assert len(vm.objects) == 0
    fork(vm, proc.p_vmspace)
    assert vm_pageout_oom_pagecount(proc) == 0
    assert vm_pageout_oom([]) is None


def test_the_daemon_does_not_wait_for_itself() -> None:
    vm, _ = make_vm()
    vm.in_pageout = True
    assert not vm_wait(vm)
    vm.in_pageout = False
    assert vm_wait(vm)


def test_a_page_read_back_keeps_its_block_until_it_is_written() -> None:
    vm, proc = make_vm(ram=RAM * PAGE_SIZE)
    map_anon(proc.p_vmspace, BASE, 2)
    fill(proc.p_vmspace, 0, 2)
    drain(vm)
    device = swap_device(vm)
    verify(proc.p_vmspace, 0, 2)
    assert (device.used, vm.cnt.v_swappgsout) == (2, 2)
    drain(vm)
    assert vm.cnt.v_swappgsout == 2, "nothing was changed, nothing is written again"
    fill(proc.p_vmspace, 0, 1)
    assert device.used == 1
    assert proc.p_vmspace.vm_pmap.lookup(BASE)[1] & VM_PROT_WRITE  # type: ignore[index]


def test_a_page_used_after_advice_gets_its_second_chance() -> None:
    vm, proc = make_vm(ram=RAM * PAGE_SIZE)
    map_anon(proc.p_vmspace, BASE, 40)
    fill(proc.p_vmspace, 0, 40)
    assert vm_map_madvise(proc.p_vmspace.vm_map, BASE, BASE + 20 * PAGE_SIZE, MADV_DONTNEED) == 0
    verify(proc.p_vmspace, 0, 5)
    vm.cnt.v_free_target = vm.cnt.v_free_count + 15
    vm_pageout_scan(vm)
    object_ = next(iter(proc.p_vmspace.vm_map)).vm_object
    assert object_ is not None
    assert [page for page in range(40) if page not in object_.pages] == list(range(5, 20))


@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1"])
def test_dirty_pages_pass_the_laundry_where_there_is_one(release: str) -> None:
    vm, proc = make_vm(release, RAM * PAGE_SIZE, swap=0)
    map_anon(proc.p_vmspace, BASE, 50)
    fill(proc.p_vmspace, 0, 50)
    assert vm_map_madvise(proc.p_vmspace.vm_map, BASE, BASE + 50 * PAGE_SIZE, MADV_DONTNEED) == 0
    assert (vm.cnt.v_laundry_count, vm.cnt.v_inactive_count) == ((50, 0) if vm.release.laundry_queue else (0, 50))
    drain(vm)
    verify(proc.p_vmspace, 0, 50)
