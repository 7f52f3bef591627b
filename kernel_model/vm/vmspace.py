"""A process's address space: map, pmap and the sizes that limits look at.

FreeBSD: struct vmspace in sys/vm/vm_map.h; vmspace_alloc(), vmspace_free(), vmspace_exec(), vmspace_fork(),
vmspace_unshare(), vm_map_copy_entry(), vmspace_map_entry_forked() in sys/vm/vm_map.c.
Differs: the pmap is not embedded; switching to it is the machine's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kernel_model.errno import ENOMEM
from kernel_model.errors import kassert, panic
from kernel_model.vm.pmap import Pmap
from kernel_model.vm.swap_pager import swap_reserve_by_cred
from kernel_model.vm.vm import (
    OBJ_NOSPLIT,
    OBJ_ONEMAPPING,
    VM_INHERIT_COPY,
    VM_INHERIT_NONE,
    VM_INHERIT_SHARE,
    VM_INHERIT_ZERO,
    VM_PROT_WRITE,
)
from kernel_model.vm.vm_fault import vm_fault, vm_fault_copy_entry
from kernel_model.vm.vm_map import (
    VmMap,
    vm_map_entry_allocate_object,
    vm_map_entry_changed,
    vm_map_entry_link,
    vm_map_entry_set_object,
    vm_map_process_deferred,
)
from kernel_model.vm.vm_map_delete import vm_map_remove
from kernel_model.vm.vm_map_entry import (
    MAP_ASLR,
    MAP_ASLR_IGNSTART,
    MAP_ASLR_STACK,
    MAP_ENTRY_COW,
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GROWS_UP,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_IN_TRANSITION,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_NEEDS_COPY,
    MAP_ENTRY_USER_WIRED,
    MAP_ENTRY_VN_EXEC,
    MAP_ENTRY_WRITECNT,
    MAP_WXORX,
    VmMapEntry,
    entry_charged,
    entry_copy,
    vm_map_entry_set_vnode_text,
    vm_map_entry_update_writecount,
)
from kernel_model.vm.vm_map_insert import curcred
from kernel_model.vm.vm_object import (
    vm_object_collapse,
    vm_object_deallocate,
    vm_object_reference,
    vm_object_shadow,
    vm_object_split,
)
from kernel_model.vm.vm_param import PAGE_SHIFT, btoc

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_object import VmObject

_NOT_INHERITED = MAP_ENTRY_USER_WIRED | MAP_ENTRY_IN_TRANSITION


class VmSpace:
    """An address space: the map, its page table, and the sizes, in pages, that limits look at: struct vmspace."""

    __slots__ = (
        "vm",
        "vm_map",
        "vm_pmap",
        "vm_refcnt",
        "vm_swrss",  # pages resident before the last swapout
        "vm_tsize",  # text, pages
        "vm_dsize",  # data, pages
        "vm_ssize",  # stack, pages
        "vm_taddr",
        "vm_daddr",
        "vm_maxsaddr",  # lowest address the process stack may ever have
        "vm_stacktop",  # its end (13 and later)
        "vm_shp_base",  # where the shared page is mapped
    )

    def __init__(self, vm: Vm, min_: int, max_: int) -> None:
        self.vm = vm
        self.vm_pmap = Pmap(vm)
        self.vm_map = VmMap(vm, self.vm_pmap, min_, max_)
        self.vm_map.fault = vm_fault
        self.vm_refcnt = 1
        self.vm_swrss = 0
        self.vm_tsize = 0
        self.vm_dsize = 0
        self.vm_ssize = 0
        self.vm_taddr = 0
        self.vm_daddr = 0
        self.vm_maxsaddr = 0
        self.vm_stacktop = 0
        self.vm_shp_base = 0

    def __repr__(self) -> str:
        sizes = f"text {self.vm_tsize}, data {self.vm_dsize}, stack {self.vm_ssize} pages"
        return f"<VmSpace of {self.vm_map.nentries} entries: {sizes}, vm_refcnt {self.vm_refcnt}>"


def vmspace_alloc(vm: Vm, min_: int, max_: int) -> VmSpace:
    """An empty address space with one reference.  FreeBSD: vmspace_alloc()."""
    return VmSpace(vm, min_, max_)


def vmspace_ref(vmspace: VmSpace) -> None:
    """Share it with one more process.  FreeBSD: vmspace_acquire_ref()."""
    vmspace.vm_refcnt += 1


def vmspace_free(vmspace: VmSpace) -> None:
    """Let one reference go; the last one unmaps everything.  FreeBSD: vmspace_free()."""
    kassert(vmspace.vm_refcnt > 0, "vmspace_free: already freed")
    vmspace.vm_refcnt -= 1
    if vmspace.vm_refcnt == 0:
        map_ = vmspace.vm_map
        vm_map_remove(map_, map_.min_offset, map_.max_offset)
        kassert(map_.nentries == 0 and map_.size == 0, "vmspace_free: %d entries left", map_.nentries)
        vmspace.vm_pmap.release()


def vmspace_exec(proc: VmProcess, min_: int, max_: int) -> int:
    """Give *proc* a fresh address space; the caller frees the old one when execve is done.  Returns 0 or an errno.

    FreeBSD: vmspace_exec().
    """
    new = vmspace_alloc(proc.p_vmspace.vm, min_, max_)
    new.vm_swrss = proc.p_vmspace.vm_swrss
    proc.p_vmspace = new
    return 0


def vmspace_unshare(proc: VmProcess) -> int:
    """Make a shared address space the process's own by forking it.  Returns 0 or ENOMEM.

    FreeBSD: vmspace_unshare().
    """
    old = proc.p_vmspace
    if old.vm_refcnt == 1:
        return 0
    new, charge = vmspace_fork(old)
    if not swap_reserve_by_cred(old.vm, charge, curcred(old.vm)):
        vmspace_free(new)
        return ENOMEM
    proc.p_vmspace = new
    vmspace_free(old)
    return 0


class VmProcess(Protocol):
    """What vmspace_exec and vmspace_unshare need of a process: its p_vmspace, which they replace."""

    p_vmspace: VmSpace


def vmspace_fork(vm1: VmSpace) -> tuple[VmSpace, int]:
    """A copy of *vm1* as its inheritance values say, and the bytes of swap that the caller must reserve for it.

    FreeBSD: vmspace_fork().
    """
    old_map = vm1.vm_map
    vm2 = vmspace_alloc(vm1.vm, old_map.min_offset, old_map.max_offset)
    vm2.vm_taddr = vm1.vm_taddr
    vm2.vm_daddr = vm1.vm_daddr
    vm2.vm_maxsaddr = vm1.vm_maxsaddr
    vm2.vm_stacktop = vm1.vm_stacktop
    vm2.vm_shp_base = vm1.vm_shp_base
    old_map.lock()
    if old_map.busy:
        old_map.wait_busy()
    new_map = vm2.vm_map
    new_map.lock()
    new_map.anon_loc = old_map.anon_loc
    inherited = MAP_ASLR | MAP_ASLR_IGNSTART
    if vm1.vm.release.fork_inherits_flags:
        inherited |= MAP_ASLR_STACK | MAP_WXORX
    new_map.flags |= old_map.flags & inherited
    new_map.random = old_map.random
    charge = 0
    entry = old_map.header.next
    header = old_map.header
    while entry is not header:
        charge += _fork_entry(vm1, vm2, entry)
        entry = entry.next
    _unlock_both(old_map, new_map)
    return vm2, charge


def _unlock_both(old_map: VmMap, new_map: VmMap) -> None:
    """Deferred entries are let go only when neither map is locked."""
    new_map.deferred, pending = [], new_map.deferred
    old_map.deferred, more = [], old_map.deferred
    old_map.unlock()
    new_map.unlock()
    if pending or more:
        old_map.deferred = more + pending
        vm_map_process_deferred(old_map)


def _fork_entry(vm1: VmSpace, vm2: VmSpace, entry: VmMapEntry) -> int:
    """Copy one entry; returns the swap to reserve."""
    if entry.eflags & MAP_ENTRY_IS_SUB_MAP:
        panic("vm_map_fork: encountered a submap")
    inheritance = entry.inheritance
    if entry.eflags & MAP_ENTRY_GUARD and inheritance != VM_INHERIT_NONE:
        inheritance = VM_INHERIT_COPY
    if inheritance == VM_INHERIT_COPY:
        return _fork_copy(vm1, vm2, entry)
    if inheritance == VM_INHERIT_SHARE:
        _fork_share(vm1, vm2, entry)
    elif inheritance == VM_INHERIT_ZERO:
        return _fork_zero(vm1, vm2, entry)
    return 0


def _fork_share(vm1: VmSpace, vm2: VmSpace, old: VmMapEntry) -> None:
    """Parent and child will see each other's stores: both entries refer to one object."""
    map_ = vm1.vm_map
    obj = old.vm_object
    if obj is None:
        obj = vm_map_entry_allocate_object(map_, old)
    vm_object_reference(obj)
    if old.eflags & MAP_ENTRY_NEEDS_COPY:
        shadow, offset = vm_object_shadow(vm1.vm, obj, old.offset, old.end - old.start)
        vm_map_entry_set_object(map_, old, shadow, offset, clear=MAP_ENTRY_NEEDS_COPY)
        vm_object_reference(shadow)
        vm_object_deallocate(obj)
        obj = shadow
    obj.flags &= ~OBJ_ONEMAPPING
    if old.cred is not None:
        kassert(obj.cred is None, "vmspace_fork: both charged")
        obj.cred = old.cred
        obj.charge = old.end - old.start
        old.cred = None
    new = entry_copy(old)
    new.eflags &= ~_NOT_INHERITED
    new.wired_count = 0
    new.wiring_thread = None
    vm_map_entry_update_writecount(new)
    vm_map_entry_set_vnode_text(new, add=True)
    _link(vm1, vm2, new)
    vm2.vm_pmap.copy(vm1.vm_pmap, new.start, new.end - new.start)


