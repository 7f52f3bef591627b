"""The mirror: what Unicorn maps and translates for one address space.

    vm_map entries        --reconcile-->  Unicorn regions       what exists and what is allowed
    Pmap.ptes             --fill------->  Unicorn's TLB         what is resident
    frames, all of them                   the RAM window        one region at RAM_BASE

A translation points at the region of its address (paddr = va) when the page lies in the frame that the region shows
there, and into the RAM window otherwise: deeper in a shadow chain, moved by a collapse, or executable.  What is
absent or refused points into the fault window, where nothing is ever mapped: there Unicorn calls the invalid-access
hook with the exact address.  When that hook says True the fill is asked once more, and a fill that is refused then
stops the engine precisely, with no side effect of the instruction.

    RAM_BASE    [1<<47, +frames)        host memory of all frames
    FAULT_BASE  [1<<50, +1<<49)         fault window of user addresses: paddr - FAULT_BASE = va
    ODD_BASE    [ODD_BASE, 1<<51)       the same for kernel and non-canonical addresses, low 47 bits

FreeBSD: sys/amd64/amd64/pmap.c is what this stands for.
Differs: a page that is written and executed in turn is filled read-write or read-execute, never both, unless an
instruction writes into its own page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from emu.engine.cpu import CPU_SKYLAKE_CLIENT
from emu.engine.raw import (
    UC_MEM_FETCH,
    UC_MEM_FETCH_UNMAPPED,
    UC_MEM_READ,
    UC_MEM_READ_UNMAPPED,
    UC_MEM_WRITE,
    UC_MEM_WRITE_UNMAPPED,
    Engine,
)
from emu.engine.regions import (
    Piece,
    Promises,
    RegionTable,
    accessible,
    changes,
    entries_in,
    merged,
    reach,
    wanted_pieces,
    whole_entries,
)
from kernel_model.errors import KernelPanic, MirrorDesync, kassert, panic, some
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, VM_MAXUSER_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.engine.raw import TlbEntry
    from kernel_model.vm.pmap import Pmap, Pte
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_page import VmPage
    from kernel_model.vm.vm_phys import PhysRun

RAM_BASE = 1 << 47
FAULT_BASE = 1 << 50
ODD_BASE = FAULT_BASE + (1 << 49)
FAULT_LIMIT = 1 << 51
ODD_MASK = VM_MAXUSER_ADDRESS - 1
PERMS_RX = VM_PROT_READ | VM_PROT_EXECUTE

NEEDS = {UC_MEM_READ: VM_PROT_ALL, UC_MEM_WRITE: VM_PROT_WRITE, UC_MEM_FETCH: VM_PROT_EXECUTE}
"""Access -> bits of a page-table entry of which one must be there: on x86 what is mapped can be read."""
FAULT_TYPE = {UC_MEM_READ: VM_PROT_READ, UC_MEM_WRITE: VM_PROT_WRITE, UC_MEM_FETCH: VM_PROT_EXECUTE}
UNMAPPED_TYPE = {
    UC_MEM_READ_UNMAPPED: VM_PROT_READ,
    UC_MEM_WRITE_UNMAPPED: VM_PROT_WRITE,
    UC_MEM_FETCH_UNMAPPED: VM_PROT_EXECUTE,
}

TLB_FIRST_LIMIT = 600
"""Fills after which the first flush lets the TLB of 256 entries grow; the number doubles at each flush."""
TLB_LAST_LIMIT = 1 << 21
NEVER = 1 << 62
FEW_PAGES = 64
LAG = 64
MANY_REGIONS = 512
LAZY_SPANS = 4096
MERGED_REGIONS = 8
"""So many small neighbours that continue each other become one region."""

# What a fill has to do instead of its work
REFUSE = 1
"""Stop the engine: the kernel did not repair the fault."""
IDENTITY = 2
"""Unicorn looks up code of a region that is being unmapped."""
PROBE = 4
"""Unicorn looks up code of one frame, to forget its translation."""


class Faults(Protocol):
    """Who serves what the fill cannot: emu.engine.trap."""

    def page_fault(self, va: int, access: int, size: int, value: int) -> bool:
        """Repair the access (VM_PROT_*) at exactly *va*; False when the program gets a signal."""
        ...

    @property
    def exact(self) -> bool:
        """Whether every fault must come with its exact address, because somebody records them."""
        ...


class UcPmapHardware:
    """``PmapHardware`` over one Unicorn instance; it exists from :meth:`start` to :meth:`destroy`."""

    __slots__ = (
        "_again", "_allowed", "_code", "_code_at",
        "_delta", "_dirty", "_faults", "_filled", "_filling", "_high", "_hint_high", "_hint_low",
        "_hint_prot", "_limit", "_low", "_map", "_odd", "_probe", "_promises", "_ptes", "_regions", "_since_flush",
        "_special", "_stale", "_stale_high", "_stale_low", "doomed", "engine", "fills", "on_code", "pending", "pmap",
        "running",
    )  # fmt: skip

    def __init__(self, pmap: Pmap) -> None:
        self.pmap = pmap
        self.engine: Engine | None = None
        self.running = False
        """The engine is inside run(): it cannot be closed."""
        self.doomed = False
        """destroy() was called while the engine ran."""
        self.pending = False
        """settle() has something to do before guest code runs again."""
        self.fills = 0
        self.on_code: Callable[[int, int], None] | None = None
        """Called with page address and frame before a page is executed at that address for the first time."""
        self._ptes = pmap.ptes
        self._map: VmMap | None = None
        self._faults: Faults | None = None
        self._regions = RegionTable()
        self._promises = Promises(pmap.vm.phys)
        self._dirty: list[tuple[int, int]] = []
        self._stale = False
        self._stale_low, self._stale_high = NEVER, 0
        """The TLB must not be asked about this range before it is flushed."""
        self._filled: set[int] = set()
        """Page numbers that the TLB may hold."""
        self._filling = -1
        """Page number whose TLB entry the running fill will overwrite."""
        self._special = 0
        self._odd = 0
        self._probe = 0
        self._code: dict[int, tuple[VmPage, list[int]]] = {}
        """Frame -> its page and the addresses it was executed at since its translations were forgotten."""
        self._code_at: dict[int, int] = {}
        """The same the other way round: address -> frame."""
        self._again = False
        """The engine was stopped to translate the running block anew."""
        self._low = self._high = self._delta = self._allowed = 0
        """The region of the last fill, when it is not executable; delta is frame minus page number.  It may lag behind
        the map and allow too little."""
        self._hint_low = self._hint_high = self._hint_prot = 0
        """The entry of the last fault."""
        self._since_flush = 0
        self._limit = TLB_FIRST_LIMIT

    # life

    def create_engine(self) -> Engine:
        """Make the engine, with nothing mapped but all frames."""
        kassert(self.engine is None, "mirror has an engine already")
        phys = self.pmap.vm.phys
        self.engine = Engine(CPU_SKYLAKE_CLIENT)
        self.engine.mem_map_ptr(RAM_BASE, phys.frames << PAGE_SHIFT, VM_PROT_ALL, phys.host_base)
        return self.engine

    def start(self, map_: VmMap, faults: Faults) -> None:
        """Answer fills for *map_* from now on; settle() makes the regions."""
        engine = some(self.engine, "engine")
        self._map = map_
        self._faults = faults
        self._dirty = [(0, VM_MAXUSER_ADDRESS)]
        self.pending = True
        engine.hook_fill(self._fill)
        engine.hook_invalid(self._invalid, FAULT_BASE, FAULT_LIMIT - 1)

    def run(self, rip: int) -> int:
        """Run the program from *rip* until something stops the engine; returns a UC_ERR_* code."""
        if len(self._regions) < MANY_REGIONS:
            self.synchronise()
        else:
            self.settle()
        self._special &= ~REFUSE
        self.running = True
        try:
            engine = some(self.engine, "engine")
            status = engine.run(rip)
            while self._again:
                self._again = False
                status = engine.run(engine.read_rip())
            return status
        finally:
            self.running = False
            if self.doomed:
                self.close()

    def destroy(self) -> None:
        """The address space is gone; the engine goes too, or when the machine has left it."""
        self._promises.release_all()
        self._dirty.clear()
        self._map = None
        if self.running:
            self.doomed = True
        else:
            self.close()

    def close(self) -> None:
        """Free the engine.  Requires: it does not run."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    def regions(self) -> list[tuple[int, int, int]]:
        """What Unicorn has mapped below the RAM window: ``(start, end, perms)``, end exclusive."""
        if self.engine is None:
            return []
        self.synchronise()
        return [region for region in self.engine.mem_regions() if region[0] < RAM_BASE]

    # what the kernel tells

    def invalidate(self, start: int = 0, end: int = VM_MAXUSER_ADDRESS) -> None:
        """A right was lowered, or a mapping replaced or removed, in [start, end)."""
        first = start >> PAGE_SHIFT
        pages = (end - start + PAGE_MASK) >> PAGE_SHIFT
        filled = self._filled
        if pages == 1:
            touched = first in filled and first != self._filling
        elif pages <= FEW_PAGES:
            touched = not filled.isdisjoint(range(first, first + pages))
        else:
            touched = bool(filled)
        if touched:
            self._stale = self.pending = True
            self._stale_low = min(start, self._stale_low)
            self._stale_high = max(end, self._stale_high)

    def map_changed(self, start: int, end: int) -> None:
        """The map's entries inside [start, end) changed in any way."""
        self._hint_high = 0
        dirty = self._dirty
        if dirty and dirty[-1] == (start, end):
            return
        dirty.append((start, end))
        self.pending = True

    def promised_run(self, start: int, end: int) -> PhysRun | None:
        """Frames already shown for the object-less entry [start, end), or set aside for the stack it belongs to."""
        npages = (end - start) >> PAGE_SHIFT
        run = self._promises.take(start, npages)
        if run is not None:
            # What else was shown out of this run belongs to the new object now.
            self.map_changed(start, start + (run.npages << PAGE_SHIFT))
        elif self._map is not None:
            found, entry = vm_map_lookup_entry(self._map, start)
            if found and entry.start == start and entry.end == end:
                run = self._promises.carve(start, end, reach(entry))
        return run

    def code_changed(self, start: int, end: int) -> None:
        """The kernel wrote into executable pages at [start, end)."""
        if self.engine is None:
            return
        for vpn in range(start >> PAGE_SHIFT, (end + PAGE_MASK) >> PAGE_SHIFT):
            pte = self._ptes.get(vpn)
            if pte is not None and pte[0].frame in self._code:
                self._forget_code(pte[0].frame)

    # before guest code runs again

    def settle(self) -> None:
        """Make the TLB agree with the page table, and let the regions lag LAG map changes at most behind the map.

        A program needs no region to run, every page can be filled through the RAM window.  So a mapping that is gone
        again soon costs nothing (mmap, touch, munmap: 61 instead of 124 us), and with thousands of regions, where each
        operation takes Unicorn milliseconds, they are brought up to date only when somebody looks.
        """
        self.pending = False
        if len(self._dirty) > LAG:
            if len(self._regions) < MANY_REGIONS:
                self._reconcile()
            elif len(self._dirty) > LAZY_SPANS:
                spans = _merged_spans(self._dirty)
                self._dirty = spans if len(spans) <= LAZY_SPANS >> 1 else [(0, VM_MAXUSER_ADDRESS)]
        if self._stale:
            self.flush()

    def synchronise(self) -> None:
        """Make everything agree: the engine is entered, or somebody looks at the regions."""
        self.pending = False
        if self._dirty:
            self._reconcile()
        if self._stale:
            self.flush()

    def flush(self) -> None:
        """Empty the TLB; it shrinks its expectations when little of it was used."""
        if self._since_flush < self._limit >> 3:
            self._limit = max(self._limit >> 1, TLB_FIRST_LIMIT)
        some(self.engine, "engine").flush_tlb()
        self._flushed()

    def _flushed(self) -> None:
        self._stale = False
        self._stale_low, self._stale_high = NEVER, 0
        self._filled.clear()
        self._since_flush = 0

    def _reconcile(self) -> None:
        """Bring the regions of every dirty span up to date, with as few operations as possible."""
        map_ = some(self._map, "map")
        dirty, self._dirty = self._dirty, []
        self._high = 0
        for span in dirty if len(dirty) == 1 else _merged_spans(dirty):
            low, high = whole_entries(map_, *span)
            have = self._regions.inside(low, high)
            want = wanted_pieces(map_, self._promises, low, high)
            if have != want:
                self._apply(have, want)
            if self._promises:
                self._drop_promises(map_, low, high)

    def _apply(self, have: list[Piece], want: list[Piece]) -> None:
        engine = some(self.engine, "engine")
        todo = changes(have if len(have) < 2 else merged(have), want)
        self._special |= IDENTITY
        for piece in todo.unmap:
            engine.mem_unmap(piece.start, piece.end - piece.start)
            self._regions.cut(piece.start, piece.end)
        for piece in todo.protect:
            engine.mem_protect(piece.start, piece.end - piece.start, piece.perms)
            # Regions that have the same rights now are still as many as they were.
            parts = self._regions.inside(piece.start, piece.end)
            self._regions.cut(piece.start, piece.end)
            for part in parts:
                self._regions.add(part._replace(perms=piece.perms))
        for piece in todo.map:
            self._add_region(engine, piece)
        self._special &= ~IDENTITY
        if todo.map:
            self._flushed()
        elif any(piece.start <= self._stale_low and self._stale_high <= piece.end for piece in todo.unmap):
            # Unicorn takes each page of what it unmaps out of the TLB.
            self._stale = False
            self._stale_low, self._stale_high = NEVER, 0

    def _add_region(self, engine: Engine, piece: Piece) -> None:
        """Map *piece*; when it is one of many small ones that continue each other, map them as one.

        A range that grows by small steps keeps a logarithmic number of regions this way, and one that comes and
        goes at the edge of another costs no more than itself.
        """
        self._map_region(engine, piece)
        while True:
            chain = self._regions.chain(piece, (piece.end - piece.start) * MERGED_REGIONS)
            if len(chain) < MERGED_REGIONS:
                return
            for part in chain:
                engine.mem_unmap(part.start, part.end - part.start)
                self._regions.discard(part)
            piece = chain[0]._replace(end=chain[-1].end)
            self._map_region(engine, piece)

    def _map_region(self, engine: Engine, piece: Piece) -> None:
        host = self.pmap.vm.phys.host_base + (piece.frame << PAGE_SHIFT)
        engine.mem_map_ptr(piece.start, piece.end - piece.start, piece.perms, host)
        self._regions.add(piece)

    def _drop_promises(self, map_: VmMap, low: int, high: int) -> None:
        """Release promised frames that no object-less entry shows any more."""
        for start, end in self._promises.overlapping(low, high):
            if not any(accessible(entry) and entry.object is None for entry in entries_in(map_, start, end)):
                self._promises.release(start)

    # the fill

    def _fill(self, page: int, access: int, answer: TlbEntry) -> bool:
        """Say where *page* is and what may be done there; the hot path of every fault."""
        if self._special:
            return self._special_fill(page, answer)
        vpn = page >> PAGE_SHIFT
        pte = self._ptes.get(vpn)
        if pte is None or not pte[1] & NEEDS[access]:
            pte = self._fault(page, vpn, access)
            if pte is None:
                answer.paddr = self._window(page)
                answer.perms = VM_PROT_ALL
                return True
        m, prot, _ = pte
        frame = m.frame
        self._filled.add(vpn)
        self._since_flush += 1
        if self._since_flush >= self._limit:
            self._grow_tlb()
            self._filled.add(vpn)
        if frame in self._code or prot & VM_PROT_EXECUTE:
            if self._code_at.get(page, frame) != frame and self._code_moved(page, access):
                return False
            answer.paddr = RAM_BASE + (frame << PAGE_SHIFT)
            answer.perms = self._code_fill(page, access, m, prot)
            return True
        if not self._low <= page < self._high:
            self._find_region(page)
        if vpn + self._delta == frame and page < self._high and not prot & VM_PROT_RW & ~self._allowed:
            answer.paddr = page
        else:
            answer.paddr = RAM_BASE + (frame << PAGE_SHIFT)
        answer.perms = prot & VM_PROT_RW | VM_PROT_READ
        return True

    def _special_fill(self, page: int, answer: TlbEntry) -> bool:
        """A fill that is not the program's, or that must stop it."""
        if self._special & REFUSE:
            self._special &= ~REFUSE
            return False
        answer.paddr = RAM_BASE + (self._probe << PAGE_SHIFT) if self._special & PROBE else page
        answer.perms = PERMS_RX
        return True

    def _window(self, page: int) -> int:
        """Where in the fault window *page* is."""
        if page < VM_MAXUSER_ADDRESS:
            return FAULT_BASE + page
        self._odd = page & ~ODD_MASK
        return ODD_BASE + (page & ODD_MASK)

    def _fault(self, page: int, vpn: int, access: int) -> Pte | None:
        """Let the kernel make *page* resident when an entry allows the access; None for all other cases."""
        faults = self._faults
        map_ = self._map
        if map_ is None or faults is None:
            panic("page %#x touched before the mirror has a map", page)
        if page >= VM_MAXUSER_ADDRESS or faults.exact:
            return None
        if not self._hint_low <= page < self._hint_high:
            found, entry = vm_map_lookup_entry(map_, page)
            if not found or not accessible(entry):
                return None
            self._hint_low, self._hint_high, self._hint_prot = entry.start, entry.end, entry.protection
        need = FAULT_TYPE[access]
        if not self._hint_prot & need:
            return None
        self._filling = vpn
        refused = vm_fault(map_, page, need)
        self._filling = -1
        if self._stale:
            self.flush()
        if refused:
            return None
        pte = self._ptes.get(vpn)
        if pte is None or not pte[1] & NEEDS[access]:
            panic("page %#x not mapped by its fault", page)
        return pte

    def _find_region(self, page: int) -> None:
        piece = self._regions.at(page)
        if piece is None or piece.perms & VM_PROT_EXECUTE:
            # Through the RAM window, as is the rest of the entry that was just faulted.
            self._low, self._high = self._hint_low, self._hint_high
            self._delta = NEVER
            return
        self._low, self._high, self._allowed = piece.start, piece.end, piece.perms
        self._delta = piece.frame - (piece.start >> PAGE_SHIFT)

    def _grow_tlb(self) -> None:
        """Flush a full TLB, which doubles it."""
        some(self.engine, "engine").flush_tlb()
        self._flushed()
        self._limit = min(self._limit * 2, TLB_LAST_LIMIT)

    # code

    def _code_fill(self, page: int, access: int, m: VmPage, prot: int) -> int:
        """Rights for a page that may be executed, or whose frame was, keeping translated code true."""
        known = self._code.get(m.frame)
        if known is not None and known[0] is not m:
            # The frame was freed and holds another page now.
            self._forget_code(m.frame)
            known = None
        if access == UC_MEM_FETCH:
            if self.on_code is not None and (known is None or page not in known[1]):
                self.on_code(page, m.frame)
            if known is None:
                self._code[m.frame] = (m, [page])
                self._code_at[page] = m.frame
                if m.pv_more:
                    # Another address may have a writable translation that would not be asked again.
                    some(self.engine, "engine").flush_tlb()
                    self._flushed()
            elif page not in known[1]:
                known[1].append(page)
                self._code_at[page] = m.frame
            return PERMS_RX
        if known is None:
            return prot & VM_PROT_RW | VM_PROT_READ
        if access == UC_MEM_READ:
            return VM_PROT_READ | prot & VM_PROT_EXECUTE
        rip = some(self.engine, "engine").read_rip()
        if prot & VM_PROT_EXECUTE and page - PAGE_SIZE <= rip < page + PAGE_SIZE:
            # The instruction may change its own block: Unicorn itself watches a page that is filled with all rights.
            return VM_PROT_ALL
        self._forget_code(m.frame)
        return VM_PROT_RW

    def _code_moved(self, page: int, access: int) -> bool:
        """*page* was executed from another frame: its first store has just copied it.

        The old translations go, and blocks that continue into them.  True when the running block may be one of
        them: it must be left before the store, and translated anew.
        """
        self._forget_code(self._code_at[page])
        if access != UC_MEM_WRITE:
            return False
        rip = some(self.engine, "engine").read_rip()
        self._again = page - PAGE_SIZE <= rip < page + PAGE_SIZE
        return self._again

    def _forget_code(self, frame: int) -> None:
        """Drop what Unicorn translated out of *frame*, at every address it was executed at."""
        engine = some(self.engine, "engine")
        _, addresses = self._code.pop(frame)
        for va in addresses:
            if self._code_at.get(va) == frame:
                del self._code_at[va]
        self._probe = frame
        before, self._special = self._special, PROBE
        engine.flush_tlb()
        for va in addresses:
            engine.remove_cache(va, va + PAGE_SIZE)
        # The look-ups left translations behind that the page table may not have.
        engine.flush_tlb()
        self._special = before
        self._flushed()

    # the fault window

    def _invalid(self, kind: int, paddr: int, size: int, value: int) -> bool:
        """An access to the fault window: the page fault with its exact address."""
        va = paddr - FAULT_BASE if paddr < ODD_BASE else self._odd | (paddr - ODD_BASE)
        access = UNMAPPED_TYPE[kind]
        mask = (1 << 8 * size) - 1 if size < 8 else (1 << 64) - 1
        if not some(self._faults, "faults").page_fault(va, access, size, value & mask):
            self._special |= REFUSE
        elif self._stale:
            self.flush()
        return True

    # proof

    def verify(self) -> None:
        """Prove that regions, rights, host pointers and page table agree with the map.

        Raises: MirrorDesync, naming the first difference.
        """
        map_ = self._map
        engine = self.engine
        if map_ is None or engine is None:
            return
        self.synchronise()
        self._compare_regions(wanted_pieces(map_, self._promises, 0, VM_MAXUSER_ADDRESS))
        self._prove_hosts(engine)
        self._verify_ptes(map_)

    def _compare_regions(self, want: list[Piece]) -> None:
        _same("mirror's table", want, merged(self._regions))
        bounds = [Piece(start, end, perms, 0) for start, end, perms in self.regions()]
        table = [piece._replace(frame=0) for piece in self._regions]
        _same("unicorn's regions", table, bounds)

    def _prove_hosts(self, engine: Engine) -> None:
        """Write a mark into the first and last frame that a region should show, and read it through Unicorn."""
        phys = self.pmap.vm.phys
        for piece in self._regions:
            for va in (piece.start, piece.end - PAGE_SIZE):
                frame = piece.frame + ((va - piece.start) >> PAGE_SHIFT)
                place = (frame << PAGE_SHIFT) + PAGE_SIZE - 8
                saved = bytes(phys.mem[place : place + 8])
                mark = (frame ^ 0x5A5A_A5A5_0F0F_F0F0).to_bytes(8, "little")
                phys.mem[place : place + 8] = mark
                seen = engine.mem_read(va + PAGE_SIZE - 8, 8)
                phys.mem[place : place + 8] = saved
                if seen != mark:
                    raise MirrorDesync(f"{va:#x}: unicorn does not show frame {frame:#x} of {piece}")

    def _verify_ptes(self, map_: VmMap) -> None:
        """Every resident page belongs to an entry that allows what the page table allows."""
        for va, (m, prot, _) in self.pmap.mappings():
            if va >= VM_MAXUSER_ADDRESS:
                continue
            found, entry = vm_map_lookup_entry(map_, va)
            if not found or not accessible(entry):
                raise MirrorDesync(f"{va:#x}: resident, but no entry may be touched there")
            if prot & ~entry.protection & VM_PROT_ALL:
                raise MirrorDesync(f"{va:#x}: page table allows {prot:#x}, the entry {entry.protection:#x}")
            if m.object is None or m.object.pages.get(m.pindex) is not m:
                raise MirrorDesync(f"{va:#x}: mapped page {m!r} is in no object")


def _merged_spans(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """*spans* in order, those that touch joined."""
    spans = sorted(spans)
    result = [spans[0]]
    for start, end in spans[1:]:
        if start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def _same(what: str, ours: list[Piece], theirs: list[Piece]) -> None:
    """Compare two lists of pieces; MirrorDesync names the first place where they differ."""
    for mine, other in zip(ours, theirs, strict=False):
        if mine != other:
            place = min(mine.start, other.start) if mine.start != other.start else mine.start
            field = next(name for name, a, b in zip(Piece._fields, mine, other, strict=True) if a != b)
            raise MirrorDesync(f"{place:#x}: {field} differs: map {mine}, {what} {other}")
    if len(ours) != len(theirs):
        longer, side = (ours, "map") if len(ours) > len(theirs) else (theirs, what)
        extra = longer[min(len(ours), len(theirs))]
        raise MirrorDesync(f"{extra.start:#x}: only the {side} has {extra}")


def mirror_of(pmap: Pmap) -> UcPmapHardware:
    """The mirror of a page table that was made on a machine."""
    hardware = pmap.hardware
    if not isinstance(hardware, UcPmapHardware):
        raise KernelPanic("this page table has no mirror")
    return hardware
