"""Making entries: insert, merge with the neighbours, cut in two.

FreeBSD: vm_map_insert(), vm_map_simplify_entry(), vm_map_clip_start(), vm_map_clip_end(), vm_map_pmap_enter() in
sys/vm/vm_map.c; vm_map_insert(9), vm_map_simplify_entry(9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from kernel_model.errors import kassert
from kernel_model.vm.swap_pager import swap_reserve_by_cred
from kernel_model.vm.vm import (
    OBJ_ONEMAPPING,
    OBJT_DEFAULT,
    OBJT_DEVICE,
    OBJT_SG,
    VM_INHERIT_DEFAULT,
    VM_INHERIT_SHARE,
    VM_PROT_EXECUTE,
    VM_PROT_READ,
    VM_PROT_WRITE,
)
from kernel_model.vm.vm_map_entry import VmMapEntry, entry_copy
from kernel_model.vm.vm_map_flags import (
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
    MAP_ENTRY_SPLIT_BOUNDARY_SHIFT,
    MAP_ENTRY_STACK_GAP_DN,
    MAP_ENTRY_STACK_GAP_UP,
    MAP_ENTRY_USER_WIRED,
    MAP_ENTRY_VN_EXEC,
    MAP_ENTRY_WRITECNT,
    MAP_INHERIT_SHARE,
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
)
from kernel_model.vm.vm_map_report import INSERT, report
from kernel_model.vm.vm_map_text import (
    vm_map_entry_release_writecount,
    vm_map_entry_set_vnode_text,
    vm_map_entry_update_writecount,
)
from kernel_model.vm.vm_map_tree import (
    vm_map_entry_link,
    vm_map_entry_resize_free,
    vm_map_entry_unlink,
    vm_map_lookup_entry,
)
from kernel_model.vm.vm_object import (
    vm_object_allocate,
    vm_object_coalesce,
    vm_object_deallocate,
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
    from kernel_model.ucred import Ucred
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_object import VmObject


class _Thread0Cred:
    """Who pays when no process is current: the kernel's own credentials, proc0's."""

    __slots__ = ()
    cr_uid = 0
    cr_ruid = 0


THREAD0_CRED = cast("Ucred", _Thread0Cred())

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

    Requires: the map locked; one reference to *obj* that the new entry takes over on success.
    Returns:  KERN_INVALID_ADDRESS outside the map or empty; KERN_NO_SPACE when something is there;
              KERN_INVALID_ARGUMENT for a guard with an object or rights, or a bad split boundary;
              KERN_PROTECTION_FAILURE on a W^X map; KERN_RESOURCE_SHORTAGE without swap.
    FreeBSD:  vm_map_insert(9).
    """
    kassert(map_.lock_state == -1, "vm_map_insert: map not locked")
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
            _extend(map_, prev, start, end)
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
    """Put a new entry into the map, count it, and merge it where that is allowed."""
    release = map_.vm.release
    start, end = entry.start, entry.end
    vm_map_entry_link(map_, prev, entry)
    if not entry.eflags & MAP_ENTRY_GUARD or release.size_counts_guards:
        map_.size += end - start
    map_.pmap.map_changed(start, end)
    if entry.eflags & _COUNTED:
        vm_map_entry_set_vnode_text(entry, add=True)
        vm_map_entry_update_writecount(entry)
    if map_.vm.ktrace.maps is not None:
        report(map_, INSERT, entry, start, end)
    if not cow & _GROWS and not release.insert_skips_simplify:
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


def _extend(map_: VmMap, prev: VmMapEntry, start: int, end: int) -> None:
    """Make *prev* end at *end* instead of a new entry."""
    if not prev.eflags & MAP_ENTRY_GUARD or map_.vm.release.size_counts_guards:
        map_.size += end - start
    prev.end = end
    vm_map_entry_resize_free(map_, prev)
    map_.pmap.map_changed(start, end)
    if map_.vm.ktrace.maps is not None:
        report(map_, INSERT, prev, start, end)
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
        _merge_below(map_, prev, entry)
    nxt = entry.next
    if _mergeable(entry, nxt):
        vm_map_entry_unlink(map_, nxt)
        entry.end = nxt.end
        vm_map_entry_resize_free(map_, entry)
        _merged(map_, entry, nxt)


def vm_map_try_merge_entries(map_: VmMap, prev: VmMapEntry, entry: VmMapEntry) -> VmMapEntry:
    """Merge two neighbours when nothing distinguishes them; returns the entry that covers *prev*'s range now.

    FreeBSD: vm_map_try_merge_entries(), since 13.0.
    """
    if prev is map_.header or prev.eflags & map_.nomerge or not _mergeable(prev, entry):
        return prev
    _merge_below(map_, prev, entry)
    return entry


