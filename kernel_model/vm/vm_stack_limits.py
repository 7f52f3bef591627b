"""What growth has in common in both designs: the limits of the process, and the object of a stack that grows up.

FreeBSD: part of vm_map_growstack(), sys/vm/vm_map.c; vm_map_stack(9).
Differs: no RACCT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from kernel_model.rlimit import RLIM_INFINITY, RLIMIT_MEMLOCK, RLIMIT_STACK, RLIMIT_VMEM
from kernel_model.vm.swap_pager import swap_reserve_by_cred
from kernel_model.vm.vm_map_entry import MAP_WIREFUTURE
from kernel_model.vm.vm_object import vm_object_coalesce
from kernel_model.vm.vm_param import KERN_FAILURE, KERN_NO_SPACE, KERN_SUCCESS, PAGE_SHIFT, KernReturn, trunc_page

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm, VmProc
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry


class StackSpace(Protocol):
    """What growth asks of an address space and changes in it: ``VmSpace``."""

    vm_ssize: int
    vm_maxsaddr: int
    vm_stacktop: int

    @property
    def vm(self) -> Vm:
        """Its kernel's virtual memory."""
        ...

    @property
    def vm_map(self) -> VmMap:
        """Its map."""
        ...


def growing_space(proc: VmProc) -> StackSpace:
    """The address space of *proc*: ``p->p_vmspace``, which stands above this file."""
    return cast("StackSpace", proc.p_vmspace)


def lim_cur(proc: VmProc | None, which: int) -> int:
    """A soft limit of *proc*.  Requires: its process lock.  FreeBSD: lim_cur(9)."""
    if proc is None:
        return RLIM_INFINITY
    proc.p_lock.assert_owned()
    return proc.p_limit.lim_cur(which)


def is_procstack(vm: Vm, proc: VmProc, vmspace: StackSpace, addr: int) -> bool:
    """Whether *addr* belongs to the stack that execve made, to which RLIMIT_STACK applies."""
    if addr < vmspace.vm_maxsaddr:
        return False
    top = vm.release.procstack_top
    if top == "none":
        return True
    return addr < (vmspace.vm_stacktop if top == "stacktop" else proc.p_sysent.sv_usrstack)


def growth_fits_limits(map_: VmMap, proc: VmProc | None, amount: int) -> bool:
    """Whether RLIMIT_MEMLOCK, when the piece will be wired, and RLIMIT_VMEM let a stack grow by *amount*."""
    vm = map_.vm
    if map_.flags & MAP_WIREFUTURE and not vm.old_mlock:
        wired = map_.pmap.wired_count << PAGE_SHIFT
        limit = lim_cur(proc, RLIMIT_MEMLOCK)
        if not vm.check("memlock", wired + amount <= limit, wired=wired, amount=amount, limit=limit):
            return False
    limit = lim_cur(proc, RLIMIT_VMEM)
    return vm.check("vmem", map_.size + amount <= limit, size=map_.size, amount=amount, limit=limit)


def growth_amount(
    map_: VmMap, proc: VmProc, vmspace: StackSpace, need: int, room: int, procstack: bool
) -> int | None:
    """How much a stack that lacks *need* bytes and has *room* for more grows; None when a limit forbids even the need.

    Whole steps of SGROWSIZ, as far as *room* and RLIMIT_STACK allow.  FreeBSD: part of vm_map_growstack().
    """
    vm = map_.vm
    ssize = vmspace.vm_ssize << PAGE_SHIFT
    limit = lim_cur(proc, RLIMIT_STACK)
    if procstack and not vm.check("stack_limit", ssize + need <= limit, need=need, ssize=ssize, limit=limit):
        return None
    sgrowsiz = vm.sgrowsiz
    amount = min(-(-need // sgrowsiz) * sgrowsiz, room)
    if procstack and ssize + amount > limit:
        amount = trunc_page(limit) - ssize
    return amount if growth_fits_limits(map_, proc, amount) else None


def extend_object(vm: Vm, stack: VmMapEntry, amount: int) -> KernReturn:
    """Reserve swap for *amount* bytes above *stack* and extend its object over them; KERN_NO_SPACE, KERN_FAILURE.

    FreeBSD: the upward half of vm_map_growstack().
    """
    obj = stack.vm_object
    cred = stack.cred
    if cred is None and obj is not None:
        cred = obj.cred
    if cred is not None and not swap_reserve_by_cred(vm, amount, cred):
        return KERN_NO_SPACE
    if obj is not None and not vm_object_coalesce(
        obj, stack.offset, stack.end - stack.start, amount, cred is not None
    ):
        return KERN_FAILURE
    return KERN_SUCCESS
