"""The kinds of ELF program that run under the Linux ABI, and their first registers.

FreeBSD: linux_glibc2brand, linux_muslbrand, linux_trans_osrel() and linux_exec_setregs(),
sys/amd64/linux/linux_sysvec.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi.linux64.stack import linux_copyout_strings
from kernel_model.abi.linux64.sysvec import ELF64_LINUX_SYSVEC
from kernel_model.kern.elf_common import ELFOSABI_LINUX
from kernel_model.kern.imgact_elf_brand import GNU_ABI_VENDOR, NT_GNU_ABI_TAG, Brandnote, ElfBrandinfo, int32_of
from kernel_model.kern.machdep import PSL_T, PSL_USERINIT, TrapFrame, reset_fpu_and_bases

if TYPE_CHECKING:
    from kernel_model.kern.imgact import ImageParams
    from kernel_model.kern.proc import Thread


GNU_ABI_LINUX: Final = 0


def linux_trans_osrel(desc: bytes) -> int | None:
    """The earliest Linux kernel the program runs on, version << 16.  FreeBSD: linux_trans_osrel()."""
    kind, version, major, minor = struct.unpack("<4I", desc)
    return None if kind != GNU_ABI_LINUX else int32_of((version << 16) + (major << 8) + minor)


def linux_exec_setregs(td: Thread, imgp: ImageParams, stack: int) -> None:
    """Everything zero but rip and rsp; rdx is 0, so there is nothing to register with atexit(3)."""
    cpu = td.td_cpu
    traced = cpu.get_frame().rflags & PSL_T
    cpu.set_frame(TrapFrame(rip=imgp.entry_addr, rsp=stack, rflags=PSL_USERINIT | traced))
    reset_fpu_and_bases(cpu)


LINUX_BRANDNOTE: Final = Brandnote(GNU_ABI_VENDOR, NT_GNU_ABI_TAG, 16, linux_trans_osrel)


def _brand(name: str, interp_path: bytes) -> ElfBrandinfo:
    return ElfBrandinfo(
        name=name,
        brand=ELFOSABI_LINUX,
        compat_3_brand=b"Linux",
        interp_path=interp_path,
        brand_note=LINUX_BRANDNOTE,
        sysvec=ELF64_LINUX_SYSVEC,
        copyout_strings=linux_copyout_strings,
        setregs=linux_exec_setregs,
    )


LINUX_BRANDS: Final = (
    _brand("Linux", b"/lib64/ld-linux-x86-64.so.2"),
    _brand("Linux (musl)", b"/lib/ld-musl-x86_64.so.1"),
)
