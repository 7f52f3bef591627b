"""The system calls on memory, below the descriptor: checks, limits, and what a KERN_* code becomes.

FreeBSD: sys/vm/vm_mmap.c, sys/vm/vm_unix.c.  Addresses and sizes are 64-bit words as the program gave them; where C
arithmetic wraps it wraps here too, because the checks are about that.  What a descriptor allows, and
its object, is kern/vfs_vnops.py's.
Differs: privileges to lock memory are always there; no resource accounting (RACCT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kernel_model.errno import (
    EACCES,
    EAGAIN,
    EBUSY,
    EINVAL,
    EIO,
    ENOMEM,
    ENOTSUP,
)
from kernel_model.errors import SyscallError
from kernel_model.rlimit import RLIMIT_DATA, RLIMIT_MEMLOCK, RLIMIT_VMEM
from kernel_model.vm.vm import (
    OBJT_DEFAULT,
    OBJT_SWAP,
    OBJT_VNODE,
    VM_PROT_ALL,
    VM_PROT_RW,
)
from kernel_model.vm.vm_map_advise import vm_map_inherit, vm_map_madvise, vm_map_sync
from kernel_model.vm.vm_map_delete import vm_map_delete
from kernel_model.vm.vm_map_entry import (
    MAP_CHECK_EXCL,
    MAP_COPY_ON_WRITE,
    MAP_CREATE_GUARD,
    MAP_DISABLE_COREDUMP,
    MAP_DISABLE_SYNCER,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_INHERIT_SHARE,
    MAP_PREFAULT,
    MAP_PREFAULT_PARTIAL,
    MAP_STACK_GROWS_DOWN,
    MAP_WIREFUTURE,
    MAP_WRITECOUNT,
    VM_MAP_PROTECT_SET_MAXPROT,
    VM_MAP_PROTECT_SET_PROT,
    VM_MAP_WIRE_HOLESOK,
    VM_MAP_WIRE_NOHOLES,
    VM_MAP_WIRE_USER,
    vmfs_aligned_space,
)
from kernel_model.vm.vm_map_find import MAP_32BIT_MAX_ADDR, vm_map_find, vm_map_find_min, vm_map_fixed
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_protect import vm_map_protect, vm_map_protect_flags
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_map_wire import vm_map_unwire, vm_map_wire, vm_map_wire_locked
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_INVALID_ARGUMENT,
    KERN_NO_SPACE,
    KERN_OUT_OF_BOUNDS,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
    WORD_MASK,
    KernReturn,
    VmOffset,
)
from kernel_model.vm.vm_stack import vm_map_stack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_object import VmObject
    from kernel_model.vm.vm_page import VmPage
    from kernel_model.vm.vmspace import VmSpace

PROT_NONE = 0
PROT_READ = 1
PROT_WRITE = 2
PROT_EXEC = 4
PROT_ALL = 7
PROT_MAX_SHIFT = 16

MAP_SHARED = 0x1
MAP_PRIVATE = 0x2
MAP_FIXED = 0x10
MAP_RESERVED0020 = 0x20
MAP_RESERVED0040 = 0x40
MAP_HASSEMAPHORE = 0x200
MAP_STACK = 0x400
MAP_NOSYNC = 0x800
MAP_ANON = 0x1000
MAP_GUARD = 0x2000
MAP_EXCL = 0x4000
MAP_NOCORE = 0x20000
MAP_PREFAULT_READ = 0x40000
MAP_32BIT = 0x80000
MAP_ALIGNMENT_SHIFT = 24
MAP_ALIGNMENT_MASK = 0xFF << MAP_ALIGNMENT_SHIFT
MAP_ALIGNED_SUPER = 1 << MAP_ALIGNMENT_SHIFT

MS_ASYNC = 1
MS_INVALIDATE = 2
MCL_CURRENT = 1
MCL_FUTURE = 2
MADV_PROTECT = 10

MINCORE_INCORE = 0x1
MINCORE_REFERENCED = 0x2
MINCORE_MODIFIED = 0x4
MINCORE_REFERENCED_OTHER = 0x8
MINCORE_MODIFIED_OTHER = 0x10
MINCORE_PIECE = 1 << 20
"""Pages that one piece of mincore's answer tells about."""

P_OSREL_MAP_ANON = 800104
P_OSREL_MAP_FSTRICT = 1100036


