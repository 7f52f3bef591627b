"""The Linux calls on memory, in terms of the one vm_map there is.

FreeBSD: linux_mmap_common(), sys/compat/linux/linux_mmap.c.  Linux: mm/mmap.c, mm/mprotect.c,
mm/madvise.c, mm/msync.c, mm/mlock.c for the order of checks and the errnos; mremap is in mremap.py.
Differs: mappings are placed bottom-up; PROT_WRITE or PROT_EXEC always grants PROT_READ, as x86 does in effect;
MAP_GROWSDOWN reserves 2 MiB below; MAP_LOCKED and MAP_POPULATE that fail are silent, as on Linux.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.errno import (
    EACCES,
    EBADF,
    EBUSY,
    EEXIST,
    EFAULT,
    EINVAL,
    EIO,
    ENODEV,
    ENOMEM,
    EOPNOTSUPP,
    EOVERFLOW,
    EPERM,
)
from kernel_model.errors import SyscallError
from kernel_model.fs.vnode import VREG
from kernel_model.kern.copyin import copyout
from kernel_model.kern.kern_descrip import FREAD, FWRITE, O_PATH
from kernel_model.kern.kern_mman import vn_mmap
from kernel_model.kern.sysent import Support, Sysent
from kernel_model.ktrace import Unsupported
from kernel_model.rlimit import RLIMIT_MEMLOCK
from kernel_model.vm import vm_mmap
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_flags import (
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_USER_WIRED,
    MAP_WIREFUTURE,
    VM_MAP_WIRE_NOHOLES,
    VM_MAP_WIRE_USER,
)
from kernel_model.vm.vm_object import vm_object_reference
from kernel_model.vm.vm_object_pages import vm_object_page_remove
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_MAXUSER_ADDRESS,
    WORD_MASK,
    VmOffset,
)

if TYPE_CHECKING:
    from kernel_model.kern.kern_descrip import File
    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry

TASK_SIZE = VM_MAXUSER_ADDRESS - PAGE_SIZE
MMAP_MIN_ADDR = 65536

MAP_SHARED = 0x01
MAP_PRIVATE = 0x02
MAP_SHARED_VALIDATE = 0x03
MAP_TYPE = 0x0F
MAP_FIXED = 0x10
MAP_ANONYMOUS = 0x20
MAP_32BIT = 0x40
MAP_GROWSDOWN = 0x100
MAP_DENYWRITE = 0x800
MAP_EXECUTABLE = 0x1000
MAP_LOCKED = 0x2000
MAP_NORESERVE = 0x4000
MAP_POPULATE = 0x8000
MAP_NONBLOCK = 0x10000
MAP_STACK = 0x20000
MAP_HUGETLB = 0x40000
MAP_FIXED_NOREPLACE = 0x100000
_VALIDATED = (
    MAP_SHARED_VALIDATE | MAP_FIXED | MAP_ANONYMOUS | MAP_32BIT | MAP_GROWSDOWN | MAP_DENYWRITE | MAP_EXECUTABLE
    | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB
)  # fmt: skip

PROT_SEM = 0x8
PROT_GROWSDOWN = 0x01000000
PROT_GROWSUP = 0x02000000
READ_IMPLIES_EXEC = 0x0400000

GROWSDOWN_RESERVE = 2 << 20
"""Bytes reserved for a MAP_GROWSDOWN mapping, as by the FreeBSD Linux ABI."""

MS_ASYNC = 1
MS_INVALIDATE = 2
MS_SYNC = 4
MCL_CURRENT = 1
MCL_FUTURE = 2
MCL_ONFAULT = 4


def linux_page_range(addr: VmOffset, size: VmOffset) -> tuple[VmOffset, VmOffset]:
    """[addr, addr + size) in whole pages, the size wrapping to 0 as in C."""
    size = (size + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    return addr, addr + size


def _prot(proc: Proc, prot: int) -> int:
    """VM_PROT_* of Linux's PROT_*; unknown bits are ignored."""
    prot &= VM_PROT_ALL
    if prot & (VM_PROT_WRITE | VM_PROT_EXECUTE):
        prot |= VM_PROT_READ
    if prot & VM_PROT_READ and proc.p_personality & READ_IMPLIES_EXEC:
        prot |= VM_PROT_EXECUTE
    return prot


