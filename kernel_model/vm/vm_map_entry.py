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

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Union, cast

from kernel_model.errors import kassert
from kernel_model.ktrace.entry import full_path
from kernel_model.vm.vm import OBJT_VNODE, VM_INHERIT_DEFAULT, prot_string
from kernel_model.vm.vm_object import bottom_object

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

    @property
    def max_offset(self) -> int:
        """Its end."""
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
        return entry_text(self)


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
    bottom = None if obj is None else bottom_object(obj)[0]
    if bottom is None or bottom.type != OBJT_VNODE:
        return None
    return cast("TextVnode", bottom.handle)


def vmfs_aligned_space(log2_alignment: int) -> int:
    """The find-space value for an alignment of ``1 << log2_alignment`` bytes: VMFS_ALIGNED_SPACE(n)."""
    return log2_alignment << 8


# -- as a person reads it -------------------------------------------------------------------------------------

PREFIX: Final = "MAP_ENTRY_"
"""What the names of all entry flags begin with; tables say it once, in their head."""
EFLAG_NAMES: Final[dict[int, str]] = {
    MAP_ENTRY_NOSYNC: "NOSYNC",
    MAP_ENTRY_IS_SUB_MAP: "IS_SUB_MAP",
    MAP_ENTRY_COW: "COW",
    MAP_ENTRY_NEEDS_COPY: "NEEDS_COPY",
    MAP_ENTRY_NOFAULT: "NOFAULT",
    MAP_ENTRY_USER_WIRED: "USER_WIRED",
    MAP_ENTRY_IN_TRANSITION: "IN_TRANSITION",
    MAP_ENTRY_NEEDS_WAKEUP: "NEEDS_WAKEUP",
    MAP_ENTRY_NOCOREDUMP: "NOCOREDUMP",
    MAP_ENTRY_VN_EXEC: "VN_EXEC",
    MAP_ENTRY_GROWS_DOWN: "GROWS_DOWN",
    MAP_ENTRY_GROWS_UP: "GROWS_UP",
    MAP_ENTRY_WIRE_SKIPPED: "WIRE_SKIPPED",
    MAP_ENTRY_WRITECNT: "WRITECNT",
    MAP_ENTRY_GUARD: "GUARD",
    MAP_ENTRY_STACK_GAP_DN: "STACK_GAP_DN",
    MAP_ENTRY_STACK_GAP_UP: "STACK_GAP_UP",
    MAP_ENTRY_HEADER: "HEADER",
}
"""Flags of one bit; the advice and the large-page boundary are fields of two."""
BEHAV_NAMES: Final[dict[int, str]] = {
    MAP_ENTRY_BEHAV_SEQUENTIAL: "BEHAV_SEQUENTIAL",
    MAP_ENTRY_BEHAV_RANDOM: "BEHAV_RANDOM",
    MAP_ENTRY_BEHAV_RESERVED: "BEHAV_RESERVED",
}
_STACKS: Final = MAP_ENTRY_GROWS_DOWN | MAP_ENTRY_GROWS_UP
_GAPS: Final = MAP_ENTRY_STACK_GAP_DN | MAP_ENTRY_STACK_GAP_UP
_TYPE_NAMES: Final = ("default", "swap", "vnode", "device", "phys", "dead", "sg", "mgtdevice")
"""OBJT_* in order."""


