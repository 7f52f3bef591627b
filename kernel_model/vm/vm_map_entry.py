"""One range of a map, and the flags of vm_map(9): struct vm_map_entry; cow arguments, entry eflags, map flags, wiring.

FreeBSD: sys/vm/vm_map.h; vm_map(9).  Fields carry the manual page's names.  vm_map_entry_set_vnode_text() and the
MAP_ENTRY_WRITECNT part of vm_map_process_deferred() are from sys/vm/vm_map.c.  Which release knows which flag is the
business of ``kernel_model.release``.
Differs: ``parent`` and ``height`` belong to our balanced tree, FreeBSD splays instead; ``max_free`` has its
classic meaning (free bytes above an entry, the largest of a subtree) in every release, 12.1 and later count
the gap below as well.  FreeBSD counts the bytes of writable mappings of a file and lets vm_mmap(9) and the ELF
activator make the first count; here each entry counts as one, from vm_map_insert on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Union, cast

from kernel_model.errors import kassert
from kernel_model.vm.vm import OBJT_VNODE, VM_INHERIT_DEFAULT

if TYPE_CHECKING:
    from kernel_model.ucred import Ucred
    from kernel_model.vm.vm_object import VmObject

# cow argument of vm_map_insert, vm_map_find, vm_map_fixed, vm_map_stack
MAP_INHERIT_SHARE = 0x1
MAP_COPY_ON_WRITE = 0x2
MAP_NOFAULT = 0x4
MAP_PREFAULT = 0x8
MAP_PREFAULT_PARTIAL = 0x10
MAP_DISABLE_SYNCER = 0x20
MAP_CHECK_EXCL = 0x40
MAP_CREATE_GUARD = 0x80
MAP_DISABLE_COREDUMP = 0x100
MAP_PREFAULT_MADVISE = 0x200
MAP_WRITECOUNT = 0x400
MAP_REMAP = 0x800
MAP_STACK_GROWS_DOWN = 0x1000
MAP_STACK_GROWS_UP = 0x2000
MAP_ACC_CHARGED = 0x4000
MAP_ACC_NO_CHARGE = 0x8000
MAP_CREATE_STACK_GAP_UP = 0x10000
MAP_CREATE_STACK_GAP_DN = 0x20000
MAP_VN_EXEC = 0x40000
MAP_SPLIT_BOUNDARY_MASK = 0x180000
MAP_SPLIT_BOUNDARY_SHIFT = 19
MAP_NO_HINT = 0x200000

# entry.eflags
MAP_ENTRY_NOSYNC = 0x1
MAP_ENTRY_IS_SUB_MAP = 0x2
MAP_ENTRY_COW = 0x4
MAP_ENTRY_NEEDS_COPY = 0x8
MAP_ENTRY_NOFAULT = 0x10
MAP_ENTRY_USER_WIRED = 0x20
MAP_ENTRY_BEHAV_NORMAL = 0x00
MAP_ENTRY_BEHAV_SEQUENTIAL = 0x40
MAP_ENTRY_BEHAV_RANDOM = 0x80
MAP_ENTRY_BEHAV_RESERVED = 0xC0
MAP_ENTRY_BEHAV_MASK = 0xC0
MAP_ENTRY_IN_TRANSITION = 0x100
MAP_ENTRY_NEEDS_WAKEUP = 0x200
MAP_ENTRY_NOCOREDUMP = 0x400
MAP_ENTRY_VN_EXEC = 0x800
MAP_ENTRY_GROWS_DOWN = 0x1000
MAP_ENTRY_GROWS_UP = 0x2000
MAP_ENTRY_WIRE_SKIPPED = 0x4000
MAP_ENTRY_WRITECNT = 0x8000
MAP_ENTRY_GUARD = 0x10000
MAP_ENTRY_STACK_GAP_DN = 0x20000
MAP_ENTRY_STACK_GAP_UP = 0x40000
MAP_ENTRY_HEADER = 0x80000
MAP_ENTRY_SPLIT_BOUNDARY_MASK = 0x300000
MAP_ENTRY_SPLIT_BOUNDARY_SHIFT = 20

# map.flags
MAP_WIREFUTURE = 0x1
MAP_BUSY_WAKEUP = 0x2
MAP_IS_SUB_MAP = 0x4
MAP_ASLR = 0x8
MAP_ASLR_IGNSTART = 0x10
MAP_REPLENISH = 0x20
MAP_WXORX = 0x40
MAP_ASLR_STACK = 0x80

# vm_map_wire, vm_map_unwire
VM_MAP_WIRE_SYSTEM = 0
VM_MAP_WIRE_USER = 1
VM_MAP_WIRE_NOHOLES = 0
VM_MAP_WIRE_HOLESOK = 2
VM_MAP_WIRE_WRITE = 4

# vm_map_protect of FreeBSD 14 and newer
VM_MAP_PROTECT_SET_PROT = 1
VM_MAP_PROTECT_SET_MAXPROT = 2
VM_MAP_PROTECT_GROWSDOWN = 4

# vm_fault
VM_FAULT_NORMAL = 0
VM_FAULT_WIRE = 1
VM_FAULT_DIRTY = 2
VM_FAULT_NOFILL = 4


# which eflags keep an entry from merging with its neighbours, by Release.nomerge
_NOMERGE_SUBMAPS = MAP_ENTRY_IN_TRANSITION | MAP_ENTRY_IS_SUB_MAP
_NOMERGE_STACKS = _NOMERGE_SUBMAPS | MAP_ENTRY_GROWS_DOWN | MAP_ENTRY_GROWS_UP
_NOMERGE_TEXT = _NOMERGE_STACKS | MAP_ENTRY_VN_EXEC
_NOMERGE_GAPS = _NOMERGE_TEXT | MAP_ENTRY_STACK_GAP_DN | MAP_ENTRY_STACK_GAP_UP
NOMERGE = {
    "submaps": _NOMERGE_SUBMAPS,
    "stacks": _NOMERGE_STACKS,
    "text": _NOMERGE_TEXT,
    "gaps": _NOMERGE_GAPS,
}
"""Each policy adds to the one before.  FreeBSD: MAP_ENTRY_NOMERGE_MASK."""


class SubMap(Protocol):
    """A map that serves an entry: ``VmMap``; ``vm_map.vm_map_entry_submap()`` gives it."""

    @property
    def min_offset(self) -> int:
        """Its lowest address."""
        ...


class TextVnode(Protocol):
    """A file, as far as its mappings count themselves at it: struct vnode."""

    v_textcount: int
    v_writecount: int


MapObject = Union["VmObject", SubMap, None]
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
        "next_read",  # where the next sequential fault would be, an address or (before 11) a page index; guard of a gap
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
        self.inheritance = VM_INHERIT_DEFAULT
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


def vm_map_entry_set_vnode_text(entry: VmMapEntry, *, add: bool) -> None:
    """Count *entry* in or out of the running texts of the file at the bottom of its chain, if it is one."""
    if not entry.eflags & MAP_ENTRY_VN_EXEC:
        return
    obj = entry.vm_object
    kassert(obj is not None, "no object for text, entry %r", entry)
    vp = _bottom_vnode(obj)
    if vp is not None:
        vp.v_textcount += 1 if add else -1


def vm_map_entry_release_writecount(entry: VmMapEntry) -> None:
    """A writable shared mapping ended.  FreeBSD: vm_pager_release_writecount()."""
    if not entry.eflags & MAP_ENTRY_WRITECNT:
        return
    vp = _bottom_vnode(entry.vm_object)
    if vp is not None:
        vp.v_writecount -= 1


def vm_map_entry_update_writecount(entry: VmMapEntry) -> None:
    """A writable shared mapping began.  FreeBSD: vm_pager_update_writecount()."""
    if not entry.eflags & MAP_ENTRY_WRITECNT:
        return
    vp = _bottom_vnode(entry.vm_object)
    if vp is not None:
        vp.v_writecount += 1


def _bottom_vnode(obj: VmObject | None) -> TextVnode | None:
    while obj is not None and obj.backing_object is not None:
        obj = obj.backing_object
    if obj is None or obj.type != OBJT_VNODE:
        return None
    return cast("TextVnode", obj.handle)


def vmfs_aligned_space(log2_alignment: int) -> int:
    """The find-space value for an alignment of ``1 << log2_alignment`` bytes: VMFS_ALIGNED_SPACE(n)."""
    return log2_alignment << 8
