"""The kinds of ELF program that run under the FreeBSD ABI, and their first registers.

FreeBSD: sys/amd64/amd64/elf_machdep.c (freebsd_brand_info and its relatives); exec_setregs(),
sys/amd64/amd64/machdep.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.freebsd64.stack import exec_copyout_strings
from kernel_model.abi.freebsd64.sysvec import ELF64_FREEBSD_SYSVEC
from kernel_model.kern.elf_common import ELFOSABI_FREEBSD
from kernel_model.kern.imgact_elf_brand import (
    BI_BRAND_NOTE_MANDATORY,
    BI_CAN_EXEC_DYN,
    FREEBSD_BRANDNOTE,
    KFREEBSD_BRANDNOTE,
    ElfBrandinfo,
)
from kernel_model.kern.machdep import PSL_T, PSL_USERINIT, TrapFrame, reset_fpu_and_bases

if TYPE_CHECKING:
    from kernel_model.kern.imgact import ImageParams
    from kernel_model.kern.proc import Thread


def exec_setregs(td: Thread, imgp: ImageParams, stack: int) -> None:
    """Everything zero but rip, rdi (argc's address) and rsp, which is 8 more than a multiple of 16."""
    cpu = td.td_cpu
    traced = cpu.get_frame().rflags & PSL_T
    cpu.set_frame(
        TrapFrame(
            rip=imgp.entry_addr,
            rdi=stack,
            rsp=((stack - 8) & ~0xF) + 8,
            rflags=PSL_USERINIT | traced,
        )
    )
    reset_fpu_and_bases(cpu)


def _brand(name: str, interp_path: bytes) -> ElfBrandinfo:
    return ElfBrandinfo(
        name=name,
        brand=ELFOSABI_FREEBSD,
        compat_3_brand=b"FreeBSD",
        interp_path=interp_path,
        brand_note=FREEBSD_BRANDNOTE,
        sysvec=ELF64_FREEBSD_SYSVEC,
        copyout_strings=exec_copyout_strings,
        setregs=exec_setregs,
    )


FREEBSD_BRANDS: Final = (
    _brand("FreeBSD", b"/libexec/ld-elf.so.1"),
    _brand("FreeBSD (old)", b"/usr/libexec/ld-elf.so.1"),
    ElfBrandinfo(
        name="GNU/kFreeBSD",
        brand=ELFOSABI_FREEBSD,
        compat_3_brand=b"FreeBSD",
        interp_path=b"/lib/ld-kfreebsd-x86-64.so.1",
        brand_note=KFREEBSD_BRANDNOTE,
        sysvec=ELF64_FREEBSD_SYSVEC,
        copyout_strings=exec_copyout_strings,
        setregs=exec_setregs,
        flags=BI_CAN_EXEC_DYN | BI_BRAND_NOTE_MANDATORY,
    ),
)
