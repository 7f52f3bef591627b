"""The Linux ABI of x86-64.  FreeBSD: elf_linux_sysvec, sys/amd64/linux/linux_sysvec.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.linux64.sendsig import sendsig
from kernel_model.abi.linux64.signo import to_linux
from kernel_model.errno import TO_LINUX
from kernel_model.kern.proc import SysentVec
from kernel_model.kern.sysentvec import SV_ABI_LINUX
from kernel_model.vm.vm import VM_PROT_RW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel_model.kern.sysent import Sysent

LINUX_USRSTACK = 0x7FFF_FFFF_F000
"""TASK_SIZE: Linux leaves the last page of user space empty."""


def _table() -> Mapping[int, Sysent]:
    from kernel_model.abi.linux64.sysent import table  # made by the first program that needs it: start-up is short

    return table()


def _errno(number: int) -> int:
    return TO_LINUX[number]


ELF64_LINUX_SYSVEC = SysentVec(
    name="linux",
    sv_flags=SV_ABI_LINUX,
    sv_table=_table,
    sv_sendsig=sendsig,
    sv_errno=_errno,
    sv_signo=to_linux,
    sv_usrstack=LINUX_USRSTACK,
    sv_psstrings=0,
    sv_stackprot=VM_PROT_RW,
)
