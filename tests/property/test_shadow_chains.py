"""Shadow chains against flat bytes: random trees of processes that share, copy and zero memory.

The model of a page is a ``Cell``, an array of bytes that several processes may refer to: SHARE keeps the cell, COPY
clones it, ZERO makes a new one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from kernel_model.vm.swap_pager import swap_release_by_cred
from kernel_model.vm.vm import (
    OBJT_DEFAULT,
    VM_INHERIT_COPY,
    VM_INHERIT_NONE,
    VM_INHERIT_SHARE,
    VM_INHERIT_ZERO,
    VM_PROT_ALL,
    VM_PROT_READ,
    VM_PROT_WRITE,
)
from kernel_model.vm.vm_map_advise import vm_map_inherit, vm_map_madvise
from kernel_model.vm.vm_map_delete import vm_map_remove
from kernel_model.vm.vm_map_entry import MAP_COPY_ON_WRITE, MAP_INHERIT_SHARE, VM_MAP_WIRE_HOLESOK, VM_MAP_WIRE_USER
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_protect import vm_map_protect
from kernel_model.vm.vm_map_wire import vm_map_unwire, vm_map_wire
from kernel_model.vm.vm_object import vm_object_deallocate
from kernel_model.vm.vm_pageout import vm_pageout_scan
from kernel_model.vm.vm_param import PAGE_SIZE
from kernel_model.vm.vnode_pager import vfs_msync, vnode_pager_alloc
from tests.audit import assert_nothing_left
from tests.memory_vnode import MemoryVnode
from tests.process import Process

BASE = 0x10_0000
NPAGES = 24
SLOTS = 6
"""Bytes of a page that the model looks at, spread over it."""
STRIDE = PAGE_SIZE // SLOTS
FILE_PAGES = 6
SHARED_AT = NPAGES + 10
SHARED_PAGES = 4
FIRST_RELEASE_WITH_ZERO = "freebsd-10.4"


@dataclass(eq=False)
class Cell:
    """What one page holds, wherever it is mapped."""

    data: list[int] = field(default_factory=lambda: [0] * SLOTS)
    saved: Cell | None = None
    """What a page of a private file mapping still reads while nobody wrote it."""

    def clone(self) -> Cell:
        return Cell(list(self.data))


@dataclass(eq=False)
class Member:
    """A process of the tree, and what its pages must hold."""

    process: Process
    cells: dict[int, Cell]
    inherit: dict[int, int]


class World:
    """A tree of processes, the real one beside the model."""

    def __init__(self, seed: int, release: str, ram_pages: int, share: bool) -> None:
        self.rng = random.Random(seed)
        process = Process(release=release, ram=ram_pages * PAGE_SIZE, swap=1 << 26, bare=True)
        process.map_at(BASE, NPAGES * PAGE_SIZE)
        self.vm = process.vm
        self.share = share
        self.vnode = MemoryVnode(bytes(self.rng.randrange(1, 255) for _ in range(FILE_PAGES)) * (PAGE_SIZE - 7))
        first = Member(process, {}, {})
        for page in range(NPAGES):
            first.cells[page] = Cell()
            first.inherit[page] = VM_INHERIT_COPY
        self.members = [first]
        self.map_file_private(first)
        self.shared_file = MemoryVnode(bytes(SHARED_PAGES * PAGE_SIZE - 100))
        self.file_cells = [Cell() for _ in range(SHARED_PAGES)]
        self.map_file_shared(first)

    def va(self, page: int) -> int:
        return BASE + page * PAGE_SIZE

    def map_file_private(self, member: Member) -> None:
        """The file, copied on write, above the anonymous pages."""
        object_ = vnode_pager_alloc(self.vm, self.vnode)
        start, npages = self.va(NPAGES), object_.size
        map_ = member.process.map
        end = start + npages * PAGE_SIZE
        with map_.locked():
            rv = vm_map_insert(
                map_, object_, 0, start, end, VM_PROT_READ | VM_PROT_WRITE, VM_PROT_ALL, MAP_COPY_ON_WRITE
            )
        assert rv == 0
        padded = bytes(self.vnode.data) + bytes(PAGE_SIZE)
        for page in range(npages):
            base = page * PAGE_SIZE
            member.cells[NPAGES + page] = Cell([padded[base + slot * STRIDE] for slot in range(SLOTS)])
            member.inherit[NPAGES + page] = VM_INHERIT_COPY

    def map_file_shared(self, member: Member) -> None:
        """Another file, whose every mapping is the file."""
        start = self.va(SHARED_AT)
        map_ = member.process.map
        with map_.locked():
            rv = vm_map_insert(
                map_, vnode_pager_alloc(self.vm, self.shared_file), 0, start, start + SHARED_PAGES * PAGE_SIZE,
                VM_PROT_READ | VM_PROT_WRITE, VM_PROT_ALL, MAP_INHERIT_SHARE,
            )  # fmt: skip
        assert rv == 0
        for page, cell in enumerate(self.file_cells):
            member.cells[SHARED_AT + page] = cell
            member.inherit[SHARED_AT + page] = VM_INHERIT_SHARE

    # the operations

    def write(self) -> None:
        member = self.rng.choice(self.members)
        if member.cells:
            page = self.rng.choice(list(member.cells))
            slot, value = self.rng.randrange(SLOTS), self.rng.randrange(1, 256)
            member.process.poke(self.va(page) + slot * STRIDE, bytes([value]))
            member.cells[page].data[slot] = value

    def read(self) -> None:
        member = self.rng.choice(self.members)
        if member.cells:
            self.compare(member, self.rng.choice(list(member.cells)))

    def compare(self, member: Member, page: int) -> None:
        got = [member.process.peek(self.va(page) + slot * STRIDE, 1)[0] for slot in range(SLOTS)]
        assert got == member.cells[page].data, f"page {page} of {self.members.index(member)}"

    def fork(self) -> None:
        if len(self.members) >= 7:
            return
        parent = self.rng.choice(self.members)
        parent.process.run()
        child = Member(parent.process.fork(), {}, {})
        for page, cell in parent.cells.items():
            how = parent.inherit[page]
            if how == VM_INHERIT_NONE:
                continue
            child.inherit[page] = how
            if how == VM_INHERIT_SHARE:
                child.cells[page] = cell
            else:
                child.cells[page] = cell.clone() if how == VM_INHERIT_COPY else Cell()
        self.members.append(child)

    def exit(self) -> None:
        if len(self.members) > 1:
            gone = self.members.pop(self.rng.randrange(len(self.members)))
            gone.process.exit()
            self.members[0].process.run()

    def minherit(self) -> None:
        member = self.rng.choice(self.members)
        first = self.rng.randrange(NPAGES)
        last = self.rng.randrange(first + 1, NPAGES + 1)
        values = [VM_INHERIT_COPY, VM_INHERIT_NONE]
        if self.share:
            values.append(VM_INHERIT_SHARE)
        if self.vm.release.inherit_zero:
            values.append(VM_INHERIT_ZERO)
        value = self.rng.choice(values)
        if value == VM_INHERIT_COPY and self.is_shared(member, first, last):
            # FreeBSD lets the other sharers write into what the copy still looks at: no snapshot, no flat model.
            return
        assert vm_map_inherit(member.process.map, self.va(first), self.va(last), value) == 0
        for page in range(first, last):
            if page in member.inherit:
                member.inherit[page] = value

    def is_shared(self, member: Member, first: int, last: int) -> bool:
        """Whether another member has one of these pages in common with *member*."""
        others = {id(cell) for other in self.members if other is not member for cell in other.cells.values()}
        return any(page in member.cells and id(member.cells[page]) in others for page in range(first, last))

    def remap(self) -> None:
        """Unmap a few pages and map fresh ones there."""
        member = self.rng.choice(self.members)
        first = self.rng.randrange(NPAGES)
        last = min(first + self.rng.randrange(1, 6), NPAGES)
        vm_map_remove(member.process.map, self.va(first), self.va(last))
        for page in range(first, last):
            member.cells.pop(page, None)
        if self.rng.random() < 0.7:
            member.process.map_at(self.va(first), (last - first) * PAGE_SIZE)
            for page in range(first, last):
                member.cells[page] = Cell()
                member.inherit[page] = VM_INHERIT_COPY

    def protect(self) -> None:
        """Take write access away and give it back."""
        member = self.rng.choice(self.members)
        first = self.rng.randrange(NPAGES)
        last = self.rng.randrange(first + 1, NPAGES + 1)
        map_ = member.process.map
        assert vm_map_protect(map_, self.va(first), self.va(last), VM_PROT_READ) == 0
        for page in range(first, last):
            if page in member.cells and self.rng.random() < 0.3:
                self.compare(member, page)
        assert vm_map_protect(map_, self.va(first), self.va(last), VM_PROT_READ | VM_PROT_WRITE) == 0

    def advise(self) -> None:
        member = self.rng.choice(self.members)
        first = self.rng.randrange(NPAGES)
        vm_map_madvise(member.process.map, self.va(first), self.va(NPAGES), self.rng.choice([3, 4]))

    def wire(self) -> None:
        member = self.rng.choice(self.members)
        first = self.rng.randrange(NPAGES)
        last = min(first + 4, NPAGES)
        map_ = member.process.map
        flags = VM_MAP_WIRE_USER | VM_MAP_WIRE_HOLESOK
        if self.rng.random() < 0.5:
            assert vm_map_wire(map_, self.va(first), self.va(last), flags) == 0
        else:
            assert vm_map_unwire(map_, self.va(first), self.va(last), flags) == 0

    def pressure(self) -> None:
        """Have the page daemon take as much as it can."""
        target, self.vm.cnt.v_free_target = self.vm.cnt.v_free_target, self.vm.cnt.v_page_count
        vm_pageout_scan(self.vm)
        self.vm.cnt.v_free_target = target

    def sync(self) -> None:
        vfs_msync(self.vm)
        for page, cell in enumerate(self.file_cells):
            base = page * PAGE_SIZE
            assert [self.shared_file.data[base + slot * STRIDE] for slot in range(SLOTS)] == cell.data
        assert len(self.shared_file.data) == SHARED_PAGES * PAGE_SIZE - 100

    def check(self) -> None:
        first, *others = (member.process for member in self.members)
        first.check(*others, shared_inval=self.strict)

    @property
    def strict(self) -> bool:
        """Whether a sharer may never see a stale lower page."""
        return self.vm.release.cow_invalidates_shared or not self.share

    def finish(self) -> None:
        for member in self.members:
            for page in member.cells:
                self.compare(member, page)
        for member in self.members:
            member.process.exit()
        assert_nothing_left(self.vm)
        last = [self.shared_file.data[slot * STRIDE] for slot in range(SLOTS)]
        assert last == self.file_cells[0].data


OPERATIONS = (
    ["write"] * 14 + ["read"] * 8 + ["fork"] * 4 + ["exit"] * 3 + ["minherit"] * 2
    + ["remap", "remap", "protect", "advise", "wire", "pressure", "sync"]
)  # fmt: skip


@pytest.mark.parametrize(
    ("release", "share"),
    [
        ("freebsd-15.0", True),
        ("freebsd-9.3", False),
        ("freebsd-10.1", False),
        ("freebsd-10.4", False),
        ("freebsd-12.1", False),
    ],
)
@pytest.mark.parametrize("ram_pages", [4096, 160])
def test_forked_memory_is_flat_memory(release: str, share: bool, ram_pages: int) -> None:
    for seed in range(20):
        world = World(seed, release, ram_pages, share)
        for _ in range(150):
            getattr(world, world.rng.choice(OPERATIONS))()
            world.check()
        world.finish()


def test_a_chain_of_two_thousand_forks_collapses() -> None:
    """Each process forks and goes away: one object remains, and nothing recurses."""
    process = Process(bare=True)
    process.map_at(BASE, 4 * PAGE_SIZE)
    for generation in range(2000):
        process.poke(BASE + (generation % 4) * PAGE_SIZE, generation.to_bytes(4, "little"))
        child = process.fork()
        process.exit()
        process = child
        process.run()
    depth = 0
    entry = next(iter(process.map))
    object_ = entry.vm_object
    while object_ is not None:
        depth += 1
        object_ = object_.backing_object
    assert depth == 1
    assert [process.peek(BASE + page * PAGE_SIZE, 4) for page in range(4)] == [
        (1996 + page).to_bytes(4, "little") for page in range(4)
    ]
    process.exit()
    assert_nothing_left(process.vm)


def test_two_thousand_living_generations_do_not_recurse() -> None:
    """While every ancestor lives the chain is deep; it shrinks when they go, from either end."""
    processes = [Process(bare=True)]
    processes[0].map_at(BASE, PAGE_SIZE)
    for generation in range(2000):
        processes[-1].poke(BASE, generation.to_bytes(4, "little"))
        processes[-1].run()
        processes.append(processes[-1].fork())
    assert processes[-1].peek(BASE, 4) == (1999).to_bytes(4, "little")
    for process in processes[1:-1]:
        process.exit()
    assert processes[0].peek(BASE, 4) == (0).to_bytes(4, "little")
    assert processes[-1].peek(BASE, 4) == (1999).to_bytes(4, "little")
    processes[0].exit()
    processes[-1].exit()
    assert_nothing_left(processes[0].vm)


def test_object_references_that_nobody_maps_are_given_back() -> None:
    vm = Process(bare=True).vm
    from kernel_model.vm.vm_object import vm_object_allocate

    object_ = vm_object_allocate(vm, OBJT_DEFAULT, 5)
    vm_object_deallocate(object_)
    swap_release_by_cred(vm, 0, None)
    assert_nothing_left(vm)
