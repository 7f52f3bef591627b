"""Who pays for memory: random lives of processes of several users, who change into each other in between.

Credentials are replaced, never changed: what was charged to one record is released from the same record, whoever the
process has become meanwhile.  After each step the books are added up from what maps and objects say.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from kernel_model.errors import SyscallError
from kernel_model.ucred import Ucred
from kernel_model.vm.swap_pager import swap_release_by_cred, swap_reserve_by_cred
from kernel_model.vm.vm import (
    VM_INHERIT_COPY,
    VM_INHERIT_NONE,
    VM_INHERIT_SHARE,
    VM_PROT_ALL,
    VM_PROT_READ,
    VM_PROT_RW,
    VM_PROT_WRITE,
)
from kernel_model.vm.vm_map_advise import vm_map_inherit
from kernel_model.vm.vm_map_delete import vm_map_remove
from kernel_model.vm.vm_map_entry import MAP_COPY_ON_WRITE
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_protect import vm_map_protect
from kernel_model.vm.vm_object import vm_object_deallocate
from kernel_model.vm.vm_pageout import vm_pageout_scan
from kernel_model.vm.vm_param import PAGE_SIZE
from kernel_model.vm.vnode_pager import vnode_pager_alloc
from tests.audit import assert_nothing_left
from tests.memory_vnode import MemoryVnode
from tests.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_object import VmObject

USERS = (0, 1000, 1001, 1002)
BASE = 0x40_0000
NPAGES = 64
MOST = 6
"""Processes at a time."""
SWAP_CAP = 4096 * PAGE_SIZE
"""Small enough that some reservations are refused."""
RELEASES = ("freebsd-9.3", "freebsd-10.1", "freebsd-12.1", "freebsd-15.0", "dragonfly")


@dataclass(frozen=True)
class Range:
    start: int
    end: int


class World:
    """Processes of several users on one machine."""

    def __init__(self, seed: int, release: str) -> None:
        self.rng = random.Random(seed)
        first = Process(release=release, ram=128 * PAGE_SIZE, swap=1 << 24, bare=True)
        self.vm = first.vm
        self.vm.swap_cap = SWAP_CAP
        self.processes = [first]
        self.setresuid(first)
        self.vnode = MemoryVnode(bytes(NPAGES * PAGE_SIZE))
        self.refused = 0

    def someone(self) -> Ucred:
        """A new record each time, also for a user who had one."""
        uid = self.rng.choice(USERS)
        return Ucred(cr_uid=uid, cr_ruid=uid, cr_svuid=uid)

    def step(self) -> None:
        """Let some process do something."""
        process = self.rng.choice(self.processes)
        process.run()
        calls: list[Callable[[Process], None]] = [
            self.mmap, self.mmap, self.mmap_file, self.munmap, self.mprotect, self.minherit, self.touch, self.touch,
            self.setresuid, self.setresuid, self.fork, self.exit, self.pageout,
        ]  # fmt: skip
        self.rng.choice(calls)(process)

    def some_range(self) -> Range:
        first = self.rng.randrange(NPAGES)
        npages = self.rng.randint(1, min(16, NPAGES - first))
        return Range(BASE + first * PAGE_SIZE, BASE + (first + npages) * PAGE_SIZE)

    def mmap(self, process: Process) -> None:
        at = self.some_range()
        vm_map_remove(process.map, at.start, at.end)
        prot = self.rng.choice((VM_PROT_READ, VM_PROT_RW, VM_PROT_RW))
        with process.map.locked():
            self.refused += vm_map_insert(process.map, None, 0, at.start, at.end, prot, VM_PROT_ALL, 0) != 0

    def mmap_file(self, process: Process) -> None:
        """MAP_PRIVATE: nothing is charged before the mapping may be written."""
        at = self.some_range()
        vm_map_remove(process.map, at.start, at.end)
        prot = self.rng.choice((VM_PROT_READ, VM_PROT_RW))
        obj = vnode_pager_alloc(self.vm, self.vnode)
        with process.map.locked():
            rv = vm_map_insert(process.map, obj, 0, at.start, at.end, prot, VM_PROT_ALL, MAP_COPY_ON_WRITE)
        if rv != 0:
            vm_object_deallocate(obj)
            self.refused += 1

    def munmap(self, process: Process) -> None:
        at = self.some_range()
        vm_map_remove(process.map, at.start, at.end)

    def mprotect(self, process: Process) -> None:
        at = self.some_range()
        prot = self.rng.choice((VM_PROT_READ, VM_PROT_RW))
        self.refused += vm_map_protect(process.map, at.start, at.end, prot) != 0

    def minherit(self, process: Process) -> None:
        at = self.some_range()
        how = self.rng.choice((VM_INHERIT_SHARE, VM_INHERIT_COPY, VM_INHERIT_COPY, VM_INHERIT_NONE))
        vm_map_inherit(process.map, at.start, at.end, how)

    def touch(self, process: Process) -> None:
        """Copies on write make shadow objects, which are charged; a refused access is no matter."""
        for _ in range(4):
            va = BASE + self.rng.randrange(NPAGES) * PAGE_SIZE
            process.touch(va, self.rng.choice((VM_PROT_READ, VM_PROT_WRITE)))

    def setresuid(self, process: Process) -> None:
        process.proc.p_ucred = self.someone()

    def fork(self, process: Process) -> None:
        """fork(2) with its reservation, which may be refused."""
        if len(self.processes) == MOST:
            return
        try:
            self.processes.append(process.fork())
        except SyscallError:
            self.refused += 1

    def exit(self, process: Process) -> None:
        if len(self.processes) > 1:
            self.processes.remove(process)
            process.exit()

    def pageout(self, _: Process) -> None:
        vm_pageout_scan(self.vm)

    def books(self) -> Counter[int]:
        """Bytes by real uid, as the entries and the objects behind them say."""
        owed: Counter[int] = Counter()
        seen: set[VmObject] = set()
        for entry in self.entries():
            if entry.cred is not None:
                owed[entry.cred.cr_ruid] += entry.end - entry.start
            obj = entry.vm_object
            while obj is not None and obj not in seen:
                seen.add(obj)
                if obj.cred is not None:
                    owed[obj.cred.cr_ruid] += obj.charge
                obj = obj.backing_object
        return owed

    def entries(self) -> Iterator[VmMapEntry]:
        for process in self.processes:
            header = process.map.header
            entry = header.next
            while entry is not header:
                yield entry
                entry = entry.next

    def check(self) -> None:
        owed = self.books()
        assert {uid: size for uid, size in self.vm.uid_vmsize.items() if size} == {u: n for u, n in owed.items() if n}
        assert self.vm.swap_reserved == sum(owed.values())


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("seed", range(6))
def test_in_the_end_nobody_owes_anything(seed: int, release: str) -> None:
    world = World(seed, release)
    for _ in range(150):
        world.step()
        world.check()
    for process in world.processes:
        # Whoever they were when they mapped something, they die as somebody else.
        world.setresuid(process)
        process.exit()
    assert not any(world.vm.uid_vmsize.values()), world.vm.uid_vmsize
    assert world.vm.swap_reserved == 0
    assert_nothing_left(world.vm)


def test_some_reservations_are_refused_and_cost_nothing() -> None:
    """The worlds above meet the cap as well; else they would prove less."""
    world = World(1, "freebsd-12.1")
    world.vm.swap_cap = 96 * PAGE_SIZE
    for _ in range(300):
        world.step()
        world.check()
    assert world.refused


def test_memory_is_paid_for_by_who_mapped_it() -> None:
    """mmap, setresuid(1000), munmap: the example of the issue that asked for this."""
    process = Process(bare=True)
    vm, proc, map_ = process.vm, process.proc, process.map
    proc.p_ucred = Ucred()
    with map_.locked():
        assert vm_map_insert(map_, None, 0, BASE, BASE + 512 * PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, 0) == 0
    before = dict(vm.uid_vmsize)
    proc.p_ucred = Ucred(1000, 1000, 1000)
    vm_map_remove(map_, BASE + 256 * PAGE_SIZE, BASE + 512 * PAGE_SIZE)
    assert (before, vm.uid_vmsize) == ({0: 512 * PAGE_SIZE}, {0: 256 * PAGE_SIZE})
    vm_map_remove(map_, BASE, BASE + 512 * PAGE_SIZE)
    assert vm.uid_vmsize == {0: 0}


def test_equal_records_are_still_two_records() -> None:
    """Neighbours merge only when one record pays for both, as pointers are compared in FreeBSD."""
    process = Process(bare=True)
    vm, proc, map_ = process.vm, process.proc, process.map
    proc.p_ucred = Ucred(7, 7, 7)
    with map_.locked():
        vm_map_insert(map_, None, 0, BASE, BASE + PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, 0)
        vm_map_insert(map_, None, 0, BASE + PAGE_SIZE, BASE + 2 * PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, 0)
    assert map_.nentries == 1
    proc.p_ucred = Ucred(7, 7, 7)
    with map_.locked():
        vm_map_insert(map_, None, 0, BASE + 2 * PAGE_SIZE, BASE + 3 * PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, 0)
    assert map_.nentries == 2
    assert vm.uid_vmsize == {7: 3 * PAGE_SIZE}


def test_what_was_reserved_is_released_from_the_same_record() -> None:
    vm = Process(bare=True).vm
    alice, bob = Ucred(1, 1, 1), Ucred(2, 2, 2)
    assert swap_reserve_by_cred(vm, PAGE_SIZE, alice)
    assert swap_reserve_by_cred(vm, 2 * PAGE_SIZE, bob)
    swap_release_by_cred(vm, PAGE_SIZE, alice)
    assert (vm.uid_vmsize, vm.swap_reserved) == ({1: 0, 2: 2 * PAGE_SIZE}, 2 * PAGE_SIZE)
