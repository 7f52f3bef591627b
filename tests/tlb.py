"""The reference machine's memory unit: a TLB that forgets only what it is told, and an access through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.vm.pmap import NullHardware, Pmap
from kernel_model.vm.vm import VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_param import PAGE_SHIFT

if TYPE_CHECKING:
    from kernel_model.vm.vmspace import VmSpace


class TlbHardware(NullHardware):
    """A machine that remembers every translation until it is told to forget them."""

    __slots__ = ("tlb",)

    def __init__(self, pmap: Pmap) -> None:
        super().__init__(pmap)
        self.tlb: dict[int, tuple[int, int]] = {}

    def invalidate(self, start: int, end: int) -> None:
        for vpn in [vpn for vpn in self.tlb if start <= vpn << PAGE_SHIFT < end]:
            del self.tlb[vpn]


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
