"""The page fault.

    lookup      which entry, object and page index; the stack may grow here
    object      one object of the shadow chain: is the page here, can its pager give it?
    zerofill    nobody has it: a zero page in the top object
    cow         a lower object has it: copy it up, move it up, or map it without write access
    enter       mark it dirty, map it, queue it, map resident neighbours

        entry ──> first_object ──> object ──> object ──> nothing
                   |                |
                   top: written     lower: read, or copied up

Each stage returns a FaultStatus, and ``vm_fault`` does nothing but follow it.

FreeBSD: sys/vm/vm_fault.c (in the shape it has had since 2021, vm_fault_lookup() to vm_fault_prefault());
vm_fault_copy_entry() there; vm_fault(9).
Differs: nothing runs while a fault is served, so there are no busy pages and the map is not looked up again after
input; the top object gets its page only when something is put into it; a copy does not prefault its neighbours, which
would be mapped without write access only to fault again.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from kernel_model.errors import kassert, panic, some
from kernel_model.vm.pmap import pmap_remove_all
from kernel_model.vm.swap_pager import swap_pager_freespace
from kernel_model.vm.vm import (
    OBJ_DEAD,
    OBJ_FICTITIOUS,
    OBJ_ONEMAPPING,
    OBJT_DEFAULT,
    OBJT_SWAP,
    OBJT_VNODE,
    VM_PROT_COPY,
    VM_PROT_FAULT_LOOKUP,
    VM_PROT_WRITE,
)
from kernel_model.vm.vm_map import vm_map_entry_changed
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_BEHAV_MASK,
    MAP_ENTRY_BEHAV_RANDOM,
    MAP_ENTRY_BEHAV_SEQUENTIAL,
    MAP_ENTRY_COW,
    MAP_ENTRY_NEEDS_COPY,
    MAP_ENTRY_NOFAULT,
    MAP_ENTRY_NOSYNC,
    MAP_ENTRY_VN_EXEC,
    VM_FAULT_DIRTY,
    VM_FAULT_WIRE,
)
from kernel_model.vm.vm_map_insert import curcred
from kernel_model.vm.vm_map_lookup import vm_map_lookup, vm_map_lookup_done
from kernel_model.vm.vm_object import (
    resident_page,
    vm_object_allocate,
    vm_object_deallocate,
    vm_object_set_writeable_dirty,
)
from kernel_model.vm.vm_page import (
    PG_NOSYNC,
    PQ_ACTIVE,
    PQ_INACTIVE,
    vm_page_activate,
    vm_page_alloc,
    vm_page_free,
    vm_page_rename,
    vm_page_unwire,
    vm_page_wire,
)
from kernel_model.vm.vm_pageout import vm_wait
from kernel_model.vm.vm_pager import (
    VM_PAGER_ERROR,
    VM_PAGER_FAIL,
    VM_PAGER_OK,
    vm_pager_get_pages,
    vm_pager_has_page,
)
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_OUT_OF_BOUNDS,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
)
from kernel_model.vm.vm_stack import vm_map_growstack

if TYPE_CHECKING:
    from kernel_model.vm.vm_check import Listener
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_object import VmObject
    from kernel_model.vm.vm_page import VmPage
    from kernel_model.vm.vm_param import KernReturn, VmOffset

VM_FAULT_READ_BEHIND = 8
VM_FAULT_READ_AHEAD_MIN = 7
VM_FAULT_READ_AHEAD_MAX = 31
VM_FAULT_READ_DEFAULT = 16
"""Pages read along with the one that is needed; FreeBSD's maximum follows from maxphys."""
MAX_RESTARTS = 64
"""Waits for memory in one fault before it counts as hopeless."""

PFBAK = 4
PFFOR = 4
"""Neighbours that are mapped along when they are resident: pages behind and ahead."""


class FaultStatus(Enum):
    """What the driver has to do next."""

    CONTINUE = "look into fs.object"
    FOUND = "fs.m is the page"
    ZEROFILL = "no object has the page"
    RESTART = "memory had to be waited for: look everything up again"
    FAILURE = "give up with fs.result"


