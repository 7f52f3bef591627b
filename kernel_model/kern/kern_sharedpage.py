"""The page that every FreeBSD program shares with the kernel: the signal trampoline and the time.

FreeBSD: sys/kern/kern_sharedpage.c, exec_sysvec_init().
Differs: the page is per kernel and ABI, made when a program first needs it; the timekeeping area stays zero, which
tells libc that there is no fast clock and to ask with a system call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.errors import kassert
from kernel_model.kern.sysentvec import SV_SHP
from kernel_model.vm.vm_pager import phys_pager_allocate
from kernel_model.vm.vm_param import PAGE_SIZE

if TYPE_CHECKING:
    from kernel_model.kern.proc import Kernel, SysentVec
    from kernel_model.vm.vm_object import VmObject

SHARED_PAGE_ALIGN: Final = 16


def shared_page_obj(kernel: Kernel, sysent: SysentVec) -> VmObject | None:
    """The object that holds *sysent*'s shared page, without a new reference; None when the ABI has none."""
    if not sysent.sv_flags & SV_SHP:
        return None
    obj = kernel.shared_pages.get(sysent.name)
    if obj is None:
        offset = sysent.sv_sigcode_base - sysent.sv_shared_page_base if sysent.sv_sigcode_base else 0
        contents = bytes(offset) + sysent.sv_sigcode
        kassert(len(contents) <= PAGE_SIZE, "trampoline of %s outside its page", sysent.name)
        obj = phys_pager_allocate(kernel.vm, "shared page", contents.ljust(PAGE_SIZE, b"\0"), 1)
        kernel.shared_pages[sysent.name] = obj
    kassert(obj.ref_count > 0, "shared page of %s: no reference", sysent.name)
    return obj


def timekeep_base(sysent: SysentVec) -> int:
    """Where the timekeeping area is, behind the trampoline: AT_TIMEKEEP."""
    sigcode = sysent.sv_sigcode_base or sysent.sv_shared_page_base
    return (sigcode + len(sysent.sv_sigcode) + SHARED_PAGE_ALIGN - 1) & -SHARED_PAGE_ALIGN
