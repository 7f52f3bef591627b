"""Addresses to names: ELF symbol tables and DWARF lines of everything a process has mapped.

Model only.  ``SymbolTable`` reads one file with pyelftools, ``Symbols`` finds the file behind an address by
the entries of a map, and its bias by comparing a mapped offset with the program headers: so position-
independent programs and shared libraries resolve as well.  pyelftools is imported at the first look-up.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kernel_model.vm.vm_param import trunc_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kernel_model.ktrace import EntryState


class Symbol(NamedTuple):
    """A function or variable; ``start`` without bias."""

    start: int
    size: int
    name: str
    code: bool


class Section(NamedTuple):
    """A part of a file, by the section headers; without them a segment named after its rights."""

    start: int
    end: int
    name: str
    writable: bool
    code: bool


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


class SymbolTable:
    """Symbols, sections and line numbers of one ELF file."""

    __slots__ = ("_inlined", "_lines", "_starts", "dynamic", "elf", "path", "sections", "segments", "symbols")

    def __init__(self, path: Path) -> None:
        """Read the tables of *path*; OSError or ValueError when it is no readable ELF file."""
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile

        self.path = path
        with path.open("rb") as file:
            try:
                elf = ELFFile(file)
                self.dynamic = elf["e_type"] == "ET_DYN"
                self.segments = [
                    (seg["p_vaddr"], seg["p_offset"], seg["p_filesz"], seg["p_memsz"], seg["p_flags"])
                    for seg in elf.iter_segments("PT_LOAD")
                ]
                self.sections = _sections(elf) or _segment_sections(self.segments)
                self.symbols = _symbols(elf)
            except (ELFError, KeyError, UnicodeDecodeError) as error:
                raise ValueError(f"{path}: {error}") from error
        self._starts = [symbol.start for symbol in self.symbols]
        self._lines: list[tuple[int, str, int]] | None = None
        self._inlined: list[tuple[int, int, str, int]] | None = None

    def find(self, addr: int) -> Symbol | None:
        """The symbol that contains *addr*, or the nearest one below it in the same section."""
        index = bisect_right(self._starts, addr) - 1
        while index >= 0:
            symbol = self.symbols[index]
            if addr < symbol.start + symbol.size:
                return symbol
            if not symbol.size and self.section(addr) == self.section(symbol.start):
                return symbol
            index -= 1
            if addr - symbol.start > 1 << 24:
                return None
        return None

    def section(self, addr: int) -> Section | None:
        """The section that contains *addr*."""
        return next((section for section in self.sections if section.start <= addr < section.end), None)

    def line(self, addr: int) -> tuple[str, int]:
        """Source file and line of *addr*; ``("", 0)`` when DWARF does not say."""
        if self._lines is None:
            self._lines = _dwarf_lines(self.path)
        index = bisect_right(self._lines, addr, key=lambda row: row[0]) - 1
        if index < 0:
            return "", 0
        _, file, line = self._lines[index]
        return file, line

    def inlined_at(self, addr: int) -> tuple[str, int] | None:
        """Source file and line of the call that was inlined at *addr*, the outermost one; None when none was."""
        if self._inlined is None:
            self._inlined = _dwarf_inlined(self.path)
        return next(((file, line) for start, end, file, line in self._inlined if start <= addr < end), None)

    def code(self, addr: int, count: int) -> bytes:
        """*count* bytes of the file's image at *addr* (without bias); fewer where the file has none."""
        for vaddr, offset, filesz, _, _ in self.segments:
            if vaddr <= addr < vaddr + filesz:
                with self.path.open("rb") as file:
                    file.seek(offset + addr - vaddr)
                    return file.read(min(count, vaddr + filesz - addr))
        return b""

    def bias(self, start: int, offset: int) -> int:
        """Difference between run-time and link-time addresses, from one mapping of the file."""
        if not self.dynamic:
            return 0
        for vaddr, file_offset, filesz, _, _ in self.segments:
            if trunc_page(file_offset) <= offset < file_offset + max(filesz, 1):
                return start - offset + file_offset - vaddr
        return start - offset


def _sections(elf: Any) -> list[Section]:  # noqa: ANN401 - pyelftools has no types
    allocated, writable, code = 2, 1, 4
    found = []
    for section in elf.iter_sections():
        flags = section["sh_flags"]
        if flags & allocated and section["sh_size"]:
            start = section["sh_addr"]
            end = start + section["sh_size"]
            found.append(Section(start, end, section.name, bool(flags & writable), bool(flags & code)))
    return sorted(found)


def _segment_sections(segments: Iterable[tuple[int, int, int, int, int]]) -> list[Section]:
    found = []
    for vaddr, _, _, memsz, flags in segments:
        name = "code" if flags & 1 else "data" if flags & 2 else "read-only data"
        found.append(Section(vaddr, vaddr + memsz, name, bool(flags & 2), bool(flags & 1)))
    return found


