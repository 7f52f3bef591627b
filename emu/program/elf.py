"""The door to pyelftools: what a file says of itself is advice, and whatever it holds, an answer comes back.

Model only.  Nothing else imports pyelftools.  ``read_tables``, ``read_lines`` and ``read_inlined`` give plain records;
what is damaged, of an unknown kind, or takes too long or too much memory raises ``Damaged``, and nothing else does.
The bounds: pyelftools reads through ``_Guarded`` streams, which count bytes and look at the clock, a section has
``SECTION`` bytes at most, also when unpacked, and the one place where it can go on without reading is watched.
"""

from __future__ import annotations

import io
import struct
import sys
import time
import zlib
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from emu.program.files import Stream
from kernel_model.text import printable, printable_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from emu.program.files import Source

T = TypeVar("T")

SECONDS = 20.0
"""Processor time that one of the tables of a file may take."""
ALL_SECONDS = 60.0
"""Processor time that the files of one process may take together."""
SECTION = 256 << 20
"""Bytes of all debugging sections together, unpacked."""
READS = 1 << 31
"""Bytes that may be read for one table, again and again counted."""
STEPS = 1_000_000
"""Calls of Python functions that the header of one line table may take."""
LARGEST_UNIT = 1 << 20
"""Bytes of debugging entries that are still searched for inlined calls: reading them is slow."""
_BUFFER = 1 << 16
_NAME = 4096
"""Characters of a name that are kept."""


class Damaged(Exception):
    """The file does not say, or not within bounds; the text is one line for a person."""


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


class Segment(NamedTuple):
    """A loadable segment."""

    vaddr: int
    offset: int
    filesz: int
    memsz: int
    flags: int


class Tables(NamedTuple):
    """What the headers and symbol tables of a file say."""

    dynamic: bool
    segments: list[Segment]
    sections: list[Section]
    symbols: list[Symbol]
    damage: str
    """Why there are no sections or symbols; empty when nothing was wrong."""


class Line(NamedTuple):
    """From ``addr`` on, instructions come from ``line`` of ``file``; from nowhere when that is empty."""

    addr: int
    file: str
    line: int


class Inlined(NamedTuple):
    """A call in ``line`` of ``file`` that was inlined into ``[start, end)``."""

    start: int
    end: int
    file: str
    line: int


# -- bounds ------------------------------------------------------------------------------------------------


class Allowance:
    """What is left of the processor time for the files of one process."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        """All of it."""
        self.left = ALL_SECONDS


class _Budget:
    """What one table may cost."""

    __slots__ = ("_count", "_due", "_left", "_seconds", "blown")

    def __init__(self, seconds: float) -> None:
        self.blown = ""
        """Why there is nothing left; pyelftools takes some exceptions for its own, so each call says it again."""
        self._seconds = seconds
        self._due = time.thread_time() + seconds
        self._left = READS
        self._count = 0

    def spend(self, count: int) -> None:
        """Something was done, and *count* bytes are wanted."""
        self._left -= count
        self._count += 1
        if self._left < 0:
            self.blow("it takes too much memory")
        if not self._count & 0xFF and time.thread_time() > self._due:
            self.blow(f"it takes more than {self._seconds:.3g} s")
        if self.blown:
            raise Damaged(self.blown)

    def blow(self, why: str) -> NoReturn:
        """Nothing is left, since *why*."""
        self.blown = self.blown or why
        raise Damaged(self.blown)


class _Guarded:
    """A stream of *size* bytes that spends a budget, and never reads more than there is."""

    __slots__ = ("_at", "_budget", "_size", "_stream")

    def __init__(self, stream: IO[bytes] | io.BufferedIOBase, size: int, budget: _Budget) -> None:
        self._stream, self._size, self._budget = stream, size, budget
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        count = left if count < 0 else min(count, left)
        self._budget.spend(count)
        if not count:
            return b""
        self._stream.seek(self._at)
        data = self._stream.read(count)
        self._at += len(data)
        return data


def _damage() -> tuple[type[BaseException], ...]:
    """Everything that pyelftools raises on a file that is not as it should be: seven kinds were seen."""
    from elftools.common.exceptions import DWARFError, ELFError
    from elftools.construct import ConstructError

    return (
        ELFError, DWARFError, ConstructError, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError,
        MemoryError, OSError, RuntimeError, StopIteration, TypeError, ValueError, struct.error, zlib.error,
    )  # fmt: skip


def _bounded(work: Callable[[_Budget], T], allowance: Allowance) -> T:
    """What *work* finds; Damaged for whatever else it does."""
    began = time.thread_time()
    budget = _Budget(max(0.0, min(SECONDS, allowance.left)))
    try:
        return work(budget)
    except Damaged:
        raise
    except _damage() as error:
        if budget.blown:
            raise Damaged(budget.blown) from error
        text = printable(f"{type(error).__name__}: {error}")[:100].rstrip(": ")
        raise Damaged(f"damaged, or of an unknown kind ({text})") from error
    finally:
        allowance.left -= time.thread_time() - began


def _elf(source: Source, budget: _Budget) -> Any:  # noqa: ANN401 - pyelftools builds them as it reads
    from elftools.elf.elffile import ELFFile

    stream: Any = _Guarded(io.BufferedReader(Stream(source), _BUFFER), source.size, budget)
    return ELFFile(stream)


def _name(text: object) -> str:
    """A name of the file's, bounded and printable."""
    if isinstance(text, bytes):
        return printable_bytes(text[:_NAME])
    return printable(text[:_NAME]) if isinstance(text, str) else ""


