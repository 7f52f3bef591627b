"""Addresses to names: ELF symbol tables and DWARF lines of everything a process has mapped.

Model only.  ``SymbolTable`` has the tables of one file, ``Symbols`` finds the file behind an address by the entries of
a map, and its bias by comparing a mapped offset with the program headers: so position-independent programs and shared
libraries resolve as well.  The file is the one that was mapped, not what has its name now.  pyelftools is imported at
the first look-up; what a damaged file does not say is left out, with a line that says so.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from emu.program.elf import Allowance, Damaged, Section, is_elf, read_inlined, read_lines, read_tables
from emu.program.files import VnodeFile, open_beneath
from kernel_model.kern.vnode import Vnode
from kernel_model.ktrace import MAP
from kernel_model.ktrace.entry import full_path
from kernel_model.vm.vm import OBJT_VNODE, VM_PROT_EXECUTE
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_object import bottom_object
from kernel_model.vm.vm_param import trunc_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emu.program.elf import Inlined, Line, Segment, Symbol
    from emu.program.files import Source
    from kernel_model.ktrace import EntryState, MapChange
    from kernel_model.ktrace.sink import KTrace
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry


@dataclass(frozen=True, slots=True)
class Place:
    """What an address is called.  ``str()`` gives ``main+0x12 at null.c:7`` or ``libc.so.7+0x8123``."""

    addr: int
    file: str
    """Path of the mapped file, as the guest names it."""
    symbol: str = ""
    offset: int = 0
    """From the symbol's start; from the file's base when there is no symbol."""
    source: str = ""
    line: int = 0
    section: str = ""
    size: int = 0
    """Bytes of the symbol, 0 when unknown."""
    inlined: str = ""
    """``freebsd.h:45`` when the instruction comes from there and ``line`` is that of the call."""

    def __str__(self) -> str:
        if not self.symbol:
            return f"{Path(self.file).name}+{self.offset:#x}"
        name = f"{self.symbol}+{self.offset:#x}" if self.offset else self.symbol
        return f"{name} at {Path(self.source).name}:{self.line}" if self.source else name


_BACK = 1000
"""So many symbols, or sections, that begin below an address are looked at: a damaged file has any number there."""


class SymbolTable:
    """Symbols, sections and line numbers of one ELF file.

    ``complain`` is told, in one line, what the file does not say because it is damaged.
    """

    __slots__ = (
        "_allowance", "_inlined", "_lines", "_starts", "complain", "dynamic", "sections", "segments", "source",
        "symbols",
    )  # fmt: skip

    def __init__(
        self,
        source: Source,
        complain: Callable[[str], None] = lambda _text: None,
        allowance: Allowance | None = None,
    ) -> None:
        """Read the tables of *source*; ``Damaged`` when it is no readable ELF file.

        The time that it takes, now and later, is taken from *allowance*.
        """
        self._allowance = Allowance() if allowance is None else allowance
        tables = read_tables(source, self._allowance)
        self.source = source
        self.complain = complain
        self.dynamic = tables.dynamic
        self.segments = tables.segments
        self.sections = tables.sections or _segment_sections(tables.segments)
        self.symbols = tables.symbols
        if tables.damage:
            complain(tables.damage)
        self._starts = [symbol.start for symbol in self.symbols]
        self._lines: list[Line] | None = None
        self._inlined: list[Inlined] | None = None

    def find(self, addr: int) -> Symbol | None:
        """The symbol that contains *addr*, or the nearest one below it in the same section."""
        last = bisect_right(self._starts, addr) - 1
        here = self.section(addr)
        for index in range(last, max(last - _BACK, -1), -1):
            symbol = self.symbols[index]
            if addr < symbol.start + symbol.size:
                return symbol
            if not symbol.size and here == self.section(symbol.start):
                return symbol
            if addr - symbol.start > 1 << 24:
                return None
        return None

    def section(self, addr: int) -> Section | None:
        """The section that contains *addr*."""
        last = bisect_right(self.sections, addr, key=lambda section: section.start)
        near = self.sections[max(last - _BACK, 0) : last]
        return next((section for section in near if addr < section.end), None)

    def line(self, addr: int) -> tuple[str, int]:
        """Source file and line of *addr*; ``("", 0)`` when DWARF does not say."""
        if self._lines is None:
            try:
                self._lines = read_lines(self.source, self._allowance)
            except Damaged as damage:
                self._lines = []
                self.complain(f"no line numbers: {damage}")
        index = bisect_right(self._lines, addr, key=lambda row: row[0]) - 1
        if index < 0:
            return "", 0
        return self._lines[index][1:]

    def inlined_at(self, addr: int) -> tuple[str, int] | None:
        """Source file and line of the call that was inlined at *addr*, the outermost one; None when none was."""
        if self._inlined is None:
            try:
                self._inlined = read_inlined(self.source, self._allowance)
            except Damaged as damage:
                self._inlined = []
                self.complain(f"no inlined calls: {damage}")
        return next(((file, line) for start, end, file, line in self._inlined if start <= addr < end), None)

    def code(self, addr: int, count: int) -> bytes:
        """*count* bytes of the file's image at *addr* (without bias); fewer where the file has none."""
        for vaddr, offset, filesz, _, _ in self.segments:
            if vaddr <= addr < vaddr + filesz:
                try:
                    return self.source.read_at(offset + addr - vaddr, min(count, vaddr + filesz - addr))
                except (OSError, OverflowError):
                    return b""
        return b""

    def bias(self, start: int, offset: int) -> int:
        """Difference between run-time and link-time addresses, from one mapping of the file."""
        if not self.dynamic:
            return 0
        for vaddr, file_offset, filesz, _, _ in self.segments:
            if trunc_page(file_offset) <= offset < file_offset + max(filesz, 1):
                return start - offset + file_offset - vaddr
        return start - offset