def _merge_below(map_: VmMap, prev: VmMapEntry, entry: VmMapEntry) -> None:
    """Make *prev*, the entry below, part of *entry*."""
    vm_map_entry_unlink(map_, prev)
    entry.start = prev.start
    entry.offset = prev.offset
    vm_map_entry_resize_free(map_, entry.prev)
    _merged(map_, entry, prev)


def _merged(map_: VmMap, entry: VmMapEntry, gone: VmMapEntry) -> None:
    """Dispose of a neighbour that became part of *entry*.  FreeBSD: vm_map_merged_neighbor_dispose()."""
    map_.pmap.map_changed(entry.start, entry.end)
    vm_map_entry_release_writecount(gone)
    obj = gone.vm_object
    if obj is not None:
        vm_object_deallocate(obj)


def vm_map_entry_charge_object(map_: VmMap, entry: VmMapEntry) -> None:
    """Give an entry that is about to be cut the object that both halves will share, and move its charge there.

    FreeBSD: vm_map_entry_charge_object(), part of vm_map_clip_start() before 13.0.
    """
    if entry.object is None:
        if not map_.system_map and not entry.eflags & MAP_ENTRY_GUARD:
            entry_allocate_object(map_, entry)
    elif entry.cred is not None and not entry.eflags & MAP_ENTRY_NEEDS_COPY:
        obj = entry.vm_object
        if obj is not None:
            kassert(obj.cred is None, "overcommit: both entry and object charged")
            obj.cred = entry.cred
            obj.charge = entry.end - entry.start
        # The source takes a submap for an object and writes the charge into it: it is never released.
        entry.cred = None


def entry_allocate_object(map_: VmMap, entry: VmMapEntry) -> VmObject:
    """Back *entry*, which has no object, by a new anonymous one; the charge goes along."""
    obj = vm_object_allocate(map_.vm, OBJT_DEFAULT, (entry.end - entry.start) >> PAGE_SHIFT)
    run = map_.pmap.hardware.promised_run(entry.start, entry.end)
    if run is not None:
        obj.adopt_run(run)
    entry.object = obj
    entry.offset = 0
    if entry.cred is not None:
        obj.cred = entry.cred
        obj.charge = entry.end - entry.start
        entry.cred = None
    return obj


def vm_map_clip_start(map_: VmMap, entry: VmMapEntry, start: int) -> None:
    """Make *entry* begin at or above *start*; what is below becomes an entry of its own.

    FreeBSD: vm_map_clip_start().
    """
    if start <= entry.start:
        return
    if map_.vm.release.clip_start_simplifies:
        vm_map_simplify_entry(map_, entry)
    vm_map_entry_charge_object(map_, entry)
    new = entry_copy(entry)
    new.end = start
    _advance_offset(map_, entry, start - entry.start)
    entry.start = start
    vm_map_entry_link(map_, entry.prev, new)
    _clipped(map_, new)
    map_.pmap.map_changed(new.start, entry.end)


def vm_map_clip_end(map_: VmMap, entry: VmMapEntry, end: int) -> None:
    """Make *entry* end at or below *end*; what is above becomes an entry of its own.  FreeBSD: vm_map_clip_end()."""
    if end >= entry.end:
        return
    kassert(entry.start < end, "vm_map_clip_end: nothing would be left of %r", entry)
    vm_map_entry_charge_object(map_, entry)
    new = entry_copy(entry)
    new.start = entry.end = end
    _advance_offset(map_, new, end - entry.start)
    vm_map_entry_link(map_, entry, new)
    _clipped(map_, new)
    map_.pmap.map_changed(entry.start, new.end)


def _advance_offset(map_: VmMap, entry: VmMapEntry, by: int) -> None:
    if entry.eflags & (MAP_ENTRY_STACK_GAP_DN | MAP_ENTRY_STACK_GAP_UP) and map_.vm.release.stack_prot_saved:
        return
    entry.offset += by


def _clipped(map_: VmMap, new: VmMapEntry) -> None:
    """The second half takes a reference of its own."""
    if not new.eflags & MAP_ENTRY_IS_SUB_MAP:
        obj = new.vm_object
        if obj is not None:
            vm_object_reference(obj)
        if new.eflags & _COUNTED:
            vm_map_entry_set_vnode_text(new, add=True)
            vm_map_entry_update_writecount(new)


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