def mapped_until(map_: VmMap, start: VmOffset, end: VmOffset) -> VmOffset:
    """How far [start, end) is mapped without a hole; reserves of stacks are holes."""
    found, entry = map_.lookup_entry(start)
    if not found:
        return start
    here = start
    while here < end and entry is not map_.header and entry.start <= here:
        if entry.eflags & MAP_ENTRY_GUARD:
            break
        here = entry.end
        entry = entry.next
    return min(here, end)


# -- mmap ---------------------------------------------------------------------------------------------------


def sys_mmap(td: Thread, addr: int, size: int, prot: int, flags: int, fd: int, offset: int) -> int:
    """mmap(2).  Linux: ksys_mmap_pgoff(), do_mmap()."""
    proc = td.td_proc
    if offset & PAGE_MASK:
        raise SyscallError(EINVAL)
    fp = None
    if not flags & MAP_ANONYMOUS:
        fp = proc.p_fd.fget(fd)
        if fp.f_flag & O_PATH:
            raise SyscallError(EBADF)
    if flags & MAP_HUGETLB:
        _unsupported(td, "MAP_HUGETLB")
        raise SyscallError(EINVAL if fp is not None else ENOMEM)
    if size == 0:
        raise SyscallError(EINVAL)
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    addr, size = _place(proc, addr, size, flags)
    if fp is not None and (offset + size > (1 << 63) - 1):
        raise SyscallError(EOVERFLOW)
    bsd = _bsd_flags(flags)
    vmprot = _prot(proc, prot)
    if fp is not None:
        maxprot = _file_rights(proc, fp, prot, flags)
        addr = vn_mmap(proc, fp.f_vnode, addr, size, vmprot, maxprot | vmprot, bsd, offset)
    else:
        if flags & MAP_TYPE not in (MAP_SHARED, MAP_PRIVATE):
            raise SyscallError(EINVAL)
        if flags & MAP_GROWSDOWN and flags & MAP_TYPE == MAP_PRIVATE:
            return _mmap_growsdown(proc, addr, size, vmprot, flags)
        addr = _mmap_anonymous(proc, addr, size, vmprot, bsd)
    if flags & (MAP_LOCKED | MAP_POPULATE):
        _populate(proc, addr, size, vmprot, lock=bool(flags & MAP_LOCKED))
    return addr


def _unsupported(td: Thread, name: str) -> None:
    kt = td.td_proc.kernel.ktrace
    if kt.unsupported is not None:
        kt.emit(Unsupported("flag", name, pid=td.td_proc.p_pid))


