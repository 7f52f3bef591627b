"""Symbols are advice: whatever a file says of itself, a run, a trace and a verdict go on."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import time
import zlib
from dataclasses import dataclass
from functools import cache

import pytest

from emu.api import Machine, watch
from emu.cli import main
from emu.program import elf as door
from emu.program.symbols import Symbols, SymbolTable
from guest import guest, guests
from kernel_model.ktrace import EntryState

SEED = 9
MUTANTS, MORE = 300, 3000
PATIENCE = 5.0
"""Processor seconds for all tables of one mutant: the guests are small."""
CRASH = guest("null_field")
HEADLINE = "null pointer plus 0x18: read of 4 bytes in weigh"
START = 0x200000


@dataclass
class Bytes:
    """A file that is only here."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read_at(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]


class Header:
    """One section header of a file's bytes."""

    def __init__(self, data: bytes, index: int) -> None:
        (table,) = struct.unpack_from("<Q", data, 40)
        self.at = table + 64 * index
        self.name_at, self.type, self.flags, self.addr, self.offset, self.size = struct.unpack_from(
            "<IIQQQQ", data, self.at
        )


def headers(data: bytes) -> dict[str, Header]:
    """The section headers by name."""
    count, strings = struct.unpack_from("<HH", data, 60)
    names = Header(data, strings)
    found = {}
    for index in range(count):
        one = Header(data, index)
        start = names.offset + one.name_at
        found[data[start : data.index(b"\0", start)].decode()] = one
    return found


def symbols_of_bytes(data: bytes) -> Symbols:
    source = Bytes(data)
    return Symbols(lambda _path: source)


def look(symbols: Symbols) -> list[str]:
    """Ask about every kind of thing all over the file."""
    entries = (EntryState(START, START + 0x10000, 5, 7, vnode="/p"),)
    said = [str(symbols.find(addr, entries)) for addr in range(START + 0x1000, START + 0x2000, 0x40)]
    said += [str(symbols.caller(addr, entries)) for addr in range(START + 0x1000, START + 0x1100, 0x10)]
    return [*said, *symbols.notes]


@cache
def bases() -> list[bytes]:
    """The bundled programs with debugging information, smallest first."""
    found = [one.path.read_bytes() for one in guests()]
    return sorted((data for data in found if ".debug_line" in headers(data)), key=len)[:12]


def mutant(number: int) -> bytes:
    """A bundled program with something of its headers, symbols or debugging sections changed."""
    rng = random.Random(SEED * 100_003 + number)
    data = bytearray(rng.choice(bases()))
    sections = headers(bytes(data))
    chosen = [one for name, one in sections.items() if name.startswith(".debug") or name in (".symtab", ".strtab")]
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        one = rng.choice(chosen)
        kind = rng.randrange(8)
        start, size = one.offset, max(one.size, 1)
        at = start + min(rng.randrange(size), rng.randrange(size))
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            data[at : at + 4] = struct.pack("<I", rng.choice((0, 0xFFFFFFFF, 0x7FFFFFFF, rng.getrandbits(32))))
        elif kind == 3:
            data[at : at + 9] = b"\xff" * 9
        elif kind == 4:  # a field of its header
            field = rng.choice((0, 4, 8, 16, 24, 32, 40, 56))
            data[one.at + field : one.at + field + 4] = struct.pack("<I", rng.choice((0, 1, 8, rng.getrandbits(32))))
        elif kind == 5:  # of the file's or a segment's
            data[rng.randrange(4, 64 + 56 * 4)] = rng.randrange(256)
        elif kind == 6:
            length = rng.randrange(size)
            data[at : at + length] = rng.randbytes(length)
        else:
            del data[rng.randrange(64, len(data)) :]
            break
    return bytes(data)


def survives(number: int) -> bool:
    """Whether anything of mutant *number* was left out; nothing but an answer comes back, and soon."""
    before = time.thread_time()
    symbols = symbols_of_bytes(mutant(number))
    said = look(symbols)
    took = time.thread_time() - before
    assert took < PATIENCE, f"mutant {number}: {took:.1f} s"
    assert all(text.isprintable() for text in said), f"mutant {number}"
    return bool(symbols.notes)


