"""The address map: struct vm_map, its lock, and its verbs.

FreeBSD: sys/vm/vm_map.c, sys/vm/vm_map.h; vm_map(9), vm_map_create(9), vm_map_init(9), vm_map_max(9), vm_map_lock(9).
Differs: nothing runs beside the caller, so a lock is only counted and checked, and a sleep would last for
ever: it panics.

A verb is a function in the file of its topic; the class binds it as a method (``map.insert`` is ``vm_map_insert``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from kernel_model.errors import kassert, panic
from kernel_model.vm import (
    vm_fault,
    vm_fault_copy,
    vm_map_advise,
    vm_map_check,
    vm_map_delete,
    vm_map_find,
    vm_map_insert,
    vm_map_protect,
    vm_map_submap,
    vm_map_sync,
    vm_map_tree,
    vm_map_wire,
    vm_stack,
)
from kernel_model.vm.vm_map_entry import VmMapEntry
from kernel_model.vm.vm_map_flags import MAP_BUSY_WAKEUP, MAP_ENTRY_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel_model.vm.pmap import Pmap
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_object import VmObject

UNLOCKED = 0
EXCLUSIVE = -1
"""``lock_state``; a positive number counts readers."""
U_INT_MASK = 0xFFFF_FFFF


class VmMap:
    """Entries of one address space ``[min_offset, max_offset)``: struct vm_map."""

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
        "lock_state",
        "random",  # arc4random_uniform for MAP_ASLR; None: addresses stay predictable
        "deferred",  # entries to dereference at unlock: td_map_def_user
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
        self.nomerge = vm.release.nomerge_mask
        self.lock_state = UNLOCKED
        self.random: Callable[[int], int] | None = None
        self.deferred: list[VmMapEntry] = []
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
            vm_map_delete.vm_map_process_deferred(self)

    def lock_read(self) -> None:
        """Share the map; not counted.  FreeBSD: vm_map_lock_read()."""
        kassert(self.lock_state >= UNLOCKED, "vm_map_lock_read: held exclusively")
        self.lock_state += 1

    def unlock_read(self) -> None:
        """Let a share go.  FreeBSD: vm_map_unlock_read()."""
        kassert(self.lock_state > UNLOCKED, "vm_map_unlock_read: not held")
        self.lock_state -= 1
        if self.deferred:
            vm_map_delete.vm_map_process_deferred(self)

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

    def entries(self) -> Iterator[VmMapEntry]:
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

    # the verbs, each in the file of its topic

    lookup_entry = vm_map_tree.vm_map_lookup_entry
    entry_resize_free = vm_map_tree.vm_map_entry_resize_free
    entry_resize = vm_map_tree.vm_map_entry_resize

    insert = vm_map_insert.vm_map_insert
    simplify_entry = vm_map_insert.vm_map_simplify_entry
    try_merge_entries = vm_map_insert.vm_map_try_merge_entries
    clip_start = vm_map_insert.vm_map_clip_start
    clip_end = vm_map_insert.vm_map_clip_end

    findspace = vm_map_find.vm_map_findspace
    findspace_address = vm_map_find.vm_map_findspace_address
    find = vm_map_find.vm_map_find
    find_min = vm_map_find.vm_map_find_min
    fixed = vm_map_find.vm_map_fixed

    delete = vm_map_delete.vm_map_delete
    remove = vm_map_delete.vm_map_remove

    protect = vm_map_protect.vm_map_protect
    protect_flags = vm_map_protect.vm_map_protect_flags
    inherit = vm_map_advise.vm_map_inherit
    madvise = vm_map_advise.vm_map_madvise
    check_protection = vm_map_check.vm_map_check_protection
    assert_consistent = vm_map_check.vm_map_assert_consistent

    wire = vm_map_wire.vm_map_wire
    wire_locked = vm_map_wire.vm_map_wire_locked
    unwire = vm_map_wire.vm_map_unwire
    sync = vm_map_sync.vm_map_sync
    submap = vm_map_submap.vm_map_submap

    stack = vm_stack.vm_map_stack
    stack_locked = vm_stack.vm_map_stack_locked

    fault = vm_fault.vm_fault

    def copy_wired(self, dst_map: VmMap, dst: VmMapEntry, src: VmMapEntry, fork: bool) -> int:
        """Copy the pages of a wired entry at once; returns the swap that a *fork* must reserve for it.

        FreeBSD: vm_fault_copy_entry().
        """
        return vm_fault_copy.vm_fault_copy_entry(dst_map, self, dst, src, fork)

    def __repr__(self) -> str:
        return f"VmMap({self.min_offset:#x}, {self.max_offset:#x}, nentries={self.nentries}, size={self.size:#x})"


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
    """A new, empty map of ``[min_, max_)`` on *pmap*.

    FreeBSD: vm_map_create(9); vm_map_init(9) is the constructor.
    """
    kassert(min_ <= max_, "vm_map_create: %#x above %#x", min_, max_)
    return VmMap(vm, pmap, min_, max_)


def vm_map_init(map_: VmMap, pmap: Pmap, min_: int, max_: int) -> None:
    """Give a map, which must be empty and unlocked, its bounds and its pmap anew.  FreeBSD: vm_map_init(9)."""
    kassert(map_.nentries == 0 and map_.lock_state == UNLOCKED, "vm_map_init: %r in use", map_)
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
