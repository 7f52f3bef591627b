"""Maps and return codes as a person reads them: in the interpreter, in a notebook, in a failing test.

    map_table(map_)     the entries as aligned columns        map_html(map_)     the same as an HTML table
    map_rows(map_)      copies of the entries                 kern_name(rv)      KERN_NO_SPACE
    map_diff(a, b)      what b has that a has not, what it lacks, and what is another value

Rows are copies: ``before = map_rows(map_)`` now, ``print(map_diff(before, map_))`` later.  A map shows itself with
these, so this file stands below it; one entry's line is ``vm_map_entry.entry_text()``.

Model only: the columns follow procstat(1)'s ``-v``, the flags their names in sys/vm/vm_map.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from kernel_model.vm.vm import prot_string
from kernel_model.vm.vm_map_entry import PREFIX, EntryRow, eflag_names, eflags_text, entry_row
from kernel_model.vm.vm_param import KERN_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kernel_model.vm.vm_map_entry import VmMapEntry

INHERIT_NAMES: Final = ("share", "copy", "none", "zero")


class ShownMap(Protocol):
    """What a map must have to be shown: ``VmMap``."""

    def __iter__(self) -> Iterator[VmMapEntry]:
        """Its entries in address order."""
        ...


Rows = tuple[EntryRow, ...]
"""A map as it was."""


# names


def kern_name(rv: int) -> str:
    """The name of a return code: ``KERN_NO_SPACE``; the number of one that has none."""
    return KERN_NAMES.get(rv, str(int(rv)))


def inherit_name(inheritance: int) -> str:
    """VM_INHERIT_COPY is ``copy``."""
    return INHERIT_NAMES[inheritance] if 0 <= inheritance < len(INHERIT_NAMES) else str(inheritance)


# a map

HEAD: Final = ("START", "END", "SIZE", "PRT", "MAX", "INHERIT", "OBJECT", "OFFSET", PREFIX, "")
NUMBERS: Final = frozenset({"START", "END", "SIZE", "OFFSET"})
"""Columns that are aligned to the right."""


def map_rows(map_: ShownMap) -> Rows:
    """Copies of all entries, in address order."""
    return tuple(entry_row(entry) for entry in map_)


def map_table(map_: ShownMap, most: int | None = None) -> str:
    """The entries as aligned columns, a line each; the last column, without a name, says what no other has.

    Of more than *most* entries only the lowest and the highest are shown.
    """
    low, skipped, high = _parts(map_, most)
    lines = [HEAD, *map(_cells, low), *map(_cells, high)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [_line(cells, widths) for cells in lines]
    if skipped:
        text.insert(1 + len(low), _more(skipped))
    return "\n".join(text)


def map_html(map_: ShownMap, most: int | None = None) -> str:
    """The table as HTML, for notebooks; every cell is escaped, because a file may be called anything."""
    from html import escape  # a large module, for a notebook alone

    low, skipped, high = _parts(map_, most)
    head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
    rows = ["".join(_html_cells(map(escape, _cells(row)))) for row in (*low, *high)]
    if skipped:
        rows.insert(len(low), f'<td colspan="{len(HEAD)}">{_more(skipped)}</td>')
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"


def _parts(map_: ShownMap, most: int | None) -> tuple[Rows, int, Rows]:
    """The rows to show from below, how many are left out, and the rows from above."""
    rows = map_rows(map_)
    if most is None or len(rows) <= most:
        return rows, 0, ()
    half = most // 2
    return rows[:half], len(rows) - 2 * half, rows[len(rows) - half :]


def _more(skipped: int) -> str:
    return f"... {skipped:,} more"


def _html_cells(cells: Iterable[str]) -> Iterator[str]:
    for name, text in zip(HEAD, cells, strict=True):
        style = ' style="text-align: right; font-family: monospace"' if name in NUMBERS else ""
        yield f"<td{style}>{text}</td>"


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
        row.note,
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if name in NUMBERS else cell.ljust(width)
        for name, cell, width in zip(HEAD, cells, widths, strict=True)
    )
    return "  ".join(padded).rstrip()


# two maps


class EntryChange(NamedTuple):
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
                return f"- {before}"
            case None, EntryRow() as after:
                return f"+ {after}"
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
            return eflags_text(row.eflags) or "0"
        case "wired_count":
            return str(row.wired_count)
        case _:
            return f"{getattr(row, name):#x}"


class MapDiff:
    """How two maps differ; false when they do not.  It shows itself as its lines."""

    __slots__ = ("changes",)

    def __init__(self, changes: tuple[EntryChange, ...]) -> None:
        self.changes = changes
        """In address order."""

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        """A line for each change, or ``no difference``."""
        return "\n".join(map(str, self.changes)) or "no difference"

    __repr__ = __str__


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