_KNOWN = (
    MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_HASSEMAPHORE | MAP_STACK | MAP_NOSYNC | MAP_ANON | MAP_EXCL
    | MAP_NOCORE | MAP_PREFAULT_READ | MAP_32BIT | MAP_ALIGNMENT_MASK
)  # fmt: skip
_GUARD_MAY = MAP_FIXED | MAP_GUARD | MAP_EXCL | MAP_32BIT | MAP_ALIGNMENT_MASK
_GUARD_MAY_NOT_10 = MAP_SHARED | MAP_PRIVATE | MAP_PREFAULT_READ | MAP_ANON | MAP_STACK


class MmapLimits(Protocol):
    """struct plimit, as the system calls on memory ask it."""

    def lim_cur(self, which: int) -> int:
        """The soft limit RLIMIT_*."""
        ...

    def lim_max(self, which: int) -> int:
        """The hard limit."""
        ...


class MmapProc(Protocol):
    """The process that makes a system call on its memory: ``kern.proc.Proc``."""

    @property
    def p_vmspace(self) -> VmSpace:
        """Its address space."""
        ...

    @property
    def p_limit(self) -> MmapLimits:
        """Its resource limits."""
        ...

    @property
    def p_osrel(self) -> int:
        """The system that its program was made for: __FreeBSD_version."""
        ...


class FileMmap(Protocol):
    """Maps what a descriptor stands for: ``vfs_vnops.fo_mmap()`` of a thread."""

    def __call__(
        self, addr: VmOffset, size: VmOffset, prot: int, cap_maxprot: int, flags: int, fd: int, pos: int
    ) -> VmOffset:
        """The address, or a SyscallError."""
        ...


def vm_mmap_to_errno(rv: int) -> int:
    """The errno of a mapping call that ended with *rv*.  FreeBSD: vm_mmap_to_errno()."""
    if rv == KERN_SUCCESS:
        return 0
    if rv in (KERN_INVALID_ADDRESS, KERN_NO_SPACE):
        return ENOMEM
    return EACCES if rv == KERN_PROTECTION_FAILURE else EINVAL