CONTINUE: Final = FaultStatus.CONTINUE
FOUND: Final = FaultStatus.FOUND
ZEROFILL: Final = FaultStatus.ZEROFILL
RESTART: Final = FaultStatus.RESTART
FAILURE: Final = FaultStatus.FAILURE


class FaultState:
    """struct faultstate: one fault while it is being served."""

    __slots__ = (
        # Fault parameters
        "fault_type",
        "fault_flags",
        "vaddr",
        "prot",  # what the page may be mapped with
        "wired",
        "result",  # with FAILURE
        # Current object
        "object",
        "pindex",
        "m",
        # Top-level map object
        "first_object",
        "first_pindex",
        # Map state
        "vm",
        "map",
        "entry",
        "growstack",  # may still be tried
        "hardfault",  # a pager read the page
        "ahead",  # how many pages it read ahead of it
        "prefault",
        "restarts",  # times that memory was waited for
        "steps",  # who listens
    )

    prot: int
    wired: bool
    object: VmObject
    pindex: int
    m: VmPage
    first_object: VmObject
    first_pindex: int
    entry: VmMapEntry

    def __init__(self, vm: Vm, map_: VmMap, vaddr: VmOffset, fault_type: int, fault_flags: int) -> None:
        self.vm = vm
        self.map = map_
        self.vaddr = vaddr
        self.fault_type = fault_type
        self.fault_flags = fault_flags
        self.growstack = True
        self.hardfault = False
        self.ahead = 0
        self.prefault = True
        self.restarts = 0
        self.steps: Listener | None = vm.steps
        self.result = KERN_SUCCESS


def vm_fault(map_: VmMap, va: VmOffset, fault_type: int, fault_flags: int = 0) -> KernReturn:
    """Make the page that holds *va* resident and mapped with the rights *fault_type*.

    Units:    va in bytes, any alignment.  fault_type VM_PROT_* bits, NONE when wiring.
    Returns:  KERN_SUCCESS; KERN_INVALID_ADDRESS nothing is mapped there; KERN_PROTECTION_FAILURE a right is missing;
              KERN_FAILURE the stack cannot grow or input failed; KERN_OUT_OF_BOUNDS beyond the object (by release
              KERN_PROTECTION_FAILURE); KERN_RESOURCE_SHORTAGE no memory, or no swap to reserve.
    FreeBSD:  vm_fault(), vm_fault_hold(), sys/vm/vm_fault.c.
    """
    vm = map_.vm
    vm.cnt.v_vm_faults += 1
    if vm.nofault_depth:
        return KERN_PROTECTION_FAILURE
    fs = FaultState(vm, map_, va & ~PAGE_MASK, fault_type, fault_flags)
    while True:
        status = _lookup(fs)
        while status is CONTINUE:
            status = _object(fs)
        if status is ZEROFILL:
            status = _zerofill(fs)
        elif status is FOUND and fs.object is not fs.first_object:
            status = _cow(fs)
        if status is FOUND:
            return _enter(fs)
        if status is FAILURE:
            return fs.result
        kassert(status is RESTART, "vm_fault: %s", status)  # once more, from the lookup on: everything may have changed


def _lookup(fs: FaultState) -> FaultStatus:
    """Find entry, object and page index; a resident page of the top object ends the search at once.

    FreeBSD: vm_fault_lookup(), vm_fault_soft_fast().
    """
    map_ = fs.map
    entry = map_.hint_entry
    va = fs.vaddr
    if entry is None or map_.hint_timestamp != map_.timestamp or not entry.start <= va < entry.end:
        return _full_lookup(fs)
    # Nobody has locked the map exclusively since the hint was taken: this is what vm_map_lookup() would say.
    prot = entry.protection
    if fs.fault_type & ~prot or fs.fault_flags or fs.steps is not None:
        return _full_lookup(fs)
    fs.entry = entry
    fs.prot = prot
    fs.wired = False
    return _begin_walk(fs, map_.hint_object, (va - entry.start + entry.offset) >> PAGE_SHIFT)


def _begin_walk(fs: FaultState, object_: VmObject, pindex: int) -> FaultStatus:
    fs.first_object = fs.object = object_
    fs.first_pindex = fs.pindex = pindex
    m = object_.pages.get(pindex)
    if m is not None and m.valid:
        fs.m = m
        return FOUND
    return CONTINUE


