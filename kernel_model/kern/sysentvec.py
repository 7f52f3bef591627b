"""What the kernel must know about the ABI of a process.

FreeBSD: struct sysentvec, sys/sys/sysent.h.  The two instances are abi/freebsd64/sysvec.py and
abi/linux64/sysvec.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel_model.vm.vm import VM_PROT_ALL
from kernel_model.vm.vm_param import SHAREDPAGE, USRSTACK, VM_MAXUSER_ADDRESS, VM_MIN_ADDRESS

if TYPE_CHECKING:
    from kernel_model.kern.kern_sig import KSigInfo, SigAction
    from kernel_model.kern.proc import Thread
    from kernel_model.kern.sysent import Sysent

SV_ABI_LINUX = 3
SV_ABI_FREEBSD = 9
SV_ABI_MASK = 0xFF
SV_SHP = 0x010000
"""The ABI has a shared page at the top of user space."""

Syscall = Callable[[int, int, int, int, int, int, int], "int | tuple[int, int]"]
"""``(code, a0 .. a5)`` of the current thread; made by subr_syscall.bind()."""


@dataclass(frozen=True, slots=True)
class SysentVec:
    """One ABI.  What builds the first stack belongs to the executable formats (imgact_elf)."""

    name: str
    """As in traces: "freebsd" or "linux"."""
    sv_flags: int
    sv_table: Callable[[], Mapping[int, Sysent]]
    """The system-call table, assembled when first asked for."""
    sv_sendsig: Callable[[Thread, SigAction, KSigInfo, int], bool]
    """(td, action, info, mask to return to): False when the frame could not be written."""
    sv_errno: Callable[[int], int]
    """FreeBSD errno to the number this ABI stores."""
    sv_signo: Callable[[int], int]
    """FreeBSD signal number to this ABI's."""
    sv_minuser: int = VM_MIN_ADDRESS
    sv_maxuser: int = VM_MAXUSER_ADDRESS
    sv_usrstack: int = USRSTACK
    sv_psstrings: int = USRSTACK - 32
    sv_stackprot: int = VM_PROT_ALL
    sv_shared_page_base: int = SHAREDPAGE
    sv_sigcode_base: int = 0
    """Signal trampoline inside the shared page; 0 when the program brings its own."""
    sv_sigcode: bytes = b""

    @property
    def is_linux(self) -> bool:
        """SV_PROC_ABI(p) == SV_ABI_LINUX."""
        return self.sv_flags & SV_ABI_MASK == SV_ABI_LINUX