def _segment_sections(segments: Iterable[Segment]) -> list[Section]:
    found = []
    for vaddr, _, _, memsz, flags in segments:
        name = "code" if flags & 1 else "data" if flags & 2 else "read-only data"
        found.append(Section(vaddr, vaddr + memsz, name, bool(flags & 2), bool(flags & 1)))
    return sorted(found)


class Symbols:
    """Names for the addresses of one process.

    *open_file* turns a guest path into the file, or None when there is none.  ``complain`` is told, in one line a file
    and kind, what cannot be said; ``notes`` keeps these lines.
    """

    __slots__ = ("_allowance", "_complain", "_open_file", "_tables", "notes")

    def __init__(
        self, open_file: Callable[[str], Source | None], complain: Callable[[str], None] = lambda _text: None
    ) -> None:
        self._open_file = open_file
        self._complain = complain
        self._allowance = Allowance()
        self.notes: list[str] = []
        self._tables: dict[str, tuple[Source, SymbolTable | None]] = {}

    def _note(self, path: str, text: str) -> None:
        note = f"{path}: {text}"
        if note not in self.notes:
            self.notes.append(note)
            self._complain(note)

    def table(self, path: str) -> SymbolTable | None:
        """The tables of the file that the guest calls *path*; None when it cannot be read or is no ELF file."""
        try:
            source = self._open_file(path)
        except Ambiguous as ambiguous:
            self._note(path, str(ambiguous))
            return None
        if source is None:
            return None
        known = self._tables.get(path)
        if known is None or known[0] is not source:
            known = self._tables[path] = (source, self._read(path, source))
        return known[1]

    def _read(self, path: str, source: Source) -> SymbolTable | None:
        if not is_elf(source):
            return None
        try:
            return SymbolTable(source, partial(self._note, path), self._allowance)
        except Damaged as damage:
            self._note(path, f"no symbols: {damage}")
        return None

    def _bias(self, table: SymbolTable, owner: EntryState, entries: Iterable[EntryState]) -> int:
        """By the lowest mapping of the file, its beginning.

        One page of a file may belong to two segments, and the offset of an entry that was copied on write is no offset
        in the file any more.
        """
        first = next((entry for entry in entries if entry.vnode == owner.vnode and entry.offset == 0), owner)
        return table.bias(first.start, first.offset)

    def returns_to(self, addr: int, entries: Iterable[EntryState]) -> bool:
        """Whether the instruction before *addr* is a call, so that *addr* can be a return address."""
        owner = _owner(addr, entries)
        if owner is None or not owner.prot & 4:
            return False
        table = self.table(owner.vnode)
        if table is None:
            return False
        before = table.code(addr - self._bias(table, owner, entries) - 7, 7)
        return len(before) == 7 and any(before[7 - length] == opcode for length, opcode in _CALLS)

    def caller(self, addr: int, entries: Iterable[EntryState]) -> Place | None:
        """The call that returns to *addr*, with the line of the call; None when *addr* follows none.

        The beginning of a function is a pointer to it rather than a return address.
        """
        here = self.find(addr, entries)
        if (here is not None and here.symbol and not here.offset) or not self.returns_to(addr, entries):
            return None
        place = self.find(addr - 1, entries)
        return None if place is None else replace(place, addr=addr, offset=place.offset + 1)

    def find(self, addr: int, entries: Iterable[EntryState]) -> Place | None:
        """What *addr* is called in a map of *entries*; None when no file is mapped there.

        The zero-filled tail of a program's data (bss) is an anonymous entry right above the file's.
        """
        owner = _owner(addr, entries)
        if owner is None:
            return None
        table = self.table(owner.vnode)
        if table is None:
            return Place(addr, owner.vnode, offset=addr - owner.start + owner.offset)
        bias = self._bias(table, owner, entries)
        section = table.section(addr - bias)
        inside = section.name if section is not None else ""
        symbol = table.find(addr - bias) if section is not None else None
        if symbol is None:
            base = min((seg[0] for seg in table.segments), default=0)
            return Place(addr, owner.vnode, offset=addr - bias - trunc_page(base), section=inside)
        source, line = table.line(addr - bias) if symbol.code else ("", 0)
        inlined = ""
        outer = table.inlined_at(addr - bias) if source else None
        if outer is not None:
            inlined = f"{Path(source).name}:{line}"
            source, line = outer
        offset = addr - bias - symbol.start
        return Place(addr, owner.vnode, symbol.name, offset, source, line, inside, symbol.size, inlined)