def _fork_copy(vm1: VmSpace, vm2: VmSpace, old: VmMapEntry) -> int:
    """Parent and child get copies that are made when one of them writes."""
    new = entry_copy(old)
    new.eflags &= ~(_NOT_INHERITED | MAP_ENTRY_WRITECNT)
    new.wired_count = 0
    new.wiring_thread = None
    new.object = None
    new.cred = None
    _link(vm1, vm2, new)
    charge = vm_map_copy_entry(vm1.vm_map, vm2.vm_map, old, new)
    vm_map_entry_set_vnode_text(new, add=True)
    return charge


def _fork_zero(vm1: VmSpace, vm2: VmSpace, old: VmMapEntry) -> int:
    """The child gets zeroed memory of the same shape."""
    new = VmMapEntry(old.start, old.end)
    new.eflags = old.eflags & ~(_NOT_INHERITED | MAP_ENTRY_WRITECNT | MAP_ENTRY_VN_EXEC)
    new.protection = old.protection
    new.max_protection = old.max_protection
    new.inheritance = VM_INHERIT_ZERO
    new.read_ahead = 0
    _link(vm1, vm2, new)
    new.cred = curcred(vm1.vm)
    return new.end - new.start


def _link(vm1: VmSpace, vm2: VmSpace, new: VmMapEntry) -> None:
    """Append *new* to the child's map and count it."""
    vm_map_entry_link(vm2.vm_map, vm2.vm_map.header.prev, new)
    _entry_forked(vm1, vm2, new)


