"""Maps, entries and return codes as a person reads them: in the interpreter, in a notebook, in a failing test.

    map_table(map_)     the entries as aligned columns        map_html(map_)     the same as an HTML table
    entry_text(entry)   one entry on one line                 kern_name(rv)      KERN_NO_SPACE
    map_diff(a, b)      what b has that a has not, what it lacks, and what is another value

Rows are copies: ``before = map_rows(map_)`` now, ``print(map_diff(before, map_))`` later.

Whatever has the attributes of an entry or a map can be shown: this module knows neither class, so both may call it.

Model only: the columns follow procstat(1)'s ``-v``, the flags their names in sys/vm/vm_map.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from kernel_model.ktrace.entry import full_path
from kernel_model.vm.vm import OBJT_VNODE, prot_string
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_BEHAV_MASK,
    MAP_ENTRY_BEHAV_RANDOM,
    MAP_ENTRY_BEHAV_RESERVED,
    MAP_ENTRY_BEHAV_SEQUENTIAL,
    MAP_ENTRY_COW,
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GROWS_UP,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_HEADER,
    MAP_ENTRY_IN_TRANSITION,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_NEEDS_COPY,
    MAP_ENTRY_NEEDS_WAKEUP,
    MAP_ENTRY_NOCOREDUMP,
    MAP_ENTRY_NOFAULT,
    MAP_ENTRY_NOSYNC,
    MAP_ENTRY_SPLIT_BOUNDARY_MASK,
    MAP_ENTRY_SPLIT_BOUNDARY_SHIFT,
    MAP_ENTRY_STACK_GAP_DN,
    MAP_ENTRY_STACK_GAP_UP,
    MAP_ENTRY_USER_WIRED,
    MAP_ENTRY_VN_EXEC,
    MAP_ENTRY_WIRE_SKIPPED,
    MAP_ENTRY_WRITECNT,
)
from kernel_model.vm.vm_param import KERN_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PREFIX: Final = "MAP_ENTRY_"
"""What the names of all entry flags begin with; tables say it once, in their head."""
EFLAG_NAMES: Final[dict[int, str]] = {
    MAP_ENTRY_NOSYNC: "NOSYNC",
    MAP_ENTRY_IS_SUB_MAP: "IS_SUB_MAP",
    MAP_ENTRY_COW: "COW",
    MAP_ENTRY_NEEDS_COPY: "NEEDS_COPY",
    MAP_ENTRY_NOFAULT: "NOFAULT",
    MAP_ENTRY_USER_WIRED: "USER_WIRED",
    MAP_ENTRY_IN_TRANSITION: "IN_TRANSITION",
    MAP_ENTRY_NEEDS_WAKEUP: "NEEDS_WAKEUP",
    MAP_ENTRY_NOCOREDUMP: "NOCOREDUMP",
    MAP_ENTRY_VN_EXEC: "VN_EXEC",
    MAP_ENTRY_GROWS_DOWN: "GROWS_DOWN",
    MAP_ENTRY_GROWS_UP: "GROWS_UP",
    MAP_ENTRY_WIRE_SKIPPED: "WIRE_SKIPPED",
    MAP_ENTRY_WRITECNT: "WRITECNT",
    MAP_ENTRY_GUARD: "GUARD",
    MAP_ENTRY_STACK_GAP_DN: "STACK_GAP_DN",
    MAP_ENTRY_STACK_GAP_UP: "STACK_GAP_UP",
    MAP_ENTRY_HEADER: "HEADER",
}
"""Flags of one bit; the advice and the large-page boundary are fields of two."""
BEHAV_NAMES: Final[dict[int, str]] = {
    MAP_ENTRY_BEHAV_SEQUENTIAL: "BEHAV_SEQUENTIAL",
    MAP_ENTRY_BEHAV_RANDOM: "BEHAV_RANDOM",
    MAP_ENTRY_BEHAV_RESERVED: "BEHAV_RESERVED",
}
STACKS: Final = MAP_ENTRY_GROWS_DOWN | MAP_ENTRY_GROWS_UP
GAPS: Final = MAP_ENTRY_STACK_GAP_DN | MAP_ENTRY_STACK_GAP_UP
INHERIT_NAMES: Final = ("share", "copy", "none", "zero")
TYPE_NAMES: Final = ("default", "swap", "vnode", "device", "phys", "dead", "sg", "mgtdevice")
"""OBJT_* in order."""


class ShownObject(Protocol):
    """What an object must have to be named."""

    type: int
    handle: object | None

    @property
    def backing_object(self) -> ShownObject | None:
        """What it shadows."""
        ...


class ShownEntry(Protocol):
    """What an entry must have to be shown."""

    start: int
    end: int
    protection: int
    max_protection: int
    inheritance: int
    offset: int
    eflags: int
    wired_count: int
    avail_ssize: int
    next_read: int

    @property
    def vm_object(self) -> ShownObject | None:
        """Its object, None for a submap."""
        ...

    @property
    def sub_map(self) -> ShownMap | None:
        """Its map, None unless it is a submap."""
        ...


class ShownMap(Protocol):
    """What a map must have to be shown."""

    min_offset: int
    max_offset: int

    def __iter__(self) -> Iterator[ShownEntry]:
        """Its entries in address order."""
        ...


class EntryRow(NamedTuple):
    """One entry as it was, under the names of struct vm_map_entry."""

    start: int
    end: int
    protection: int
    max_protection: int
    inheritance: int
    object: str
    """Type, and path of a file; bounds of a submap; empty for none."""
    offset: int
    eflags: int
    wired_count: int = 0
    avail_ssize: int = 0
    """Bytes that a classic stack may still grow; 0 for what is none."""
    next_read: int = 0
    """Bytes of guard that a stack gap keeps; 0 for what is none, where the field means something else."""


Rows = tuple[EntryRow, ...]
"""A map as it was."""


# names


def kern_name(rv: int) -> str:
    """The name of a return code: ``KERN_NO_SPACE``; the number of one that has none."""
    return KERN_NAMES.get(rv, str(int(rv)))


def eflag_names(eflags: int) -> list[str]:
    """The flags of an entry by name, without ``MAP_ENTRY_``; bits that have no name as one number."""
    names = [name for bit, name in EFLAG_NAMES.items() if eflags & bit]
    if eflags & MAP_ENTRY_BEHAV_MASK:
        names.append(BEHAV_NAMES[eflags & MAP_ENTRY_BEHAV_MASK])
    boundary = (eflags & MAP_ENTRY_SPLIT_BOUNDARY_MASK) >> MAP_ENTRY_SPLIT_BOUNDARY_SHIFT
    if boundary:
        names.append(f"SPLIT_BOUNDARY({boundary})")
    rest = eflags & ~(sum(EFLAG_NAMES) | MAP_ENTRY_BEHAV_MASK | MAP_ENTRY_SPLIT_BOUNDARY_MASK)
    return [*names, f"{rest:#x}"] if rest else names


def inherit_name(inheritance: int) -> str:
    """VM_INHERIT_COPY is ``copy``."""
    return INHERIT_NAMES[inheritance] if 0 <= inheritance < len(INHERIT_NAMES) else str(inheritance)


def object_text(obj: ShownObject) -> str:
    """The type of an object and its file; what it shadows in the end: ``default over vnode /bin/cat``."""
    bottom = obj
    while (below := bottom.backing_object) is not None:
        bottom = below
    return _type_text(obj) if bottom is obj else f"{_type_text(obj)} over {_type_text(bottom)}"


def _type_text(obj: ShownObject) -> str:
    name = TYPE_NAMES[obj.type] if 0 <= obj.type < len(TYPE_NAMES) else str(obj.type)
    path = full_path(obj.handle) if obj.type == OBJT_VNODE else ""
    return f"{name} {path}" if path else name


# one entry


def entry_row(entry: ShownEntry) -> EntryRow:
    """Copy what can be shown of *entry*."""
    eflags = entry.eflags
    return EntryRow(
        start=entry.start,
        end=entry.end,
        protection=entry.protection,
        max_protection=entry.max_protection,
        inheritance=entry.inheritance,
        object=_backing_text(entry),
        offset=entry.offset,
        eflags=eflags,
        wired_count=entry.wired_count,
        avail_ssize=entry.avail_ssize if eflags & STACKS else 0,
        next_read=entry.next_read if eflags & GAPS else 0,
    )


def _backing_text(entry: ShownEntry) -> str:
    if (submap := entry.sub_map) is not None:
        return f"map [{submap.min_offset:#x}, {submap.max_offset:#x})"
    return "" if entry.vm_object is None else object_text(entry.vm_object)


def entry_text(entry: ShownEntry) -> str:
    """Range, rights (and maximum), object with offset, and flags on one line.

    ``[0x1000, 0x3000) rw-/rwx default+0x1000 MAP_ENTRY_COW|MAP_ENTRY_NEEDS_COPY``
    """
    return _row_text(entry_row(entry))


def _row_text(row: EntryRow) -> str:
    words = (
        f"[{row.start:#x}, {row.end:#x})",
        f"{prot_string(row.protection)}/{prot_string(row.max_protection)}",
        row.object + (f"+{row.offset:#x}" if row.object and row.offset else ""),
        _flags_text(row.eflags),
        _note(row),
    )
    return " ".join(word for word in words if word)


def _flags_text(eflags: int) -> str:
    return "|".join(PREFIX + name if name[0].isalpha() else name for name in eflag_names(eflags))


def _note(row: EntryRow) -> str:
    """What no column has: the reserve of a stack, the guard that a gap keeps, wirings."""
    notes = []
    if row.avail_ssize:
        notes.append(f"may grow {row.avail_ssize:#x}")
    if row.next_read:
        notes.append(f"guard {row.next_read:#x}")
    if row.wired_count:
        notes.append(f"wired {row.wired_count}")
    return ", ".join(notes)


# a map

HEAD: Final = ("START", "END", "SIZE", "PRT", "MAX", "INHERIT", "OBJECT", "OFFSET", PREFIX, "")
NUMBERS: Final = frozenset({"START", "END", "SIZE", "OFFSET"})
"""Columns that are aligned to the right."""


def map_rows(map_: ShownMap) -> Rows:
    """Copies of all entries, in address order."""
    return tuple(entry_row(entry) for entry in map_)


def map_table(map_: ShownMap) -> str:
    """The entries as aligned columns, a line each; the last column, without a name, says what no other has."""
    lines = [HEAD, *(_cells(row) for row in map_rows(map_))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(cells, widths) for cells in lines)


def map_html(map_: ShownMap) -> str:
    """The table as HTML, for notebooks; every cell is escaped, because a file may be called anything."""
    head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
    rows = ("".join(_html_cells(_cells(row))) for row in map_rows(map_))
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"


def _html_cells(cells: Sequence[str]) -> Iterator[str]:
    for name, text in zip(HEAD, cells, strict=True):
        style = ' style="text-align: right; font-family: monospace"' if name in NUMBERS else ""
        yield f"<td{style}>{escape(text)}</td>"


def _cells(row: EntryRow) -> tuple[str, ...]:
    return (
        f"{row.start:#x}",
        f"{row.end:#x}",
        f"{row.end - row.start:#x}",
        prot_string(row.protection),
        prot_string(row.max_protection),
        inherit_name(row.inheritance),
        row.object or "-",
        f"{row.offset:#x}" if row.object else "-",
        "|".join(eflag_names(row.eflags)) or "-",
        _note(row),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if name in NUMBERS else cell.ljust(width)
        for name, cell, width in zip(HEAD, cells, widths, strict=True)
    )
    return "  ".join(padded).rstrip()


# two maps


@dataclass(frozen=True, slots=True)
class EntryChange:
    """An entry that one of two maps has and the other has not, or has otherwise."""

    before: EntryRow | None
    """None: added."""
    after: EntryRow | None
    """None: removed."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that differ, for an entry that both have."""
        if self.before is None or self.after is None:
            return ()
        pairs = zip(EntryRow._fields, self.before, self.after, strict=True)
        return tuple(name for name, old, new in pairs if old != new)

    def __str__(self) -> str:
        """One line: ``+`` and the entry, ``-`` and the entry, or ``~``, its old range and each field that changed."""
        match self.before, self.after:
            case EntryRow() as before, EntryRow() as after:
                changes = (f"{name} {_value(before, name)} -> {_value(after, name)}" for name in self.fields)
                return f"~ [{before.start:#x}, {before.end:#x}) {', '.join(changes)}"
            case EntryRow() as before, None:
                return f"- {_row_text(before)}"
            case None, EntryRow() as after:
                return f"+ {_row_text(after)}"
            case _:
                return ""