@pytest.mark.parametrize("part", range(4))
def test_mutants_of_the_bundled_programs_answer(part):
    share = MUTANTS // 4
    damaged = sum(survives(number) for number in range(part * share, (part + 1) * share))
    assert damaged > share // 10, "these mutants are worth something"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_more_mutants(part):
    share = MORE // 10
    for number in range(MUTANTS + part * share, MUTANTS + (part + 1) * share):
        survives(number)


def without(data: bytes, name: str) -> bytes:
    """*data* with a section called otherwise, which is as good as removed."""
    strings = headers(data)[".shstrtab"]
    start = strings.offset
    end = start + strings.size
    assert data.count(name.encode() + b"\0", start, end) == 1
    other = name.encode()[:-1] + b"\x7f"
    return data[:start] + data[start:end].replace(name.encode() + b"\0", other + b"\0") + data[end:]


def packed(data: bytes, promise: int | None = None, content: bytes | None = None) -> bytes:
    """*data* with its debugging sections packed as ``-gz=zlib-gnu`` does, in .zdebug_ sections."""
    out = bytearray(data)
    sections = headers(data)
    strings = sections[".shstrtab"]
    names = bytearray(data[strings.offset : strings.offset + strings.size])
    for name, one in sections.items():
        if not name.startswith(".debug_"):
            continue
        inside = data[one.offset : one.offset + one.size] if content is None else content
        body = b"ZLIB" + struct.pack(">Q", len(inside) if promise is None else promise) + compressed(inside)
        struct.pack_into("<IIQQQQ", out, one.at, len(names), 1, 0, 0, len(out), len(body))
        names += b".z" + name[1:].encode() + b"\0"
        out += body
    struct.pack_into("<QQ", out, strings.at + 24, len(out), len(names))
    return bytes(out + names)


@cache
def compressed(data: bytes) -> bytes:
    return zlib.compress(data, 1)


BAD = {
    **{
        f"without {name}": lambda data, name=name: without(data, name)
        for name in (".debug_abbrev", ".debug_str", ".debug_line", ".debug_line_str", ".debug_info")
        if name in headers(CRASH.path.read_bytes())
    },
    "a promise of no bytes": lambda data: packed(data, 0),
    "a promise of too many": lambda data: packed(data, 1 << 60),
    "a bomb": lambda data: packed(data, None, bytes(64 << 20)),
    "a truncated file": lambda data: data[: headers(data)[".debug_info"].offset + 5],
    "a section of the largest size": lambda data: resized(data, ".debug_line", (1 << 64) - 1),
    "a section that is not there": lambda data: resized(data, ".debug_str", 1 << 40, kind=8),
    "symbols of no size": lambda data: resized(data, ".symtab", (1 << 63)),
}


def resized(data: bytes, name: str, size: int, kind: int | None = None) -> bytes:
    """*data* with another size, and type, of a section."""
    out = bytearray(data)
    one = headers(data)[name]
    struct.pack_into("<Q", out, one.at + 32, size)
    if kind is not None:
        struct.pack_into("<I", out, one.at + 4, kind)
    return bytes(out)


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
def test_a_damaged_program_is_run_traced_and_judged(tmp_path, monkeypatch, capfd, spoil):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "prog"
    path.write_bytes(spoil(CRASH.path.read_bytes()))
    path.chmod(0o755)
    before = time.thread_time()
    assert main(["why", "./prog"]) == 0
    out, err = capfd.readouterr()
    assert "\nnull pointer plus 0x18: read of 4 bytes" in out
    assert main(["run", "--trace", "fault", "./prog"]) == 139
    _, traced = capfd.readouterr()
    assert "SIGSEGV/SEGV_MAPERR: null pointer plus 0x18: read of 4 bytes" in traced
    for said in (err, traced):
        notes = [line for line in said.splitlines() if line.startswith("emu: /")]
        assert len(notes) == len(set(notes)) <= 2, notes
        assert all(": no " in line and line.startswith(f"emu: {path}: ") for line in notes)
    assert time.thread_time() - before < 20