def _symbols(elf: Any) -> list[Symbol]:  # noqa: ANN401 - pyelftools has no types
    from elftools.elf.sections import SymbolTableSection

    kinds = {"STT_FUNC": True, "STT_OBJECT": False, "STT_NOTYPE": True, "STT_LOOS": True}
    best: dict[int, Symbol] = {}
    for section in elf.iter_sections():
        if not isinstance(section, SymbolTableSection):
            continue
        for one in section.iter_symbols():
            kind = one["st_info"]["type"]
            if kind not in kinds or one["st_shndx"] == "SHN_UNDEF" or not one.name:
                continue
            symbol = Symbol(one["st_value"], one["st_size"], one.name, kinds[kind])
            known = best.get(symbol.start)
            if known is None or _better(symbol, known):
                best[symbol.start] = symbol
    return sorted(best.values())


def _better(new: Symbol, old: Symbol) -> bool:
    """Prefer symbols with a size, then names without a leading underscore."""
    return (new.size > 0, not new.name.startswith("_")) > (old.size > 0, not old.name.startswith("_"))


def _dwarf_lines(path: Path) -> list[tuple[int, str, int]]:
    """Every row of the line tables as (address, file, line), sorted; empty without DWARF."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    rows: list[tuple[int, str, int]] = []
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if not elf.has_dwarf_info():
                return []
            dwarf = elf.get_dwarf_info()
            for unit in dwarf.iter_CUs():
                program = dwarf.line_program_for_CU(unit)
                if program is not None:
                    rows.extend(_rows(program))
    except (ELFError, OSError, KeyError, AttributeError, NotImplementedError):
        return []  # a line table that pyelftools cannot read costs the line numbers, nothing else
    rows.sort(key=lambda row: row[0])
    return rows


def _dwarf_inlined(path: Path) -> list[tuple[int, int, str, int]]:
    """Every inlined call as (start, end, file, line), outer ones first; empty without DWARF."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    found: list[tuple[int, int, str, int]] = []
    try:
        with path.open("rb") as file:
            dwarf = ELFFile(file).get_dwarf_info()
            for unit in dwarf.iter_CUs():
                if unit["unit_length"] > _LARGEST_UNIT:
                    continue
                names = _file_names(dwarf.line_program_for_CU(unit))
                for die in unit.iter_DIEs():
                    if die.tag == "DW_TAG_inlined_subroutine" and "DW_AT_call_line" in die.attributes:
                        source = names(die.attributes["DW_AT_call_file"].value)
                        line = die.attributes["DW_AT_call_line"].value
                        found.extend((start, end, source, line) for start, end in _ranges(dwarf, unit, die))
    except (ELFError, OSError, KeyError, AttributeError, NotImplementedError):
        return []
    return found


_LARGEST_UNIT = 1 << 20
"""Bytes of debugging entries that are still searched for inlined calls: reading them is slow."""


def _file_names(program: Any) -> Callable[[int], str]:  # noqa: ANN401 - pyelftools has no types
    """What the file numbers of a line table stand for."""
    names = [entry.name.decode(errors="replace") for entry in program.header["file_entry"]]
    first = 0 if program.header["version"] >= 5 else 1
    return lambda number: names[number - first] if 0 <= number - first < len(names) else ""


def _ranges(dwarf: Any, unit: Any, die: Any) -> list[tuple[int, int]]:  # noqa: ANN401 - pyelftools has no types
    """The addresses of *die*.  DWARF 4 and 5, by low and high or by a list."""
    attributes = die.attributes
    if "DW_AT_low_pc" in attributes and "DW_AT_high_pc" in attributes:
        low, high = attributes["DW_AT_low_pc"].value, attributes["DW_AT_high_pc"]
        return [(low, high.value if high.form == "DW_FORM_addr" else low + high.value)]
    if "DW_AT_ranges" not in attributes or unit["version"] >= 5:
        return []
    top = unit.get_top_DIE().attributes
    base = top["DW_AT_low_pc"].value if "DW_AT_low_pc" in top else 0
    found = []
    for entry in dwarf.range_lists().get_range_list_at_offset(attributes["DW_AT_ranges"].value):
        if hasattr(entry, "base_address"):
            base = entry.base_address
        else:
            found.append((base + entry.begin_offset, base + entry.end_offset))
    return found


def _rows(program: Any) -> list[tuple[int, str, int]]:  # noqa: ANN401 - pyelftools has no types
    name_of = _file_names(program)
    rows = []
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        if state.end_sequence:
            rows.append((state.address, "", 0))
            continue
        rows.append((state.address, name_of(state.file), state.line))
    return rows


class Symbols:
    """Names for the addresses of one process.

    *host_path* turns a guest path into the file on the host, or None when there is none.
    """

    __slots__ = ("_host_path", "_tables")

    def __init__(self, host_path: Callable[[str], Path | None]) -> None:
        self._host_path = host_path
        self._tables: dict[str, SymbolTable | None] = {}

    def table(self, path: str) -> SymbolTable | None:
        """The tables of the file that the guest calls *path*; None when it cannot be read."""
        if path not in self._tables:
            host = self._host_path(path)
            try:
                self._tables[path] = None if host is None else SymbolTable(host)
            except (OSError, ValueError):
                self._tables[path] = None
        return self._tables[path]

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


def host_path_under(root: str) -> Callable[[str], Path | None]:
    """Turns a guest path into the host's file below *root*; None when there is none."""

    def find(path: str) -> Path | None:
        host = Path(root) / path.lstrip("/")
        return host if host.is_file() else None

    return find


def symbols_under(root: str) -> Symbols:
    """Names for programs whose ``/`` is *root*."""
    return Symbols(host_path_under(root))
