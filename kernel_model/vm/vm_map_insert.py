"""Making entries: insert, merge with the neighbours, cut in two, hand over to a map of their own.

FreeBSD: vm_map_insert(), vm_map_simplify_entry(), vm_map_clip_start(), vm_map_clip_end(), vm_map_pmap_enter(),
vm_map_submap() in sys/vm/vm_map.c; vm_map_insert(9), vm_map_simplify_entry(9), vm_map_submap(9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.ucred import Ucred
from kernel_model.vm.swap_pager import swap_reserve_by_cred
from kernel_model.vm.vm import (
    OBJ_ONEMAPPING,
    OBJT_DEVICE,
    OBJT_SG,
    VM_INHERIT_DEFAULT,
    VM_INHERIT_SHARE,
    VM_PROT_EXECUTE,
    VM_PROT_READ,
    VM_PROT_WRITE,
)
from kernel_model.vm.vm_map import (
    EXCLUSIVE,
    vm_map_entry_clip_above,
    vm_map_entry_clip_below,
    vm_map_entry_extend,
    vm_map_entry_link,
    vm_map_entry_merge,
    vm_map_entry_set_object,
)
from kernel_model.vm.vm_map_entry import (
    MAP_ACC_CHARGED,
    MAP_ACC_NO_CHARGE,
    MAP_COPY_ON_WRITE,
    MAP_CREATE_GUARD,
    MAP_CREATE_STACK_GAP_DN,
    MAP_CREATE_STACK_GAP_UP,
    MAP_DISABLE_COREDUMP,
    MAP_DISABLE_SYNCER,
    MAP_ENTRY_COW,
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GROWS_UP,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_NEEDS_COPY,
    MAP_ENTRY_NOCOREDUMP,
    MAP_ENTRY_NOFAULT,
    MAP_ENTRY_NOSYNC,
    MAP_ENTRY_SPLIT_BOUNDARY_MASK,
    MAP_ENTRY_SPLIT_BOUNDARY_SHIFT,
    MAP_ENTRY_STACK_GAP_DN,
    MAP_ENTRY_STACK_GAP_UP,
    MAP_ENTRY_USER_WIRED,
    MAP_ENTRY_VN_EXEC,
    MAP_ENTRY_WRITECNT,
    MAP_INHERIT_SHARE,
    MAP_IS_SUB_MAP,
    MAP_NOFAULT,
    MAP_PREFAULT,
    MAP_PREFAULT_MADVISE,
    MAP_PREFAULT_PARTIAL,
    MAP_SPLIT_BOUNDARY_MASK,
    MAP_SPLIT_BOUNDARY_SHIFT,
    MAP_STACK_GROWS_DOWN,
    MAP_STACK_GROWS_UP,
    MAP_VN_EXEC,
    MAP_WRITECOUNT,
    MAP_WXORX,
    VmMapEntry,
    vm_map_entry_set_vnode_text,
    vm_map_entry_update_writecount,
)
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_object import (
    vm_object_coalesce,
    vm_object_reference,
)
from kernel_model.vm.vm_param import (
    KERN_INVALID_ADDRESS,
    KERN_INVALID_ARGUMENT,
    KERN_NO_SPACE,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    NBPDR,
    PAGE_SHIFT,
    PAGE_SIZE,
    KernReturn,
)

if TYPE_CHECKING:
    from kernel_model.release import Release
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_object import VmObject


THREAD0_CRED = Ucred()
"""Who pays when no process is current: the kernel's own credentials, proc0's."""

MAX_INIT_PT = 96
"""Pages that MAP_PREFAULT_PARTIAL maps at most."""
PAGESIZES = (PAGE_SIZE, NBPDR, 1 << 30)
"""amd64's page sizes; the index is a split boundary's."""

_GROWS = MAP_STACK_GROWS_DOWN | MAP_STACK_GROWS_UP
_NO_CHARGE = MAP_ACC_NO_CHARGE | MAP_NOFAULT | MAP_CREATE_GUARD
_COUNTED = MAP_ENTRY_VN_EXEC | MAP_ENTRY_WRITECNT
_WX = VM_PROT_WRITE | VM_PROT_EXECUTE
_PREFAULT = MAP_PREFAULT | MAP_PREFAULT_PARTIAL
_EFLAGS_ALL = (
    (MAP_COPY_ON_WRITE, MAP_ENTRY_COW | MAP_ENTRY_NEEDS_COPY),
    (MAP_NOFAULT, MAP_ENTRY_NOFAULT),
    (MAP_DISABLE_SYNCER, MAP_ENTRY_NOSYNC),
    (MAP_DISABLE_COREDUMP, MAP_ENTRY_NOCOREDUMP),
    (MAP_WRITECOUNT, MAP_ENTRY_WRITECNT),
)
_EFLAGS_GROWS = (
    (MAP_STACK_GROWS_DOWN, MAP_ENTRY_GROWS_DOWN),
    (MAP_STACK_GROWS_UP, MAP_ENTRY_GROWS_UP),
)
_EFLAGS_GUARDS = (
    (MAP_CREATE_GUARD, MAP_ENTRY_GUARD),
    (MAP_CREATE_STACK_GAP_DN, MAP_ENTRY_STACK_GAP_DN),
    (MAP_CREATE_STACK_GAP_UP, MAP_ENTRY_STACK_GAP_UP),
)
_EFLAGS_EXEC = ((MAP_VN_EXEC, MAP_ENTRY_VN_EXEC),)


def curcred(vm: Vm) -> Ucred:
    """The credentials that swap is charged to now: curthread->td_ucred."""
    proc = vm.curproc
    return THREAD0_CRED if proc is None else proc.p_ucred


def cow_to_eflags(release: Release, cow: int) -> int:
    """The flags of an entry made with *cow*, as far as *release* knows them."""
    table: tuple[tuple[int, int], ...] = _EFLAGS_ALL
    if release.insert_grows_flags:
        table += _EFLAGS_GROWS
    if release.insert_guards:
        table += _EFLAGS_GUARDS
    if release.exec_vn_exec:
        table += _EFLAGS_EXEC
    eflags = 0
    for bit, eflag in table:
        if cow & bit:
            eflags |= eflag
    return eflags | ((cow & MAP_SPLIT_BOUNDARY_MASK) >> MAP_SPLIT_BOUNDARY_SHIFT << MAP_ENTRY_SPLIT_BOUNDARY_SHIFT)


def vm_map_insert(
    map_: VmMap, obj: VmObject | None, offset: int, start: int, end: int, prot: int, max_: int, cow: int
) -> KernReturn:
    """Map ``[start, end)`` to *obj* from *offset* on, or to zeroed memory that comes into being when touched.

    *prot*, *max_*: rights and the most that they may become; *cow*: how to map, MAP_COPY_ON_WRITE and others.
    Requires: the map locked; one reference to *obj* that the new entry takes over on success.
    Returns:  KERN_SUCCESS; KERN_INVALID_ADDRESS outside the map or empty; KERN_NO_SPACE when something is there;
              KERN_INVALID_ARGUMENT for a guard with an object or rights, or a bad split boundary;
              KERN_PROTECTION_FAILURE on a W^X map; KERN_RESOURCE_SHORTAGE without swap.
    FreeBSD:  vm_map_insert(9).
    """
    kassert(map_.lock_state == EXCLUSIVE, "vm_map_insert: map not locked")
    header = map_.header
    if start < header.end or end > header.start or start >= end:
        return KERN_INVALID_ADDRESS
    vm = map_.vm
    release = vm.release
    if release.insert_checks_wxorx and map_.flags & MAP_WXORX and prot & _WX == _WX:
        return KERN_PROTECTION_FAILURE
    found, prev = vm_map_lookup_entry(map_, start)
    if found or prev.next.start < end:
        return KERN_NO_SPACE
    eflags = 0
    if cow:
        rv = _check_cow(release, obj, start, end, max_, cow)
        if rv != KERN_SUCCESS:
            return rv
        eflags = cow_to_eflags(release, cow)
    if release.insert_asserts_prot:
        kassert(not prot & ~max_, "prot %#x is not a subset of max_prot %#x", prot, max_)
    return _insert_above(map_, prev, obj, offset, start, end, prot, max_, cow, eflags)


def _insert_above(
    map_: VmMap,
    prev: VmMapEntry,
    obj: VmObject | None,
    offset: int,
    start: int,
    end: int,
    prot: int,
    max_: int,
    cow: int,
    eflags: int,
) -> KernReturn:
    """The second half of vm_map_insert: the range is free and right above *prev*."""
    vm = map_.vm
    release = vm.release
    inheritance = VM_INHERIT_SHARE if cow & MAP_INHERIT_SHARE else VM_INHERIT_DEFAULT
    cred: Ucred | None = None
    if _is_charged(obj, prot, cow, eflags):
        cred = curcred(vm)
        if not cow & MAP_ACC_CHARGED and not swap_reserve_by_cred(vm, end - start, cred):
            return KERN_RESOURCE_SHORTAGE
    if map_.system_map:
        map_.pmap.growkernel(end)
    if obj is not None:
        if obj.ref_count > 1 or obj.shadow_count:
            obj.flags &= ~OBJ_ONEMAPPING
    elif prev.end == start and not cow & (_GROWS | MAP_VN_EXEC) and _coalesce(release, prev, end, eflags, cred):
        if _same_rights(prev, inheritance, prot, max_):
            _extend(map_, prev, end)
            return KERN_SUCCESS
        obj = prev.vm_object
        offset = prev.offset + (prev.end - prev.start)
        if obj is not None:
            vm_object_reference(obj)
            if obj.cred is not None and not prev.eflags & MAP_ENTRY_NEEDS_COPY:
                cred = None
    entry = VmMapEntry(start, end)
    entry.object = obj
    entry.offset = offset
    entry.eflags = eflags
    entry.inheritance = inheritance
    entry.protection = prot
    entry.max_protection = max_
    entry.next_read = start if release.next_read_is_address else offset >> PAGE_SHIFT
    entry.cred = cred
    _link_new(map_, prev, entry, cow)
    if cow & _PREFAULT:
        vm_map_pmap_enter(map_, start, prot, obj, offset >> PAGE_SHIFT, end - start, cow & MAP_PREFAULT_PARTIAL)
    return KERN_SUCCESS


def _is_charged(obj: VmObject | None, prot: int, cow: int, eflags: int) -> bool:
    """Whether the new range has to be backed by swap: private memory that may be written."""
    if cow & _NO_CHARGE:
        return False
    if cow & MAP_ACC_CHARGED:
        return True
    return prot & VM_PROT_WRITE != 0 and (obj is None or eflags & MAP_ENTRY_NEEDS_COPY != 0)


def _same_rights(prev: VmMapEntry, inheritance: int, prot: int, max_: int) -> bool:
    """The entry below has the attributes of the new range, and is not wired."""
    return (
        prev.inheritance == inheritance
        and prev.protection == prot
        and prev.max_protection == max_
        and prev.wired_count == 0
    )


def _link_new(map_: VmMap, prev: VmMapEntry, entry: VmMapEntry, cow: int) -> None:
    """Put a new entry into the map, count it at its file, and merge it where that is allowed."""
    vm_map_entry_link(map_, prev, entry)
    if entry.eflags & _COUNTED:
        vm_map_entry_set_vnode_text(entry, add=True)
        vm_map_entry_update_writecount(entry)
    if not cow & _GROWS and not map_.vm.release.insert_skips_simplify:
        vm_map_simplify_entry(map_, entry)


def _check_cow(release: Release, obj: VmObject | None, start: int, end: int, max_: int, cow: int) -> KernReturn:
    """What some flags demand of the other arguments."""
    kassert(obj is None or not cow & MAP_NOFAULT, "vm_map_insert: paradoxical MAP_NOFAULT request")
    if cow & MAP_CREATE_GUARD and release.insert_guards and (obj is not None or max_):
        return KERN_INVALID_ARGUMENT
    index = (cow & MAP_SPLIT_BOUNDARY_MASK) >> MAP_SPLIT_BOUNDARY_SHIFT
    if index:
        if index >= len(PAGESIZES):
            return KERN_INVALID_ARGUMENT
        if (start | end) & (PAGESIZES[index] - 1):
            return KERN_INVALID_ARGUMENT
    return KERN_SUCCESS


def _coalesce(release: Release, prev: VmMapEntry, end: int, eflags: int, cred: Ucred | None) -> bool:
    """Whether the object of the entry below can be made long enough to serve up to *end* as well; if so it now is."""
    if release.insert_wired_second:
        if prev.eflags & ~MAP_ENTRY_USER_WIRED != eflags:
            return False
    elif prev.eflags != eflags or prev.wired_count != 0:
        return False
    obj = prev.vm_object
    if prev.cred is not cred and (obj is None or obj.cred is not cred):
        return False
    return vm_object_coalesce(
        obj,
        prev.offset,
        prev.end - prev.start,
        end - prev.end,
        cred is not None and not eflags & MAP_ENTRY_NEEDS_COPY,
    )


def _extend(map_: VmMap, prev: VmMapEntry, end: int) -> None:
    """Make *prev* end at *end* instead of a new entry."""
    vm_map_entry_extend(map_, prev, end)
    vm_map_simplify_entry(map_, prev)


def _mergeable(prev: VmMapEntry, entry: VmMapEntry) -> bool:
    """Two neighbours that differ in nothing and continue each other.  FreeBSD: vm_map_mergeable_neighbors()."""
    return (
        prev.end == entry.start
        and prev.object is entry.object
        and prev.eflags == entry.eflags
        and (prev.object is None or prev.offset + (prev.end - prev.start) == entry.offset)
        and prev.protection == entry.protection
        and prev.max_protection == entry.max_protection
        and prev.inheritance == entry.inheritance
        and prev.wired_count == entry.wired_count
        and prev.cred is entry.cred
    )


def vm_map_simplify_entry(map_: VmMap, entry: VmMapEntry) -> None:
    """Merge *entry* with either neighbour when nothing distinguishes them; *entry* stays valid.

    FreeBSD: vm_map_simplify_entry(9); vm_map_try_merge_entries() since 13.0.
    """
    if entry.eflags & map_.nomerge:
        return
    prev = entry.prev
    if _mergeable(prev, entry):
        vm_map_entry_merge(map_, entry, prev)
    nxt = entry.next
    if _mergeable(entry, nxt):
        vm_map_entry_merge(map_, entry, nxt)


def vm_map_try_merge_entries(map_: VmMap, prev: VmMapEntry, entry: VmMapEntry) -> VmMapEntry:
    """Merge two neighbours when nothing distinguishes them; returns the entry that covers *prev*'s range now.

    FreeBSD: vm_map_try_merge_entries(), since 13.0.
    """
    if prev is map_.header or prev.eflags & map_.nomerge or not _mergeable(prev, entry):
        return prev
    vm_map_entry_merge(map_, entry, prev)
    return entry


def vm_map_clip_start(map_: VmMap, entry: VmMapEntry, start: int) -> None:
    """Make *entry* begin at or above *start*; what is below becomes an entry of its own.

    FreeBSD: vm_map_clip_start().
    """
    if start <= entry.start:
        return
    if map_.vm.release.clip_start_simplifies:
        vm_map_simplify_entry(map_, entry)
    vm_map_entry_clip_below(map_, entry, start)


def vm_map_clip_end(map_: VmMap, entry: VmMapEntry, end: int) -> None:
    """Make *entry* end at or below *end*; what is above becomes an entry of its own.  FreeBSD: vm_map_clip_end()."""
    if end >= entry.end:
        return
    kassert(entry.start < end, "vm_map_clip_end: nothing would be left of %r", entry)
    vm_map_entry_clip_above(map_, entry, end)


def clip_allowed(entry: VmMapEntry, at: int) -> bool:
    """Whether *entry* may be cut at *at*: large-page entries only at their page size.

    FreeBSD: vm_map_clip_start() of 13.0.
    """
    index = (entry.eflags & MAP_ENTRY_SPLIT_BOUNDARY_MASK) >> MAP_ENTRY_SPLIT_BOUNDARY_SHIFT
    return not index or not entry.start < at < entry.end or not at & (PAGESIZES[index] - 1)


def vm_map_pmap_enter(
    map_: VmMap, addr: int, prot: int, obj: VmObject | None, pindex: int, size: int, flags: int
) -> None:
    """Map what is resident of *obj* already, without write access: no page is allocated or read.

    FreeBSD: vm_map_pmap_enter().
    """
    if not prot & (VM_PROT_READ | VM_PROT_EXECUTE) or obj is None:
        return
    if obj.type in (OBJT_DEVICE, OBJT_SG):
        map_.pmap.object_init_pt(addr, obj, pindex, size)
        return
    psize = size >> PAGE_SHIFT
    pages = obj.pages
    if flags & MAP_PREFAULT_PARTIAL:
        if map_.vm.release.prefault_all_or_nothing and psize > MAX_INIT_PT and len(pages) > MAX_INIT_PT:
            return
        psize = min(psize, MAX_INIT_PT)
    psize = min(psize, obj.size - pindex)
    if psize <= 0 or not pages:
        return
    indexes = range(pindex, pindex + psize) if psize <= len(pages) else sorted(pages)
    for index in indexes:
        page = pages.get(index)
        if page is None or not pindex <= index < pindex + psize or not page.valid:
            continue
        if flags & MAP_PREFAULT_MADVISE and map_.vm.cnt.severe():
            return
        map_.pmap.enter_quick(addr + ((index - pindex) << PAGE_SHIFT), page, prot)


def vm_map_submap(map_: VmMap, start: int, end: int, submap: VmMap) -> KernReturn:
    """Let *submap* serve ``[start, end)``, which must be one fresh entry: no object, no copy-on-write.

    Returns: KERN_SUCCESS; KERN_INVALID_ARGUMENT for any other range, which before 13 is left clipped.
    FreeBSD: vm_map_submap(9).
    Differs: with nothing mapped at or above the range, 9.3 to 11.0 cut the map's header and so corrupt the map
             (12.1 asserts); here KERN_INVALID_ARGUMENT.
    """
    release = map_.vm.release
    if release.submap_marks_map:
        submap.lock()
        submap.flags |= MAP_IS_SUB_MAP
        submap.unlock()
    map_.lock()
    rv = _submap(map_, *map_.range_check(start, end), submap)
    map_.unlock()
    if rv != KERN_SUCCESS and release.submap_marks_map:
        submap.lock()
        submap.flags &= ~MAP_IS_SUB_MAP
        submap.unlock()
    return rv


def _submap(map_: VmMap, start: int, end: int, submap: VmMap) -> KernReturn:
    if start >= end:
        return KERN_INVALID_ARGUMENT
    found, entry = vm_map_lookup_entry(map_, start)
    if map_.vm.release.submap_checks_first:
        return _submap_checked(map_, found, entry, start, end, submap)
    if found:
        vm_map_clip_start(map_, entry, start)
    else:
        entry = entry.next
    if entry is map_.header:
        return KERN_INVALID_ARGUMENT
    vm_map_clip_end(map_, entry, end)
    if entry.start != start or entry.end != end or entry.eflags & MAP_ENTRY_COW or entry.object is not None:
        return KERN_INVALID_ARGUMENT
    _hand_over(map_, entry, submap)
    return KERN_SUCCESS


def _submap_checked(map_: VmMap, found: bool, entry: VmMapEntry, start: int, end: int, submap: VmMap) -> KernReturn:
    """Since 13: checked before the cuts and not after them; the object that a cut made in a user map is forgotten."""
    fits = found and entry.end >= end and not entry.eflags & MAP_ENTRY_COW and entry.object is None
    if not fits:
        return KERN_INVALID_ARGUMENT
    vm_map_clip_start(map_, entry, start)
    vm_map_clip_end(map_, entry, end)
    _hand_over(map_, entry, submap)
    return KERN_SUCCESS


def _hand_over(map_: VmMap, entry: VmMapEntry, submap: VmMap) -> None:
    vm_map_entry_set_object(map_, entry, submap, entry.offset, set_=MAP_ENTRY_IS_SUB_MAP)