def test_what_is_missing_is_said_once_and_the_rest_is_there(tmp_path):
    path = tmp_path / "prog"
    path.write_bytes(without(CRASH.path.read_bytes(), ".debug_abbrev"))
    path.chmod(0o755)
    with Machine(stdin=None, stdout=None, stderr=None) as machine:
        process = watch(machine)
        machine.execve(str(path), ["prog"], {})
        machine.run()
        assert process.why().headline == process.why().headline == HEADLINE
        assert ".c:" not in process.text(process.why())
    assert process.symbols.notes == [f"{path}: no line numbers: it has no .debug_abbrev"]


@pytest.mark.parametrize(
    "option",
    [["-gz=zlib-gnu"], ["-gz=zlib"], ["-gdwarf-4"], ["-gdwarf-5", "-gsplit-dwarf"], ["-gstabs"]],
    ids=" ".join,
)
def test_what_the_compiler_makes(tmp_path, monkeypatch, capfd, option):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.c").write_text("void work(int *p) { *p = 1; }\nint main(void) { work(0); return 0; }\n")
    made = subprocess.run(["gcc", "-g", *option, "-static", "c.c", "-o", "prog"], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("gcc does not make that")
    assert main(["why", "./prog"]) == 0
    out, err = capfd.readouterr()
    assert "null pointer: write of 4 bytes at address 0 in work" in out
    assert err.count("\n") <= 1


# -- the bounds ------------------------------------------------------------------------------------------------


def line_table(header: bytes) -> bytes:
    """A program whose first line table begins with *header*, behind its length and version 5."""
    data = bytearray(CRASH.path.read_bytes())
    one = headers(bytes(data))[".debug_line"]
    body = struct.pack("<IH", one.size - 4, 5) + header
    data[one.offset : one.offset + len(body)] = body
    return bytes(data)


def test_names_of_no_bytes_without_number_are_not_made():
    """directories_count says 2**60, and each entry has no fields: pyelftools would make them without reading."""
    fields = b"\x08\x00" + struct.pack("<I", 40) + b"\x01\x01\x01\xfb\x0e\x01" + b"\x00" + b"\xff" * 8 + b"\x0f"
    symbols = symbols_of_bytes(line_table(fields))
    before = time.thread_time()
    look(symbols)
    assert time.thread_time() - before < 20
    assert symbols.notes == ["/p: no line numbers: a line table has too many names"]


def test_a_crowd_of_symbols_and_sections_is_not_searched_for_ever(monkeypatch):
    """Fifty thousand symbols of no size, each in a section of its own kind: the bounded way back ends at some."""
    count = 50_000
    tables = door.Tables(
        False, [door.Segment(0, 0, 1 << 30, 1 << 30, 5)],
        [door.Section(0x1000 + index, 0x1001 + index, f".{index}", False, True) for index in range(count)],
        [door.Symbol(0x1000 + index, 0, f"s{index}", True) for index in range(count)], "",
    )  # fmt: skip
    monkeypatch.setattr("emu.program.symbols.read_tables", lambda _source, _allowance: tables)
    table = SymbolTable(Bytes(b""))
    before = time.thread_time()
    assert table.find(0x1000 + count + 7) is None
    assert table.find(0x1000 + 123).name == "s123"
    assert time.thread_time() - before < 2


@pytest.mark.parametrize(
    ("bound", "value", "text"),
    [
        ("SECONDS", 0.0, "it takes more than 0 s"), ("ALL_SECONDS", 0.0, "it takes more than 0 s"),
        ("READS", 1 << 14, "it takes too much memory"), ("SECTION", 100, "its debugging sections are too large"),
    ],
)  # fmt: skip
def test_each_bound_holds(monkeypatch, bound, value, text):
    monkeypatch.setattr(door, bound, value)
    symbols = symbols_of_bytes(CRASH.path.read_bytes())
    look(symbols)
    assert any(note.endswith(text) for note in symbols.notes), symbols.notes


def test_only_the_door_speaks_to_pyelftools():
    from tests.layers import ROOT

    users = [path.name for package in ("emu", "kernel_model", "guest") for path in (ROOT / package).rglob("*.py")
             if "from elftools" in path.read_text(encoding="utf-8")]  # fmt: skip
    assert users == ["elf.py"]
