"""Short memory: what the page daemon takes, writes, spares, and what happens when that is not enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel_model.vm.swap_pager import swap_device
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_map_advise import vm_map_madvise
from kernel_model.vm.vm_map_entry import MAP_COPY_ON_WRITE, VM_MAP_WIRE_USER
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_wire import vm_map_wire
from kernel_model.vm.vm_page import MADV_DONTNEED, MADV_FREE, MADV_WILLNEED
from kernel_model.vm.vm_pageout import vm_pageout_oom, vm_pageout_oom_pagecount, vm_pageout_scan, vm_wait
from kernel_model.vm.vm_param import KERN_RESOURCE_SHORTAGE, PAGE_SIZE
from kernel_model.vm.vmspace import vmspace_free
from kernel_model.vm.vnode_pager import vnode_pager_alloc
from tests.audit import assert_nothing_left
from tests.memory_vnode import MemoryVnode
from tests.process import Process

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm

BASE = 0x10_0000
RAM = 256
ALL = ["freebsd-9.3", "freebsd-10.1", "freebsd-10.4", "freebsd-12.1", "freebsd-15.0"]


def fill(process: Process, first: int, last: int) -> None:
    for page in range(first, last):
        process.poke(BASE + page * PAGE_SIZE, page.to_bytes(4, "little"))


def verify(process: Process, first: int, last: int) -> None:
    for page in range(first, last):
        assert process.peek(BASE + page * PAGE_SIZE, 4) == page.to_bytes(4, "little")


def drain(vm: Vm) -> None:
    """Have the daemon take all that it may take."""
    target, vm.cnt.v_free_target = vm.cnt.v_free_target, vm.cnt.v_page_count
    vm_pageout_scan(vm)
    vm.cnt.v_free_target = target


@pytest.mark.parametrize("release", ALL)
def test_a_program_four_times_the_memory_keeps_its_contents(release: str) -> None:
    process = Process(release=release, ram=RAM * PAGE_SIZE, bare=True)
    process.map_at(BASE, 4 * RAM * PAGE_SIZE)
    fill(process, 0, 4 * RAM)
    assert process.vm.cnt.v_swappgsout >= 3 * RAM
    verify(process, 0, 4 * RAM)
    assert process.vm.cnt.v_swappgsin >= 3 * RAM
    assert process.vm.cnt.v_free_count >= process.vm.cnt.v_free_reserved
    process.check()
    vmspace_free(process.space)
    assert_nothing_left(process.vm)


def test_two_processes_share_what_is_paged_out() -> None:
    process = Process(ram=RAM * PAGE_SIZE, bare=True)
    process.map_at(BASE, 2 * RAM * PAGE_SIZE)
    fill(process, 0, 2 * RAM)
    child = process.fork()
    for page in range(0, 2 * RAM, 3):
        child.poke(BASE + page * PAGE_SIZE, b"kid!")
    verify(process, 0, 2 * RAM)
    for page in range(2 * RAM):
        expected = b"kid!" if page % 3 == 0 else page.to_bytes(4, "little")
        assert child.peek(BASE + page * PAGE_SIZE, 4) == expected
    process.check(child)
    vmspace_free(process.space)
    for page in range(2 * RAM):
        expected = b"kid!" if page % 3 == 0 else page.to_bytes(4, "little")
        assert child.peek(BASE + page * PAGE_SIZE, 4) == expected
    vmspace_free(child.space)
    assert_nothing_left(process.vm)


def test_what_is_used_again_and_again_stays() -> None:
    process = Process(ram=RAM * PAGE_SIZE, bare=True)
    process.map_at(BASE, 8 * RAM * PAGE_SIZE)
    fill(process, 0, 8)
    for page in range(8, 4 * RAM):
        fill(process, page, page + 1)
        verify(process, 0, 8)
    swapped_in = process.vm.cnt.v_swappgsin
    assert swapped_in < 4 * RAM, "eight hot pages come back far less often than once a cold page"
    object_ = next(iter(process.map)).vm_object
    assert object_ is not None
    assert sum(page in object_.pages for page in range(8)) >= 6


def test_wired_pages_are_never_taken() -> None:
    process = Process(ram=RAM * PAGE_SIZE, bare=True)
    process.map_at(BASE, 4 * RAM * PAGE_SIZE)
    fill(process, 0, 20)
    assert vm_map_wire(process.map, BASE, BASE + 20 * PAGE_SIZE, VM_MAP_WIRE_USER) == 0
    frames = [process.space.vm_pmap.extract(BASE + page * PAGE_SIZE) for page in range(20)]
    fill(process, 20, 4 * RAM)
    assert [process.space.vm_pmap.extract(BASE + page * PAGE_SIZE) for page in range(20)] == frames
    process.check()


@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1"])
def test_advice_decides_who_goes_first(release: str) -> None:
    process = Process(release=release, ram=RAM * PAGE_SIZE, bare=True)
    process.map_at(BASE, RAM * PAGE_SIZE)
    fill(process, 0, 60)
    assert vm_map_madvise(process.map, BASE + 20 * PAGE_SIZE, BASE + 40 * PAGE_SIZE, MADV_DONTNEED) == 0
    process.vm.cnt.v_free_target = process.vm.cnt.v_free_count + 20
    vm_pageout_scan(process.vm)
    object_ = next(iter(process.map)).vm_object
    assert object_ is not None
    gone = [page for page in range(60) if page not in object_.pages]
    assert gone == list(range(20, 40))
    assert vm_map_madvise(process.map, BASE + 40 * PAGE_SIZE, BASE + 60 * PAGE_SIZE, MADV_WILLNEED) == 0
    verify(process, 0, 60)


def test_freed_pages_are_dropped_without_being_written() -> None:
    process = Process(ram=RAM * PAGE_SIZE, bare=True)
    process.map_at(BASE, 10 * PAGE_SIZE)
    fill(process, 0, 10)
    assert vm_map_madvise(process.map, BASE, BASE + 8 * PAGE_SIZE, MADV_FREE) == 0
    process.poke(BASE, b"back")
    drain(process.vm)
    assert process.vm.cnt.v_swappgsout == 3, "the page written again and the two that were not freed"
    assert process.peek(BASE, 4) == b"back"
    assert process.peek(BASE + 5 * PAGE_SIZE, 4) == b"\0\0\0\0"
    verify(process, 8, 10)


@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1"])
def test_dirty_file_pages_go_to_the_file_and_clean_ones_nowhere(release: str) -> None:
    process = Process(release=release, ram=RAM * PAGE_SIZE, bare=True)
    vnode = MemoryVnode(b"0123456789abcdef" * 256 * 8)
    object_ = vnode_pager_alloc(process.vm, vnode)
    with process.map.locked():
        assert vm_map_insert(process.map, object_, 0, BASE, BASE + 8 * PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, 0) == 0
    for page in range(8):
        process.peek(BASE + page * PAGE_SIZE, 1)
    process.poke(BASE + 3 * PAGE_SIZE, b"dirty")
    drain(process.vm)
    assert vnode.writes == [(3 * PAGE_SIZE, PAGE_SIZE)]
    assert vnode.data[3 * PAGE_SIZE : 3 * PAGE_SIZE + 7] == b"dirty56"
    assert object_.pages == {}
    assert process.peek(BASE + 3 * PAGE_SIZE, 7) == b"dirty56"
    assert process.vm.cnt.v_swappgsout == 0


def test_a_file_that_refuses_keeps_its_dirty_pages() -> None:
    process = Process(ram=RAM * PAGE_SIZE, bare=True)
    vnode = MemoryVnode(bytes(2 * PAGE_SIZE))
    with process.map.locked():
        rv = vm_map_insert(
            process.map, vnode_pager_alloc(process.vm, vnode), 0, BASE, BASE + 2 * PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, 0
        )
    assert rv == 0
    process.poke(BASE, b"kept")
    vnode.refuse = True
    drain(process.vm)
    assert process.peek(BASE, 4) == b"kept"
    process.check()


def test_private_file_pages_that_were_written_go_to_swap() -> None:
    process = Process(ram=RAM * PAGE_SIZE, bare=True)
    vnode = MemoryVnode(b"file" * 2048)
    object_ = vnode_pager_alloc(process.vm, vnode)
    with process.map.locked():
        rv = vm_map_insert(
            process.map, object_, 0, BASE, BASE + 2 * PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, MAP_COPY_ON_WRITE
        )
    assert rv == 0
    process.poke(BASE, b"mine")
    drain(process.vm)
    assert (process.vm.cnt.v_swappgsout, vnode.writes) == (1, [])
    assert process.peek(BASE, 8) == b"minefile"


def test_full_swap_ends_in_a_shortage_unless_somebody_is_killed() -> None:
    process = Process(ram=RAM * PAGE_SIZE, swap=16 * PAGE_SIZE, bare=True)
    victim = process.fork()
    victim.map_at(BASE, RAM * PAGE_SIZE)
    fill(victim, 0, 100)
    process.map_at(BASE, 2 * RAM * PAGE_SIZE)
    touched = 0
    while process.touch(BASE + touched * PAGE_SIZE, VM_PROT_WRITE) == 0:
        touched += 1
    assert touched == RAM - process.vm.cnt.v_free_reserved + 16 - 100
    assert process.touch(BASE + touched * PAGE_SIZE, VM_PROT_WRITE) == KERN_RESOURCE_SHORTAGE
    assert vm_pageout_oom([process.proc, victim.proc]) is process.proc
    killed = []

    def kill() -> bool:
        killed.append(vm_pageout_oom([victim.proc]))
        victim.exit()
        return True

    process.vm.on_oom = kill
    assert process.touch(BASE + touched * PAGE_SIZE, VM_PROT_WRITE) == 0
    assert killed == [victim.proc]
    process.check()


def test_size_counts_memory_and_swap_of_the_process_alone() -> None:
    process = Process(ram=RAM * PAGE_SIZE, bare=True)
    process.map_at(BASE, RAM * PAGE_SIZE)
    fill(process, 0, 50)
    assert vm_pageout_oom_pagecount(process.proc) == 50
    drain(process.vm)
    assert vm_pageout_oom_pagecount(process.proc) == 50
    assert len(process.vm.objects) == 0
    process.fork()
    assert vm_pageout_oom_pagecount(process.proc) == 0
    assert vm_pageout_oom([]) is None


def test_the_daemon_does_not_wait_for_itself() -> None:
    vm = Process(bare=True).vm
    vm.in_pageout = True
    assert not vm_wait(vm)
    vm.in_pageout = False
    assert vm_wait(vm)


def test_a_page_read_back_keeps_its_block_until_it_is_written() -> None:
    process = Process(ram=RAM * PAGE_SIZE, bare=True)
    process.map_at(BASE, 2 * PAGE_SIZE)
    fill(process, 0, 2)
    drain(process.vm)
    device = swap_device(process.vm)
    verify(process, 0, 2)
    assert (device.used, process.vm.cnt.v_swappgsout) == (2, 2)
    drain(process.vm)
    assert process.vm.cnt.v_swappgsout == 2, "nothing was changed, nothing is written again"
    fill(process, 0, 1)
    assert device.used == 1
    assert process.space.vm_pmap.lookup(BASE)[1] & VM_PROT_WRITE  # type: ignore[index]


def test_a_page_used_after_advice_gets_its_second_chance() -> None:
    process = Process(ram=RAM * PAGE_SIZE, bare=True)
    process.map_at(BASE, 40 * PAGE_SIZE)
    fill(process, 0, 40)
    assert vm_map_madvise(process.map, BASE, BASE + 20 * PAGE_SIZE, MADV_DONTNEED) == 0
    verify(process, 0, 5)
    process.vm.cnt.v_free_target = process.vm.cnt.v_free_count + 15
    vm_pageout_scan(process.vm)
    object_ = next(iter(process.map)).vm_object
    assert object_ is not None
    assert [page for page in range(40) if page not in object_.pages] == list(range(5, 20))


@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1"])
def test_dirty_pages_pass_the_laundry_where_there_is_one(release: str) -> None:
    process = Process(release=release, ram=RAM * PAGE_SIZE, swap=0, bare=True)
    process.map_at(BASE, 50 * PAGE_SIZE)
    fill(process, 0, 50)
    assert vm_map_madvise(process.map, BASE, BASE + 50 * PAGE_SIZE, MADV_DONTNEED) == 0
    assert (process.vm.cnt.v_laundry_count, process.vm.cnt.v_inactive_count) == (
        (50, 0) if process.vm.release.laundry_queue else (0, 50)
    )
    drain(process.vm)
    verify(process, 0, 50)