# -- headers and symbols --------------------------------------------------------------------------------------


def is_elf(source: Source) -> bool:
    """Whether *source* begins as an ELF file does; False when it cannot be read."""
    try:
        return source.read_at(0, 4) == b"\x7fELF"
    except OSError:
        return False


def read_tables(source: Source, allowance: Allowance) -> Tables:
    """Segments, sections and symbols; Damaged when even the segments cannot be told."""
    dynamic, segments = _bounded(lambda budget: _segments(_elf(source, budget)), allowance)
    try:
        sections, symbols = _bounded(lambda budget: _named(_elf(source, budget), budget), allowance)
    except Damaged as damage:
        return Tables(dynamic, segments, [], [], f"no symbols: {damage}")
    return Tables(dynamic, segments, sections, symbols, "")


def _segments(elf: Any) -> tuple[bool, list[Segment]]:  # noqa: ANN401 - pyelftools builds them as it reads
    names = ("p_vaddr", "p_offset", "p_filesz", "p_memsz", "p_flags")
    found = [Segment(*(int(seg[name]) for name in names)) for seg in elf.iter_segments("PT_LOAD")]
    return elf["e_type"] == "ET_DYN", found


def _named(elf: Any, budget: _Budget) -> tuple[list[Section], list[Symbol]]:  # noqa: ANN401 - pyelftools builds them as it reads
    allocated, writable, code = 2, 1, 4
    sections = []
    for section in elf.iter_sections():
        flags = section["sh_flags"]
        if flags & allocated and section["sh_size"]:
            start = section["sh_addr"]
            end = start + section["sh_size"]
            sections.append(Section(start, end, _name(section.name), bool(flags & writable), bool(flags & code)))
    return sorted(sections), _symbols(elf, budget)


def _symbols(elf: Any, budget: _Budget) -> list[Symbol]:  # noqa: ANN401 - pyelftools builds them as it reads
    from elftools.elf.sections import SymbolTableSection

    kinds = {"STT_FUNC": True, "STT_OBJECT": False, "STT_NOTYPE": True, "STT_LOOS": True}
    best: dict[int, Symbol] = {}
    for section in elf.iter_sections():
        if not isinstance(section, SymbolTableSection):
            continue
        for one in section.iter_symbols():
            budget.spend(0)
            kind = one["st_info"]["type"]
            if kind not in kinds or one["st_shndx"] == "SHN_UNDEF" or not one.name:
                continue
            symbol = Symbol(one["st_value"], one["st_size"], _name(one.name), kinds[kind])
            known = best.get(symbol.start)
            if known is None or _better(symbol, known):
                best[symbol.start] = symbol
    return sorted(best.values())


def _better(new: Symbol, old: Symbol) -> bool:
    """Prefer symbols with a size, then names without a leading underscore."""
    return (new.size > 0, not new.name.startswith("_")) > (old.size > 0, not old.name.startswith("_"))


# -- DWARF ---------------------------------------------------------------------------------------------------


def read_lines(source: Source, allowance: Allowance) -> list[Line]:
    """Every row of the line tables, sorted by address; empty without DWARF.  Damaged when they cannot be read."""
    return _bounded(lambda budget: sorted(_lines(source, budget), key=lambda row: row.addr), allowance)


def read_inlined(source: Source, allowance: Allowance) -> list[Inlined]:
    """Every inlined call, outer ones first; empty without DWARF.  Damaged when they cannot be read."""
    return _bounded(lambda budget: list(_inlined(source, budget)), allowance)


def _dwarf(source: Source, budget: _Budget) -> Any:  # noqa: ANN401 - pyelftools builds them as it reads
    """The DWARF of *source*, in guarded streams; None without any."""
    from elftools.dwarf.dwarfinfo import DebugSectionDescriptor

    elf = _elf(source, budget)
    if not elf.has_dwarf_info(True):
        return None
    _check_sizes(elf)
    dwarf = elf.get_dwarf_info(relocate_dwarf_sections=False, follow_links=False)
    for name, section in vars(dwarf).items():
        if isinstance(section, DebugSectionDescriptor):
            guarded: Any = _Guarded(section.stream, section.stream.seek(0, io.SEEK_END), budget)
            setattr(dwarf, name, section._replace(stream=guarded))
    for name in _NEEDED:
        if getattr(dwarf, name) is None:
            raise Damaged(f"it has no .{name.removesuffix('_sec')}")
    return dwarf


