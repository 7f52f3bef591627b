"""What Unicorn has mapped: the regions of one address space, which follow the vm_map.

    vm_map entries  --wanted_pieces-->  pieces  --changes-->  mem_map, mem_unmap, mem_protect

An entry is one piece, or several when its object grew; an entry without an object shows frames that are promised to
the object it will get.  The regions may lag behind the map: a page needs none to be filled (emu.engine.fill).

Model only: FreeBSD's pmap needs no such thing, it has page tables.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from emu.engine.pieces import Piece, changes, merged
from emu.engine.promises import Promises, reach
from emu.engine.tlb import RAM_BASE
from kernel_model.errors import kassert, some
from kernel_model.vm.vm import OBJ_FICTITIOUS, VM_PROT_ALL, VM_PROT_READ
from kernel_model.vm.vm_map_entry import MAP_ENTRY_GUARD, MAP_ENTRY_IS_SUB_MAP
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import PAGE_SHIFT, VM_MAXUSER_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emu.engine.raw import Engine
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_phys import PhysRun, VmPhys

MANY_REGIONS = 512
"""With so many regions an operation takes Unicorn milliseconds."""
LAZY_SPANS = 4096
"""So many changed spans are kept apart when there are that many regions."""
MERGED_REGIONS = 8
"""So many small neighbours that continue each other become one region."""


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
            if not below.joins(result[0]) or below.end - below.start > size:
                break
            result.insert(0, below)
            at -= 1
        at = index + 1
        while at < len(starts):
            above = pieces[starts[at]]
            if not result[-1].joins(above) or above.end - above.start > size:
                break
            result.append(above)
            at += 1
        return result

    def add(self, piece: Piece) -> None:
        """Insert a region; nothing may be there."""
        kassert(piece.start < piece.end and piece.start not in self._pieces, "region %s over another", piece)
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


def mapped_regions(engine: Engine) -> list[tuple[int, int, int]]:
    """What Unicorn has mapped below the RAM window: ``(start, end, perms)``, end exclusive."""
    return [region for region in engine.mem_regions() if region[0] < RAM_BASE]


class Reconciled(NamedTuple):
    """What bringing the regions up to date did to Unicorn."""

    mapped: bool
    """Something was mapped, which empties Unicorn's TLB."""
    unmapped: list[Piece]
    """What was unmapped; Unicorn takes each of its pages out of the TLB."""