def _entry_forked(vm1: VmSpace, vm2: VmSpace, entry: VmMapEntry) -> None:
    """Add an inherited entry to the child's sizes, which are approximate.  FreeBSD: vmspace_map_entry_forked()."""
    if entry.eflags & MAP_ENTRY_GUARD and not vm1.vm.release.size_counts_guards:
        return
    size = entry.end - entry.start
    data_end = vm1.vm_daddr + (vm1.vm_dsize << PAGE_SHIFT)
    text_end = vm1.vm_taddr + (vm1.vm_tsize << PAGE_SHIFT)
    if entry.eflags & (MAP_ENTRY_GROWS_DOWN | MAP_ENTRY_GROWS_UP):
        vm2.vm_ssize += btoc(size)
    elif vm1.vm_daddr <= entry.start < data_end:
        vm2.vm_dsize += btoc(min(entry.end, data_end) - entry.start)
    elif vm1.vm_taddr <= entry.start < text_end:
        vm2.vm_tsize += btoc(min(entry.end, text_end) - entry.start)


def vm_map_copy_entry(src_map: VmMap, dst_map: VmMap, src: VmMapEntry, dst: VmMapEntry) -> int:
    """Let *dst* have what *src* has, copied on write; returns the swap to reserve.  FreeBSD: vm_map_copy_entry()."""
    lazy = src.wired_count == 0
    if not lazy and src_map.vm.release.fork_cow_wired_readonly:
        lazy = not src.protection & VM_PROT_WRITE
    if not lazy:
        return vm_fault_copy_entry(dst_map, src_map, dst, src, forking=True)
    size = src.end - src.start
    if not src.eflags & MAP_ENTRY_NEEDS_COPY and src.protection & VM_PROT_WRITE:
        src_map.pmap.protect(src.start, src.end, src.protection & ~VM_PROT_WRITE)
    obj = src.vm_object
    if obj is None:
        dst.object = None
        if not (dst.eflags & MAP_ENTRY_GUARD and src_map.vm.release.stack_prot_saved):
            dst.offset = 0
        if src.cred is None:
            return 0
        dst.cred = curcred(src_map.vm)
        return size
    charge = _share_lazily(src_map, src, dst, obj)
    if src.eflags & MAP_ENTRY_WRITECNT:
        _drop_writecount(src_map, src)
    vm_map_entry_changed(src_map, src)
    vm_map_entry_changed(dst_map, dst)
    dst_map.pmap.copy(src_map.pmap, dst.start, size)
    return charge


