"""The address map: struct vm_map, its lock, and its verbs.

FreeBSD: sys/vm/vm_map.c, sys/vm/vm_map.h; vm_map(9), vm_map_create(9), vm_map_init(9), vm_map_max(9), vm_map_lock(9).
Differs: nothing runs beside the caller, so a lock is only counted and checked, and a sleep would last for
ever: it panics.

A verb is a function in the file of its topic, under its full name: ``vm_map_insert(map_, ...)``.  Only the lock's are
methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from kernel_model.errors import kassert, panic
from kernel_model.vm.vm_map_delete import vm_map_process_deferred
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


class FaultHandler(Protocol):
    """vm_fault(), as vm_map_wire calls it."""

    def __call__(self, map_: VmMap, va: int, fault_type: int, fault_flags: int = 0) -> int:
        """Make the page that holds *va* resident; a KERN_* code."""
        ...


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
        self.nomerge = vm.release.nomerge_mask
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
