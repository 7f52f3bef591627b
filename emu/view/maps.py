"""The vm_map beside the Unicorn mappings and what is resident, in the columns of ``procstat -v``.

Model only: the columns up to TP and the path are procstat's; UNICORN is the region that mirrors the entry.

PRT rights · RES resident pages · PRES of them reached through this entry's own object · REF, SHD references and shadows
of the object · FLAG C copy-on-write, N needs copy, D/U grows down/up, W wired · TP df sw vn dv ph gd (guard) --
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from kernel_model.kern.kern_ktrace import entry_state
from kernel_model.vm.vm import prot_string
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_COW,
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GROWS_UP,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_NEEDS_COPY,
)
from kernel_model.vm.vm_param import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from emu.machine import Machine
    from emu.why.blame import Owned
    from kernel_model.vm.vm_map_entry import VmMapEntry

TYPES = ("df", "sw", "vn", "dv", "ph", "dd", "sg", "md")
Region = tuple[int, int, int]
"""start, end (exclusive), rights."""


@dataclass(frozen=True, slots=True)
class MapRow:
    """One entry of the map as a row."""

    start: int
    end: int
    prot: str
    max_prot: str
    resident: int | None
    """Pages; None when the row comes from a trace."""
    private: int | None
    refs: int
    shadows: int
    flags: str
    type: str
    path: str
    reserve: int = 0
    """Bytes that a classic stack may still grow."""
    unicorn: tuple[tuple[int, int, str], ...] | None = None
    """The regions that mirror the entry; None without an engine."""

    @property
    def mirrored(self) -> bool:
        """One region with the entry's own bounds and rights, or none for what nobody may touch."""
        if self.unicorn is None:
            return True
        if self.prot == "---":
            return not self.unicorn
        return self.unicorn == ((self.start, self.end, self.prot),)


def machine_rows(machine: Machine) -> list[MapRow]:
    """The rows of a machine's process."""
    regions = merged(machine.regions())
    return [_row(entry, regions) for entry in machine.map]


def merged(regions: Iterable[Region]) -> list[Region]:
    """*regions* in order, neighbours with the same rights joined: the mirror may split where frames do."""
    out: list[Region] = []
    for start, end, perms in sorted(regions):
        if out and out[-1][1] == start and out[-1][2] == perms:
            out[-1] = (out[-1][0], end, perms)
        else:
            out.append((start, end, perms))
    return out


def _row(entry: VmMapEntry, regions: Sequence[Region]) -> MapRow:
    state = entry_state(entry)
    obj = entry.vm_object
    refs, shadows = (0, 0) if obj is None else (obj.ref_count, obj.shadow_count)
    resident, private = residency(entry)
    inside = tuple(
        (max(low, entry.start), min(high, entry.end), prot_string(perms))
        for low, high, perms in regions
        if low < entry.end and entry.start < high
    )
    return MapRow(
        entry.start, entry.end, prot_string(entry.protection), prot_string(entry.max_protection), resident, private,
        refs, shadows, _flags(entry.eflags, entry.wired_count), _type(entry.eflags, state.object_type), state.vnode,
        entry.avail_ssize if entry.eflags & (MAP_ENTRY_GROWS_DOWN | MAP_ENTRY_GROWS_UP) else 0, inside,
    )  # fmt: skip


def _flags(eflags: int, wired: int) -> str:
    return (
        ("C" if eflags & MAP_ENTRY_COW else "-")
        + ("N" if eflags & MAP_ENTRY_NEEDS_COPY else "-")
        + ("D" if eflags & MAP_ENTRY_GROWS_DOWN else "U" if eflags & MAP_ENTRY_GROWS_UP else "-")
        + ("W" if wired else "-")
    )


def _type(eflags: int, object_type: int) -> str:
    if eflags & MAP_ENTRY_GUARD:
        return "gd"
    return TYPES[object_type] if 0 <= object_type < len(TYPES) else "--"


def residency(entry: VmMapEntry) -> tuple[int, int]:
    """Resident pages of *entry*, through the whole shadow chain, and of them those in its own object."""
    obj = entry.vm_object
    first = entry.offset >> PAGE_SHIFT
    count = (entry.end - entry.start) >> PAGE_SHIFT
    seen: set[int] = set()
    private = 0
    while obj is not None:
        if len(obj.pages) < count:
            here = {pindex - first for pindex, page in obj.pages.items() if page.valid}
            seen.update(index for index in here if 0 <= index < count)
        else:
            seen.update(i for i in range(count) if (m := obj.pages.get(first + i)) is not None and m.valid)
        if obj is entry.vm_object:
            private = len(seen)
        first += obj.backing_object_offset >> PAGE_SHIFT
        obj = obj.backing_object
    return len(seen), private


def blame_rows(owned: Iterable[Owned]) -> list[MapRow]:
    """Rows of a map that was followed through a trace: no pages, no objects."""
    rows = []
    for one in owned:
        made, last = one.made_by, one.changes[-1]
        prot = next((c.prot for c in reversed(one.changes) if c.what in ("protect", "insert", "grow")), made.prot)
        kind = _type(made.eflags, made.object_type)
        flags = _flags(last.eflags, 0)
        rights, most = prot_string(prot), prot_string(made.max_prot)
        rows.append(MapRow(one.start, one.end, rights, most, None, None, 0, 0, flags, kind, made.vnode))
    return rows


def rows_text(rows: Sequence[MapRow]) -> str:
    """The rows as a table; plain text that pipes."""
    with_engine = any(row.unicorn is not None for row in rows)
    lines = [_HEAD + ("  UNICORN" + " " * 32 if with_engine else "") + "  PATH"]
    for row in rows:
        resident = "-" if row.resident is None else str(row.resident)
        private = "-" if row.private is None else str(row.private)
        refs = "-" if row.resident is None else str(row.refs)
        shadows = "-" if row.resident is None else str(row.shadows)
        line = (
            f"{row.start:#16x} {row.end:#16x} {row.prot} {resident:>6} {private:>6} {refs:>4} {shadows:>3} "
            f"{row.flags} {row.type}"
        )
        if with_engine:
            line += f"  {_unicorn(row):<39}"
        note = f"  {row.path}" if row.path else ""
        if row.reserve:
            note += f"  may grow {row.reserve:,}"
        lines.append((line + note).rstrip())
    return "\n".join(lines) + "\n"


_HEAD = f"{'START':>16} {'END':>16} PRT {'RES':>6} {'PRES':>6} {'REF':>4} {'SHD':>3} FLAG TP"


def _unicorn(row: MapRow) -> str:
    if not row.unicorn:
        return "-"
    start, end, prot = row.unicorn[0]
    if row.mirrored:
        return f"the same, {prot}"
    more = f" +{len(row.unicorn) - 1}" if len(row.unicorn) > 1 else ""
    return f"{start:#x}-{end:#x} {prot}{more}"


def rows_json(rows: Sequence[MapRow]) -> str:
    """The rows as a JSON array."""
    return json.dumps([asdict(row) for row in rows], indent=1) + "\n"


def maps_text(machine: Machine) -> str:
    """The table of a machine's process."""
    return rows_text(machine_rows(machine))