def _share_lazily(src_map: VmMap, src: VmMapEntry, dst: VmMapEntry, obj: VmObject) -> int:
    """Both entries refer to the object and are marked to copy it before a write."""
    size = src.end - src.start
    charged = entry_charged(src)
    if obj.is_anon:
        vm_object_collapse(obj)
        if obj.flags & (OBJ_NOSPLIT | OBJ_ONEMAPPING) == OBJ_ONEMAPPING:
            vm_object_split(src)
            obj = src.vm_object or obj
    vm_object_reference(obj)
    obj.flags &= ~OBJ_ONEMAPPING
    needs_copy = src.eflags & MAP_ENTRY_NEEDS_COPY
    if src.cred is not None and not needs_copy:
        kassert(obj.cred is None, "overcommit: vm_map_copy_entry")
        obj.cred = src.cred
        obj.charge = size
    dst.object = obj
    charge = 0
    if charged:
        cred = curcred(src_map.vm)
        dst.cred = cred
        charge += size
        if not needs_copy:
            src.cred = cred
            charge += size
    src.eflags |= MAP_ENTRY_COW | MAP_ENTRY_NEEDS_COPY
    dst.eflags |= MAP_ENTRY_COW | MAP_ENTRY_NEEDS_COPY
    dst.offset = src.offset
    return charge


def _drop_writecount(src_map: VmMap, src: VmMapEntry) -> None:
    """The entry no longer writes to the file itself; a stand-in on the deferred list counts it out."""
    fake = VmMapEntry(src.start, src.end)
    fake.eflags = MAP_ENTRY_WRITECNT
    src.eflags &= ~MAP_ENTRY_WRITECNT
    vm_object_reference(src.vm_object)
    fake.object = src.object
    src_map.deferred.append(fake)
