"""What Unicorn should map for an address map, what it does map, and the difference.

A *piece* is a range with one protection whose pages lie in consecutive frames.  An entry is one piece, or several
when its object grew; an entry without an object shows frames that are promised to the object it will get.

Model only: FreeBSD's pmap needs no such thing, it has page tables.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from kernel_model.vm.vm import OBJ_FICTITIOUS, VM_PROT_ALL, VM_PROT_READ
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_STACK_GAP_DN,
)
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import PAGE_SHIFT
from kernel_model.vm.vm_phys import PhysRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_phys import VmPhys


class Piece(NamedTuple):
    """Addresses ``[start, end)`` with rights *perms*, the first page in frame *frame*."""

    start: int
    end: int
    perms: int
    frame: int

    def clip(self, low: int, high: int) -> Piece:
        """The part inside ``[low, high)``; it must not be empty."""
        start, end, perms, frame = self
        if start < low:
            frame += (low - start) >> PAGE_SHIFT
            start = low
        return Piece(start, end if end < high else high, perms, frame)

    def joins(self, after: Piece) -> bool:
        """Whether *after* continues this piece."""
        return (
            self.end == after.start
            and self.perms == after.perms
            and self.frame + ((self.end - self.start) >> PAGE_SHIFT) == after.frame
        )

    def __str__(self) -> str:
        rights = "".join(letter if self.perms >> bit & 1 else "-" for bit, letter in enumerate("rwx"))
        return f"[{self.start:#x},{self.end:#x}) {rights} frame {self.frame:#x}"


def merged(pieces: Iterable[Piece]) -> list[Piece]:
    """*pieces*, in address order, with neighbours that continue each other joined."""
    result: list[Piece] = []
    for piece in pieces:
        if result and result[-1].joins(piece):
            last = result[-1]
            result[-1] = Piece(last.start, piece.end, last.perms, last.frame)
        else:
            result.append(piece)
    return result


class RegionTable:
    """The regions that Unicorn has, as pieces in address order."""

    __slots__ = ("_pieces", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: dict[int, Piece] = {}

    def __iter__(self) -> Iterator[Piece]:
        return (self._pieces[start] for start in self._starts)

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, va: int) -> Piece | None:
        """The region that holds *va*."""
        index = bisect_right(self._starts, va) - 1
        if index < 0:
            return None
        piece = self._pieces[self._starts[index]]
        return piece if va < piece.end else None

    def inside(self, low: int, high: int) -> list[Piece]:
        """The parts of regions inside ``[low, high)``."""
        first = max(bisect_right(self._starts, low) - 1, 0)
        found = []
        for start in self._starts[first : bisect_left(self._starts, high)]:
            piece = self._pieces[start]
            if piece.end > low:
                found.append(piece if start >= low and piece.end <= high else piece.clip(low, high))
        return found

    def chain(self, piece: Piece, size: int) -> list[Piece]:
        """The region *piece* with those around it, of at most *size* bytes each, that continue it."""
        starts, pieces = self._starts, self._pieces
        index = bisect_left(starts, piece.start)
        result = [piece]
        at = index - 1
        while at >= 0:
            below = pieces[starts[at]]
            if below.end != result[0].start or not below.joins(result[0]) or below.end - below.start > size:
                break
            result.insert(0, below)
            at -= 1
        at = index + 1
        while at < len(starts):
            above = pieces[starts[at]]
            if above.start != result[-1].end or not result[-1].joins(above) or above.end - above.start > size:
                break
            result.append(above)
            at += 1
        return result

    def add(self, piece: Piece) -> None:
        """Insert a region; nothing may be there."""
        self._starts.insert(bisect_left(self._starts, piece.start), piece.start)
        self._pieces[piece.start] = piece

    def discard(self, piece: Piece) -> None:
        """Forget a whole region."""
        del self._starts[bisect_left(self._starts, piece.start)]
        del self._pieces[piece.start]

    def cut(self, low: int, high: int) -> None:
        """Forget ``[low, high)``; a region that reaches across is split, as Unicorn does."""
        first = max(bisect_right(self._starts, low) - 1, 0)
        for start in self._starts[first : bisect_left(self._starts, high)]:
            piece = self._pieces[start]
            if piece.end <= low:
                continue
            self.discard(piece)
            if piece.start < low:
                self.add(piece.clip(piece.start, low))
            if piece.end > high:
                self.add(piece.clip(high, piece.end))


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


def accessible(entry: VmMapEntry) -> bool:
    """Whether a program may touch *entry* at all: no guard, no gap, no submap, some right."""
    return bool(entry.protection & VM_PROT_ALL) and not entry.eflags & (MAP_ENTRY_GUARD | MAP_ENTRY_IS_SUB_MAP)


def entries_in(map_: VmMap, low: int, high: int) -> Iterator[VmMapEntry]:
    """The entries that touch ``[low, high)``."""
    found, entry = vm_map_lookup_entry(map_, low)
    if not found:
        entry = entry.next
    header = map_.header
    while entry is not header and entry.start < high:
        yield entry
        entry = entry.next


def whole_entries(map_: VmMap, low: int, high: int) -> tuple[int, int]:
    """The range extended to the borders of the entries at its ends: one that grew may show other frames throughout."""
    found, entry = vm_map_lookup_entry(map_, low)
    if found:
        low = entry.start
    if entry.end < high:
        found, entry = vm_map_lookup_entry(map_, high - 1)
    return low, max(high, entry.end) if found else high


def entry_pieces(entry: VmMapEntry, promises: Promises) -> Iterator[Piece]:
    """The pieces that mirror *entry*.

    x86 has no memory that can be written or executed but not read, so every piece can be read.  Pages beyond the
    end of a file have no frames and therefore no region: a touch there is refused anyway.
    """
    perms = entry.protection & VM_PROT_ALL | VM_PROT_READ
    obj = entry.vm_object
    if obj is None:
        frame = promises.frame(entry.start, entry.end, reach(entry))
        if frame is not None:
            yield Piece(entry.start, entry.end, perms, frame)
        return
    if obj.flags & OBJ_FICTITIOUS:
        return
    obj.reserve_frames()
    first = entry.offset >> PAGE_SHIFT
    last = first + ((entry.end - entry.start) >> PAGE_SHIFT)
    for base, run in obj.runs():
        low, high = max(first, base), min(last, base + run.npages)
        if low < high:
            va = entry.start + ((low - first) << PAGE_SHIFT)
            yield Piece(va, va + ((high - low) << PAGE_SHIFT), perms, run.base + low - base)


def reach(entry: VmMapEntry) -> int:
    """The lowest address that *entry* may grow to."""
    if not entry.eflags & MAP_ENTRY_GROWS_DOWN:
        return entry.start
    below = entry.prev
    if below.eflags & MAP_ENTRY_STACK_GAP_DN and below.end == entry.start:
        return below.start
    return entry.start - entry.avail_ssize


def wanted_pieces(map_: VmMap, promises: Promises, low: int, high: int) -> list[Piece]:
    """What should be mapped inside ``[low, high)``, neighbours joined."""
    pieces: list[Piece] = []
    for entry in entries_in(map_, low, high):
        if accessible(entry):
            for piece in entry_pieces(entry, promises):
                if low <= piece.start and piece.end <= high:
                    pieces.append(piece)
                elif piece.end > low and piece.start < high:
                    pieces.append(piece.clip(low, high))
    return pieces if len(pieces) < 2 else merged(pieces)


class Changes(NamedTuple):
    """What turns one list of pieces into another."""

    unmap: list[Piece]
    protect: list[Piece]
    map: list[Piece]


def changes(have: list[Piece], want: list[Piece]) -> Changes:
    """The smallest set of operations that turns *have* into *want*; both in address order, neighbours joined."""
    if not have:
        return Changes([], [], want)
    if not want:
        return Changes(joined(have), [], [])
    if len(have) == 1 and len(want) == 1:
        (old,), (new,) = have, want
        if old.start == new.start and old.perms == new.perms and old.frame == new.frame:
            # The most frequent one: something was added or removed at the end.
            if old.end < new.end:
                return Changes([], [], [new.clip(old.end, new.end)])
            return Changes([old.clip(new.end, old.end)], [], [])
    return _sweep(have, want)


def _sweep(have: list[Piece], want: list[Piece]) -> Changes:
    """changes() in general: look at each interval between two borders of either list."""
    borders = sorted({border for piece in (*have, *want) for border in (piece.start, piece.end)})
    result = Changes([], [], [])
    old_pieces, new_pieces = iter(have), iter(want)
    old: Piece | None = next(old_pieces, None)
    new: Piece | None = next(new_pieces, None)
    for low, high in pairwise(borders):
        while old is not None and old.end <= low:
            old = next(old_pieces, None)
        while new is not None and new.end <= low:
            new = next(new_pieces, None)
        before = old.clip(low, high) if old is not None and old.start <= low else None
        after = new.clip(low, high) if new is not None and new.start <= low else None
        if before == after:
            continue
        if before is not None and after is not None and before.frame == after.frame:
            result.protect.append(after)
            continue
        if before is not None:
            result.unmap.append(before)
        if after is not None:
            result.map.append(after)
    return Changes(joined(result.unmap), merged(result.protect), merged(result.map))


def joined(pieces: list[Piece]) -> list[Piece]:
    """Adjacent ranges to unmap as one, whatever they showed."""
    result: list[Piece] = []
    for piece in pieces:
        if result and result[-1].end == piece.start:
            result[-1] = result[-1]._replace(end=piece.end)
        else:
            result.append(piece)
    return result