def _value(row: EntryRow, name: str) -> str:
    match name:
        case "protection" | "max_protection":
            return prot_string(getattr(row, name))
        case "inheritance":
            return inherit_name(row.inheritance)
        case "object":
            return row.object or "none"
        case "eflags":
            return _flags_text(row.eflags) or "0"
        case "wired_count":
            return str(row.wired_count)
        case _:
            return f"{getattr(row, name):#x}"


@dataclass(frozen=True, slots=True)
class MapDiff:
    """How two maps differ; false when they do not."""

    changes: tuple[EntryChange, ...]
    """In address order."""

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        """A line for each change, or ``no difference``."""
        return "\n".join(map(str, self.changes)) or "no difference"


def map_diff(a: ShownMap | Rows, b: ShownMap | Rows) -> MapDiff:
    """What became of the entries of *a* in *b*: two maps, or the rows of one at two times.

    An entry of *a* is that entry of *b* which begins at the same address, else that which ends there: of one that was
    cut in two the lower part counts as the old one.  Objects are compared by what they are called, so that a copy of a
    map is no different.
    """
    rows_a, rows_b = _rows(a), _rows(b)
    same = {*rows_a} & {*rows_b}
    old = {row: None for row in rows_a if row not in same}
    new = {row: None for row in rows_b if row not in same}
    changes: list[EntryChange] = []
    for bound in (_start, _end):
        there = {bound(row): row for row in new}
        for before in [row for row in old if bound(row) in there]:
            after = there[bound(before)]
            del old[before], new[after]
            changes.append(EntryChange(before, after))
    changes += [EntryChange(row, None) for row in old]
    changes += [EntryChange(None, row) for row in new]
    return MapDiff(tuple(sorted(changes, key=_where)))


def _rows(map_: ShownMap | Rows) -> Rows:
    return map_ if isinstance(map_, tuple) else map_rows(map_)


def _start(row: EntryRow) -> int:
    return row.start


def _end(row: EntryRow) -> int:
    return row.end


def _where(change: EntryChange) -> tuple[int, int]:
    """Address order; where two entries begin at one address what was there comes first."""
    row = change.before or change.after
    return (row.start if row else 0, change.before is None)