def page_range(addr: VmOffset, size: VmOffset) -> tuple[VmOffset, VmOffset]:
    """Whole pages that hold [addr, addr + size); EINVAL when the end wraps round, as C computes it."""
    pageoff = addr & PAGE_MASK
    addr -= pageoff
    size = (size + pageoff + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    if addr + size > WORD_MASK:
        raise SyscallError(EINVAL)
    return addr, addr + size


# -- mapping ------------------------------------------------------------------------------------------------


def heap_end(proc: MmapProc) -> VmOffset:
    """Where the largest possible heap ends: the search for room starts there."""
    vms = proc.p_vmspace
    return (vms.vm_daddr + proc.p_limit.lim_max(RLIMIT_DATA) + PAGE_MASK) & ~PAGE_MASK & WORD_MASK


def place_hint(proc: MmapProc, addr: VmOffset) -> VmOffset:
    """Move a hint that is 0 or inside the potential heap behind it."""
    end = heap_end(proc)
    text = (proc.p_vmspace.vm_taddr + PAGE_MASK) & ~PAGE_MASK
    return end if addr == 0 or text <= addr < end else addr


def kern_mmap(
    proc: MmapProc,
    addr: VmOffset,
    size: VmOffset,
    prot: int,
    flags: int,
    fd: int,
    pos: int,
    fo_mmap: FileMmap,
) -> VmOffset:
    """mmap(2): returns the address.  *fo_mmap* maps a descriptor, of which sys/vm knows nothing.

    FreeBSD: kern_mmap(), kern_mmap_fpcheck(); sys_mmap() until 10.
    """
    release = proc.p_vmspace.vm.release
    maxprot = VM_PROT_ALL
    if release.mmap_prot_max:
        prot, maxprot = _split_prot_max(prot)
    elif not release.mmap_checks_flags:
        prot &= VM_PROT_ALL
    if release.mmap_checks_flags:
        flags &= ~(MAP_RESERVED0020 | MAP_RESERVED0040)
    anonymous = bool(flags & MAP_ANON)
    if (size == 0 and proc.p_osrel >= P_OSREL_MAP_ANON) or (anonymous and (fd != -1 or pos != 0)):
        raise SyscallError(EINVAL)
    if flags & MAP_STACK:
        if fd != -1 or prot & (PROT_READ | PROT_WRITE) != PROT_READ | PROT_WRITE:
            raise SyscallError(EINVAL)
        flags |= MAP_ANON
        pos = 0
    _check_flags(proc, prot, flags, fd, pos)
    pageoff = pos & PAGE_MASK
    pos -= pageoff
    asked = size
    size = (size + pageoff + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    if release.mmap_prot_max and asked and size == 0:
        raise SyscallError(ENOMEM)
    _check_alignment(flags)
    addr = _check_address(proc, addr, size, flags, pageoff)
    if size == 0:
        return addr + pageoff
    if release.map_guard and flags & MAP_GUARD:
        addr = vm_mmap_object(proc, addr, size, PROT_NONE, PROT_NONE, flags, foff=pos)
    elif flags & MAP_ANON:
        addr = vm_mmap_object(proc, addr, size, prot, maxprot, flags)
    else:
        addr = fo_mmap(addr, size, prot, maxprot, flags, fd, pos)
    return addr + pageoff


def _split_prot_max(prot: int) -> tuple[int, int]:
    """PROT_MAX() of FreeBSD 13: the protection, and what mprotect may ever add."""
    if prot & ~(PROT_ALL | PROT_ALL << PROT_MAX_SHIFT):
        raise SyscallError(EINVAL)
    maxprot = prot >> PROT_MAX_SHIFT & PROT_ALL
    prot &= PROT_ALL
    if maxprot and prot & ~maxprot:
        raise SyscallError(ENOTSUP)
    return prot, maxprot or VM_PROT_ALL


def _check_flags(proc: MmapProc, prot: int, flags: int, fd: int, pos: int) -> None:
    release = proc.p_vmspace.vm.release
    known = _KNOWN | MAP_GUARD if release.map_guard else _KNOWN
    strict = release.mmap_checks_flags
    both = MAP_SHARED | MAP_PRIVATE
    bad_guard = fd != -1 or pos != 0 or prot != PROT_NONE
    if strict:
        bad_guard = bad_guard or bool(flags & ~_GUARD_MAY)
    else:
        bad_guard = bad_guard or bool(flags & _GUARD_MAY_NOT_10)
    if (
        (strict and flags & ~known)
        or (release.fixed_check_excl and flags & (MAP_EXCL | MAP_FIXED) == MAP_EXCL)
        or (strict and flags & both == both)
        or (strict and prot & ~PROT_ALL)
        or (release.map_guard and flags & MAP_GUARD and bad_guard)
    ):
        raise SyscallError(EINVAL)


def _check_alignment(flags: int) -> None:
    align = flags & MAP_ALIGNMENT_MASK
    if align and align != MAP_ALIGNED_SUPER and not 12 <= align >> MAP_ALIGNMENT_SHIFT < 64:
        raise SyscallError(EINVAL)


def _check_address(proc: MmapProc, addr: VmOffset, size: VmOffset, flags: int, pageoff: int) -> VmOffset:
    map_ = proc.p_vmspace.vm_map
    end = (addr + size) & WORD_MASK
    low = bool(flags & MAP_32BIT) and proc.p_vmspace.vm.release.find_max_addr
    if flags & MAP_FIXED:
        addr = (addr - pageoff) & WORD_MASK
        end = (addr + size) & WORD_MASK
        outside = addr < map_.min_offset or end > map_.max_offset or end < addr
        if addr & PAGE_MASK or outside or (low and end > MAP_32BIT_MAX_ADDR):
            raise SyscallError(EINVAL)
        return addr
    if low:
        return 0 if end > MAP_32BIT_MAX_ADDR else addr
    return place_hint(proc, addr)


def docow_flags(flags: int, *, writecounted: bool) -> int:
    """The cow argument that MAP_* flags ask for."""
    if flags & MAP_ANON:
        docow = 0
    else:
        docow = MAP_PREFAULT if flags & MAP_PREFAULT_READ else MAP_PREFAULT_PARTIAL
    if not flags & (MAP_ANON | MAP_SHARED):
        docow |= MAP_COPY_ON_WRITE
    for flag, cow in (
        (MAP_NOSYNC, MAP_DISABLE_SYNCER),
        (MAP_NOCORE, MAP_DISABLE_COREDUMP),
        (MAP_SHARED, MAP_INHERIT_SHARE),
        (MAP_STACK, MAP_STACK_GROWS_DOWN),
        (MAP_EXCL, MAP_CHECK_EXCL),
        (MAP_GUARD, MAP_CREATE_GUARD),
    ):
        if flags & flag:
            docow |= cow
    if writecounted:
        docow |= MAP_WRITECOUNT
    return docow


def _check_limits(proc: MmapProc, size: VmOffset) -> None:
    map_ = proc.p_vmspace.vm_map
    limit = proc.p_limit
    if map_.size + size > limit.lim_cur(RLIMIT_VMEM):
        raise SyscallError(ENOMEM)
    if (
        map_.flags & MAP_WIREFUTURE
        and not map_.vm.old_mlock
        and map_.vm.release.mmap_checks_memlock
        and _wired_bytes(map_) + size > limit.lim_cur(RLIMIT_MEMLOCK)
    ):
        raise SyscallError(ENOMEM)


def _wired_bytes(map_: VmMap) -> int:
    return map_.pmap.wired_count << PAGE_SHIFT


def vm_mmap_object(
    proc: MmapProc,
    addr: VmOffset,
    size: VmOffset,
    prot: int,
    maxprot: int,
    flags: int,
    obj: VmObject | None = None,
    foff: VmOffset = 0,
    *,
    writecounted: bool = False,
) -> VmOffset:
    """Map *obj*, or nothing yet, into *proc* and return the address.  *size* is in whole pages.

    Raises ENOMEM, EINVAL, EACCES; the caller keeps its reference to *obj* then.
    FreeBSD: vm_mmap_object(); vm_mmap() until 10.
    """
    map_ = proc.p_vmspace.vm_map
    release = map_.vm.release
    _check_limits(proc, size)
    if foff & PAGE_MASK or (flags & (MAP_ANON | MAP_STACK) and obj is not None):
        raise SyscallError(EINVAL)
    docow = docow_flags(flags, writecounted=writecounted)
    if flags & MAP_STACK and not release.mmap_stack_searches:
        # 9.3: a stack lands exactly on the hint, MAP_FIXED or not, and replaces nothing.
        addr = (addr + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
        rv = vm_map_stack(map_, addr, size, prot, maxprot, docow)
    elif flags & MAP_FIXED:
        if addr & PAGE_MASK:
            raise SyscallError(EINVAL)
        rv = vm_map_fixed(map_, obj, foff, addr, size, prot, maxprot, docow)
    else:
        addr = (addr + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
        rv, addr = _find(proc, obj, foff, addr, size, prot, maxprot, docow, flags)
    if rv != KERN_SUCCESS:
        raise SyscallError(vm_mmap_to_errno(rv))
    if map_.flags & MAP_WIREFUTURE:
        holes = VM_MAP_WIRE_HOLESOK if flags & MAP_STACK else VM_MAP_WIRE_NOHOLES
        _ = vm_map_wire(map_, addr, addr + size, VM_MAP_WIRE_USER | holes)
    return addr


def _find(
    proc: MmapProc,
    obj: VmObject | None,
    foff: int,
    addr: VmOffset,
    size: VmOffset,
    prot: int,
    maxprot: int,
    docow: int,
    flags: int,
) -> tuple[KernReturn, VmOffset]:
    map_ = proc.p_vmspace.vm_map
    release = map_.vm.release
    align = flags & MAP_ALIGNMENT_MASK
    if align == MAP_ALIGNED_SUPER:
        findspace = release.vmfs_super_space
    elif align:
        findspace = vmfs_aligned_space(align >> MAP_ALIGNMENT_SHIFT)
    else:
        findspace = release.vmfs_optimal_space
    max_addr = MAP_32BIT_MAX_ADDR if flags & MAP_32BIT else 0
    if release.find_min:
        return vm_map_find_min(map_, obj, foff, addr, size, heap_end(proc), max_addr, findspace, prot, maxprot, docow)
    return vm_map_find(map_, obj, foff, addr, size, findspace, prot, maxprot, docow, max_addr)


# -- unmapping and protecting -------------------------------------------------------------------------------


def kern_munmap(proc: MmapProc, addr: VmOffset, size: VmOffset) -> None:
    """munmap(2): holes are fine.  FreeBSD: kern_munmap()."""
    if size == 0:
        raise SyscallError(EINVAL)
    start, end = page_range(addr, size)
    map_ = proc.p_vmspace.vm_map
    if start < map_.min_offset or end > map_.max_offset:
        raise SyscallError(EINVAL)
    with map_.locked():
        _ = vm_map_delete(map_, start, end)


def kern_mprotect(proc: MmapProc, addr: VmOffset, size: VmOffset, prot: int) -> None:
    """mprotect(2): holes are fine.  FreeBSD: kern_mprotect()."""
    map_ = proc.p_vmspace.vm_map
    release = map_.vm.release
    if release.mprotect_masks_prot:
        prot &= VM_PROT_ALL
        max_prot = 0
    else:
        if prot & ~(PROT_ALL | PROT_ALL << PROT_MAX_SHIFT):
            raise SyscallError(EINVAL)
        max_prot = prot >> PROT_MAX_SHIFT & PROT_ALL
        prot &= PROT_ALL
    start, end = page_range(addr, size)
    if release.protect_flags:
        flags = VM_MAP_PROTECT_SET_PROT | (VM_MAP_PROTECT_SET_MAXPROT if max_prot else 0)
        rv = vm_map_protect_flags(map_, start, end, prot, max_prot, flags)
    else:
        rv = vm_map_protect(map_, start, end, prot)
    if rv == KERN_SUCCESS:
        return
    codes = {
        KERN_PROTECTION_FAILURE: EACCES,
        KERN_RESOURCE_SHORTAGE: ENOMEM,
        KERN_OUT_OF_BOUNDS: ENOTSUP,
    }
    raise SyscallError(codes.get(rv, EINVAL))


def kern_minherit(proc: MmapProc, addr: VmOffset, size: VmOffset, inherit: int) -> None:
    """minherit(2).  FreeBSD: sys_minherit()."""
    start, end = page_range(addr, size)
    rv = vm_map_inherit(proc.p_vmspace.vm_map, start, end, inherit)
    if rv != KERN_SUCCESS:
        raise SyscallError(EACCES if rv == KERN_PROTECTION_FAILURE else EINVAL)


def kern_madvise(proc: MmapProc, addr: VmOffset, size: VmOffset, behav: int) -> None:
    """madvise(2) and posix_madvise(2).  FreeBSD: kern_madvise()."""
    map_ = proc.p_vmspace.vm_map
    if behav == MADV_PROTECT:
        return
    end = (addr + size) & WORD_MASK
    if not 0 <= behav < MADV_PROTECT:
        raise SyscallError(EINVAL)
    if addr < map_.min_offset or end > map_.max_offset or end < addr:
        raise SyscallError(EINVAL)
    if vm_map_madvise(map_, addr & ~PAGE_MASK, (end + PAGE_MASK) & ~PAGE_MASK, behav):
        raise SyscallError(EINVAL)


def kern_msync(proc: MmapProc, addr: VmOffset, size: VmOffset, flags: int) -> None:
    """msync(2).  FreeBSD: kern_msync()."""
    start, end = page_range(addr, size)
    if flags & (MS_ASYNC | MS_INVALIDATE) == MS_ASYNC | MS_INVALIDATE:
        raise SyscallError(EINVAL)
    map_ = proc.p_vmspace.vm_map
    rv = vm_map_sync(map_, start, end, not flags & MS_ASYNC, bool(flags & MS_INVALIDATE))
    if rv != KERN_SUCCESS:
        codes = {KERN_INVALID_ADDRESS: ENOMEM, KERN_INVALID_ARGUMENT: EBUSY, KERN_FAILURE: EIO}
        raise SyscallError(codes.get(rv, EINVAL))


# -- wiring -------------------------------------------------------------------------------------------------


def _lock_range(addr: VmOffset, size: VmOffset) -> tuple[VmOffset, VmOffset]:
    last = addr + size
    end = (last + PAGE_MASK) & ~PAGE_MASK
    if end > WORD_MASK:
        raise SyscallError(EINVAL)
    return addr & ~PAGE_MASK, end


def kern_mlock(proc: MmapProc, addr: VmOffset, size: VmOffset) -> None:
    """mlock(2).  FreeBSD: kern_mlock(); vm_mlock() in 10 and 11, sys_mlock() in 9."""
    start, end = _lock_range(addr, size)
    map_ = proc.p_vmspace.vm_map
    vm = map_.vm
    npages = (end - start) >> PAGE_SHIFT
    if npages > vm.max_user_wired:
        raise SyscallError(ENOMEM)
    if _wired_bytes(map_) + end - start > proc.p_limit.lim_cur(RLIMIT_MEMLOCK):
        raise SyscallError(ENOMEM)
    if not vm.release.wire_user_cap and npages + vm.cnt.v_wire_count > vm.max_user_wired:
        raise SyscallError(EAGAIN)
    rv = vm_map_wire(map_, start, end, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)
    if rv != KERN_SUCCESS:
        einval = vm.release.mmap_prot_max and rv == KERN_INVALID_ARGUMENT
        raise SyscallError(EINVAL if einval else ENOMEM)


def kern_munlock(proc: MmapProc, addr: VmOffset, size: VmOffset) -> None:
    """munlock(2).  FreeBSD: kern_munlock()."""
    start, end = _lock_range(addr, size)
    rv = vm_map_unwire(proc.p_vmspace.vm_map, start, end, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)
    if rv != KERN_SUCCESS:
        raise SyscallError(ENOMEM)


def kern_mlockall(proc: MmapProc, how: int) -> None:
    """mlockall(2).  FreeBSD: sys_mlockall()."""
    if how == 0 or how & ~(MCL_CURRENT | MCL_FUTURE):
        raise SyscallError(EINVAL)
    map_ = proc.p_vmspace.vm_map
    over = map_.size > proc.p_limit.lim_cur(RLIMIT_MEMLOCK)
    if how & MCL_CURRENT and over and not map_.vm.old_mlock:
        raise SyscallError(ENOMEM)
    if how & MCL_FUTURE:
        with map_.locked():
            map_.modflags(MAP_WIREFUTURE, 0)
    if how & MCL_CURRENT:
        flags = VM_MAP_WIRE_USER | VM_MAP_WIRE_HOLESOK
        rv = vm_map_wire(map_, map_.min_offset, map_.max_offset, flags)
        if rv == KERN_RESOURCE_SHORTAGE and map_.vm.release.wire_user_cap:
            raise SyscallError(ENOMEM)
        if rv != KERN_SUCCESS:
            raise SyscallError(EAGAIN)


def kern_munlockall(proc: MmapProc) -> None:
    """munlockall(2); a failure is the raw KERN_* code, as in the sources.  FreeBSD: sys_munlockall()."""
    map_ = proc.p_vmspace.vm_map
    with map_.locked():
        map_.modflags(0, MAP_WIREFUTURE)
    flags = VM_MAP_WIRE_USER | VM_MAP_WIRE_HOLESOK
    rv = vm_map_unwire(map_, map_.min_offset, map_.max_offset, flags)
    if rv != KERN_SUCCESS:
        raise SyscallError(rv)


# -- the break ----------------------------------------------------------------------------------------------


def current_break(proc: MmapProc) -> VmOffset:
    """The end of the heap, in whole pages."""
    vms = proc.p_vmspace
    base = (vms.vm_daddr + PAGE_MASK) & ~PAGE_MASK
    return base + (vms.vm_dsize << PAGE_SHIFT)


def kern_break(proc: MmapProc, addr: VmOffset) -> VmOffset:
    """break(2): move the end of the heap to *addr*, rounded up, and return it.

    FreeBSD: kern_break(); sys_obreak() until 11.
    """
    vms = proc.p_vmspace
    map_ = vms.vm_map
    release = map_.vm.release
    new = (addr + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    base = (vms.vm_daddr + PAGE_MASK) & ~PAGE_MASK
    with map_.locked():
        old = current_break(proc)
        if new < base:
            if release.break_below_base == "EINVAL":
                raise SyscallError(EINVAL)
            return old
        if new > old:
            _grow_break(proc, base, old, new)
        elif new < old:
            if vm_map_delete(map_, new, old) != KERN_SUCCESS:
                raise SyscallError(ENOMEM)
            vms.vm_dsize -= (old - new) >> PAGE_SHIFT
    if new > old and map_.flags & MAP_WIREFUTURE and not release.break_wire_undoes:
        _ = vm_map_wire(map_, old, new, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)
    return new


def _grow_break(proc: MmapProc, base: VmOffset, old: VmOffset, new: VmOffset) -> None:
    vms = proc.p_vmspace
    map_ = vms.vm_map
    limit = proc.p_limit
    if new - base > limit.lim_cur(RLIMIT_DATA) or new > map_.max_offset:
        raise SyscallError(ENOMEM)
    wirefuture = bool(map_.flags & MAP_WIREFUTURE)
    wired = _wired_bytes(map_) + new - old
    if wirefuture and not map_.vm.old_mlock and wired > limit.lim_cur(RLIMIT_MEMLOCK):
        raise SyscallError(ENOMEM)
    if map_.size + new - old > limit.lim_cur(RLIMIT_VMEM):
        raise SyscallError(ENOMEM)
    rv = vm_map_insert(map_, None, 0, old, new, VM_PROT_RW, VM_PROT_ALL, 0)
    if rv == KERN_SUCCESS and wirefuture and map_.vm.release.break_wire_undoes:
        rv = vm_map_wire_locked(map_, old, new, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)
        if rv != KERN_SUCCESS:
            _ = vm_map_delete(map_, old, new)
    if rv != KERN_SUCCESS:
        raise SyscallError(ENOMEM)
    vms.vm_dsize += (new - old) >> PAGE_SHIFT


# -- residency ----------------------------------------------------------------------------------------------


def kern_mincore(proc: MmapProc, addr: VmOffset, size: VmOffset) -> Iterator[bytes]:
    """mincore(2): one byte of MINCORE_* for each page, in pieces; ENOMEM when a page is not mapped.

    The caller copies each piece out before it asks for the next: what a program can be told is bounded by
    the memory it has for the answer, and the work by the pages that are resident.
    FreeBSD: kern_mincore().
    """
    map_ = proc.p_vmspace.vm_map
    start = addr & ~PAGE_MASK
    end = start + ((size + PAGE_MASK) & ~PAGE_MASK & WORD_MASK)
    if end > map_.max_offset:
        raise SyscallError(ENOMEM)
    found, entry = vm_map_lookup_entry(map_, start)
    if not found:
        raise SyscallError(ENOMEM)
    resident: list[tuple[int, int]] = []
    while entry is not map_.header and entry.start < end:
        if entry.end < end and (entry.next is map_.header or entry.next.start > entry.end):
            raise SyscallError(ENOMEM)
        if not entry.eflags & MAP_ENTRY_IS_SUB_MAP and entry.object is not None:
            _mincore_entry(map_, entry, start, end, resident)
        entry = entry.next
    return _mincore_pieces(resident, start >> PAGE_SHIFT, end >> PAGE_SHIFT)


def _mincore_pieces(resident: list[tuple[int, int]], first: int, stop: int) -> Iterator[bytes]:
    """The bytes of pages ``[first, stop)``, MINCORE_PIECE at a time; *resident* is in address order."""
    at = 0
    for low in range(first, stop, MINCORE_PIECE):
        high = min(low + MINCORE_PIECE, stop)
        piece = bytearray(high - low)
        while at < len(resident) and resident[at][0] < high:
            vpn, info = resident[at]
            piece[vpn - low] = info
            at += 1
        yield bytes(piece)


def _mincore_entry(
    map_: VmMap, entry: VmMapEntry, start: VmOffset, end: VmOffset, resident: list[tuple[int, int]]
) -> None:
    """Append ``(page number, MINCORE_*)`` of the entry's pages that are in memory."""
    obj = entry.vm_object
    ptes = map_.pmap.ptes
    known = obj is not None and obj.type in (OBJT_DEFAULT, OBJT_SWAP, OBJT_VNODE)
    pages: dict[int, VmPage] = obj.pages if obj is not None and known else {}
    first = (entry.offset - entry.start) >> PAGE_SHIFT
    wanted = range(max(entry.start, start) >> PAGE_SHIFT, min(entry.end, end) >> PAGE_SHIFT)
    if len(wanted) <= len(ptes) + len(pages):
        candidates: Iterable[int] = wanted
    else:
        candidates = sorted({vpn for vpn in ptes if vpn in wanted} | {i - first for i in pages if i - first in wanted})
    for vpn in candidates:
        pte = ptes.get(vpn)
        if pte is not None:
            m = pte[0]
            info = MINCORE_INCORE | MINCORE_REFERENCED | (MINCORE_MODIFIED if m.dirty else 0)
        elif vpn + first in pages:
            m = pages[vpn + first]
            info = MINCORE_INCORE if m.valid else 0
        else:
            continue
        if info:
            info |= MINCORE_REFERENCED_OTHER if m.referenced else 0
            info |= MINCORE_MODIFIED_OTHER if m.dirty else 0
        resident.append((vpn, info))
