"""Which ABI an ELF program was made for: its brand, and the notes that say it.

FreeBSD: Elf_Brandinfo and Elf_Brandnote, sys/sys/imgact_elf.h; get_brandinfo(), check_note(), parse_notes() and the
brand notes, sys/kern/imgact_elf.c.

The order of the questions: (1) an ABI note, (2) EI_OSABI or the brand string of FreeBSD 3, (3) the program
interpreter, (4) kern.elf64.fallback_brand.  In the first two a brand whose interpreter is the one the program
names goes before the others.
Differs: no brand has ``header_supported``; kern.elf64.fallback_brand is 3 (Linux) unless it is set, because static
programs of Linux often carry no brand at all; ``kern.elf64.force_brand``, 0 unless it is set, is ours.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kernel_model.errors import kassert
from kernel_model.kern.elf_common import (
    EI_OSABI,
    ELFOSABI_FREEBSD,
    ELFOSABI_LINUX,
    EM_X86_64,
    OLD_EI_BRAND,
    PT_NOTE,
    Ehdr,
    Phdr,
)
from kernel_model.vm.vm_param import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel_model.kern.imgact import ImageParams
    from kernel_model.kern.proc import Kernel, SysentVec, Thread

MAX_BRANDS: Final = 8
BI_CAN_EXEC_DYN: Final = 0x1
BI_BRAND_NOTE: Final = 0x2
BI_BRAND_NOTE_MANDATORY: Final = 0x4 | BI_BRAND_NOTE

FALLBACK_BRAND: Final = "kern.elf64.fallback_brand"
FORCE_BRAND: Final = "kern.elf64.force_brand"
ABI_BRANDS: Final = {"auto": 0, "freebsd": ELFOSABI_FREEBSD, "linux": ELFOSABI_LINUX}
"""What ``emu run --abi`` accepts, and the value of ``kern.elf64.force_brand`` it sets."""
NHDR: Final = struct.Struct("<III")
NOTE_ROUNDSIZE: Final = 4
MAX_NOTES: Final = 100
"""Notes looked at in one segment; the rest is not read."""

NT_FREEBSD_ABI_TAG: Final = 1
NT_FREEBSD_FEATURE_CTL: Final = 4
NT_GNU_ABI_TAG: Final = 1

FREEBSD_ABI_VENDOR: Final = b"FreeBSD\0"
GNU_ABI_VENDOR: Final = b"GNU\0"
GNU_ABI_KFREEBSD: Final = 3

NT_FREEBSD_FCTL_ASLR_DISABLE: Final = 0x1
NT_FREEBSD_FCTL_PROTMAX_DISABLE: Final = 0x2
NT_FREEBSD_FCTL_STKGAP_DISABLE: Final = 0x4
NT_FREEBSD_FCTL_WXNEEDED: Final = 0x8
NT_FREEBSD_FCTL_LA48: Final = 0x10


class Brandnote(NamedTuple):
    """The note that a brand asks for: Elf_Brandnote."""

    vendor: bytes
    """With its NUL."""
    n_type: int
    n_descsz: int
    trans_osrel: Callable[[bytes], int | None] | None = None
    """Descriptor to p_osrel; None when the note is another system's after all."""


class ElfBrandinfo(NamedTuple):
    """One kind of ELF program: Elf_Brandinfo.

    The functions that FreeBSD keeps in struct sysentvec stand here, because they are only called by execve.
    """

    name: str
    brand: int
    """EI_OSABI."""
    compat_3_brand: bytes
    interp_path: bytes
    brand_note: Brandnote
    sysvec: SysentVec
    copyout_strings: Callable[[ImageParams], int]
    """Writes the first stack; returns the address of argc."""
    setregs: Callable[[Thread, ImageParams, int], None]
    """(td, imgp, stack): the registers of the first instruction."""
    flags: int = BI_CAN_EXEC_DYN | BI_BRAND_NOTE
    interp_newpath: bytes = b""
    machine: int = EM_X86_64


@dataclass(slots=True)
class BrandChoice:
    """What get_brandinfo() found out."""

    brand: ElfBrandinfo
    why: str
    """``note``, ``osabi``, ``interpreter``, ``fallback`` or ``forced``."""
    osrel: int = 0
    fctl0: int = 0


