"""ELF files made with struct, so that no test needs a compiler."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
PAGE = 4096

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_INTERP, PT_NOTE, PT_PHDR, PT_GNU_STACK = 1, 3, 4, 6, 0x6474E551
X, W, R = 1, 2, 4

EXIT_42_FREEBSD = bytes.fromhex("b801000000 bf2a000000 0f05 0f0b".replace(" ", ""))
"""mov eax, 1; mov edi, 42; syscall; ud2"""


@dataclass
class Seg:
    """One program header and the bytes it covers; ``filesz`` and ``memsz`` default to the length of ``data``."""

    type: int
    flags: int = R
    offset: int = 0
    vaddr: int = 0
    data: bytes = b""
    filesz: int | None = None
    memsz: int | None = None
    align: int = PAGE


@dataclass
class Elf:
    """A file header, program headers and data at the offsets that the segments name."""

    segs: list[Seg] = field(default_factory=list)
    type: int = ET_EXEC
    entry: int = 0x400000
    machine: int = 62
    osabi: int = 9
    ident_class: int = 2
    ident_data: int = 1
    version: int = 1
    phoff: int = EHDR.size
    phentsize: int = PHDR.size
    phnum: int | None = None
    brand: bytes = b""
    tail: bytes = b""

    def build(self) -> bytes:
        """The file."""
        ident = b"\x7fELF" + bytes([self.ident_class, self.ident_data, 1, self.osabi]) + self.brand.ljust(8, b"\0")
        phnum = len(self.segs) if self.phnum is None else self.phnum
        out = bytearray(
            EHDR.pack(
                ident, self.type, self.machine, self.version, self.entry, self.phoff, 0, 0, EHDR.size,
                self.phentsize, phnum, 64, 0, 0,
            )
        )  # fmt: skip
        for index, seg in enumerate(self.segs):
            filesz = len(seg.data) if seg.filesz is None else seg.filesz
            memsz = filesz if seg.memsz is None else seg.memsz
            head = PHDR.pack(seg.type, seg.flags, seg.offset, seg.vaddr, seg.vaddr, filesz, memsz, seg.align)
            _put(out, self.phoff + index * PHDR.size, head)
        for seg in self.segs:
            if seg.data:
                _put(out, seg.offset, seg.data)
        return bytes(out) + self.tail


def _put(out: bytearray, at: int, data: bytes) -> None:
    if len(out) < at + len(data):
        out.extend(bytes(at + len(data) - len(out)))
    out[at : at + len(data)] = data


def note(vendor: bytes, kind: int, desc: bytes) -> bytes:
    """One ELF note; *vendor* without NUL."""
    name = vendor + b"\0"
    head = struct.pack("<III", len(name), len(desc), kind)
    return head + name.ljust(-len(name) % 4 + len(name), b"\0") + desc.ljust(-len(desc) % 4 + len(desc), b"\0")


def freebsd_note(osrel: int = 1400097) -> bytes:
    """The FreeBSD ABI tag."""
    return note(b"FreeBSD", 1, struct.pack("<i", osrel))


def gnu_note(system: int = 0, version: tuple[int, int, int] = (3, 2, 0)) -> bytes:
    """The GNU ABI tag: 0 Linux, 3 kFreeBSD."""
    return note(b"GNU", 1, struct.pack("<4I", system, *version))


def static_elf(
    *,
    osabi: int = 9,
    notes: bytes = b"",
    interp: bytes | None = None,
    pie: bool = False,
    extra: list[Seg] | None = None,
) -> bytes:
    """Headers and code in one page at 0x400000, data with bss at 0x401000: a small whole program."""
    base = 0 if pie else 0x400000
    segs = [
        Seg(PT_LOAD, R | X, 0, base, filesz=0x800, memsz=0x800),
        Seg(PT_LOAD, R | W, 0x1000, base + 0x1000, data=b"DATA" * 64, memsz=0x3000),
    ]
    if notes:
        segs.append(Seg(PT_NOTE, R, 0x600, base + 0x600, data=notes, align=4))
    if interp is not None:
        segs.append(Seg(PT_INTERP, R, 0x700, base + 0x700, data=interp + b"\0", align=1))
    segs += extra or []
    elf = Elf(segs, osabi=osabi, type=ET_DYN if pie else ET_EXEC, entry=base + 0x400)
    built = bytearray(elf.build())
    _put(built, 0x400, EXIT_42_FREEBSD)
    return bytes(built)
