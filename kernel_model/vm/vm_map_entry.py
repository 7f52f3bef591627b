"""One range of a map: struct vm_map_entry.

FreeBSD: sys/vm/vm_map.h; vm_map(9).  Fields carry the manual page's names.
Differs: ``parent`` and ``height`` belong to our balanced tree, FreeBSD splays instead; ``max_free`` has its
classic meaning (free bytes above an entry, the largest of a subtree) in every release, 12.1 and later count
the gap below as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

from kernel_model.vm.vm_map_flags import (
    MAP_ENTRY_GUARD,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_NEEDS_COPY,
    MAP_ENTRY_USER_WIRED,
)

if TYPE_CHECKING:
    from kernel_model.ucred import Ucred
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_object import VmObject

MapObject = Union["VmObject", "VmMap", None]
"""union vm_map_object: what backs an entry; a map only with MAP_ENTRY_IS_SUB_MAP."""

VM_FAULT_READ_AHEAD_INIT = 15


class VmMapEntry:
    """A mapped range ``[start, end)`` with one set of attributes: struct vm_map_entry."""

    __slots__ = (
        "start",  # first byte
        "end",  # byte after the last
        "prev",  # neighbour below, the header at the end
        "next",  # neighbour above, the header at the end
        "left",
        "right",
        "parent",
        "height",  # of the subtree, 1 for a leaf
        "adj_free",  # free bytes between end and the next entry, or the map's end
        "max_free",  # largest adj_free in the subtree
        "object",  # VmObject, submap, or None: nothing yet (zero on demand)
        "offset",  # of start within object, bytes
        "eflags",
        "protection",
        "max_protection",
        "inheritance",
        "wired_count",  # 0 pageable; -1 while wiring failed
        "wiring_thread",
        "avail_ssize",  # bytes a stack may still grow (classic)
        "read_ahead",  # pages
        "next_read",  # where the next sequential fault would be; in a gap the guard's bytes
        "cred",  # who pays for swap until an object does; None: nobody
    )

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.prev: VmMapEntry = self
        self.next: VmMapEntry = self
        self.left: VmMapEntry | None = None
        self.right: VmMapEntry | None = None
        self.parent: VmMapEntry | None = None
        self.height = 1
        self.adj_free = 0
        self.max_free = 0
        self.object: MapObject = None
        self.offset = 0
        self.eflags = 0
        self.protection = 0
        self.max_protection = 0
        self.inheritance = 1
        self.wired_count = 0
        self.wiring_thread: object | None = None
        self.avail_ssize = 0
        self.read_ahead = VM_FAULT_READ_AHEAD_INIT
        self.next_read = 0
        self.cred: Ucred | None = None

    @property
    def lastr(self) -> int:
        """The old name of next_read, used by vm_map(9)."""
        return self.next_read

    @property
    def vm_object(self) -> VmObject | None:
        """object.vm_object: None for a submap as well."""
        if self.eflags & MAP_ENTRY_IS_SUB_MAP:
            return None
        return self.object  # type: ignore[return-value]

    @vm_object.setter
    def vm_object(self, object_: VmObject | None) -> None:
        self.object = object_

    @property
    def sub_map(self) -> VmMap | None:
        """object.sub_map, None unless the entry is one."""
        if self.eflags & MAP_ENTRY_IS_SUB_MAP:
            return self.object  # type: ignore[return-value]
        return None

    @property
    def is_guard(self) -> bool:
        """A guard or stack gap: an entry that maps nothing."""
        return self.eflags & MAP_ENTRY_GUARD != 0

    def __repr__(self) -> str:
        return f"VmMapEntry({self.start:#x}, {self.end:#x}, prot={self.protection}, eflags={self.eflags:#x})"


def entry_copy(entry: VmMapEntry) -> VmMapEntry:
    """A new entry with the attributes of *entry*, not yet in any map: ``*new_entry = *entry``."""
    new = VmMapEntry(entry.start, entry.end)
    new.object = entry.object
    new.offset = entry.offset
    new.eflags = entry.eflags
    new.protection = entry.protection
    new.max_protection = entry.max_protection
    new.inheritance = entry.inheritance
    new.wired_count = entry.wired_count
    new.wiring_thread = entry.wiring_thread
    new.avail_ssize = entry.avail_ssize
    new.read_ahead = entry.read_ahead
    new.next_read = entry.next_read
    new.cred = entry.cred
    return new


def entry_charged(entry: VmMapEntry) -> bool:
    """Swap is reserved for the entry, by itself or by its object: ENTRY_CHARGED."""
    if entry.cred is not None:
        return True
    obj = entry.vm_object
    return obj is not None and obj.cred is not None and not entry.eflags & MAP_ENTRY_NEEDS_COPY


def entry_system_wired_count(entry: VmMapEntry) -> int:
    """How often the kernel itself wired the entry: vm_map_entry_system_wired_count()."""
    return entry.wired_count - (1 if entry.eflags & MAP_ENTRY_USER_WIRED else 0)