def elf_insert_brand_entry(kernel: Kernel, entry: ElfBrandinfo) -> None:
    """Let ELF programs of *entry*'s kind run, asked after those that are there.

    FreeBSD: elf64_insert_brand_entry(); each brand calls it from its SYSINIT, here init_main does.
    """
    kassert(len(kernel.elf_brands) < MAX_BRANDS, "elf_insert_brand_entry: %s is one too many", entry.name)
    kassert(entry not in kernel.elf_brands, "elf_insert_brand_entry: %s is there already", entry.name)
    kernel.elf_brands.append(entry)


def elf_brand_list(kernel: Kernel) -> tuple[ElfBrandinfo, ...]:
    """Every kind of ELF program that *kernel* knows, in the order in which they are asked."""
    return cast("tuple[ElfBrandinfo, ...]", tuple(kernel.elf_brands))


def force_brand(kernel: Kernel, abi: str) -> None:
    """Run every program under *abi* (``freebsd`` or ``linux``), or each under its own (``auto``).  Model only."""
    kernel.tunables[FORCE_BRAND] = ABI_BRANDS[abi]


def get_brandinfo(
    imgp: ImageParams,
    ehdr: Ehdr,
    phdrs: tuple[Phdr, ...],
    interp: bytes | None,
) -> BrandChoice | None:
    """Choose the ABI; None when no brand wants the program.

    *interp* is PT_INTERP's path without NUL, None for a program without one.
    """
    kernel = imgp.proc.kernel
    tunables = kernel.tunables
    brands = elf_brand_list(kernel)
    forced = tunables.get(FORCE_BRAND, 0)
    if forced:
        brands = tuple(brand for brand in brands if brand.brand == forced)
    notes = _Notes(imgp, phdrs)
    choice = _by_note(imgp, brands, notes, interp) or _by_osabi(imgp, brands, ehdr, interp)
    if choice is not None:
        return choice
    candidates = [brand for brand in brands if not _mandatory(brand)]
    for brand in candidates:
        if interp is not None and interp == brand.interp_path:
            return BrandChoice(brand, "interpreter")
    fallback = forced or tunables.get(FALLBACK_BRAND, ELFOSABI_LINUX)
    for brand in candidates:
        if brand.brand == fallback:
            return BrandChoice(brand, "forced" if forced else "fallback")
    return None


def _mandatory(brand: ElfBrandinfo) -> bool:
    return brand.flags & BI_BRAND_NOTE_MANDATORY == BI_BRAND_NOTE_MANDATORY


def _by_note(
    imgp: ImageParams, brands: tuple[ElfBrandinfo, ...], notes: _Notes, interp: bytes | None
) -> BrandChoice | None:
    """The first brand whose note is there, those with the program's interpreter first."""
    release = imgp.release
    first: BrandChoice | None = None
    for brand in brands:
        if not brand.flags & BI_BRAND_NOTE:
            continue
        osrel = notes.check(brand.brand_note)
        if osrel is None:
            continue
        fctl = notes.find(FCTL_NOTE) if release.stkgap_disable else None
        choice = BrandChoice(brand, "note", osrel, int.from_bytes(fctl or b"", "little"))
        if not release.exec_prefers_interp_brand or interp is None or interp == brand.interp_path:
            return choice
        first = first or choice
    return first


def _by_osabi(
    imgp: ImageParams, brands: tuple[ElfBrandinfo, ...], ehdr: Ehdr, interp: bytes | None
) -> BrandChoice | None:
    """The first brand that EI_OSABI or the old string names; since 12 those with the program's interpreter first."""
    release = imgp.release
    osabi = ehdr.e_ident[EI_OSABI]
    first: BrandChoice | None = None
    for brand in brands:
        if _mandatory(brand):
            continue
        if osabi != brand.brand and not _old_string(ehdr, brand, release.exec_brand_string_exact):
            continue
        choice = BrandChoice(brand, "osabi")
        if not release.exec_header_brand or interp == brand.interp_path:
            return choice
        first = first or choice
    return first


def _old_string(ehdr: Ehdr, brand: ElfBrandinfo, exact: bool) -> bool:
    """Whether the identification ends in the brand string of FreeBSD 3."""
    wanted = brand.compat_3_brand
    text = ehdr.e_ident[OLD_EI_BRAND:]
    return text.startswith(wanted + b"\0" if exact else wanted)