class EntryRow(NamedTuple):
    """One entry as it was, under the names of struct vm_map_entry."""

    start: int
    end: int
    protection: int
    max_protection: int
    inheritance: int
    object: str
    """Type, and path of a file; bounds of a submap; empty for none."""
    offset: int
    eflags: int
    wired_count: int = 0
    avail_ssize: int = 0
    """Bytes that a classic stack may still grow; 0 for what is none."""
    next_read: int = 0
    """Bytes of guard that a stack gap keeps; 0 for what is none, where the field means something else."""

    def __str__(self) -> str:
        """Range, rights (and maximum), object with offset, flags, and what else is to tell, on one line."""
        words = (
            f"[{self.start:#x}, {self.end:#x})",
            f"{prot_string(self.protection)}/{prot_string(self.max_protection)}",
            self.object + (f"+{self.offset:#x}" if self.object and self.offset else ""),
            eflags_text(self.eflags),
            self.note,
        )
        return " ".join(word for word in words if word)

    @property
    def note(self) -> str:
        """What no field shows by itself: the reserve of a stack, the guard that a gap keeps, wirings."""
        notes = []
        if self.avail_ssize:
            notes.append(f"may grow {self.avail_ssize:#x}")
        if self.next_read:
            notes.append(f"guard {self.next_read:#x}")
        if self.wired_count:
            notes.append(f"wired {self.wired_count}")
        return ", ".join(notes)


def eflag_names(eflags: int) -> list[str]:
    """The flags of an entry by name, without ``MAP_ENTRY_``; bits that have no name as one number.

    Model only.
    """
    names = [name for bit, name in EFLAG_NAMES.items() if eflags & bit]
    if eflags & MAP_ENTRY_BEHAV_MASK:
        names.append(BEHAV_NAMES[eflags & MAP_ENTRY_BEHAV_MASK])
    boundary = (eflags & MAP_ENTRY_SPLIT_BOUNDARY_MASK) >> MAP_ENTRY_SPLIT_BOUNDARY_SHIFT
    if boundary:
        names.append(f"SPLIT_BOUNDARY({boundary})")
    rest = eflags & ~(sum(EFLAG_NAMES) | MAP_ENTRY_BEHAV_MASK | MAP_ENTRY_SPLIT_BOUNDARY_MASK)
    return [*names, f"{rest:#x}"] if rest else names


def eflags_text(eflags: int) -> str:
    """The flags with their whole names, ``MAP_ENTRY_COW|MAP_ENTRY_NEEDS_COPY``; empty for none.  Model only."""
    return "|".join(PREFIX + name if name[0].isalpha() else name for name in eflag_names(eflags))


def object_text(obj: VmObject) -> str:
    """The type of an object and its file; what it shadows in the end: ``default over vnode /bin/cat``.  Model only."""
    bottom, _ = bottom_object(obj)
    return _type_text(obj) if bottom is obj else f"{_type_text(obj)} over {_type_text(bottom)}"


def _type_text(obj: VmObject) -> str:
    name = _TYPE_NAMES[obj.type] if 0 <= obj.type < len(_TYPE_NAMES) else str(obj.type)
    path = full_path(obj.handle) if obj.type == OBJT_VNODE else ""
    return f"{name} {path}" if path else name


def entry_row(entry: VmMapEntry) -> EntryRow:
    """Copy what can be shown of *entry*.  Model only."""
    eflags = entry.eflags
    return EntryRow(
        start=entry.start,
        end=entry.end,
        protection=entry.protection,
        max_protection=entry.max_protection,
        inheritance=entry.inheritance,
        object=_backing_text(entry),
        offset=entry.offset,
        eflags=eflags,
        wired_count=entry.wired_count,
        avail_ssize=entry.avail_ssize if eflags & _STACKS else 0,
        next_read=entry.next_read if eflags & _GAPS else 0,
    )


def _backing_text(entry: VmMapEntry) -> str:
    backing = entry.object
    if backing is None:
        return ""
    if entry.eflags & MAP_ENTRY_IS_SUB_MAP:
        submap = cast("SubMap", backing)
        return f"map [{submap.min_offset:#x}, {submap.max_offset:#x})"
    return object_text(cast("VmObject", backing))


def entry_text(entry: VmMapEntry) -> str:
    """What an entry shows in the interpreter and in a message: one line.

    ``[0x1000, 0x3000) rw-/rwx default+0x1000 MAP_ENTRY_COW|MAP_ENTRY_NEEDS_COPY``

    Model only.
    """
    return str(entry_row(entry))