_NEEDED = ("debug_info_sec", "debug_abbrev_sec", "debug_line_sec")
"""Sections without which the others say nothing."""


def _check_sizes(elf: Any) -> None:  # noqa: ANN401 - pyelftools builds them as it reads
    """Damaged when reading the sections would take too much memory, whatever their headers promise."""
    total = 0
    for section in elf.iter_sections():
        if not section.name.startswith((".debug_", ".zdebug_", ".gnu_debugalt", ".eh_frame")):
            continue
        size = section.data_size
        if section["sh_type"] == "SHT_NOBITS" and size:
            raise Damaged(f"{_name(section.name)} is not in the file")
        if section.name.startswith(".zdebug_"):
            size = _unpacked(section.data(), SECTION - total)
        total += size
        if total > SECTION:
            raise Damaged("its debugging sections are too large")


def _unpacked(data: bytes, most: int) -> int:
    """How large a section packed as GNU once did becomes, at most a little more than *most*."""
    stream = zlib.decompressobj()
    total, rest = 0, data[12:]
    while rest and total <= most and not stream.eof:
        total += len(stream.decompress(rest, 1 << 20))
        rest = stream.unconsumed_tail
    return total


def _line_program(dwarf: Any, unit: Any, budget: _Budget) -> Any:  # noqa: ANN401 - pyelftools builds them as it reads
    """The line table of *unit*, None without one.

    Its header may count any number of entries of no bytes, which are made without reading: so the steps are counted.
    """
    steps = 0

    def step(_frame: FrameType, _event: str, _arg: object) -> None:
        nonlocal steps
        steps += 1
        if steps > STEPS:
            budget.blow("a line table has too many names")

    before = sys.getprofile()
    sys.setprofile(step)
    try:
        return dwarf.line_program_for_CU(unit)
    finally:
        sys.setprofile(before)


def _lines(source: Source, budget: _Budget) -> Iterator[Line]:
    dwarf = _dwarf(source, budget)
    if dwarf is None:
        return
    for unit in dwarf.iter_CUs():
        budget.spend(0)
        program = _line_program(dwarf, unit, budget)
        if program is None:
            continue
        name_of = _file_names(program)
        for entry in program.get_entries():
            budget.spend(0)
            state = entry.state
            if state is not None:
                ended = state.end_sequence
                yield Line(_whole(state.address), "" if ended else name_of(state.file), 0 if ended else state.line)


def _inlined(source: Source, budget: _Budget) -> Iterator[Inlined]:
    dwarf = _dwarf(source, budget)
    if dwarf is None:
        return
    for unit in dwarf.iter_CUs():
        budget.spend(0)
        if unit["unit_length"] > LARGEST_UNIT:
            continue
        program = _line_program(dwarf, unit, budget)
        if program is None:
            continue
        names = _file_names(program)
        for die in unit.iter_DIEs():
            budget.spend(0)
            if die.tag == "DW_TAG_inlined_subroutine" and "DW_AT_call_line" in die.attributes:
                source_file = names(die.attributes["DW_AT_call_file"].value)
                line = _whole(die.attributes["DW_AT_call_line"].value)
                for start, end in _ranges(dwarf, unit, die, budget):
                    yield Inlined(_whole(start), _whole(end), source_file, line)


def _whole(value: object) -> int:
    """*value*, which must be a number; a damaged file says otherwise."""
    if not isinstance(value, int):
        raise Damaged("a number is none")
    return value


def _file_names(program: Any) -> Callable[[object], str]:  # noqa: ANN401 - pyelftools builds them as it reads
    """What the file numbers of a line table stand for."""
    names = [_name(entry.name) for entry in program.header["file_entry"]]
    first = 0 if program.header["version"] >= 5 else 1

    def name_of(number: object) -> str:
        inside = isinstance(number, int) and 0 <= number - first < len(names)
        return names[_whole(number) - first] if inside else ""

    return name_of


def _ranges(
    dwarf: Any,  # noqa: ANN401 - pyelftools builds them as it reads
    unit: Any,  # noqa: ANN401
    die: Any,  # noqa: ANN401
    budget: _Budget,
) -> Iterable[tuple[int, int]]:
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
        budget.spend(0)
        if hasattr(entry, "base_address"):
            base = entry.base_address
        else:
            found.append((base + entry.begin_offset, base + entry.end_offset))
    return found
