"""Unicorn's TLB: what it may hold, when it must be emptied, and when that makes it larger; and the fault window.

    paddr = va                              the region of the page itself (emu.engine.regions)
    RAM_BASE    [1<<47, +frames)            host memory of all frames: every page can be reached through here
    FAULT_BASE  [1<<50, +1<<49)             fault window of user addresses: paddr - FAULT_BASE = va
    ODD_BASE    [ODD_BASE, 1<<51)           the same for kernel and non-canonical addresses, low 47 bits

Unicorn's TLB starts with 256 entries and doubles only when it is flushed while more than 70 % full.  So it is flushed
on purpose after so many fills, and that number doubles with it.

FreeBSD: pmap_invalidate_page() and its family, sys/amd64/amd64/pmap.c, is what this stands for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert, some
from kernel_model.vm.vm import VM_PROT_EXECUTE, VM_PROT_READ
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, VM_MAXUSER_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emu.engine.raw import Engine, TlbEntry

RAM_BASE = 1 << 47
FAULT_BASE = 1 << 50
ODD_BASE = FAULT_BASE + (1 << 49)
FAULT_LIMIT = 1 << 51
ODD_MASK = VM_MAXUSER_ADDRESS - 1
PERMS_RX = VM_PROT_READ | VM_PROT_EXECUTE

TLB_FIRST_LIMIT = 600
"""Fills after which the first flush lets the TLB of 256 entries grow; the number doubles at each flush."""
TLB_LAST_LIMIT = 1 << 21
NEVER = 1 << 62
FEW_PAGES = 64

# What the next fills are, when they are not the program's
REFUSE = 1
"""The next one stops the engine: the kernel did not repair the fault."""
IDENTITY = 2
"""Unicorn looks up code of a region that is being unmapped."""
PROBE = 4
"""Unicorn looks up code of one frame, to forget its translation."""
REFUSE_ALL = 8
"""All stop the engine: the thread has left it, and the rest of the block runs to no purpose."""


class Tlb:
    """What the TLB of one engine may hold.

    Invariant: a page that is in the TLB is in ``filled``, and what it has there is what the page table says or lies in
    the stale range; guest code runs only while nothing is stale.
    """

    __slots__ = ("_limit", "_probe", "_stale_high", "_stale_low", "engine", "filled", "filling", "left", "special",
                 "stale")  # fmt: skip

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.filled: set[int] = set()
        """Page numbers that the TLB may hold.  Always the same set: the fill keeps it."""
        self.filling = -1
        """Page number whose entry the running fill will overwrite, -1 outside of one."""
        self.stale = False
        """Something in the stale range must not be used: flush before guest code runs."""
        self._stale_low, self._stale_high = NEVER, 0
        self._limit = TLB_FIRST_LIMIT
        self.left = TLB_FIRST_LIMIT
        """Fills until the TLB is made to grow."""
        self.special = 0
        """REFUSE, IDENTITY, PROBE, REFUSE_ALL: what a fill has to do instead of its work."""
        self._probe = 0
        """The frame that PROBE is about."""

    # emptying it

    def invalidate(self, start: int, end: int) -> bool:
        """What [start, end) was translated to is no longer true; whether that makes the TLB stale."""
        first = start >> PAGE_SHIFT
        pages = (end - start + PAGE_MASK) >> PAGE_SHIFT
        filled = self.filled
        if pages == 1:
            touched = first in filled and first != self.filling
        elif pages <= FEW_PAGES:
            touched = not filled.isdisjoint(range(first, first + pages))
        else:
            touched = bool(filled)
        if touched:
            self.stale = True
            self._stale_low = min(start, self._stale_low)
            self._stale_high = max(end, self._stale_high)
        return touched

    def flush(self) -> None:
        """Empty the TLB; it shrinks its expectations when little of it was used."""
        if self._limit - self.left < self._limit >> 3:
            self._limit = max(self._limit >> 1, TLB_FIRST_LIMIT)
        self.flush_as_it_is()

    def flush_as_it_is(self) -> None:
        """Empty the TLB, whose use says nothing about its size."""
        some(self.engine, "engine").flush_tlb()
        self.emptied()

    def grow(self) -> None:
        """Flush a full TLB, which doubles it."""
        kassert(self.left <= 0, "TLB grows %d fills too early", self.left)
        some(self.engine, "engine").flush_tlb()
        self._limit = min(self._limit * 2, TLB_LAST_LIMIT)
        self.emptied()

    def emptied(self) -> None:
        """Nothing is in the TLB any more: it was flushed, or Unicorn did that itself when memory was mapped."""
        self.agrees()
        self.filled.clear()
        self.left = self._limit

    def agrees(self) -> None:
        """Nothing in the TLB is stale."""
        self.stale = False
        self._stale_low, self._stale_high = NEVER, 0

    def left_by(self, start: int, end: int) -> None:
        """Unicorn unmapped [start, end), and took each of its pages out of the TLB."""
        if start <= self._stale_low and self._stale_high <= end:
            self.agrees()

    # fills that are not the program's

    def refuse(self) -> None:
        """Stop the engine at the next fill: it is the refused access, asked once more."""
        self.special |= REFUSE

    def refuse_all(self) -> None:
        """Let no instruction reach memory until the engine has been left."""
        self.flush_as_it_is()
        self.special |= REFUSE_ALL

    def answer_special(self, page: int, answer: TlbEntry) -> bool:
        """Answer a fill while ``special`` is set."""
        if self.special & REFUSE_ALL:
            return False
        if self.special & REFUSE:
            self.special &= ~REFUSE
            return False
        answer.paddr = RAM_BASE + (self._probe << PAGE_SHIFT) if self.special & PROBE else page
        answer.perms = PERMS_RX
        return True

    def drop_code(self, frame: int, addresses: Iterable[int]) -> None:
        """Make Unicorn forget what it translated out of *frame* at *addresses*; empties the TLB."""
        kassert(not self.special & PROBE, "code of frame %#x forgotten inside a look-up", frame)
        engine = some(self.engine, "engine")
        self._probe = frame
        before, self.special = self.special, PROBE
        engine.flush_tlb()
        for va in addresses:
            engine.remove_cache(va, va + PAGE_SIZE)
        # The look-ups left translations behind that the page table may not have.
        engine.flush_tlb()
        self.special = before
        self.emptied()


class FaultWindow:
    """Where nothing is ever mapped: what is absent or refused is sent there, and comes back with its exact address."""

    __slots__ = ("_odd",)

    def __init__(self) -> None:
        self._odd = 0
        """The upper bits of the last address beyond user space, which the window has no room for."""

    def place(self, page: int) -> int:
        """Where in the window *page* is."""
        if page < VM_MAXUSER_ADDRESS:
            return FAULT_BASE + page
        self._odd = page & ~ODD_MASK
        return ODD_BASE + (page & ODD_MASK)

    def address(self, paddr: int) -> int:
        """The address that *paddr* in the window stands for."""
        return paddr - FAULT_BASE if paddr < ODD_BASE else self._odd | (paddr - ODD_BASE)
