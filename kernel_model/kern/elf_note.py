"""ELF notes: where a program says for which system it was linked.

FreeBSD: parse_notes(), check_note() and the brand notes of sys/kern/imgact_elf.c; sys/sys/elf_common.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

NHDR: Final = struct.Struct("<III")
NOTE_ROUNDSIZE: Final = 4
MAX_NOTES: Final = 100
"""Notes looked at in one segment; the rest is not read."""

NT_FREEBSD_ABI_TAG: Final = 1
NT_FREEBSD_FEATURE_CTL: Final = 4
NT_GNU_ABI_TAG: Final = 1

FREEBSD_ABI_VENDOR: Final = b"FreeBSD\0"
GNU_ABI_VENDOR: Final = b"GNU\0"
GNU_ABI_LINUX: Final = 0
GNU_ABI_KFREEBSD: Final = 3

NT_FREEBSD_FCTL_ASLR_DISABLE: Final = 0x1
NT_FREEBSD_FCTL_PROTMAX_DISABLE: Final = 0x2
NT_FREEBSD_FCTL_STKGAP_DISABLE: Final = 0x4
NT_FREEBSD_FCTL_WXNEEDED: Final = 0x8
NT_FREEBSD_FCTL_LA48: Final = 0x10


@dataclass(frozen=True, slots=True)
class Brandnote:
    """The note that a brand asks for: Elf_Brandnote."""

    vendor: bytes
    """With its NUL."""
    n_type: int
    n_descsz: int
    trans_osrel: Callable[[bytes], int | None] | None = None
    """Descriptor to p_osrel; None when the note is another system's after all."""


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
    return None if kind != GNU_ABI_KFREEBSD else _int32(major * 100000 + minor * 1000 + patch)


def linux_trans_osrel(desc: bytes) -> int | None:
    """The earliest Linux kernel the program runs on, version << 16.  FreeBSD: linux_trans_osrel()."""
    kind, version, major, minor = struct.unpack("<4I", desc)
    return None if kind != GNU_ABI_LINUX else _int32((version << 16) + (major << 8) + minor)


def _int32(value: int) -> int:
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


FREEBSD_BRANDNOTE: Final = Brandnote(FREEBSD_ABI_VENDOR, NT_FREEBSD_ABI_TAG, 4, freebsd_trans_osrel)
KFREEBSD_BRANDNOTE: Final = Brandnote(GNU_ABI_VENDOR, NT_GNU_ABI_TAG, 16, kfreebsd_trans_osrel)
LINUX_BRANDNOTE: Final = Brandnote(GNU_ABI_VENDOR, NT_GNU_ABI_TAG, 16, linux_trans_osrel)
FCTL_NOTE: Final = Brandnote(FREEBSD_ABI_VENDOR, NT_FREEBSD_FEATURE_CTL, 4)
