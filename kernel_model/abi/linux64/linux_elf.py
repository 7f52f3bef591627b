"""The kinds of ELF program that run under the Linux ABI, and their first registers.

FreeBSD: linux_glibc2brand, linux_muslbrand and linux_exec_setregs(), sys/amd64/linux/linux_sysvec.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.linux64.stack import linux_copyout_strings
from kernel_model.abi.linux64.sysvec import ELF64_LINUX_SYSVEC
from kernel_model.kern.elf_common import ELFOSABI_LINUX
from kernel_model.kern.imgact_elf_brand import LINUX_BRANDNOTE, ElfBrandinfo
from kernel_model.kern.machdep import PSL_T, PSL_USERINIT, TrapFrame, reset_fpu_and_bases

if TYPE_CHECKING:
    from kernel_model.kern.imgact import ImageParams
    from kernel_model.kern.proc import Thread


def linux_exec_setregs(td: Thread, imgp: ImageParams, stack: int) -> None:
    """Everything zero but rip and rsp; rdx is 0, so there is nothing to register with atexit(3)."""
    cpu = td.td_cpu
    traced = cpu.get_frame().rflags & PSL_T
    cpu.set_frame(TrapFrame(rip=imgp.entry_addr, rsp=stack, rflags=PSL_USERINIT | traced))
    reset_fpu_and_bases(cpu)


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
