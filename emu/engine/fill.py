"""The answer to a TLB miss: where a page is, and what may be done there.

    Pmap.ptes  --fill-->  Unicorn's TLB        what is resident
    absent, an entry allows it                 vm_fault first
    absent or refused                          the fault window, where Unicorn reports the exact address

A translation points at the region of its address (paddr = va) when the page lies in the frame that the region shows
there, and into the RAM window otherwise: deeper in a shadow chain, moved by a collapse, or executable.  In the fault
window nothing is ever mapped, so Unicorn calls the invalid-access hook with the exact address.  When that hook says
True the fill is asked once more, and a fill that is refused then stops the engine precisely, with no side effect of
the instruction.

Differs: the address of a fault by a store to the last page of all, 0xfffffffffffff000, is the page's.
FreeBSD: the page walk of the processor, and trap_pfault() for what the walk does not find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from emu.engine.raw import (
    UC_MEM_FETCH,
    UC_MEM_FETCH_UNMAPPED,
    UC_MEM_READ,
    UC_MEM_READ_UNMAPPED,
    UC_MEM_WRITE,
    UC_MEM_WRITE_UNMAPPED,
)
from emu.engine.regions import accessible
from emu.engine.tlb import NEVER, RAM_BASE, FaultWindow
from kernel_model.errors import kassert, panic
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import PAGE_SHIFT, PAGE_SIZE, VM_MAXUSER_ADDRESS

if TYPE_CHECKING:
    from emu.engine.code import TranslatedCode
    from emu.engine.raw import TlbEntry
    from emu.engine.regions import RegionTable
    from emu.engine.tlb import Tlb
    from kernel_model.vm.pmap import Pte
    from kernel_model.vm.vm_map import VmMap

NEEDS = {UC_MEM_READ: VM_PROT_ALL, UC_MEM_WRITE: VM_PROT_WRITE, UC_MEM_FETCH: VM_PROT_EXECUTE}
"""Access -> bits of a page-table entry of which one must be there: on x86 what is mapped can be read."""
FAULT_TYPE = {UC_MEM_READ: VM_PROT_READ, UC_MEM_WRITE: VM_PROT_WRITE, UC_MEM_FETCH: VM_PROT_EXECUTE}
LAST_PAGE = (1 << 64) - PAGE_SIZE
UNMAPPED_TYPE = {
    UC_MEM_READ_UNMAPPED: VM_PROT_READ,
    UC_MEM_WRITE_UNMAPPED: VM_PROT_WRITE,
    UC_MEM_FETCH_UNMAPPED: VM_PROT_EXECUTE,
}


class Faults(Protocol):
    """Who serves what the fill cannot: emu.engine.trap."""

    def page_fault(self, va: int, access: int, size: int, value: int) -> bool:
        """Repair the access (VM_PROT_*) at exactly *va*; False when the program gets a signal."""
        ...

    @property
    def exact(self) -> bool:
        """Whether every fault must come with its exact address, because somebody records them."""
        ...


class Fill:
    """The fill of one address space, and the two things it remembers: the region and the entry of the last one.

    :meth:`serve` is the hot path of every fault, 1.1 of its 6 us.  It is one function, and keeps the dictionaries and
    the set that the other parts own instead of asking for them: a call each would cost a tenth of it.
    """

    __slots__ = (
        "_allowed", "_code", "_code_at", "_code_frames", "_delta", "_faults", "_filled", "_high", "_hint_low",
        "_hint_prot", "_low", "_map", "_ptes", "_table", "_tlb", "_window", "hint_high",
    )  # fmt: skip

    def __init__(self, ptes: dict[int, Pte], tlb: Tlb, code: TranslatedCode, table: RegionTable) -> None:
        self._ptes = ptes
        self._tlb = tlb
        self._filled = tlb.filled
        self._code = code
        self._code_frames = code.frames
        self._code_at = code.at
        self._table = table
        self._window = FaultWindow()
        self._map: VmMap | None = None
        self._faults: Faults | None = None
        self._low = self._high = self._delta = self._allowed = 0
        """The region of the last fill, when it is not executable; delta is frame minus page number.  It may lag behind
        the map and allow too little."""
        self._hint_low = self.hint_high = self._hint_prot = 0
        """The entry of the last fault; the upper end is 0 when the map changed since."""

    def start(self, map_: VmMap, faults: Faults) -> None:
        """Answer for *map_* from now on."""
        self._map = map_
        self._faults = faults

    def forget_map(self) -> None:
        """The address space is gone."""
        self._map = None

    def forget_region(self) -> None:
        """The regions change."""
        self._high = 0

    def serve(self, page: int, access: int, answer: TlbEntry) -> bool:
        """Say where *page* is and what may be done there; False stops the engine."""
        tlb = self._tlb
        if tlb.special:
            return tlb.answer_special(page, answer)
        vpn = page >> PAGE_SHIFT
        pte = self._ptes.get(vpn)
        if pte is None or not pte[1] & NEEDS[access]:
            pte = self._fault(page, vpn, access)
            if pte is None:
                if page == LAST_PAGE and access == UC_MEM_WRITE:
                    return self._refuse_last_page()
                answer.paddr = self._window.place(page)
                answer.perms = VM_PROT_ALL
                return True
        m, prot, _ = pte
        frame = m.frame
        self._filled.add(vpn)
        left = tlb.left = tlb.left - 1
        if left <= 0:
            tlb.grow()
            self._filled.add(vpn)
        if frame in self._code_frames or prot & VM_PROT_EXECUTE:
            if self._code_at.get(page, frame) != frame and self._code.moved(page, access):
                return False
            answer.paddr = RAM_BASE + (frame << PAGE_SHIFT)
            answer.perms = self._code.rights(page, access, m, prot)
            return True
        if not self._low <= page < self._high:
            self._find_region(page)
        if vpn + self._delta == frame and page < self._high and not prot & VM_PROT_RW & ~self._allowed:
            answer.paddr = page
        else:
            answer.paddr = RAM_BASE + (frame << PAGE_SHIFT)
        answer.perms = prot & VM_PROT_RW | VM_PROT_READ
        return True

    def _fault(self, page: int, vpn: int, access: int) -> Pte | None:
        """Let the kernel make *page* resident when an entry allows the access; None for all other cases."""
        faults = self._faults
        map_ = self._map
        if map_ is None or faults is None:
            panic("page %#x touched before the mirror has a map", page)
        if page >= VM_MAXUSER_ADDRESS or faults.exact:
            return None
        if not self._hint_low <= page < self.hint_high:
            found, entry = vm_map_lookup_entry(map_, page)
            if not found or not accessible(entry):
                return None
            self._hint_low, self.hint_high, self._hint_prot = entry.start, entry.end, entry.protection
        need = FAULT_TYPE[access]
        if not self._hint_prot & need:
            return None
        tlb = self._tlb
        tlb.filling = vpn
        refused = vm_fault(map_, page, need)
        tlb.filling = -1
        if tlb.stale:
            tlb.flush()
        if refused:
            return None
        pte = self._ptes.get(vpn)
        if pte is None or not pte[1] & NEEDS[access]:
            panic("page %#x not mapped by its fault", page)
        return pte

    def _refuse_last_page(self) -> bool:
        """A store to the last page, which Unicorn's TLB cannot hold: the fill is not asked again after the window."""
        if self._faults is None:
            panic("%#x touched before the mirror has a map", LAST_PAGE)
        repaired = self._faults.page_fault(LAST_PAGE, VM_PROT_WRITE, 1, 0)
        kassert(not repaired, "a store to the last page was repaired")
        return False

    def _find_region(self, page: int) -> None:
        piece = self._table.at(page)
        if piece is None or piece.perms & VM_PROT_EXECUTE:
            # Through the RAM window, as is the rest of the entry that was just faulted.
            self._low, self._high = self._hint_low, self.hint_high
            self._delta = NEVER
            return
        self._low, self._high, self._allowed = piece.start, piece.end, piece.perms
        self._delta = piece.frame - (piece.start >> PAGE_SHIFT)

    def invalid(self, kind: int, paddr: int, size: int, value: int) -> bool:
        """An access to the fault window: the page fault with its exact address."""
        va = self._window.address(paddr)
        mask = (1 << 8 * size) - 1 if size < 8 else (1 << 64) - 1
        faults = self._faults
        if faults is None:
            panic("%#x touched before the mirror has a map", va)
        if not faults.page_fault(va, UNMAPPED_TYPE[kind], size, value & mask):
            self._tlb.refuse()
        elif self._tlb.stale:
            self._tlb.flush()
        return True
