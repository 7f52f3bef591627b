"""Translated code: which frames Unicorn has translated, at which addresses, and how it is made to forget them.

Unicorn keeps what it translated by physical address, and does not notice when the host writes there.  So each frame
that was executed is remembered here, with the page it held and its addresses, until something may have changed it:

* the kernel wrote into it (``code_changed``: read(2) into an executable page, a recycled frame);
* the program may write into it: a page that was executed is filled without write access, and its first store comes
  back as a fill (filled with all three rights, every store to it would be six times slower);
* the frame holds another page now, or the address shows another frame (a store copied the page).

Differs: a page that is written and executed in turn is filled read-write or read-execute, never both, unless an
instruction writes into its own page.
Model only: it stands for the processor's instruction cache, which is coherent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.engine.raw import UC_MEM_FETCH, UC_MEM_READ, UC_MEM_WRITE
from emu.engine.tlb import PERMS_RX
from kernel_model.errors import kassert, some
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_RW
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.engine.tlb import Tlb
    from kernel_model.vm.pmap import Pte
    from kernel_model.vm.vm_page import VmPage


class TranslatedCode:
    """The frames that one engine executed since their translations were last forgotten.

    Invariant: ``at[va] == frame`` only while ``va`` is among the addresses of ``frames[frame]``.
    """

    __slots__ = ("_tlb", "at", "frames", "on_code", "restart")

    def __init__(self, tlb: Tlb) -> None:
        self._tlb = tlb
        self.frames: dict[int, tuple[VmPage, list[int]]] = {}
        """Frame -> its page and the addresses it was executed at.  Always the same dictionary: the fill keeps it."""
        self.at: dict[int, int] = {}
        """The same the other way round: address -> frame.  Always the same dictionary."""
        self.on_code: Callable[[int, int], None] | None = None
        """Called with page address and frame before a page is executed at that address for the first time."""
        self.restart = False
        """The engine was stopped to translate the running block anew."""

    def changed(self, start: int, end: int, ptes: dict[int, Pte]) -> None:
        """The kernel wrote into executable pages at [start, end)."""
        for vpn in range(start >> PAGE_SHIFT, (end + PAGE_MASK) >> PAGE_SHIFT):
            pte = ptes.get(vpn)
            if pte is not None and pte[0].frame in self.frames:
                self.forget(pte[0].frame)

    def rights(self, page: int, access: int, m: VmPage, prot: int) -> int:
        """Rights for a page that may be executed, or whose frame was, keeping translated code true."""
        known = self.frames.get(m.frame)
        if known is not None and known[0] is not m:
            # The frame was freed and holds another page now.
            self.forget(m.frame)
            known = None
        if access == UC_MEM_FETCH:
            self._executed(page, m, known)
            return PERMS_RX
        if known is None:
            return prot & VM_PROT_RW | VM_PROT_READ
        if access == UC_MEM_READ:
            return VM_PROT_READ | prot & VM_PROT_EXECUTE
        if prot & VM_PROT_EXECUTE and self._running_near(page):
            # The instruction may change its own block: Unicorn itself watches a page that is filled with all rights.
            return VM_PROT_ALL
        self.forget(m.frame)
        return VM_PROT_RW

    def _executed(self, page: int, m: VmPage, known: tuple[VmPage, list[int]] | None) -> None:
        """*page* is about to be executed out of the frame of *m*."""
        if known is not None and page in known[1]:
            return
        if self.on_code is not None:
            self.on_code(page, m.frame)
        self.at[page] = m.frame
        if known is not None:
            known[1].append(page)
            return
        self.frames[m.frame] = (m, [page])
        if m.pv_more:
            # Another address may have a writable translation that would not be asked again.
            self._tlb.flush_as_it_is()

    def moved(self, page: int, access: int) -> bool:
        """*page* was executed from another frame: its first store has just copied it.

        The old translations go, and blocks that continue into them.  True when the running block may be one of
        them: it must be left before the store, and translated anew.
        """
        self.forget(self.at[page])
        if access != UC_MEM_WRITE:
            return False
        self.restart = self._running_near(page)
        return self.restart

    def _running_near(self, page: int) -> bool:
        """Whether the instruction that runs may lie in *page*, or reach into it."""
        rip = some(self._tlb.engine, "engine").read_rip()
        return page - PAGE_SIZE <= rip < page + PAGE_SIZE

    def forget(self, frame: int) -> None:
        """Drop what Unicorn translated out of *frame*, at every address it was executed at."""
        kassert(frame in self.frames, "frame %#x was never executed", frame)
        _, addresses = self.frames.pop(frame)
        for va in addresses:
            if self.at.get(va) == frame:
                del self.at[va]
        self._tlb.drop_code(frame, addresses)