def _place(proc: Proc, addr: VmOffset, size: VmOffset, flags: int) -> tuple[VmOffset, VmOffset]:
    """Linux: get_unmapped_area() and the checks around it."""
    size = (size + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    if size == 0 or size > TASK_SIZE:
        raise SyscallError(ENOMEM)
    if not flags & MAP_FIXED:
        addr &= ~PAGE_MASK
        if addr and (addr < MMAP_MIN_ADDR or addr + size > TASK_SIZE):
            addr = 0
        return (addr if flags & MAP_32BIT else vm_mmap.place_hint(proc, addr)), size
    if addr > TASK_SIZE - size:
        raise SyscallError(ENOMEM)
    if addr & PAGE_MASK:
        raise SyscallError(EINVAL)
    if addr < MMAP_MIN_ADDR and not (proc.p_ucred.cr_uid == 0 and addr):
        raise SyscallError(EPERM)
    if flags & MAP_FIXED_NOREPLACE and _occupied(proc.p_vmspace.vm_map, addr, addr + size):
        raise SyscallError(EEXIST)
    return addr, size


def _occupied(map_: VmMap, start: VmOffset, end: VmOffset) -> bool:
    found, entry = map_.lookup_entry(start)
    following = entry.next
    return found or (following is not map_.header and following.start < end)


def _bsd_flags(flags: int) -> int:
    result = vm_mmap.MAP_SHARED if flags & MAP_SHARED else vm_mmap.MAP_PRIVATE
    if flags & MAP_TYPE == MAP_PRIVATE:
        result = vm_mmap.MAP_PRIVATE
    if flags & MAP_FIXED:
        result |= vm_mmap.MAP_FIXED
    if flags & MAP_ANONYMOUS:
        result |= vm_mmap.MAP_ANON
    if flags & MAP_32BIT and not flags & MAP_FIXED:
        result |= vm_mmap.MAP_32BIT
    return result


def _file_rights(proc: Proc, fp: File, prot: int, flags: int) -> int:
    """VM_PROT_* that the open file allows for ever; EACCES, EINVAL, ENODEV.  Linux: do_mmap()."""
    kind = flags & MAP_TYPE
    if kind == MAP_SHARED_VALIDATE and flags & ~_VALIDATED:
        raise SyscallError(EOPNOTSUPP)
    if kind not in (MAP_SHARED, MAP_PRIVATE, MAP_SHARED_VALIDATE):
        raise SyscallError(EINVAL)
    shared = kind != MAP_PRIVATE
    if shared and prot & VM_PROT_WRITE and not fp.f_flag & FWRITE:
        raise SyscallError(EACCES)
    if not fp.f_flag & FREAD:
        raise SyscallError(EACCES)
    if fp.f_vnode is None:
        raise SyscallError(ENODEV)
    if fp.f_vnode.v_type != VREG and not fp.f_vnode.maps_anonymous():
        raise SyscallError(ENODEV)
    maxprot = VM_PROT_READ | VM_PROT_EXECUTE
    if not shared or fp.f_flag & FWRITE:
        maxprot |= VM_PROT_WRITE
    return maxprot


def _mmap_anonymous(proc: Proc, addr: VmOffset, size: VmOffset, prot: int, flags: int) -> VmOffset:
    return vm_mmap.vm_mmap_object(proc, addr, size, prot, VM_PROT_ALL, flags)


def _mmap_growsdown(proc: Proc, addr: VmOffset, size: VmOffset, prot: int, flags: int) -> VmOffset:
    """A stack entry that ends where the mapping ends; its lower part grows when it is touched."""
    reserve = max(size, GROWSDOWN_RESERVE)
    bottom = addr + size - reserve if flags & MAP_FIXED else addr
    bsd = vm_mmap.MAP_ANON | vm_mmap.MAP_PRIVATE | vm_mmap.MAP_STACK
    map_ = proc.p_vmspace.vm_map
    if flags & MAP_FIXED:
        _ = map_.remove(addr, addr + size)
        bottom = max(bottom, _floor(map_, addr))
        bsd |= vm_mmap.MAP_FIXED
    reserve = addr + size - bottom if flags & MAP_FIXED else reserve
    got = vm_mmap.vm_mmap_object(proc, bottom, reserve, prot | VM_PROT_READ, VM_PROT_ALL, bsd)
    return got + reserve - size


def _floor(map_: VmMap, addr: VmOffset) -> VmOffset:
    """The end of the nearest mapping below *addr*."""
    _found, entry = map_.lookup_entry(addr)
    return map_.min_offset if entry is map_.header else min(entry.end, addr)


def _populate(proc: Proc, addr: VmOffset, size: VmOffset, prot: int, *, lock: bool) -> None:
    """Make a new mapping resident; failures are silent.  Linux: mm_populate()."""
    map_ = proc.p_vmspace.vm_map
    if lock:
        _ = map_.wire(addr, addr + size, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)
        return
    access = VM_PROT_WRITE if prot & VM_PROT_WRITE else VM_PROT_READ
    if not prot & access:
        return
    for va in range(addr, addr + size, PAGE_SIZE):
        if vm_fault(map_, va, access) != KERN_SUCCESS:
            return


# -- munmap, mprotect ---------------------------------------------------------------------------------------


def sys_munmap(td: Thread, addr: int, size: int) -> int:
    """munmap(2): holes are fine."""
    if addr & PAGE_MASK or addr > TASK_SIZE or size > TASK_SIZE - addr or size == 0:
        raise SyscallError(EINVAL)
    start, end = linux_page_range(addr, size)
    _ = td.td_proc.p_vmspace.vm_map.remove(start, end)
    return 0


def sys_mprotect(td: Thread, addr: int, size: int, prot: int) -> int:
    """mprotect(2): ENOMEM at the first hole, what precedes it being changed."""
    proc = td.td_proc
    map_ = proc.p_vmspace.vm_map
    grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~(PROT_GROWSDOWN | PROT_GROWSUP)
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or addr & PAGE_MASK:
        raise SyscallError(EINVAL)
    if size == 0:
        return 0
    start, end = linux_page_range(addr, size)
    if end <= start or end > WORD_MASK:
        raise SyscallError(ENOMEM)
    if prot & ~(VM_PROT_ALL | PROT_SEM):
        raise SyscallError(EINVAL)
    if grows:
        start = _grows_from(map_, start, grows)
    stop = mapped_until(map_, start, end)
    if stop > start:
        rv = map_.protect(start, stop, _prot(proc, prot))
        if rv != KERN_SUCCESS:
            raise SyscallError(EACCES if rv == KERN_PROTECTION_FAILURE else ENOMEM)
    if stop < end:
        raise SyscallError(ENOMEM)
    return 0


def _grows_from(map_: VmMap, start: VmOffset, grows: int) -> VmOffset:
    found, entry = map_.lookup_entry(start)
    if not found:
        raise SyscallError(ENOMEM)
    if grows == PROT_GROWSUP or not entry.eflags & MAP_ENTRY_GROWS_DOWN:
        raise SyscallError(EINVAL)
    return entry.start


# -- madvise ------------------------------------------------------------------------------------------------

MADV_DONTNEED = 4
MADV_FREE = 8
MADV_REMOVE = 9
MADV_DONTFORK = 10
MADV_DOFORK = 11
MADV_WIPEONFORK = 18
MADV_KEEPONFORK = 19
MADV_POPULATE_READ = 22
MADV_POPULATE_WRITE = 23
_BSD_ADVICE = {0: 0, 1: 1, 2: 2, 3: 3, MADV_FREE: 5}
"""Advice that FreeBSD knows as well."""
_HARMLESS = frozenset((12, 13, 14, 15, 16, 17, 20, 21))
"""KSM, huge pages, core dumps, cold and pageout: nothing here depends on them."""
_INHERIT = {MADV_DONTFORK: 2, MADV_DOFORK: 1, MADV_WIPEONFORK: 3, MADV_KEEPONFORK: 1}


def sys_madvise(td: Thread, addr: int, size: int, advice: int) -> int:
    """madvise(2): ENOMEM when there was a hole, after the rest was done."""
    map_ = td.td_proc.p_vmspace.vm_map
    known = advice in _BSD_ADVICE or advice in _HARMLESS or advice in _INHERIT
    populate = advice in (MADV_POPULATE_READ, MADV_POPULATE_WRITE)
    if not (known or populate or advice in (MADV_DONTNEED, MADV_REMOVE)) or addr & PAGE_MASK:
        raise SyscallError(EINVAL)
    start, end = linux_page_range(addr, size)
    if (size and start == end) or end > WORD_MASK:
        raise SyscallError(EINVAL)
    if start == end:
        return 0
    if advice == MADV_REMOVE:
        _unsupported(td, "MADV_REMOVE")
        raise SyscallError(EINVAL)
    if populate:
        return _madvise_populate(map_, start, end, write=advice == MADV_POPULATE_WRITE)
    hole = False
    here = start
    while here < end:
        stop = mapped_until(map_, here, end)
        if stop > here:
            _advise(td, map_, here, stop, advice)
            here = stop
        if here < end:
            hole = True
            here = _next_mapped(map_, here, end)
    if hole:
        raise SyscallError(ENOMEM)
    return 0


def _next_mapped(map_: VmMap, here: VmOffset, end: VmOffset) -> VmOffset:
    _found, entry = map_.lookup_entry(here)
    entry = entry.next
    while entry is not map_.header and entry.eflags & MAP_ENTRY_GUARD:
        entry = entry.next
    return end if entry is map_.header else min(entry.start, end)


def _advise(td: Thread, map_: VmMap, start: VmOffset, end: VmOffset, advice: int) -> None:
    if advice == MADV_DONTNEED:
        discard(map_, start, end)
    elif advice in _INHERIT:
        if map_.inherit(start, end, _INHERIT[advice]) != KERN_SUCCESS:
            _unsupported(td, "MADV_WIPEONFORK")
            raise SyscallError(EINVAL)
    elif advice in _BSD_ADVICE:
        _ = map_.madvise(start, end, _BSD_ADVICE[advice])


def _madvise_populate(map_: VmMap, start: VmOffset, end: VmOffset, *, write: bool) -> int:
    if mapped_until(map_, start, end) < end:
        raise SyscallError(ENOMEM)
    access = VM_PROT_WRITE if write else VM_PROT_READ
    for va in range(start, end, PAGE_SIZE):
        rv = vm_fault(map_, va, access)
        if rv != KERN_SUCCESS:
            raise SyscallError(EINVAL if rv == KERN_PROTECTION_FAILURE else ENOMEM)
    return 0


def discard(map_: VmMap, start: VmOffset, end: VmOffset) -> None:
    """MADV_DONTNEED of Linux: private pages are gone, the next touch sees zeros or the file again.

    Requires: [start, end) is mapped without holes.
    """
    here = start
    while here < end:
        found, entry = map_.lookup_entry(here)
        if not found:
            return
        stop = min(entry.end, end)
        if entry.eflags & MAP_ENTRY_USER_WIRED:
            raise SyscallError(EINVAL)
        _discard_entry(map_, entry, here, stop)
        here = stop


def _discard_entry(map_: VmMap, entry: VmMapEntry, start: VmOffset, end: VmOffset) -> None:
    obj = entry.vm_object
    if obj is None or entry.inheritance == 0:
        return
    first = (entry.offset + start - entry.start) >> PAGE_SHIFT
    count = (end - start) >> PAGE_SHIFT
    chain = []
    while obj is not None and obj.is_anon:
        if obj.ref_count > 1:
            _replace(map_, entry, start, end)
            return
        chain.append((obj, first))
        first += obj.backing_object_offset >> PAGE_SHIFT
        obj = obj.backing_object
    for private, index in chain:
        vm_object_page_remove(private, index, index + count)


def _replace(map_: VmMap, entry: VmMapEntry, start: VmOffset, end: VmOffset) -> None:
    """Map the same range anew: what is shared with another process must stay as it is there."""
    prot, maxprot, inheritance = entry.protection, entry.max_protection, entry.inheritance
    offset = entry.offset + start - entry.start
    obj = entry.vm_object
    while obj is not None and obj.is_anon:
        offset += obj.backing_object_offset
        obj = obj.backing_object
    cow = 0
    if obj is None:
        offset = 0
    else:
        vm_object_reference(obj)
        cow = vm_mmap.docow_flags(vm_mmap.MAP_PRIVATE, writecounted=False)
    if map_.fixed(obj, offset, start, end - start, prot, maxprot, cow) != KERN_SUCCESS:
        raise SyscallError(ENOMEM)
    if inheritance != 1:
        _ = map_.inherit(start, end, inheritance)


# -- residency and wiring -----------------------------------------------------------------------------------

_INCORE = bytes(info & 1 for info in range(256))
"""MINCORE_* to Linux's one bit."""


def sys_mincore(td: Thread, addr: int, size: int, vec: int) -> int:
    """mincore(2): one bit a page."""
    map_ = td.td_proc.p_vmspace.vm_map
    if addr & PAGE_MASK:
        raise SyscallError(EINVAL)
    start, end = addr, addr + size
    if end > TASK_SIZE:
        raise SyscallError(ENOMEM)
    if vec + ((size + PAGE_MASK) >> PAGE_SHIFT) > TASK_SIZE:
        raise SyscallError(EFAULT)
    end = (end + PAGE_MASK) & ~PAGE_MASK
    if end == start:
        return 0
    stop = mapped_until(map_, start, end)
    if stop > start:
        for piece in vm_mmap.kern_mincore(td.td_proc, start, stop - start):
            copyout(td, vec, piece.translate(_INCORE))
            vec += len(piece)
    if stop < end:
        raise SyscallError(ENOMEM)
    return 0


def sys_msync(td: Thread, addr: int, size: int, flags: int) -> int:
    """msync(2)."""
    map_ = td.td_proc.p_vmspace.vm_map
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or addr & PAGE_MASK:
        raise SyscallError(EINVAL)
    if flags & MS_ASYNC and flags & MS_SYNC:
        raise SyscallError(EINVAL)
    start, end = linux_page_range(addr, size)
    if end > WORD_MASK:
        raise SyscallError(ENOMEM)
    here = start
    hole = False
    while here < end:
        stop = mapped_until(map_, here, end)
        if stop > here:
            _msync_piece(map_, here, stop, flags)
            here = stop
        if here < end:
            hole = True
            here = _next_mapped(map_, here, end)
    if hole:
        raise SyscallError(ENOMEM)
    return 0


def _msync_piece(map_: VmMap, start: VmOffset, end: VmOffset, flags: int) -> None:
    if flags & MS_INVALIDATE:
        found, entry = map_.lookup_entry(start)
        while found and entry is not map_.header and entry.start < end:
            if entry.eflags & MAP_ENTRY_USER_WIRED:
                raise SyscallError(EBUSY)
            entry = entry.next
    if flags & MS_SYNC and map_.sync(start, end, True, False) == KERN_FAILURE:
        raise SyscallError(EIO)


def _may_lock(proc: Proc, size: VmOffset) -> None:
    """Linux: can_do_mlock() and RLIMIT_MEMLOCK, from which the super-user is free."""
    if proc.p_ucred.cr_uid == 0:
        return
    limit = proc.p_limit.lim_cur(RLIMIT_MEMLOCK)
    if limit == 0:
        raise SyscallError(EPERM)
    if (proc.p_vmspace.vm_pmap.wired_count << PAGE_SHIFT) + size > limit:
        raise SyscallError(ENOMEM)


def _lock_range(addr: VmOffset, size: VmOffset) -> tuple[VmOffset, VmOffset]:
    size = (size + (addr & PAGE_MASK) + PAGE_MASK) & ~PAGE_MASK & WORD_MASK
    addr &= ~PAGE_MASK
    if addr + size > WORD_MASK:
        raise SyscallError(EINVAL)
    return addr, addr + size


def sys_mlock(td: Thread, addr: int, size: int) -> int:
    """mlock(2)."""
    proc = td.td_proc
    start, end = _lock_range(addr, size)
    _may_lock(proc, end - start)
    if start == end:
        return 0
    map_ = proc.p_vmspace.vm_map
    if mapped_until(map_, start, end) < end:
        raise SyscallError(ENOMEM)
    if map_.wire(start, end, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES) != KERN_SUCCESS:
        raise SyscallError(ENOMEM)
    return 0


def sys_mlock2(td: Thread, addr: int, size: int, flags: int) -> int:
    """mlock2(2): MLOCK_ONFAULT locks at once here."""
    if flags & ~1:
        raise SyscallError(EINVAL)
    return sys_mlock(td, addr, size)


def sys_munlock(td: Thread, addr: int, size: int) -> int:
    """munlock(2)."""
    map_ = td.td_proc.p_vmspace.vm_map
    start, end = _lock_range(addr, size)
    if start == end:
        return 0
    if mapped_until(map_, start, end) < end:
        raise SyscallError(ENOMEM)
    here = start
    while here < end:
        _found, entry = map_.lookup_entry(here)
        stop = min(entry.end, end)
        if entry.eflags & MAP_ENTRY_USER_WIRED:
            _ = map_.unwire(here, stop, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)
        here = stop
    return 0


def sys_mlockall(td: Thread, flags: int) -> int:
    """mlockall(2)."""
    proc = td.td_proc
    if not flags or flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) or flags == MCL_ONFAULT:
        raise SyscallError(EINVAL)
    map_ = proc.p_vmspace.vm_map
    _may_lock(proc, map_.size if flags & MCL_CURRENT else 0)
    map_.modflags(MAP_WIREFUTURE if flags & MCL_FUTURE else 0, 0)
    if flags & MCL_CURRENT:
        for entry in list(map_.entries()):
            if not entry.eflags & MAP_ENTRY_GUARD and entry.protection:
                _ = map_.wire(entry.start, entry.end, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)
    return 0