def _full_lookup(fs: FaultState) -> FaultStatus:
    """Ask the map; let the stack grow, by release here or in there."""
    vm = fs.vm
    map_ = fs.map
    if fs.steps is not None:
        fs.steps.stage("lookup", va=fs.vaddr, fault_type=fs.fault_type)
    grows_itself = vm.release.lookup_grows
    lookup_type = fs.fault_type | (VM_PROT_FAULT_LOOKUP if grows_itself else 0)
    while True:
        rv, found_map, entry, object_, pindex, prot, wired = vm_map_lookup(map_, fs.vaddr, lookup_type)
        if rv == KERN_SUCCESS:
            break
        if rv == KERN_INVALID_ADDRESS and not grows_itself and fs.growstack and not map_.system_map:
            fs.growstack = False
            if vm.curproc is not None and vm_map_growstack(vm.curproc, fs.vaddr) == KERN_SUCCESS:
                continue
            return _failure(fs, KERN_FAILURE)
        return _failure(fs, rv)
    vm_map_lookup_done(found_map, entry)
    if entry.eflags & MAP_ENTRY_NOFAULT:
        panic("vm_fault: fault on nofault entry, addr: %#x", fs.vaddr)
    fs.entry = entry
    fs.prot = prot
    fs.wired = wired
    if wired:
        fs.fault_type = prot | (fs.fault_type & VM_PROT_COPY)
    else:
        kassert(not fs.fault_flags & VM_FAULT_WIRE, "!wired && VM_FAULT_WIRE")
    object_ = some(object_, "object of a successful lookup")
    if found_map is map_ and prot == entry.protection and not wired and not map_.pmap.kernel_end:
        map_.hint_entry = entry
        map_.hint_object = object_
        map_.hint_timestamp = map_.timestamp
    else:
        map_.hint_entry = None
    return _begin_walk(fs, object_, pindex)


def _object(fs: FaultState) -> FaultStatus:
    """Look for the page in one object of the chain.  FreeBSD: vm_fault_object(), vm_fault_next()."""
    object_ = fs.object
    pindex = fs.pindex
    if object_.flags & OBJ_DEAD:
        return _failure(fs, KERN_PROTECTION_FAILURE)
    m = object_.pages.get(pindex)
    if fs.steps is not None:
        _tell_visit(fs.steps, object_, pindex, m)
    if m is not None and m.valid:
        fs.m = m
        return FOUND
    if object_.type != OBJT_DEFAULT or object_ is fs.first_object:
        if pindex >= object_.size:
            return _failure(fs, _beyond(fs))
        if object_.type != OBJT_DEFAULT:
            status = _getpages(fs, m)
            if status is not CONTINUE:
                return status
    backing = object_.backing_object
    if backing is None:
        return ZEROFILL
    fs.pindex = pindex + (object_.backing_object_offset >> PAGE_SHIFT)
    fs.object = backing
    return CONTINUE


def _getpages(fs: FaultState, m: VmPage | None) -> FaultStatus:
    """Have the pager fill the page; CONTINUE when it does not have it.  FreeBSD: vm_fault_getpages()."""
    object_ = fs.object
    if m is None and not vm_pager_has_page(object_, fs.pindex):
        return CONTINUE
    if fs.steps is not None:
        fs.steps.stage("pagein", pindex=fs.pindex, type=object_.type)
    fresh = m is None
    if m is None:
        m = vm_page_alloc(object_, fs.pindex)
        if m is None:
            return _wait(fs)
    behind, ahead = _read_window(fs)
    rv, fs.ahead = vm_pager_get_pages(object_, m, behind, ahead)
    if rv == VM_PAGER_OK:
        fs.m = m
        fs.hardfault = True
        return FOUND
    if fresh:
        vm_page_free(m)
    if rv == VM_PAGER_FAIL:
        return CONTINUE
    bounds = fs.vm.release.fault_past_object == "bounds"
    if rv == VM_PAGER_ERROR:
        return _failure(fs, KERN_OUT_OF_BOUNDS if bounds else KERN_FAILURE)
    return _failure(fs, _beyond(fs))