class _Notes:
    """The PT_NOTE segments of a program, read when first asked for."""

    __slots__ = ("imgp", "phdrs", "segments")

    def __init__(self, imgp: ImageParams, phdrs: tuple[Phdr, ...]) -> None:
        self.imgp = imgp
        self.phdrs = phdrs
        self.segments: list[tuple[bytes, int]] | None = None

    def _load(self) -> list[tuple[bytes, int]]:
        """Each segment with the position where its notes begin."""
        page = self.imgp.image_header
        segments: list[tuple[bytes, int]] = []
        for phdr in self.phdrs:
            if phdr.p_type != PT_NOTE or phdr.p_filesz > PAGE_SIZE:
                continue
            end = phdr.p_offset + phdr.p_filesz
            if end <= PAGE_SIZE:
                segments.append((page[:end], phdr.p_offset))
            elif self.imgp.release.exec_reads_far:
                far = self.imgp.read(phdr.p_offset, phdr.p_filesz)
                if far is not None:
                    segments.append((far, 0))
        return segments

    def descs(self, wanted: Brandnote) -> Iterator[bytes]:
        """The descriptor of the first *wanted* note of each segment that has one."""
        if self.segments is None:
            self.segments = self._load()
        for notes, start in self.segments:
            desc = find_note(notes, wanted, start)
            if desc is not None:
                yield desc

    def find(self, wanted: Brandnote) -> bytes | None:
        """The descriptor of the first *wanted* note of the whole program."""
        return next(self.descs(wanted), None)

    def check(self, wanted: Brandnote) -> int | None:
        """p_osrel from the first segment whose *wanted* note is really this brand's.  FreeBSD: check_note()."""
        for desc in self.descs(wanted):
            osrel = wanted.trans_osrel(desc) if wanted.trans_osrel is not None else 0
            if osrel is not None:
                return osrel
        return None


# -- notes --------------------------------------------------------------------------------------------------


def find_note(notes: bytes, wanted: Brandnote, start: int = 0) -> bytes | None:
    """The descriptor of the first note in *notes* from *start* on that is *wanted*; None when there is none.

    *notes* ends where the segment ends.  A note is only taken when its name ends before the segment does, the
    descriptor may stop at the end: what is missing there reads as zeros.
    """
    at = start
    for _ in range(MAX_NOTES):
        if at % NOTE_ROUNDSIZE or len(notes) - at < NHDR.size:
            return None
        namesz, descsz, kind = NHDR.unpack_from(notes, at)
        name_at = at + NHDR.size
        desc_at = name_at + _roundup(namesz)
        if (
            namesz == len(wanted.vendor)
            and descsz == wanted.n_descsz
            and kind == wanted.n_type
            and name_at + namesz < len(notes)
            and notes[name_at : name_at + namesz] == wanted.vendor
        ):
            return notes[desc_at : desc_at + descsz].ljust(descsz, b"\0")
        at = desc_at + _roundup(descsz)
    return None


def _roundup(size: int) -> int:
    return (size + NOTE_ROUNDSIZE - 1) & ~(NOTE_ROUNDSIZE - 1)


def freebsd_trans_osrel(desc: bytes) -> int | None:
    """The __FreeBSD_version the program was linked for.  FreeBSD: freebsd_trans_osrel()."""
    return int(struct.unpack("<i", desc)[0])


def kfreebsd_trans_osrel(desc: bytes) -> int | None:
    """Debian GNU/kFreeBSD's earliest kernel, as a __FreeBSD_version.  FreeBSD: kfreebsd_trans_osrel()."""
    kind, major, minor, patch = struct.unpack("<4I", desc)
    return None if kind != GNU_ABI_KFREEBSD else int32_of(major * 100000 + minor * 1000 + patch)


def int32_of(value: int) -> int:
    """A version as p_osrel, an int, holds it."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


FREEBSD_BRANDNOTE: Final = Brandnote(FREEBSD_ABI_VENDOR, NT_FREEBSD_ABI_TAG, 4, freebsd_trans_osrel)
KFREEBSD_BRANDNOTE: Final = Brandnote(GNU_ABI_VENDOR, NT_GNU_ABI_TAG, 16, kfreebsd_trans_osrel)
FCTL_NOTE: Final = Brandnote(FREEBSD_ABI_VENDOR, NT_FREEBSD_FEATURE_CTL, 4)
