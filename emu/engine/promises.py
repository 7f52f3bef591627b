"""Frames that are shown for an entry before it has an object.

    promise       frames of one object-less entry; its object takes them over at the first touch
    arena         frames for all that a stack may grow to, handed out from the top down

A region must show frames from the moment it is made, and an object gets its frames at the first touch: so they are
chosen by the mirror and adopted by the object (``PmapHardware.promised_run``), and the touch moves no region.

Model only: FreeBSD's pmap needs no such thing, it has page tables.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.vm.vm_map_entry import MAP_ENTRY_GROWS_DOWN, MAP_ENTRY_STACK_GAP_DN
from kernel_model.vm.vm_param import PAGE_SHIFT
from kernel_model.vm.vm_phys import PhysRun

if TYPE_CHECKING:
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_phys import VmPhys


class Arena:
    """Frames for a whole stack, handed out from the top down as it grows, so that its pieces stay one region."""

    __slots__ = ("base", "edge", "low")

    def __init__(self, low: int, high: int, base: int) -> None:
        self.low = low
        self.edge = high
        """What lies above belongs to somebody already."""
        self.base = base
        """Frame of the page at ``low``."""


class Promises:
    """Frames shown for entries that have no object yet, by the address where the entry began."""

    __slots__ = ("_arenas", "_longest", "_phys", "_runs", "_starts")

    def __init__(self, phys: VmPhys) -> None:
        self._phys = phys
        self._starts: list[int] = []
        self._runs: dict[int, PhysRun] = {}
        self._arenas: list[Arena] = []
        self._longest = 0
        """Bytes of the longest promise so far: how far below an address one may begin that reaches it."""

    def __bool__(self) -> bool:
        return bool(self._starts)

    def frame(self, start: int, end: int, lowest: int) -> int | None:
        """The first frame to show for ``[start, end)``; None when so many frames cannot be reserved.

        *lowest* is the lowest address that a stack may grow to, and *start* for everything else.
        """
        index = bisect_right(self._starts, start) - 1
        if index >= 0:
            base = self._starts[index]
            run = self._runs[base]
            if end <= base + (run.npages << PAGE_SHIFT):
                return run.base + ((start - base) >> PAGE_SHIFT)
        new = self.carve(start, end, lowest) or self._phys.reserve((end - start) >> PAGE_SHIFT)
        if new is None:
            return None
        if start in self._runs:
            self._phys.release(self._runs[start])
        else:
            self._starts.insert(bisect_left(self._starts, start), start)
        self._runs[start] = new
        self._longest = max(self._longest, new.npages << PAGE_SHIFT)
        return new.base

    def carve(self, start: int, end: int, lowest: int) -> PhysRun | None:
        """The run of a stack's next piece, out of the frames set aside for all of it; None for what is no stack."""
        for arena in self._arenas:
            if arena.edge == end and arena.low <= start:
                break
        else:
            whole = self._phys.reserve((end - lowest) >> PAGE_SHIFT) if lowest < start else None
            if whole is None:
                return None
            arena = Arena(end - (whole.npages << PAGE_SHIFT), end, whole.base)
            self._arenas.append(arena)
        kassert(arena.low <= start < end == arena.edge, "stack piece at %#x out of its arena", start)
        arena.edge = start
        return PhysRun(arena.base + ((start - arena.low) >> PAGE_SHIFT), (end - start) >> PAGE_SHIFT)

    def take(self, start: int, npages: int) -> PhysRun | None:
        """Hand over the run promised for an entry that begins at *start*."""
        run = self._runs.get(start)
        if run is None or run.npages < npages:
            return None
        self._drop(start)
        return run

    def overlapping(self, low: int, high: int) -> list[tuple[int, int]]:
        """The promised ranges ``(start, end)`` that touch ``[low, high)``."""
        starts, runs = self._starts, self._runs
        first = bisect_left(starts, low - self._longest)
        ranges = [(s, s + (runs[s].npages << PAGE_SHIFT)) for s in starts[first : bisect_left(starts, high)]]
        return [(start, end) for start, end in ranges if end > low]

    def release(self, start: int) -> None:
        """Nobody needs the promise that began at *start*: its frame numbers are free again."""
        run = self._runs[start]
        self._drop(start)
        self._phys.release(run)

    def release_all(self) -> None:
        """Release every promise."""
        for start in list(self._starts):
            self.release(start)
        for arena in self._arenas:
            left = (arena.edge - arena.low) >> PAGE_SHIFT
            if left:
                self._phys.release(PhysRun(arena.base, left))
        self._arenas.clear()

    def _drop(self, start: int) -> None:
        del self._starts[bisect_left(self._starts, start)]
        del self._runs[start]


def reach(entry: VmMapEntry) -> int:
    """The lowest address that *entry* may grow to."""
    if not entry.eflags & MAP_ENTRY_GROWS_DOWN:
        return entry.start
    below = entry.prev
    if below.eflags & MAP_ENTRY_STACK_GAP_DN and below.end == entry.start:
        return below.start
    return entry.start - entry.avail_ssize
