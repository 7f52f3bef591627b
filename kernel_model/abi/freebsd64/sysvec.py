"""The FreeBSD ABI of amd64.  FreeBSD: elf64_freebsd_sysvec, sys/amd64/amd64/elf_machdep.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.freebsd64.sendsig import sendsig
from kernel_model.abi.freebsd64.sigcode import SIGCODE
from kernel_model.kern.proc import SysentVec
from kernel_model.kern.sysentvec import SV_ABI_FREEBSD, SV_SHP
from kernel_model.vm.vm_param import SHAREDPAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel_model.kern.sysent import Sysent


def _table() -> Mapping[int, Sysent]:
    from kernel_model.abi.freebsd64.sysent import table  # made by the first program that needs it: start-up is short

    return table()


def _same(number: int) -> int:
    return number


ELF64_FREEBSD_SYSVEC = SysentVec(
    name="freebsd",
    sv_flags=SV_ABI_FREEBSD | SV_SHP,
    sv_table=_table,
    sv_sendsig=sendsig,
    sv_errno=_same,
    sv_signo=_same,
    sv_sigcode_base=SHAREDPAGE,
    sv_sigcode=SIGCODE,
)
