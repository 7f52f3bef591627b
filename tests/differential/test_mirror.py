"""The mirror against the reference pmap: the same operations, step by step, must have the same effect.

One world has ``NullHardware`` and a processor of six lines that looks into the page table at each access; the other
runs real instructions on the engine.  After each step the maps, page tables, page contents and fault outcomes are
equal, and the mirror proves itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emu.engine.raw import UC_ERR_OK
from kernel_model.kern.machdep import TrapFrame
from kernel_model.vm.swap_pager import swap_reserve_by_cred
from kernel_model.vm.vm import VM_PROT_ALL
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_delete import vm_map_remove
from kernel_model.vm.vm_map_entry import MAP_STACK_GROWS_DOWN
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_protect import vm_map_protect
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from kernel_model.vm.vm_stack import vm_map_stack
from kernel_model.vm.vmspace import VmSpace, vmspace_fork, vmspace_free
from tests.process import Process
from tests.unit.emu_box import DATA, EXECUTE, READ, WRITE, Access, Box

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_map import VmMap

PAGES = 48
"""The arena of the random operations: DATA and up."""
STACK_PAGES = 40
STACK_TOP = DATA + 0x100_0000
SCRATCH = 0x7000_0000
"""Page for the instructions themselves, outside of the arena."""
# mov [rdi],rax; syscall        mov rax,[rdi]; syscall
STORE_CODE, LOAD_CODE = bytes.fromhex("4889070f05"), bytes.fromhex("488b070f05")
LOAD_AT = 0x40
SYSCALL_CODE = bytes.fromhex("0f05")


class World(Protocol):
    """What both sides can do."""

    space: VmSpace
    vm: Vm

    def access(self, va: int, kind: int, value: int) -> tuple[bool, int]:
        """Load, store or execute at *va*; whether it was allowed, and what was loaded."""


class Reference:
    """Python is the processor: it asks the page table, and faults when that says no."""

    def __init__(self, release: str) -> None:
        process = Process(release=release, bare=True)
        self.vm, self.space = process.vm, process.space
        _map(self.space.vm_map, SCRATCH, 1, VM_PROT_ALL)
        vm_fault(self.space.vm_map, SCRATCH, WRITE)

    def access(self, va: int, kind: int, value: int) -> tuple[bool, int]:
        ptes = self.space.vm_pmap.ptes
        pte = ptes.get(va >> PAGE_SHIFT)
        allowed = VM_PROT_ALL if kind == READ else kind
        if pte is None or not pte[1] & allowed:
            if vm_fault(self.space.vm_map, va, kind):
                return False, 0
            pte = ptes[va >> PAGE_SHIFT]
        place = (pte[0].frame << PAGE_SHIFT) + (va & PAGE_MASK)
        if kind == EXECUTE:
            self.vm.phys.mem[place : place + 2] = SYSCALL_CODE
        elif kind == WRITE:
            self.vm.phys.mem[place : place + 8] = value.to_bytes(8, "little")
        return True, int.from_bytes(self.vm.phys.mem[place : place + 8], "little") if kind == READ else 0


class Mirrored:
    """Unicorn is the processor."""

    def __init__(self, release: str) -> None:
        self.box = Box(release, 64 << 20)
        self.vm = self.box.vm
        self.space = self.box.space
        self.box.faults.repair = self._repair
        self.box.insert(SCRATCH, 1, VM_PROT_ALL)
        # Once: code that changes empties the TLB, and stale translations would not be seen.
        self.box.poke(SCRATCH, STORE_CODE)
        self.box.poke(SCRATCH + LOAD_AT, LOAD_CODE)

    def _repair(self, fault: Access) -> bool:
        return vm_fault(self.space.vm_map, fault.va, fault.access) == 0

    def access(self, va: int, kind: int, value: int) -> tuple[bool, int]:
        box = self.box
        frame = TrapFrame(rip=SCRATCH, rdi=va, rax=value, rsp=SCRATCH + 0x800)
        if kind == EXECUTE:
            if vm_fault(self.space.vm_map, va, EXECUTE) == 0 and box.peek(va, 2) != SYSCALL_CODE:
                box.poke(va, SYSCALL_CODE)
            frame.rip = va
        elif kind == READ:
            frame.rip += LOAD_AT
        box.cpu.set_frame(frame)
        status = box.hw.run(box.cpu.resume_rip())
        after = box.cpu.get_frame()
        if status == UC_ERR_OK:
            assert after.rip == frame.rip + (2 if kind == EXECUTE else 5)
            return True, after.rax if kind == READ else 0
        assert (after.rip, after.rax) == (frame.rip, value), "a refused access has no effect"
        return False, 0


def _map(map_: VmMap, start: int, pages: int, prot: int) -> int:
    with map_.locked():
        return vm_map_insert(map_, None, 0, start, start + pages * PAGE_SIZE, prot, VM_PROT_ALL, 0)


class Pair:
    """Both worlds, and the comparison."""

    def __init__(self, release: str) -> None:
        self.reference = Reference(release)
        self.mirrored = Mirrored(release)
        self.worlds: tuple[World, World] = (self.reference, self.mirrored)
        self.children: list[tuple[VmSpace, VmSpace]] = []

    def step(self, name: str, *args: int) -> None:
        """Do one operation in both worlds and compare them."""
        results = [getattr(self, "_" + name)(number, world, *args) for number, world in enumerate(self.worlds)]
        assert results[0] == results[1], (name, *args)
        self.compare()

    def _map(self, _number: int, world: World, page: int, pages: int, prot: int) -> int:
        return _map(world.space.vm_map, DATA + page * PAGE_SIZE, min(pages, PAGES - page), prot)

    def _unmap(self, _number: int, world: World, page: int, pages: int) -> int:
        start = DATA + page * PAGE_SIZE
        return vm_map_remove(world.space.vm_map, start, start + min(pages, PAGES - page) * PAGE_SIZE)

    def _protect(self, _number: int, world: World, page: int, pages: int, prot: int) -> int:
        start = DATA + page * PAGE_SIZE
        return vm_map_protect(world.space.vm_map, start, start + min(pages, PAGES - page) * PAGE_SIZE, prot)

    def _stack(self, _number: int, world: World) -> int:
        size = STACK_PAGES * PAGE_SIZE
        return vm_map_stack(world.space.vm_map, STACK_TOP - size, size, READ | WRITE, VM_PROT_ALL, MAP_STACK_GROWS_DOWN)

    def _access(self, _number: int, world: World, va: int, kind: int, value: int) -> tuple[bool, int]:
        return world.access(va, kind, value)

    def _fork(self, number: int, world: World) -> int:
        child, charge = vmspace_fork(world.space)
        assert swap_reserve_by_cred(world.vm, charge, world.vm.curproc.p_ucred)  # type: ignore[union-attr]
        if number == 0:
            self._born = child
        else:
            self.children.append((self._born, child))
        return charge

    def _child_store(self, number: int, world: World, va: int, value: int) -> int:
        """The kernel writes for the child, as copyout does."""
        if not self.children:
            return 0
        child = self.children[-1][number]
        rv = vm_fault(child.vm_map, va, WRITE)
        if rv == 0:
            m = child.vm_pmap.ptes[va >> PAGE_SHIFT][0]
            place = (m.frame << PAGE_SHIFT) + (va & PAGE_MASK & ~7)
            world.vm.phys.mem[place : place + 8] = value.to_bytes(8, "little")
        return rv

    def _child_exit(self, number: int, _world: World) -> int:
        if self.children:
            vmspace_free(self.children[-1][number])
            if number == 1:
                self.children.pop()
        return 0

    def compare(self) -> None:
        """Everything that can be seen is the same, and the mirror holds."""
        ours, theirs = (_state(world.space, world.vm) for world in self.worlds)
        assert ours == theirs
        for children in self.children:
            ours, theirs = (_state(child, child.vm) for child in children)
            assert ours == theirs, "a store of the parent reached the child"
        self.mirrored.box.hw.verify()

    def close(self) -> None:
        for pair in self.children:
            for child in pair:
                vmspace_free(child)
        for world in self.worlds:
            vmspace_free(world.space)
        for world in self.worlds:
            assert world.vm.phys.reserved_frames() == 0, "frames leak"
            world.vm.phys.close()


def _state(space: VmSpace, vm: Vm) -> tuple[object, ...]:
    entries = [
        (e.start, e.end, e.protection, e.eflags, e.offset, e.object is None, e.avail_ssize)
        for e in space.vm_map
        if e.start != SCRATCH
    ]
    ptes = space.vm_pmap.ptes
    pages = {
        vpn: (prot, bytes(vm.phys.page(m.frame))) for vpn, (m, prot, _) in ptes.items() if vpn != SCRATCH >> PAGE_SHIFT
    }
    return entries, pages


page = st.integers(0, PAGES - 1)
length = st.integers(1, PAGES)
some_prot = st.sampled_from([0, 1, 2, 3, 5, 7])
value = st.integers(1, (1 << 64) - 1)
anywhere = st.one_of(
    st.builds(lambda p, o: DATA + p * PAGE_SIZE + o, page, st.sampled_from([0, 8, 0xFF8])),
    st.builds(lambda p: STACK_TOP - p * PAGE_SIZE - 8, st.integers(0, STACK_PAGES + 2)),
)
few = st.integers(1, 4)
near = st.builds(lambda p: DATA + p * PAGE_SIZE, few)
"""Few pages, so that one is used several times."""
FIRST = (
    ("map", 0, 6, 3), ("stack",), *(("access", DATA + page * PAGE_SIZE, WRITE, page) for page in range(1, 5)),
)  # fmt: skip
"""Something to work on: pages that are resident and translated."""
operation = st.one_of(
    st.tuples(st.just("map"), page, length, some_prot),
    st.tuples(st.just("unmap"), page, length),
    st.tuples(st.just("protect"), page, length, some_prot),
    st.tuples(st.just("stack")),
    st.tuples(st.just("access"), anywhere, st.sampled_from([READ, WRITE, EXECUTE]), value),
    st.tuples(st.just("access"), anywhere, st.sampled_from([READ, WRITE]), value),
    st.tuples(st.just("access"), near, st.just(WRITE), value),
    st.tuples(st.just("access"), near, st.just(WRITE), value),
    st.tuples(st.just("access"), near, st.just(READ), value),
    st.tuples(st.just("fork")),
    st.tuples(st.just("unmap"), few, few),
    st.tuples(st.just("protect"), few, few, some_prot),
    st.tuples(st.just("map"), few, few, some_prot),
    st.tuples(st.just("fork")),
    st.tuples(st.just("child_store"), anywhere, value),
    st.tuples(st.just("child_exit")),
)


@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1", "freebsd-15.0"])
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(operation, min_size=10, max_size=50))
def test_mirror_equals_the_reference(release: str, steps: list[tuple[str, ...]]) -> None:
    pair = Pair(release)
    for name, *args in (*FIRST, *steps):
        pair.step(name, *args)  # type: ignore[arg-type]
    pair.close()
