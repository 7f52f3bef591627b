"""Types of the auxiliary vector.

FreeBSD: sys/sys/elf_common.h, sys/x86/include/elf.h; the Linux ones sys/compat/linux/linux_elf.h.
Numbers from 15 on mean different things in the two ABIs.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

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
