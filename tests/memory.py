"""Address spaces, several on one machine: map, fork, store and load through a TLB that forgets only what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.vm.pmap import NullHardware, Pmap
from kernel_model.vm.swap_pager import swap_reserve_by_cred
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from kernel_model.vm.vmspace import VmSpace, vmspace_fork

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm


class TlbHardware(NullHardware):
    """A machine that remembers every translation until it is told to forget them."""

    __slots__ = ("tlb",)

    def __init__(self, pmap: Pmap) -> None:
        super().__init__(pmap)
        self.tlb: dict[int, tuple[int, int]] = {}

    def invalidate(self, start: int, end: int) -> None:
        for vpn in [vpn for vpn in self.tlb if start <= vpn << PAGE_SHIFT < end]:
            del self.tlb[vpn]


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
