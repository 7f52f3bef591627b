"""A process without a kernel, and a checker of every rule that pages, objects and page tables must keep."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

from kernel_model.kern.proc import ProcLock
from kernel_model.release import RELEASES
from kernel_model.rlimit import RLIM_INFINITY
from kernel_model.ucred import Ucred
from kernel_model.vm.pmap import NullHardware, Pmap, pmap_mappings
from kernel_model.vm.swap_pager import swap_reserve_by_cred
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_init import Vm
from kernel_model.vm.vm_map import vm_map_assert_consistent
from kernel_model.vm.vm_map_entry import MAP_ENTRY_NEEDS_COPY
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_page import PQ_NONE
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from kernel_model.vm.vmspace import VmSpace, vmspace_alloc, vmspace_fork

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel_model.vm.vm_object import VmObject

USER_MIN = PAGE_SIZE
USER_MAX = 0x8000_0000_0000


@dataclass
class Limits:
    """Soft limits; what is not named is infinite."""

    values: dict[int, int] = field(default_factory=dict)

    def lim_cur(self, which: int) -> int:
        return self.values.get(which, RLIM_INFINITY)


class FakeSysent:
    """struct sysentvec as far as the stack code looks at it."""

    sv_usrstack = 0x7FFF_FFFF_F000


@dataclass(eq=False)
class FakeProc:
    """The process that the vm layer sees as curproc."""

    p_vmspace: VmSpace
    p_limit: Limits = field(default_factory=Limits)
    p_flag2: int = 0
    p_fctl0: int = 0
    p_textvp: object | None = "text"
    p_sysent: FakeSysent = field(default_factory=FakeSysent)
    p_lock: ProcLock = field(default_factory=ProcLock)
    p_ucred: Ucred = field(default_factory=Ucred)
    p_pid: int = 1000


class FakeVnode:
    """A file in memory, as far as the vnode pager looks at it."""

    def __init__(self, contents: bytes = b"") -> None:
        self.data = bytearray(contents)
        self.v_object: VmObject | None = None
        self.reads = 0
        self.writes: list[tuple[int, int]] = []
        self.refuse = False
        self.v_writecount = 0
        self.v_textcount = 0

    def v_size(self) -> int:
        return len(self.data)

    def v_pread_into(self, buf: memoryview, offset: int) -> int:
        from kernel_model.errors import SyscallError

        if self.refuse:
            raise SyscallError(5)
        self.reads += 1
        piece = self.data[offset : offset + len(buf)]
        buf[: len(piece)] = piece
        return len(piece)

    def v_pwrite(self, data: memoryview | bytes, offset: int) -> int:
        from kernel_model.errors import SyscallError

        if self.refuse:
            raise SyscallError(5)
        self.writes.append((offset, len(data)))
        if offset + len(data) > len(self.data):
            self.data.extend(bytes(offset + len(data) - len(self.data)))
        self.data[offset : offset + len(data)] = data
        return len(data)

    def v_pwritev(self, bufs: Iterable[memoryview], offset: int) -> int:
        return self.v_pwrite(b"".join(bufs), offset)


class TlbHardware(NullHardware):
    """A machine that remembers every translation until it is told to forget them."""

    __slots__ = ("tlb",)

    def __init__(self, pmap: Pmap) -> None:
        super().__init__(pmap)
        self.tlb: dict[int, tuple[int, int]] = {}

    def invalidate(self, start: int, end: int) -> None:
        for vpn in [vpn for vpn in self.tlb if start <= vpn << PAGE_SHIFT < end]:
            del self.tlb[vpn]


def make_vm(release: str = "freebsd-10.1", ram: int = 1 << 30, swap: int = 1 << 30) -> tuple[Vm, FakeProc]:
    """A machine with one process that is current."""
    vm = Vm(RELEASES[release], ram, swap)
    vm.make_hardware = TlbHardware
    proc = FakeProc(vmspace_alloc(vm, USER_MIN, USER_MAX))
    vm.pcpu.switch(SimpleNamespace(td_proc=proc))
    return vm, proc


def map_anon(space: VmSpace, start: int, npages: int, prot: int = VM_PROT_READ | VM_PROT_WRITE) -> int:
    """Map anonymous memory at *start* and return that."""
    map_ = space.vm_map
    with map_.locked():
        rv = vm_map_insert(map_, None, 0, start, start + npages * PAGE_SIZE, prot, VM_PROT_ALL, 0)
    assert rv == 0
    return start


def fork(vm: Vm, space: VmSpace) -> VmSpace:
    """vmspace_fork() with the reservation that fork(2) makes."""
    child, charge = vmspace_fork(space)
    assert vm.curproc is not None
    assert swap_reserve_by_cred(vm, charge, vm.curproc.p_ucred)
    return child


def page_of(space: VmSpace, va: int, write: bool) -> memoryview:
    """The page that an access to *va* reaches, after whatever faults that takes."""
    prot = VM_PROT_WRITE if write else VM_PROT_READ
    hardware = space.vm_pmap.hardware
    assert isinstance(hardware, TlbHardware)
    for _ in range(3):
        cached = hardware.tlb.get(va >> PAGE_SHIFT)
        if cached is not None and cached[1] & prot:
            return space.vm.phys.page(cached[0])
        pte = space.vm_pmap.ptes.get(va >> PAGE_SHIFT)
        if pte is not None and pte[1] & prot:
            hardware.tlb[va >> PAGE_SHIFT] = (pte[0].frame, pte[1])
            continue
        rv = vm_fault(space.vm_map, va, prot)
        assert rv == 0, f"vm_fault({va:#x}) = {rv}"
    raise AssertionError(f"{va:#x} is not mapped after its fault was served")


def poke(space: VmSpace, va: int, data: bytes) -> None:
    """Store into a process's memory, within a page."""
    offset = va & PAGE_MASK
    page_of(space, va, write=True)[offset : offset + len(data)] = data


def peek(space: VmSpace, va: int, size: int) -> bytes:
    """Load from a process's memory, within a page."""
    offset = va & PAGE_MASK
    return bytes(page_of(space, va, write=False)[offset : offset + size])


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