def sys_munlockall(td: Thread) -> int:
    """munlockall(2)."""
    vm_mmap.kern_munlockall(td.td_proc)
    return 0


# -- brk ----------------------------------------------------------------------------------------------------


def sys_brk(td: Thread, addr: int) -> int:
    """brk(2): returns the break as it is afterwards, moved or not; it is exact to the byte."""
    proc = td.td_proc
    end = vm_mmap.current_break(proc)
    exact = proc.p_linux_brk
    if not end - PAGE_SIZE < exact <= end:
        exact = end
    base = (proc.p_vmspace.vm_daddr + PAGE_MASK) & ~PAGE_MASK
    if addr < base or addr > TASK_SIZE:
        return exact
    try:
        _ = vm_mmap.kern_break(proc, addr)
    except SyscallError:
        return exact
    proc.p_linux_brk = addr
    return addr


def map_error(rv: int) -> int:
    """Errno of a failed insertion."""
    return ENOMEM if rv == KERN_RESOURCE_SHORTAGE else vm_mmap.vm_mmap_to_errno(rv)


SYSCALLS: dict[int, Sysent] = {
    9: Sysent("mmap", "puxxfu", Support.PARTIAL, sys_mmap, "no MAP_HUGETLB; placed bottom-up"),
    10: Sysent("mprotect", "pux", Support.FULL, sys_mprotect),
    11: Sysent("munmap", "pu", Support.FULL, sys_munmap),
    12: Sysent("brk", "p", Support.FULL, sys_brk),
    26: Sysent("msync", "pux", Support.FULL, sys_msync),
    27: Sysent("mincore", "pub", Support.FULL, sys_mincore),
    28: Sysent("madvise", "pud", Support.PARTIAL, sys_madvise, "no MADV_REMOVE"),
    149: Sysent("mlock", "pu", Support.FULL, sys_mlock),
    150: Sysent("munlock", "pu", Support.FULL, sys_munlock),
    151: Sysent("mlockall", "x", Support.FULL, sys_mlockall),
    152: Sysent("munlockall", "", Support.FULL, sys_munlockall),
    325: Sysent("mlock2", "pux", Support.FULL, sys_mlock2),
}
"""Number to row."""