class Regions:
    """The regions of one address space: what they are, what changed since, and what is promised.

    Invariant: after :meth:`reconcile` the table says what Unicorn has, and that is what the map wants.
    """

    __slots__ = ("_phys", "dirty", "engine", "map", "promises", "table")

    def __init__(self, phys: VmPhys) -> None:
        self._phys = phys
        self.engine: Engine | None = None
        self.map: VmMap | None = None
        """None before the address space runs, and after it is gone."""
        self.table = RegionTable()
        self.promises = Promises(phys)
        self.dirty: list[tuple[int, int]] = []
        """Spans of the map that changed since the last reconcile().  UcPmapHardware.map_changed adds to it: a call for
        that would be a hundredth of an mmap."""

    def start(self, map_: VmMap, engine: Engine) -> None:
        """Follow *map_* on *engine* from now on; everything is yet to be mapped."""
        self.map = map_
        self.engine = engine
        self.dirty = [(0, VM_MAXUSER_ADDRESS)]

    def forget(self) -> None:
        """The address space is gone: its frames are free again."""
        self.promises.release_all()
        self.dirty.clear()
        self.map = None

    def promised_run(self, start: int, end: int) -> PhysRun | None:
        """Hand over the frames shown for the object-less entry [start, end)."""
        return self.promises.take(start, (end - start) >> PAGE_SHIFT)

    def stack_run(self, start: int, end: int) -> PhysRun | None:
        """The frames set aside for the stack that the entry [start, end) is the next piece of."""
        if self.map is None:
            return None
        found, entry = vm_map_lookup_entry(self.map, start)
        if found and entry.start == start and entry.end == end:
            return self.promises.carve(start, end, reach(entry))
        return None

    # following the map

    @property
    def few(self) -> bool:
        """Whether there are so few that an operation is cheap."""
        return len(self.table) < MANY_REGIONS

    def overdue(self) -> bool:
        """Whether the regions must follow when more than LAG changes wait: few do at once, many when somebody looks,
        and meanwhile what waits is kept as few spans.

        A program needs no region to run, every page can be filled through the RAM window.  So a mapping that is gone
        again soon costs nothing (mmap, touch, munmap: 61 instead of 124 us), and with thousands of regions, where each
        operation takes Unicorn milliseconds, they are brought up to date only then.
        """
        if self.few:
            return True
        if len(self.dirty) > LAZY_SPANS:
            spans = merged_spans(self.dirty)
            self.dirty = spans if len(spans) <= LAZY_SPANS >> 1 else [(0, VM_MAXUSER_ADDRESS)]
        return False

    def reconcile(self) -> Reconciled:
        """Bring the regions of every changed span up to date, with as few operations as possible."""
        map_ = some(self.map, "map")
        dirty, self.dirty = self.dirty, []
        done = Reconciled(False, [])
        for span in dirty if len(dirty) == 1 else merged_spans(dirty):
            low, high = whole_entries(map_, *span)
            have = self.table.inside(low, high)
            want = wanted_pieces(map_, self.promises, low, high)
            if have != want:
                one = self._apply(have, want)
                done = Reconciled(done.mapped or one.mapped, done.unmapped + one.unmapped)
            if self.promises:
                self._drop_promises(map_, low, high)
        return done

    def _apply(self, have: list[Piece], want: list[Piece]) -> Reconciled:
        engine = some(self.engine, "engine")
        todo = changes(have if len(have) < 2 else merged(have), want)
        for piece in todo.unmap:
            engine.mem_unmap(piece.start, piece.end - piece.start)
            self.table.cut(piece.start, piece.end)
        for piece in todo.protect:
            engine.mem_protect(piece.start, piece.end - piece.start, piece.perms)
            # Regions that have the same rights now are still as many as they were.
            parts = self.table.inside(piece.start, piece.end)
            self.table.cut(piece.start, piece.end)
            for part in parts:
                self.table.add(part._replace(perms=piece.perms))
        for piece in todo.map:
            self._add(engine, piece)
        return Reconciled(bool(todo.map), todo.unmap)

    def _add(self, engine: Engine, piece: Piece) -> None:
        """Map *piece*; when it is one of many small ones that continue each other, map them as one.

        A range that grows by small steps keeps a logarithmic number of regions this way, and one that comes and
        goes at the edge of another costs no more than itself.
        """
        self._map_region(engine, piece)
        while True:
            chain = self.table.chain(piece, (piece.end - piece.start) * MERGED_REGIONS)
            if len(chain) < MERGED_REGIONS:
                return
            for part in chain:
                engine.mem_unmap(part.start, part.end - part.start)
                self.table.discard(part)
            piece = chain[0]._replace(end=chain[-1].end)
            self._map_region(engine, piece)

    def _map_region(self, engine: Engine, piece: Piece) -> None:
        host = self._phys.host_base + (piece.frame << PAGE_SHIFT)
        engine.mem_map_ptr(piece.start, piece.end - piece.start, piece.perms, host)
        self.table.add(piece)

    def _drop_promises(self, map_: VmMap, low: int, high: int) -> None:
        """Release promised frames that no object-less entry shows any more."""
        for start, end in self.promises.overlapping(low, high):
            if not any(accessible(entry) and entry.object is None for entry in entries_in(map_, start, end)):
                self.promises.release(start)


def merged_spans(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """*spans* in order, those that touch joined."""
    spans = sorted(spans)
    result = [spans[0]]
    for start, end in spans[1:]:
        if start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result
