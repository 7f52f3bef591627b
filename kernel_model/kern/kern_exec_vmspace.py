"""The old address space goes, the new one gets its stack and its shared page.

FreeBSD: exec_new_vmspace() and exec_map_stack(), sys/kern/kern_exec.c.
Differs: no randomisation of the stack and of the shared page; no System V shared memory to detach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.errors import kassert, some
from kernel_model.kern.imgact import ExecError
from kernel_model.kern.kern_sharedpage import shared_page_obj
from kernel_model.kern.sysentvec import SV_SHP
from kernel_model.rlimit import RLIMIT_STACK
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_EXECUTE, VM_PROT_READ
from kernel_model.vm.vm_map_flags import (
    MAP_ACC_NO_CHARGE,
    MAP_INHERIT_SHARE,
    MAP_STACK_GROWS_DOWN,
    MAP_WIREFUTURE,
)
from kernel_model.vm.vm_object import vm_object_deallocate, vm_object_reference
from kernel_model.vm.vm_param import (
    KERN_INVALID_ADDRESS,
    KERN_NAMES,
    KERN_NO_SPACE,
    KERN_PROTECTION_FAILURE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    trunc_page,
)
from kernel_model.vm.vmspace import vmspace_exec

if TYPE_CHECKING:
    from kernel_model.kern.imgact import ImageParams
    from kernel_model.kern.sysentvec import SysentVec

MAP_AT_ZERO: Final = "security.bsd.map_at_zero"
_MMAP_ERRNO: Final[dict[int, int]] = {
    KERN_INVALID_ADDRESS: E.ENOMEM,
    KERN_NO_SPACE: E.ENOMEM,
    KERN_PROTECTION_FAILURE: E.EACCES,
}


def exec_new_vmspace(imgp: ImageParams, sysent: SysentVec) -> None:
    """Empty the process's address space, or give it another when somebody shares the old one.

    This is the point of no return.
    """
    proc = imgp.proc
    imgp.stage("new_vmspace")
    imgp.vmspace_destroyed = True
    imgp.sysent = sysent
    minuser = sysent.sv_minuser
    if not proc.kernel.tunables.get(MAP_AT_ZERO, 0):
        minuser = max(minuser, PAGE_SIZE)
    vmspace = proc.p_vmspace
    vm_map = vmspace.vm_map
    reusable = vm_map.min_offset == minuser and vm_map.max_offset == sysent.sv_maxuser
    if vmspace.vm_refcnt == 1 and reusable:
        _check(imgp, vm_map.remove(minuser, sysent.sv_maxuser), "the old image cannot be unmapped")
        if imgp.release.exec_clears_wirefuture:
            with vm_map.locked():
                vm_map.modflags(0, MAP_WIREFUTURE)
    else:
        errno = vmspace_exec(proc, minuser, sysent.sv_maxuser)
        if errno:
            raise ExecError(errno, "no memory for a new address space")
    vm_map = proc.p_vmspace.vm_map
    kassert(vm_map.nentries == 0 and vm_map.size == 0, "exec_new_vmspace: %r is not empty", vm_map)
    vm_map.flags |= imgp.map_flags


def exec_map_stack(imgp: ImageParams) -> None:
    """Map the stack and the shared page, in the release's order.

    The stack has room for kern.maxssiz or for what PT_GNU_STACK says; RLIMIT_STACK only bounds how far it grows.
    """
    if imgp.release.exec_stack_after_interpreter:
        _map_stack(imgp)
        _map_shared_page(imgp)
    else:
        _map_shared_page(imgp)
        _map_stack(imgp)


def _map_shared_page(imgp: ImageParams) -> None:
    sysent = some(imgp.sysent, "sysent")
    obj = shared_page_obj(imgp.proc.kernel, sysent)
    if obj is None:
        return
    imgp.stage("shared_page", address=sysent.sv_shared_page_base)
    prot = VM_PROT_READ | VM_PROT_EXECUTE
    vm_object_reference(obj)
    rv = imgp.proc.p_vmspace.vm_map.fixed(
        obj, 0, sysent.sv_shared_page_base, PAGE_SIZE, prot, prot, MAP_INHERIT_SHARE | MAP_ACC_NO_CHARGE
    )
    if rv != KERN_SUCCESS:
        vm_object_deallocate(obj)
        # Since FreeBSD 14 the place of a segment that lies there wins, and the program runs without the page.
        if not imgp.release.exec_stack_after_interpreter:
            _check(imgp, rv, "the shared page cannot be mapped")


def _map_stack(imgp: ImageParams) -> None:
    proc = imgp.proc
    vm = proc.kernel.vm
    sysent = some(imgp.sysent, "sysent")
    vmspace = proc.p_vmspace
    size = _stack_size(imgp)
    kassert(size & PAGE_MASK == 0, "exec_map_stack: size %#x", size)
    bottom = sysent.sv_usrstack - size
    prot = imgp.stack_prot or sysent.sv_stackprot
    imgp.stage("stack", address=bottom, size=size, prot=prot, top=sysent.sv_usrstack)
    if imgp.release.exec_stack_after_interpreter:
        # Since FreeBSD 14 by vm_map_find: there is no VMEM test.
        rv, bottom = vmspace.vm_map.find(None, 0, bottom, size, 0, prot, VM_PROT_ALL, MAP_STACK_GROWS_DOWN)
    else:
        rv = vmspace.vm_map.stack(bottom, size, prot, VM_PROT_ALL, MAP_STACK_GROWS_DOWN)
    _check(imgp, rv, f"a stack of {size:#x} bytes cannot be mapped")
    vmspace.vm_ssize = vm.sgrowsiz >> PAGE_SHIFT
    vmspace.vm_maxsaddr = bottom
    vmspace.vm_stacktop = sysent.sv_usrstack
    vmspace.vm_shp_base = sysent.sv_shared_page_base if sysent.sv_flags & SV_SHP else 0


def _stack_size(imgp: ImageParams) -> int:
    """Bytes to reserve; a size in PT_GNU_STACK raises the soft limit up to the hard one.

    Differs: a Linux program's size is ignored, as Linux does.
    """
    if not imgp.stack_sz or some(imgp.sysent, "sysent").is_linux:
        return imgp.proc.kernel.vm.maxssiz
    limit = imgp.proc.p_limit
    size = min(trunc_page(imgp.stack_sz), limit.lim_max(RLIMIT_STACK))
    if size > limit.lim_cur(RLIMIT_STACK):
        limit.set(RLIMIT_STACK, size, limit.lim_max(RLIMIT_STACK))
    return size


def _check(imgp: ImageParams, rv: int, what: str) -> None:
    """Turn a KERN code into the release's errno."""
    if rv == KERN_SUCCESS:
        return
    errno = int(rv) if imgp.release.exec_raw_stack_error else _MMAP_ERRNO.get(rv, E.EINVAL)
    raise ExecError(errno, f"{what}: {KERN_NAMES.get(rv, str(rv))}")