@dataclass(frozen=True, slots=True)
class Names:
    """Names in one map, for text.  Callable: ``names(0x2014c9)`` is ``release+0x19 at prog.c:12``, or empty."""

    symbols: Symbols
    entries: tuple[EntryState, ...]

    def __call__(self, addr: int) -> str:
        """What *addr* is called, with its source line."""
        place = self.symbols.find(addr, self.entries)
        return "" if place is None else str(place)

    def callers(self, addresses: Iterable[int]) -> list[str]:
        """The calls that return to *addresses*, without those that follow no call."""
        places = [self.symbols.caller(addr, self.entries) for addr in addresses]
        return [str(place) for place in places if place is not None]


_CALLS = ((5, 0xE8), (2, 0xFF), (3, 0xFF), (6, 0xFF), (7, 0xFF))
"""Bytes of a call instruction and its first one: direct, through a register, through memory."""


def _owner(addr: int, entries: Iterable[EntryState]) -> EntryState | None:
    """The file mapping at *addr*, or the one that an anonymous entry there continues."""
    previous: EntryState | None = None
    for entry in entries:
        if entry.vnode:
            if entry.start <= addr < entry.end:
                return entry
            previous = entry
        elif entry.start <= addr < entry.end:
            continues = previous is not None and previous.end == entry.start
            return previous if continues else None
        elif previous is not None and previous.end != entry.start:
            previous = None
        if entry.start > addr:
            return None
    return None


class Ambiguous(Exception):
    """One name, several files: nobody can say whose symbols are meant."""


def symbols_under(root: str, complain: Callable[[str], None] = lambda _text: None) -> Symbols:
    """Names for a recorded program whose ``/`` was *root*: from the files that are there now, no link followed."""

    @cache
    def find(path: str) -> Source | None:
        try:
            return open_beneath(root, path)
        except (OSError, ValueError):
            return None

    return Symbols(find, complain)


def symbols_of(map_: VmMap, ktrace: KTrace, complain: Callable[[str], None] = lambda _text: None) -> Symbols:
    """Names for what a running process has mapped, *map_*, and maps from now on."""
    files = MappedFiles(map_)
    ktrace.subscribe(MAP, files)
    return Symbols(files.open_file, complain)


class MappedFiles:
    """The files whose code a running process has mapped.  Callable: it is a listener for MAP events.

    The vnodes themselves are kept, each with its file open: what the program puts under their names is not read.
    """

    __slots__ = ("_files", "_several")

    def __init__(self, entries: Iterable[VmMapEntry] = ()) -> None:
        """Begin with what *entries* map."""
        self._files: dict[str, VnodeFile] = {}
        self._several: set[str] = set()
        for entry in entries:
            if entry.protection & VM_PROT_EXECUTE:
                self._take(entry)

    def __call__(self, change: MapChange) -> None:
        """Keep the file of a mapping that can be executed."""
        if change.prot & VM_PROT_EXECUTE and change.what in ("insert", "protect") and change.map is not None:
            found, entry = vm_map_lookup_entry(change.map, change.start)
            if found:
                self._take(entry)

    def _take(self, entry: VmMapEntry) -> None:
        obj = entry.vm_object
        bottom = None if obj is None else bottom_object(obj)[0]
        vp = None if bottom is None or bottom.type != OBJT_VNODE else bottom.handle
        if not isinstance(vp, Vnode):
            return
        path = full_path(vp)
        known = self._files.get(path)
        if known is not None:
            if known.vp is not vp:
                self._several.add(path)
        elif len(self._files) < MOST_FILES:
            with suppress(OSError):
                self._files[path] = VnodeFile(vp)

    def open_file(self, path: str) -> Source | None:
        """The file that was mapped as *path*; Ambiguous when these were several."""
        if path in self._several:
            raise Ambiguous("no symbols: different files were mapped under this name")
        return self._files.get(path)


MOST_FILES = 512
"""Files that are kept for their symbols: each is a descriptor."""