def _zerofill(fs: FaultState) -> FaultStatus:
    """Put a zero page into the top object.  FreeBSD: vm_fault_zerofill()."""
    object_ = fs.first_object
    pindex = fs.first_pindex
    m = vm_page_alloc(object_, pindex) if pindex not in object_.pages else object_.pages[pindex]
    if m is None:
        return _wait(fs)
    if fs.steps is not None:
        fs.steps.stage("zerofill", pindex=pindex, frame=m.frame)
    m.valid = True
    fs.vm.cnt.v_zfod += 1
    fs.object = object_
    fs.m = m
    fs.prefault = False
    return FOUND


def _cow(fs: FaultState) -> FaultStatus:
    """The page belongs to a lower object: a write gets its own.  FreeBSD: vm_fault_cow()."""
    if not fs.fault_type & (VM_PROT_WRITE | VM_PROT_COPY):
        fs.prot &= ~VM_PROT_WRITE
        return FOUND
    vm = fs.vm
    top = fs.first_object
    lower = fs.object
    source = fs.m
    if lower.ref_count == 1 and lower.shadow_count == 1 and lower.is_anon and top.backing_object is lower:
        if fs.steps is not None:
            fs.steps.stage("cow_move", pindex=fs.first_pindex, frame=source.frame)
        vm_page_rename(source, top, fs.first_pindex)
        vm.cnt.v_cow_optim += 1
    else:
        copy = vm_page_alloc(top, fs.first_pindex)
        if copy is None:
            return _wait(fs)
        if fs.steps is not None:
            fs.steps.stage("cow_copy", pindex=fs.first_pindex, source=source.frame, frame=copy.frame)
        vm.phys.copy(source.frame, copy.frame)
        copy.valid = True
        if fs.wired and not fs.fault_flags & VM_FAULT_WIRE:
            vm_page_wire(copy)
            vm_page_unwire(source, PQ_INACTIVE)
        if not top.flags & OBJ_ONEMAPPING and vm.release.cow_invalidates_shared:
            # Another map that shares the top object must not go on seeing the lower page.
            pmap_remove_all(source)
        fs.m = copy
        fs.prefault = False
    vm.cnt.v_cow_faults += 1
    fs.object = top
    fs.pindex = fs.first_pindex
    return FOUND


def _enter(fs: FaultState) -> KernReturn:
    """Map the page and put it where the page daemon can find it.

    A page with a clean copy elsewhere is mapped without write access until it is written to, because an entry with
    write access means a dirty page (pmap.py).  FreeBSD: the end of vm_fault(), vm_fault_dirty().
    """
    m = fs.m
    prot = fs.prot
    object_ = fs.object
    if prot & VM_PROT_WRITE and (object_.type != OBJT_DEFAULT or fs.entry.eflags & MAP_ENTRY_NOSYNC or m.flags):
        prot = _dirty(fs, prot)
    if fs.fault_flags & VM_FAULT_DIRTY:
        m.dirty = True
    pmap = fs.map.pmap
    if fs.steps is not None:
        fs.steps.stage("enter", frame=m.frame, prot=prot, wired=fs.wired)
    pmap.enter(fs.vaddr, m, prot, fs.wired)
    if fs.fault_flags & VM_FAULT_WIRE:
        if not object_.flags & OBJ_FICTITIOUS:
            vm_page_wire(m)
    elif m.queue != PQ_ACTIVE:
        vm_page_activate(m)
    if fs.prefault and not fs.wired:
        vm_fault_prefault(fs)
    if fs.hardfault:
        by_address = fs.vm.release.next_read_is_address
        fs.entry.next_read = fs.vaddr + ((fs.ahead + 1) << PAGE_SHIFT) if by_address else fs.pindex + fs.ahead + 1
        fs.vm.cnt.v_io_faults += 1
        pmap.majflt += 1
    else:
        pmap.minflt += 1
    return KERN_SUCCESS


def _dirty(fs: FaultState, prot: int) -> int:
    """The rights to map with; if they include writing, mark object and page.  FreeBSD: vm_fault_dirty()."""
    m = fs.m
    object_ = fs.object
    if object_.type != OBJT_DEFAULT:
        if not fs.fault_type & VM_PROT_WRITE and not m.dirty:
            return prot & ~VM_PROT_WRITE
        if object_.type == OBJT_VNODE:
            vm_object_set_writeable_dirty(object_)
        elif object_.swap:
            swap_pager_freespace(object_, m.pindex, 1)
    if not fs.entry.eflags & MAP_ENTRY_NOSYNC:
        m.flags &= ~PG_NOSYNC
    elif not m.dirty:
        m.flags |= PG_NOSYNC
    return prot


