"""ELF files and what the kernel tells an ELF program: numbers, headers, the auxiliary vector.

FreeBSD: sys/sys/elf64.h, sys/sys/elf_common.h, sys/x86/include/elf.h; the Linux types of the auxiliary vector are of
sys/compat/linux/linux_elf.h: from 15 on the same numbers mean different things in the two ABIs.
Model only: pyelftools reads the same headers, but importing it costs as much as the whole start of a small
program, so the kernel has this reader and tests/unit/test_elf_header.py holds it against pyelftools.

What reads here takes bytes that nobody has checked: nothing is trusted, nothing larger than a page is made.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.errors import kassert

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class Ehdr(NamedTuple):
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


class Phdr(NamedTuple):
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
    """All program headers of *ehdr*; they must lie inside *header*."""
    kassert(ehdr.phdrs_end <= len(header), "program headers end at %#x of %#x", ehdr.phdrs_end, len(header))
    return tuple(
        Phdr(*PHDR.unpack_from(header, ehdr.e_phoff + index * PHDR.size)) for index in range(ehdr.e_phnum)
    )


def machine_name(e_machine: int) -> str:
    """``EM_ARM`` and the like, or the number."""
    return EM_NAMES.get(e_machine, str(e_machine))


# -- the auxiliary vector -----------------------------------------------------------------------------------

AT_NULL: Final = 0
AT_EXECFD: Final = 2
AT_PHDR: Final = 3
AT_PHENT: Final = 4
AT_PHNUM: Final = 5
AT_PAGESZ: Final = 6
AT_BASE: Final = 7
AT_FLAGS: Final = 8
AT_ENTRY: Final = 9

AT_EXECPATH: Final = 15
AT_CANARY: Final = 16
AT_CANARYLEN: Final = 17
AT_OSRELDATE: Final = 18
AT_NCPUS: Final = 19
AT_PAGESIZES: Final = 20
AT_PAGESIZESLEN: Final = 21
AT_TIMEKEEP: Final = 22
AT_STACKPROT: Final = 23
AT_EHDRFLAGS: Final = 24
AT_HWCAP: Final = 25
AT_HWCAP2: Final = 26
AT_BSDFLAGS: Final = 27
AT_ARGC: Final = 28
AT_ARGV: Final = 29
AT_ENVC: Final = 30
AT_ENVV: Final = 31
AT_PS_STRINGS: Final = 32
AT_FXRNG: Final = 33
AT_KPRELOAD: Final = 34
AT_USRSTACKBASE: Final = 35
AT_USRSTACKLIM: Final = 36

ELF_BSDF_SIGFASTBLK: Final = 0x1
ELF_BSDF_VMNOOVERCOMMIT: Final = 0x2

LINUX_AT_UID: Final = 11
LINUX_AT_EUID: Final = 12
LINUX_AT_GID: Final = 13
LINUX_AT_EGID: Final = 14
LINUX_AT_PLATFORM: Final = 15
LINUX_AT_HWCAP: Final = 16
LINUX_AT_CLKTCK: Final = 17
LINUX_AT_SECURE: Final = 23
LINUX_AT_RANDOM: Final = 25
LINUX_AT_HWCAP2: Final = 26
LINUX_AT_EXECFN: Final = 31
LINUX_AT_SYSINFO_EHDR: Final = 33
LINUX_AT_MINSIGSTKSZ: Final = 51

AUXENT: Final = struct.Struct("<QQ")

FREEBSD_AT_NAMES: Final = {
    value: name
    for name, value in globals().copy().items()
    if name.startswith("AT_")
}
LINUX_AT_NAMES: Final = {
    value: name.removeprefix("LINUX_")
    for name, value in globals().copy().items()
    if (name.startswith("AT_") and value <= AT_ENTRY) or name.startswith("LINUX_AT_")
}

AuxEntry = tuple[int, int]
"""(AT_x, value)."""


def pack_auxv(entries: Sequence[AuxEntry], slots: int = 0) -> bytes:
    """The vector as it lies in memory, followed by zeros up to *slots* entries."""
    packed = b"".join(AUXENT.pack(kind, value) for kind, value in entries)
    return packed.ljust(slots * AUXENT.size, b"\0")
