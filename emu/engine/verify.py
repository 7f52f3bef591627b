"""The proof of the mirror: regions, rights, host pointers and page table agree with the map.

Both sides merge their neighbours and are compared; the first difference is named.  Tests do this after every trap,
``--paranoid`` on the command line.

FreeBSD: _vm_map_assert_consistent(), sys/vm/vm_map.c, does it for the map alone, behind debug.vmmap_check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.engine.pieces import Piece, merged
from emu.engine.regions import accessible, mapped_regions, wanted_pieces
from kernel_model.errors import MirrorDesync
from kernel_model.vm.vm import VM_PROT_ALL
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import PAGE_SHIFT, PAGE_SIZE, VM_MAXUSER_ADDRESS

if TYPE_CHECKING:
    from emu.engine.raw import Engine
    from emu.engine.regions import Regions
    from kernel_model.vm.pmap import Pmap
    from kernel_model.vm.vm_map import VmMap


class Auditor:
    """Compares what the map says with what the mirror believes, and that with what Unicorn shows.

    Requires: the regions are up to date.  Raises: MirrorDesync.
    """

    __slots__ = ("_engine", "_map", "_pmap", "_regions")

    def __init__(self, map_: VmMap, pmap: Pmap, regions: Regions, engine: Engine) -> None:
        self._map = map_
        self._pmap = pmap
        self._regions = regions
        self._engine = engine

    def prove(self) -> None:
        """All of it."""
        self.regions()
        self.hosts()
        self.ptes()

    def regions(self) -> None:
        """The map wants what the table has, and the table has what Unicorn has."""
        table = self._regions.table
        want = wanted_pieces(self._map, self._regions.promises, 0, VM_MAXUSER_ADDRESS)
        _same("mirror's table", want, merged(table))
        bounds = [Piece(start, end, perms, 0) for start, end, perms in mapped_regions(self._engine)]
        _same("unicorn's regions", [piece._replace(frame=0) for piece in table], bounds)

    def hosts(self) -> None:
        """Write a mark into the first and last frame that a region should show, and read it through Unicorn."""
        phys = self._pmap.vm.phys
        for piece in self._regions.table:
            for va in (piece.start, piece.end - PAGE_SIZE):
                frame = piece.frame + ((va - piece.start) >> PAGE_SHIFT)
                place = (frame << PAGE_SHIFT) + PAGE_SIZE - 8
                saved = bytes(phys.mem[place : place + 8])
                mark = (frame ^ 0x5A5A_A5A5_0F0F_F0F0).to_bytes(8, "little")
                phys.mem[place : place + 8] = mark
                seen = self._engine.mem_read(va + PAGE_SIZE - 8, 8)
                phys.mem[place : place + 8] = saved
                if seen != mark:
                    raise MirrorDesync(f"{va:#x}: unicorn does not show frame {frame:#x} of {piece}")

    def ptes(self) -> None:
        """Every resident page belongs to an entry that allows what the page table allows."""
        for va, (m, prot, _) in self._pmap.mappings():
            if va >= VM_MAXUSER_ADDRESS:
                continue
            found, entry = vm_map_lookup_entry(self._map, va)
            if not found or not accessible(entry):
                raise MirrorDesync(f"{va:#x}: resident, but no entry may be touched there")
            if prot & ~entry.protection & VM_PROT_ALL:
                raise MirrorDesync(f"{va:#x}: page table allows {prot:#x}, the entry {entry.protection:#x}")
            if m.object is None or m.object.pages.get(m.pindex) is not m:
                raise MirrorDesync(f"{va:#x}: mapped page {m!r} is in no object")


def _same(what: str, ours: list[Piece], theirs: list[Piece]) -> None:
    """Compare two lists of pieces; MirrorDesync names the first place where they differ."""
    for mine, other in zip(ours, theirs, strict=False):
        if mine != other:
            place = min(mine.start, other.start)
            field = next(name for name, a, b in zip(Piece._fields, mine, other, strict=True) if a != b)
            raise MirrorDesync(f"{place:#x}: {field} differs: map {mine}, {what} {other}")
    if len(ours) != len(theirs):
        longer, side = (ours, "map") if len(ours) > len(theirs) else (theirs, what)
        extra = longer[min(len(ours), len(theirs))]
        raise MirrorDesync(f"{extra.start:#x}: only the {side} has {extra}")