def vm_fault_prefault(fs: FaultState) -> None:
    """Map resident neighbours without write access, nearest first, until one is not resident.

    FreeBSD: vm_fault_prefault().
    """
    entry = fs.entry
    pmap = fs.map.pmap
    ptes = pmap.ptes
    vpn = fs.vaddr >> PAGE_SHIFT
    lowest = max(entry.start >> PAGE_SHIFT, vpn - PFBAK)
    highest = min((entry.end >> PAGE_SHIFT) - 1, vpn + PFFOR)
    bias = fs.first_pindex - vpn
    top = fs.first_object
    for distance in range(1, PFFOR + 1):
        for candidate in (vpn - distance, vpn + distance):
            if candidate < lowest or candidate > highest or candidate in ptes:
                continue
            m = resident_page(top, candidate + bias)
            if m is None:
                return
            if m.valid:
                pmap.enter_quick(candidate << PAGE_SHIFT, m, entry.protection)


def _read_window(fs: FaultState) -> tuple[int, int]:
    """Pages to read behind and ahead of the fault, by the entry's advice and recent faults.

    FreeBSD: vm_fault_readahead() and vm_fault_nera(), vm_fault_hold() before FreeBSD 12.
    """
    entry = fs.entry
    release = fs.vm.release
    behaviour = entry.eflags & MAP_ENTRY_BEHAV_MASK
    room = ((entry.end - fs.vaddr) >> PAGE_SHIFT) - 1
    below = (fs.vaddr - entry.start) >> PAGE_SHIFT
    sequential = entry.next_read == (fs.vaddr if release.next_read_is_address else fs.pindex)
    if release.read_cluster:
        return _read_cluster(fs, behaviour, sequential, below, room)
    if behaviour == MAP_ENTRY_BEHAV_RANDOM:
        return 0, 0
    if behaviour == MAP_ENTRY_BEHAV_SEQUENTIAL:
        return 0, min(room, VM_FAULT_READ_AHEAD_MAX)
    behind = min(below, VM_FAULT_READ_BEHIND)
    if sequential:
        ahead = min(room, entry.read_ahead + behind, VM_FAULT_READ_AHEAD_MAX)
        behind = 0
    else:
        ahead = min(room, VM_FAULT_READ_AHEAD_MIN)
    entry.read_ahead = ahead
    return behind, ahead


def _read_cluster(fs: FaultState, behaviour: int, sequential: bool, below: int, room: int) -> tuple[int, int]:
    """The window since 11: each sequential fault wants a cluster's half more, any other the cluster it lies in."""
    entry = fs.entry
    if behaviour == MAP_ENTRY_BEHAV_RANDOM:
        entry.read_ahead = 0
        return 0, 0
    wanted = 0
    if behaviour == MAP_ENTRY_BEHAV_SEQUENTIAL:
        wanted = VM_FAULT_READ_AHEAD_MAX
    elif sequential:
        more = entry.read_ahead + 1 if entry.read_ahead else 0
        wanted = min(VM_FAULT_READ_AHEAD_MIN + more, VM_FAULT_READ_AHEAD_MAX)
    entry.read_ahead = wanted
    if wanted:
        return 0, min(room, wanted)
    offset = fs.pindex % VM_FAULT_READ_DEFAULT
    return min(offset, below), min(room, VM_FAULT_READ_DEFAULT - 1 - offset)


def _beyond(fs: FaultState) -> KernReturn:
    """What a page outside the object is, by release."""
    past = KERN_OUT_OF_BOUNDS if fs.vm.release.fault_past_object == "bounds" else KERN_PROTECTION_FAILURE
    fs.vm.check("object_size", False, pindex=fs.pindex, size=fs.object.size)
    return past


