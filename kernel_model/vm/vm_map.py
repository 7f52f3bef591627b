"""The address map: struct vm_map, its lock, and the funnel through which every change of it goes.

Who changes an entry says here what it wants: link, unlink, resize, merge, clip, set.  The rest follows in one place and
in this order: the tree, ``size``, the mirror (``pmap.map_changed``), and the record for whoever listens (a MapChange).
Nobody else assigns ``size`` or tells the mirror; ``timestamp`` counts in the lock, as in the source.

FreeBSD: sys/vm/vm_map.c, sys/vm/vm_map.h; vm_map(9), vm_map_create(9), vm_map_init(9), vm_map_max(9), vm_map_lock(9).
Differs: nothing runs beside the caller, so a lock is only counted and checked, and a sleep would last for
ever: it panics.

A verb is a function in the file of its topic, under its full name: ``vm_map_insert(map_, ...)``.  Only the lock's are
methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from kernel_model.errors import kassert, panic
from kernel_model.ktrace.entry import full_path
from kernel_model.ktrace.events import MapChange
from kernel_model.vm.show import map_html, map_table
from kernel_model.vm.vm import OBJT_DEFAULT, OBJT_VNODE, VM_PROT_ALL, VM_PROT_WRITE
from kernel_model.vm.vm_map_entry import (
    MAP_BUSY_WAKEUP,
    MAP_ENTRY_COW,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_HEADER,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_NEEDS_COPY,
    MAP_ENTRY_STACK_GAP_DN,
    MAP_ENTRY_STACK_GAP_UP,
    MAP_ENTRY_VN_EXEC,
    MAP_ENTRY_WRITECNT,
    NOMERGE,
    VmMapEntry,
    entry_copy,
    vm_map_entry_release_writecount,
    vm_map_entry_set_vnode_text,
    vm_map_entry_update_writecount,
)
from kernel_model.vm.vm_map_tree import (
    vm_map_assert_tree,
    vm_map_entry_resize_free,
    vm_map_lookup_entry,
    vm_map_tree_link,
    vm_map_tree_unlink,
)
from kernel_model.vm.vm_object import vm_object_allocate, vm_object_deallocate, vm_object_reference
from kernel_model.vm.vm_param import PAGE_SHIFT, VM_MIN_KERNEL_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kernel_model.vm.pmap import Pmap
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_map_entry import MapObject
    from kernel_model.vm.vm_object import VmObject
    from kernel_model.vm.vm_param import KernReturn

INSERT = "insert"
DELETE = "delete"
PROTECT = "protect"
GROW = "grow"
INHERIT = "inherit"
WIRE = "wire"
UNWIRE = "unwire"
ADVISE = "advise"
"""What a MapChange says that happened."""

_COUNTED = MAP_ENTRY_VN_EXEC | MAP_ENTRY_WRITECNT
_GAPS = MAP_ENTRY_STACK_GAP_DN | MAP_ENTRY_STACK_GAP_UP

UNLOCKED = 0
EXCLUSIVE = -1
"""``lock_state``; a positive number counts readers."""
U_INT_MASK = 0xFFFF_FFFF
MOST_SHOWN = 100
"""Entries that a map shows in the interpreter before it leaves out the middle."""


class FaultHandler(Protocol):
    """vm_fault(), as vm_map_wire calls it."""

    def __call__(self, map_: VmMap, va: int, fault_type: int, fault_flags: int = 0) -> KernReturn:
        """Make the page that holds *va* resident; a KERN_* code."""
        ...


class VmMap:
    """Entries of one address space ``[min_offset, max_offset)``: struct vm_map.

    Iterating gives the entries in address order; ``print`` and the interpreter show them as a table.
    """

    __slots__ = (
        "vm",
        "pmap",
        "header",  # sentinel of the ring; its end is the minimum, its start the maximum
        "root",  # of the search tree
        "nentries",
        "size",  # bytes mapped; guards count by release
        "timestamp",  # exclusive acquisitions so far
        "flags",
        "busy",  # callers that hold off fork and protect
        "needs_wakeup",
        "system_map",  # a kernel map: no deferred frees, no objects made on clips
        "anon_loc",  # where the last anonymous cluster ended (12.1 and later)
        "min_offset",
        "max_offset",
        "nomerge",  # eflags that keep an entry from merging
        "uncounted",  # eflags whose entries are not in size: guards, by release
        "lock_state",
        "random",  # arc4random_uniform for MAP_ASLR; None: addresses stay predictable
        "deferred",  # entries to dereference at unlock: td_map_def_user
        "fault",  # serves a fault in this map: vm_fault, which stands above
        "hint_entry",  # the entry of the last fault, good while timestamp is hint_timestamp
        "hint_object",
        "hint_timestamp",
        "_guard",
    )

    hint_object: VmObject

    def __init__(self, vm: Vm, pmap: Pmap, min_: int, max_: int) -> None:
        self.vm = vm
        self.pmap = pmap
        header = VmMapEntry(max_, min_)
        header.eflags = MAP_ENTRY_HEADER
        header.adj_free = max_ - min_
        self.header = header
        self.root: VmMapEntry | None = None
        self.nentries = 0
        self.size = 0
        self.timestamp = 0
        self.flags = 0
        self.busy = 0
        self.needs_wakeup = False
        self.system_map = False
        self.anon_loc = 0
        self.min_offset = min_
        self.max_offset = max_
        self.nomerge = NOMERGE[vm.release.nomerge]
        self.uncounted = 0 if vm.release.size_counts_guards else MAP_ENTRY_GUARD
        self.lock_state = UNLOCKED
        self.random: Callable[[int], int] | None = None
        self.deferred: list[VmMapEntry] = []
        self.fault: FaultHandler | None = None
        self.hint_entry: VmMapEntry | None = None
        self.hint_timestamp = -1
        self._guard = _Locked(self)

    # the lock: vm_map_lock(9)

    def lock(self) -> None:
        """Take the map exclusively; counts in timestamp.  FreeBSD: vm_map_lock()."""
        kassert(self.lock_state == UNLOCKED, "vm_map_lock: held already (%d)", self.lock_state)
        self.lock_state = EXCLUSIVE
        self.timestamp = (self.timestamp + 1) & U_INT_MASK

    def unlock(self) -> None:
        """Let go; entries deleted meanwhile lose their objects now.  FreeBSD: vm_map_unlock()."""
        kassert(self.lock_state == EXCLUSIVE, "vm_map_unlock: not held")
        self.lock_state = UNLOCKED
        if self.deferred:
            vm_map_process_deferred(self)

    def lock_read(self) -> None:
        """Share the map; not counted.  FreeBSD: vm_map_lock_read()."""
        kassert(self.lock_state >= UNLOCKED, "vm_map_lock_read: held exclusively")
        self.lock_state += 1

    def unlock_read(self) -> None:
        """Let a share go.  FreeBSD: vm_map_unlock_read()."""
        kassert(self.lock_state > UNLOCKED, "vm_map_unlock_read: not held")
        self.lock_state -= 1
        if self.deferred:
            vm_map_process_deferred(self)

    def trylock(self) -> bool:
        """Take the map exclusively if it is free.  FreeBSD: vm_map_trylock()."""
        if self.lock_state != UNLOCKED:
            return False
        self.lock()
        return True

    def trylock_read(self) -> bool:
        """Share the map unless it is held exclusively.  FreeBSD: vm_map_trylock_read()."""
        if self.lock_state == EXCLUSIVE:
            return False
        self.lock_state += 1
        return True

    def lock_upgrade(self) -> bool:
        """Turn the only share into the exclusive lock: False, or True when it was lost and nothing is held.

        FreeBSD: vm_map_lock_upgrade().  Differs: with another reader the kernel waits; here that wait would
        never end.
        """
        kassert(self.lock_state == 1, "vm_map_lock_upgrade: %d readers", self.lock_state)
        self.lock_state = EXCLUSIVE
        self.timestamp = (self.timestamp + 1) & U_INT_MASK
        return False

    def lock_downgrade(self) -> None:
        """Keep only a share.  FreeBSD: vm_map_lock_downgrade()."""
        kassert(self.lock_state == EXCLUSIVE, "vm_map_lock_downgrade: not held")
        self.lock_state = 1

    def locked(self) -> _Locked:
        """``with map.locked():`` holds the exclusive lock."""
        return self._guard

    @property
    def xlocked(self) -> bool:
        """The exclusive lock is held.  FreeBSD: vm_map_locked()."""
        return self.lock_state == EXCLUSIVE

    def set_busy(self) -> None:
        """Hold off fork and protect while the lock is dropped.  FreeBSD: vm_map_busy()."""
        kassert(self.lock_state == EXCLUSIVE, "vm_map_busy: not locked")
        self.busy += 1

    def unbusy(self) -> None:
        """Undo one set_busy.  FreeBSD: vm_map_unbusy()."""
        kassert(self.lock_state == EXCLUSIVE, "vm_map_unbusy: not locked")
        kassert(self.busy, "vm_map_unbusy: not busy")
        self.busy -= 1
        if self.busy == 0:
            self.flags &= ~MAP_BUSY_WAKEUP

    def wait_busy(self) -> None:
        """Sleep until nobody holds the map busy; counts in timestamp even without sleeping.

        FreeBSD: vm_map_wait_busy().
        """
        kassert(self.lock_state == EXCLUSIVE, "vm_map_wait_busy: not locked")
        if self.busy:
            self.flags |= MAP_BUSY_WAKEUP
            self.unlock_and_wait("busy")
        self.timestamp = (self.timestamp + 1) & U_INT_MASK

    def unlock_and_wait(self, why: str) -> NoReturn:
        """Sleep for what another thread will do.  FreeBSD: vm_map_unlock_and_wait()."""
        self.needs_wakeup = True
        panic("vm_map: would sleep for ever: %s", why)

    def wakeup(self) -> None:
        """Wake who sleeps on the map: nobody can.  FreeBSD: vm_map_wakeup()."""
        self.needs_wakeup = False

    # reading

    def __iter__(self) -> Iterator[VmMapEntry]:
        """Every entry in address order, guards and gaps included; the list may change behind the one last given."""
        entry = self.header.next
        header = self.header
        while entry is not header:
            nxt = entry.next
            yield entry
            entry = nxt

    def modflags(self, set_: int, clear: int) -> None:
        """Change map flags.  FreeBSD: vm_map_modflags()."""
        self.flags = (self.flags | set_) & ~clear

    def range_check(self, start: int, end: int) -> tuple[int, int]:
        """Clamp a range into the map; never fails.  FreeBSD: VM_MAP_RANGE_CHECK."""
        start = max(start, self.min_offset)
        end = min(end, self.max_offset)
        return min(start, end), end

    # showing

    def __repr__(self) -> str:
        """The table of entries; of a large map its ends."""
        return map_table(self, MOST_SHOWN)

    def __str__(self) -> str:
        """The whole table."""
        return map_table(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return map_html(self, MOST_SHOWN)


class _Locked:
    """What ``VmMap.locked()`` returns."""

    __slots__ = ("map",)

    def __init__(self, map_: VmMap) -> None:
        self.map = map_

    def __enter__(self) -> None:
        self.map.lock()

    def __exit__(self, *_: object) -> None:
        self.map.unlock()


def vm_map_create(vm: Vm, pmap: Pmap, min_: int, max_: int) -> VmMap:
    """A new, empty map of ``[min_, max_)`` on *pmap*.  ``kernel_model.one_map()`` makes one with all it needs.

    FreeBSD: vm_map_create(9); vm_map_init(9) is the constructor.
    """
    kassert(min_ <= max_, "vm_map_create: %#x above %#x", min_, max_)
    return VmMap(vm, pmap, min_, max_)


def vm_map_init(map_: VmMap, pmap: Pmap, min_: int, max_: int) -> None:
    """Give a map, which must be empty and unlocked, its bounds and its pmap anew.  FreeBSD: vm_map_init(9)."""
    kassert(map_.nentries == 0 and map_.lock_state == UNLOCKED, "vm_map_init: map in use: %d entries", map_.nentries)
    map_.__init__(map_.vm, pmap, min_, max_)  # type: ignore[misc]


def vm_map_min(map_: VmMap) -> int:
    """The lowest address.  FreeBSD: vm_map_min(9)."""
    return map_.min_offset


def vm_map_max(map_: VmMap) -> int:
    """The end.  FreeBSD: vm_map_max(9)."""
    return map_.max_offset


def vm_map_pmap(map_: VmMap) -> Pmap:
    """The physical map.  FreeBSD: vm_map_pmap(9)."""
    return map_.pmap


# -- the funnel: every change of a map ------------------------------------------------------------------------


def vm_map_entry_link(map_: VmMap, prev: VmMapEntry, entry: VmMapEntry) -> None:
    """Put a new *entry* right above *prev* (the header for the lowest place).  FreeBSD: vm_map_entry_link()."""
    vm_map_tree_link(map_, prev, entry)
    if not entry.eflags & map_.uncounted:
        map_.size += entry.end - entry.start
    map_.pmap.map_changed(entry.start, entry.end)
    if map_.vm.ktrace.maps is not None:
        _record(map_, INSERT, entry, entry.start, entry.end)


def vm_map_entry_unlink(map_: VmMap, entry: VmMapEntry) -> None:
    """Take *entry* out.  FreeBSD: vm_map_entry_unlink()."""
    vm_map_tree_unlink(map_, entry)
    if not entry.eflags & map_.uncounted:
        map_.size -= entry.end - entry.start
    map_.pmap.map_changed(entry.start, entry.end)
    if map_.vm.ktrace.maps is not None:
        _record(map_, DELETE, entry, entry.start, entry.end)


def vm_map_entry_resize(map_: VmMap, entry: VmMapEntry, grow_amount: int) -> None:
    """Move the end of *entry* by *grow_amount* bytes, which may be negative.

    FreeBSD: vm_map_entry_resize(), since 13.0; it leaves ``size`` to its callers.
    """
    old = entry.end
    entry.end = end = old + grow_amount
    kassert(entry.start < end <= entry.next.start, "vm_map_entry_resize: %r", entry)
    vm_map_entry_resize_free(map_, entry)
    if not entry.eflags & map_.uncounted:
        map_.size += grow_amount
    map_.pmap.map_changed(min(old, end), max(old, end))


def vm_map_entry_grow_up(map_: VmMap, stack: VmMapEntry, amount: int, gap: VmMapEntry | None) -> None:
    """Move the end of *stack* up by *amount* bytes; *gap*, the reserve above it, gives way where it is an entry.

    Nothing is asserted, and ``size`` grows even by a guard: up to 11.0 such a stack may pass the map's end, and since
    10.4 a guard that was inserted with a GROWS_* flag grows as well.
    FreeBSD: part of vm_map_growstack().
    """
    start = stack.end
    end = start + amount
    if gap is not None:
        gap.start = end
    stack.end = end
    vm_map_entry_resize_free(map_, stack)
    map_.size += amount
    map_.pmap.map_changed(start, end)


def vm_map_entry_extend(map_: VmMap, entry: VmMapEntry, end: int) -> None:
    """Let *entry* serve up to *end* as well, instead of a new entry.  FreeBSD: part of vm_map_insert()."""
    start = entry.end
    vm_map_entry_resize(map_, entry, end - start)
    if map_.vm.ktrace.maps is not None:
        _record(map_, INSERT, entry, start, end)


def vm_map_entry_merge(map_: VmMap, entry: VmMapEntry, gone: VmMapEntry) -> None:
    """Make a neighbour, *gone*, part of *entry*.

    FreeBSD: vm_map_merge_entries() and vm_map_merged_neighbor_dispose(), part of vm_map_simplify_entry() before 12.
    """
    vm_map_tree_unlink(map_, gone)
    if gone.start < entry.start:
        entry.start = gone.start
        entry.offset = gone.offset
        vm_map_entry_resize_free(map_, entry.prev)
    else:
        entry.end = gone.end
        vm_map_entry_resize_free(map_, entry)
    map_.pmap.map_changed(entry.start, entry.end)
    vm_map_entry_release_writecount(gone)
    obj = gone.vm_object
    if obj is not None:
        vm_object_deallocate(obj)


def vm_map_entry_clip_below(map_: VmMap, entry: VmMapEntry, start: int) -> None:
    """Cut *entry* at *start*; it keeps what is above.  FreeBSD: the work of vm_map_clip_start()."""
    vm_map_entry_charge_object(map_, entry)
    new = entry_copy(entry)
    new.end = start
    _advance_offset(map_, entry, start - entry.start)
    entry.start = start
    vm_map_tree_link(map_, entry.prev, new)
    _clipped(new)
    map_.pmap.map_changed(new.start, entry.end)


def vm_map_entry_clip_above(map_: VmMap, entry: VmMapEntry, end: int) -> None:
    """Cut *entry* at *end*; it keeps what is below.  FreeBSD: the work of vm_map_clip_end()."""
    vm_map_entry_charge_object(map_, entry)
    new = entry_copy(entry)
    new.start = entry.end = end
    _advance_offset(map_, new, end - entry.start)
    vm_map_tree_link(map_, entry, new)
    _clipped(new)
    map_.pmap.map_changed(entry.start, new.end)


def _advance_offset(map_: VmMap, entry: VmMapEntry, by: int) -> None:
    """The offset of the upper half; a gap keeps protections there."""
    if entry.eflags & _GAPS and map_.vm.release.stack_prot_saved:
        return
    entry.offset += by


def _clipped(new: VmMapEntry) -> None:
    """The second half takes a reference of its own."""
    if not new.eflags & MAP_ENTRY_IS_SUB_MAP:
        obj = new.vm_object
        if obj is not None:
            vm_object_reference(obj)
        if new.eflags & _COUNTED:
            vm_map_entry_set_vnode_text(new, add=True)
            vm_map_entry_update_writecount(new)


def vm_map_entry_charge_object(map_: VmMap, entry: VmMapEntry) -> None:
    """Give an entry that is about to be cut the object that both halves will share, and move its charge there.

    The mirror learns of it with the cut.
    FreeBSD: vm_map_entry_charge_object(), part of vm_map_clip_start() before 13.0.
    """
    if entry.object is None:
        if not map_.system_map and not entry.eflags & MAP_ENTRY_GUARD:
            _allocate_object(map_, entry)
    elif entry.cred is not None and not entry.eflags & MAP_ENTRY_NEEDS_COPY:
        obj = entry.vm_object
        if obj is not None:
            kassert(obj.cred is None, "overcommit: both entry and object charged")
            obj.cred = entry.cred
            obj.charge = entry.end - entry.start
        # The source takes a submap for an object and writes the charge into it: it is never released.
        entry.cred = None


def vm_map_entry_allocate_object(map_: VmMap, entry: VmMapEntry) -> VmObject:
    """Back *entry*, which has no object, by a new anonymous one; the charge goes along.

    FreeBSD: part of vm_map_lookup() and vmspace_fork().
    """
    obj = _allocate_object(map_, entry)
    map_.pmap.map_changed(entry.start, entry.end)
    return obj


def _allocate_object(map_: VmMap, entry: VmMapEntry) -> VmObject:
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


def vm_map_entry_set_object(
    map_: VmMap, entry: VmMapEntry, obj: MapObject, offset: int, *, set_: int = 0, clear: int = 0
) -> None:
    """Back *entry* by *obj* from *offset* on, with the eflags that tell what *obj* is.

    FreeBSD: part of vm_map_lookup(), vmspace_fork() and vm_map_submap().
    """
    entry.object = obj
    entry.offset = offset
    entry.eflags = (entry.eflags | set_) & ~clear
    map_.pmap.map_changed(entry.start, entry.end)


def vm_map_entry_changed(map_: VmMap, entry: VmMapEntry) -> None:
    """What backs *entry*, or how, is no longer what it was.

    Model only: ends vm_fault_copy_entry() and vm_map_copy_entry(), which change objects, flags and pages together.
    """
    map_.pmap.map_changed(entry.start, entry.end)


def vm_map_entry_set_eflags(map_: VmMap, entry: VmMapEntry, set_: int, clear: int, what: str = "") -> None:
    """Change eflags; *what* is the MapChange to record, even if all were as wanted.

    FreeBSD: part of vm_map_stack(), vm_map_madvise(), vm_map_wire() and vm_map_unwire().
    """
    eflags = (entry.eflags & ~clear) | set_
    if eflags != entry.eflags:
        entry.eflags = eflags
        map_.pmap.map_changed(entry.start, entry.end)
    if what and map_.vm.ktrace.maps is not None:
        _record(map_, what, entry, entry.start, entry.end)


def vm_map_entry_hand_down(map_: VmMap, entry: VmMapEntry, below: VmMapEntry, eflags: int) -> None:
    """Give *eflags* of *entry* to the entry right *below* it.  FreeBSD: part of vm_map_growstack()."""
    entry.eflags &= ~eflags
    below.eflags |= eflags
    map_.pmap.map_changed(below.start, entry.end)


def vm_map_entry_set_inheritance(map_: VmMap, entry: VmMapEntry, inheritance: int) -> None:
    """Change what fork does with *entry*, which no mirror shows.  FreeBSD: part of vm_map_inherit()."""
    entry.inheritance = inheritance
    if map_.vm.ktrace.maps is not None:
        _record(map_, INHERIT, entry, entry.start, entry.end)


def vm_map_entry_protected(map_: VmMap, entry: VmMapEntry, old_prot: int) -> None:
    """The rights of *entry* were *old_prot*: take away what it lost, and tell.  FreeBSD: part of vm_map_protect()."""
    prot = entry.protection
    if old_prot & ~prot:
        mask = VM_PROT_ALL & ~VM_PROT_WRITE if entry.eflags & MAP_ENTRY_COW else VM_PROT_ALL
        map_.pmap.protect(entry.start, entry.end, prot & mask)
    map_.pmap.map_changed(entry.start, entry.end)
    if map_.vm.ktrace.maps is not None:
        _record(map_, PROTECT, entry, entry.start, entry.end, (old_prot, 0, 0))


def vm_map_grown(map_: VmMap, start: int, end: int, low: int, high: int) -> None:
    """A stack grew by ``[start, end)``; its reserve was ``[low, high)``.  Comes after the insertion.

    Model only: the kernel records no growth.
    """
    if map_.vm.ktrace.maps is not None:
        piece = vm_map_lookup_entry(map_, start)[1]
        _record(map_, GROW, piece, start, end, (piece.protection, low, high))


def vm_map_restore(map_: VmMap, entries: Iterable[VmMapEntry], size: int) -> None:
    """Fill an empty map with *entries*, in address order, and believe *size*; nobody is told.

    Model only: a snapshot comes back.
    """
    kassert(map_.nentries == 0, "vm_map_restore: map in use: %d entries", map_.nentries)
    for entry in entries:
        vm_map_tree_link(map_, map_.header.prev, entry)
    map_.size = size


def _record(
    map_: VmMap, what: str, entry: VmMapEntry, start: int, end: int, before: tuple[int, int, int] = (0, 0, 0)
) -> None:
    """Tell the listeners that *what* happened to ``[start, end)``, whose attributes are those of *entry*.

    The kernel's own maps are not told.
    Requires: ``map_.vm.ktrace.maps`` is set; callers test it first, so that nobody pays for what nobody hears.
    *before*: protection, and start and end of the reserve, as they were.
    """
    if map_.min_offset >= VM_MIN_KERNEL_ADDRESS:
        return
    obj = entry.vm_object
    vnode = ""
    if obj is not None and obj.type == OBJT_VNODE:
        vnode = full_path(obj.handle)
    map_.vm.ktrace.map_changed(
        MapChange(
            what=what,
            start=start,
            end=end,
            prot=entry.protection,
            max_prot=entry.max_protection,
            inheritance=entry.inheritance,
            eflags=entry.eflags,
            offset=entry.offset + (start - entry.start),
            object_type=-1 if obj is None else obj.type,
            vnode=vnode,
            before_prot=before[0],
            before_start=before[1],
            before_end=before[2],
            map=map_,
        )
    )


def vm_map_process_deferred(map_: VmMap) -> None:
    """Let go of the objects of deleted entries, the last one first.  FreeBSD: vm_map_process_deferred()."""
    deferred = map_.deferred
    map_.deferred = []
    for entry in reversed(deferred):
        if entry.eflags & MAP_ENTRY_WRITECNT:
            vm_map_entry_release_writecount(entry)
        if entry.eflags & MAP_ENTRY_VN_EXEC:
            vm_map_entry_set_vnode_text(entry, add=False)
        vm_object_deallocate(entry.vm_object)


# -- asking ---------------------------------------------------------------------------------------------------


def vm_map_entry_submap(entry: VmMapEntry) -> VmMap | None:
    """object.sub_map: the map that serves *entry*, None unless it is one of those.  FreeBSD: MAP_ENTRY_IS_SUB_MAP."""
    return cast("VmMap", entry.object) if entry.eflags & MAP_ENTRY_IS_SUB_MAP else None


def vm_map_assert_consistent(map_: VmMap) -> None:
    """Walk the whole map and check order, gaps, tree, counts.

    FreeBSD: VM_MAP_ASSERT_CONSISTENT, sysctl debug.vmmap_check.
    """
    header = map_.header
    kassert(header.end == map_.min_offset and header.start == map_.max_offset, "header bounds")
    count = size = 0
    prev = header
    entry = header.next
    while entry is not header:
        kassert(entry.prev is prev, "map at %#x: ring broken at %r", map_.min_offset, entry)
        kassert(entry.start < entry.end, "map at %#x: empty %r", map_.min_offset, entry)
        kassert(prev.end <= entry.start, "map at %#x: overlap at %r", map_.min_offset, entry)
        kassert(prev.adj_free == entry.start - prev.end, "map at %#x: adj_free of %r", map_.min_offset, prev)
        count += 1
        if not entry.eflags & map_.uncounted:
            size += entry.end - entry.start
        prev = entry
        entry = entry.next
    kassert(header.prev is prev, "map at %#x: ring broken at its end", map_.min_offset)
    kassert(prev.end <= map_.max_offset, "map at %#x: beyond its end", map_.min_offset)
    kassert(prev.adj_free == map_.max_offset - prev.end, "map at %#x: adj_free of the last entry", map_.min_offset)
    kassert(count == map_.nentries, "map at %#x: %d entries, nentries %d", map_.min_offset, count, map_.nentries)
    kassert(size == map_.size, "map at %#x: %#x mapped, size %#x", map_.min_offset, size, map_.size)
    vm_map_assert_tree(map_)
