"""The parts of an ELF file that execve reads: the file header and the program headers.

FreeBSD: sys/sys/elf64.h, sys/sys/elf_common.h; the checks of check_header() in sys/kern/imgact_elf.c.
Model only: pyelftools reads the same fields, but importing it costs as much as the whole start of a small
program, so the kernel has this reader and tests/unit/test_elf_header.py holds it against pyelftools.

Everything here takes bytes that nobody has checked: nothing is trusted, nothing larger than a page is made.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from kernel_model.errors import kassert

EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR: Final = struct.Struct("<IIQQQQQQ")

ELFMAG: Final = b"\x7fELF"
EI_CLASS: Final = 4
EI_DATA: Final = 5
EI_VERSION: Final = 6
EI_OSABI: Final = 7
OLD_EI_BRAND: Final = 8

ELFCLASS32: Final = 1
ELFCLASS64: Final = 2
ELFDATA2LSB: Final = 1
EV_CURRENT: Final = 1
ELFOSABI_NONE: Final = 0
ELFOSABI_LINUX: Final = 3
ELFOSABI_FREEBSD: Final = 9

ET_EXEC: Final = 2
ET_DYN: Final = 3
EM_X86_64: Final = 62

PT_LOAD: Final = 1
PT_INTERP: Final = 3
PT_NOTE: Final = 4
PT_PHDR: Final = 6
PT_GNU_STACK: Final = 0x6474E551

PF_X: Final = 1
PF_W: Final = 2
PF_R: Final = 4

ET_NAMES: Final = {0: "ET_NONE", 1: "ET_REL", ET_EXEC: "ET_EXEC", ET_DYN: "ET_DYN", 4: "ET_CORE"}
EM_NAMES: Final = {
    2: "EM_SPARC", 3: "EM_386", 8: "EM_MIPS", 20: "EM_PPC", 21: "EM_PPC64", 22: "EM_S390", 40: "EM_ARM",
    43: "EM_SPARCV9", 50: "EM_IA_64", EM_X86_64: "EM_X86_64", 183: "EM_AARCH64", 243: "EM_RISCV", 258: "EM_LOONGARCH",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ehdr:
    """Elf64_Ehdr, field by field."""

    e_ident: bytes
    e_type: int
    e_machine: int
    e_version: int
    e_entry: int
    e_phoff: int
    e_shoff: int
    e_flags: int
    e_ehsize: int
    e_phentsize: int
    e_phnum: int
    e_shentsize: int
    e_shnum: int
    e_shstrndx: int

    @property
    def phdrs_end(self) -> int:
        """File offset after the last program header."""
        return self.e_phoff + self.e_phnum * self.e_phentsize


@dataclass(frozen=True, slots=True)
class Phdr:
    """Elf64_Phdr, field by field."""

    p_type: int
    p_flags: int
    p_offset: int
    p_vaddr: int
    p_paddr: int
    p_filesz: int
    p_memsz: int
    p_align: int


def read_ehdr(header: bytes) -> Ehdr | None:
    """The file header at the start of *header*; None when it is no ELF file or too short for one.

    A 32-bit or big-endian header is read as if it were a little-endian 64-bit one, as the kernel does before
    it looks at the identification: only ``e_ident``, ``e_type`` and ``e_machine`` mean anything then.
    """
    if len(header) < EHDR.size or header[:4] != ELFMAG:
        return None
    return Ehdr(*EHDR.unpack_from(header))


def read_phdrs(header: bytes, ehdr: Ehdr) -> tuple[Phdr, ...]:
    """All program headers of *ehdr*; they must lie inside *header* (see ``phdrs_in_page``)."""
    kassert(ehdr.phdrs_end <= len(header), "program headers end at %#x of %#x", ehdr.phdrs_end, len(header))
    return tuple(
        Phdr(*PHDR.unpack_from(header, ehdr.e_phoff + index * PHDR.size)) for index in range(ehdr.e_phnum)
    )


def phdrs_in_page(ehdr: Ehdr, page_size: int) -> bool:
    """Whether the table lies in the first page of the file.  FreeBSD: phdr_in_zero_page()."""
    return ehdr.e_phoff <= page_size and ehdr.e_phnum * ehdr.e_phentsize <= page_size - ehdr.e_phoff


def header_fault(header: bytes) -> str:
    """Why FreeBSD's check_header() refuses *header*, in a few words; empty when it is accepted.

    FreeBSD: check_header(), and the e_type test at the top of the ELF activator.
    """
    ehdr = read_ehdr(header)
    if ehdr is None:
        return "not an ELF file" if header[:4] != ELFMAG else "truncated ELF header"
    ident = ehdr.e_ident
    if ident[EI_CLASS] != ELFCLASS64:
        what = "32-bit" if ident[EI_CLASS] == ELFCLASS32 else f"class {ident[EI_CLASS]}"
        machine = f", machine {machine_name(ehdr.e_machine)}" if ident[EI_DATA] == ELFDATA2LSB else ""
        return f"not a 64-bit ELF file: {what}{machine}"
    if ident[EI_DATA] != ELFDATA2LSB:
        return "not a little-endian ELF file"
    if ident[EI_VERSION] != EV_CURRENT or ehdr.e_version != EV_CURRENT:
        return f"ELF version {ehdr.e_version} instead of {EV_CURRENT}"
    if ehdr.e_machine != EM_X86_64:
        return f"not an x86-64 ELF file: machine {machine_name(ehdr.e_machine)}"
    if ehdr.e_phentsize != PHDR.size:
        return f"program headers of {ehdr.e_phentsize} bytes instead of {PHDR.size}"
    if ehdr.e_type not in (ET_EXEC, ET_DYN):
        return f"not an executable ELF file: type {ET_NAMES.get(ehdr.e_type, hex(ehdr.e_type))}"
    return ""


def machine_name(e_machine: int) -> str:
    """``EM_ARM`` and the like, or the number."""
    return EM_NAMES.get(e_machine, str(e_machine))