def _wait(fs: FaultState) -> FaultStatus:
    """No free page: let the page daemon work, then begin again; fail when even that gave nothing.

    FreeBSD: vm_waitpfault(), vm_fault_allocate_oom().
    """
    fs.restarts += 1
    gained = fs.restarts <= MAX_RESTARTS and vm_wait(fs.vm)
    if fs.vm.check("page_alloc", gained, free_pages=fs.vm.cnt.v_free_count):
        return RESTART
    return _failure(fs, KERN_RESOURCE_SHORTAGE)


def _failure(fs: FaultState, result: KernReturn) -> FaultStatus:
    fs.result = result
    return FAILURE


def _tell_visit(steps: Listener, object_: VmObject, pindex: int, m: VmPage | None) -> None:
    if m is not None:
        found = "resident"
    elif pindex < object_.size and vm_pager_has_page(object_, pindex):
        found = "pager"
    else:
        found = "absent"
    steps.visit(object_, pindex, found)


# -- copying a wired entry at once, instead of on the first write ----------------------------------------------


def vm_fault_copy_entry(
    dst_map: VmMap, src_map: VmMap, dst_entry: VmMapEntry, src_entry: VmMapEntry, forking: bool
) -> int:
    """Copy the pages of a wired entry at once, for a fork or because the entry itself becomes writable.

    Requires: both maps locked; the source is wired, so its pages are resident.
    Returns:  bytes of swap to be charged to the child when *forking*, else 0.
    FreeBSD:  vm_fault_copy_entry().
    Differs:  an absent page is left out (FreeBSD asserts that there is none), and so is a page for which no memory
              can be had (FreeBSD waits for ever).
    """
    release = dst_map.vm.release
    upgrade = src_entry is dst_entry
    source = some(src_entry.vm_object, "object of a wired entry")
    first = src_entry.offset >> PAGE_SHIFT
    size = dst_entry.end - dst_entry.start
    in_place = upgrade and release.copy_entry_in_place and not dst_entry.eflags & MAP_ENTRY_NEEDS_COPY
    if in_place:
        target = source
        target.ref_count += 1
    else:
        target = vm_object_allocate(dst_map.vm, OBJT_DEFAULT, size >> PAGE_SHIFT)
        target.charge = size
        dst_entry.object = target
        dst_entry.offset = 0
        dst_entry.eflags &= ~MAP_ENTRY_VN_EXEC
    charge = 0
    if forking:
        target.cred = curcred(dst_map.vm)
        charge = target.charge
    elif target.cred is None and target.type <= OBJT_SWAP:
        target.cred = dst_entry.cred
        dst_entry.cred = None
    _copy_pages(dst_map, dst_entry, source, target, first, upgrade)
    if upgrade:
        dst_entry.eflags &= ~(MAP_ENTRY_COW | MAP_ENTRY_NEEDS_COPY)
        vm_object_deallocate(source)
    vm_map_entry_changed(dst_map, dst_entry)
    return charge


def _copy_pages(
    dst_map: VmMap, dst_entry: VmMapEntry, source: VmObject, target: VmObject, first: int, upgrade: bool
) -> None:
    """The loop of vm_fault_copy_entry(): every page into *target*, and mapped."""
    vm = dst_map.vm
    target_first = first if source is target else 0
    for number in range((dst_entry.end - dst_entry.start) >> PAGE_SHIFT):
        src_m = resident_page(source, first + number)
        if src_m is None:
            continue
        dst_m = src_m
        if src_m.object is not target:
            copied = vm_page_alloc(target, target_first + number)
            if copied is None and vm_wait(vm):
                copied = vm_page_alloc(target, target_first + number)
            if copied is None:
                continue
            dst_m = copied
            vm.phys.copy(src_m.frame, dst_m.frame)
            dst_m.valid = src_m.valid
            dst_m.dirty = True
        elif number + first >= target.size:
            break
        if dst_m.valid:
            prot = dst_entry.protection
            if prot & VM_PROT_WRITE and target.type == OBJT_VNODE:
                vm_object_set_writeable_dirty(target)
            dst_map.pmap.enter(dst_entry.start + (number << PAGE_SHIFT), dst_m, prot, upgrade)
        if not upgrade:
            vm_page_activate(dst_m)
        elif src_m is not dst_m:
            vm_page_unwire(src_m, PQ_INACTIVE)
            vm_page_wire(dst_m)
