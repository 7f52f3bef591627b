"""A map as it was when a fault was refused: plain data, which can be written to a file.

Model only.  Who takes a snapshot, and who decides the fault in it again, stands above the kernel (emu/why).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from kernel_model.ktrace.entry import EntryState


@dataclass(frozen=True, slots=True)
class ObjectState:
    """A vm_object as it was.  FreeBSD: struct vm_object, sys/vm/vm_object.h."""

    type: int
    size: int
    """In pages."""
    ref_count: int = 1
    shadow_count: int = 0
    flags: int = 0
    backing: int = -1
    """Number of the backing object in the snapshot, -1 for none."""
    backing_offset: int = 0
    charge: int = 0
    vnode: str = ""
    vnode_size: int = 0
    """Bytes of the file, when the object is a vnode's."""


@dataclass(frozen=True, slots=True)
class Recursion:
    """One return address again and again on the stack.  Model only."""

    return_address: int
    frames: int
    frame_size: int
    """Bytes from one to the next."""
    callers: tuple[tuple[int, int], ...] = ()
    """What looks like a return address, nearest first, and how often it stands there: one round, then what began it."""


@dataclass(frozen=True, slots=True)
class MapSnapshot:
    """A vm_map and all that decides a fault in it.  Model only."""

    release: str
    tunables: dict[str, int]
    limits: dict[str, int]
    """Soft limits by their lower-case name, bytes."""
    min_offset: int
    max_offset: int
    map_flags: int
    size: int
    """map.size: with ``omitted`` it is more than the entries say."""
    entries: tuple[EntryState, ...]
    objects: tuple[ObjectState, ...]
    ssize_pages: int
    maxsaddr: int
    stacktop: int
    """vm_stacktop, or what the image type says (sv_usrstack)."""
    abi: str
    osrel: int
    flag2: int
    has_text: bool
    """The process has a program file (p_textvp)."""
    fctl0: int = 0
    """Features the program opted out of by its ELF note."""
    wired_pages: int = 0
    omitted: int = 0
    """Entries of the map that are not here, because it is very large."""
    recursion: Recursion | None = None
    altstack: tuple[int, int] = (0, 0)
    """Base and size of the alternate signal stack, (0, 0) for none."""

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        out = {one.name: getattr(self, one.name) for one in fields(self)}
        out["entries"] = [entry._asdict() for entry in self.entries]
        out["objects"] = [_plain(obj) for obj in self.objects]
        out["recursion"] = None if self.recursion is None else _plain(self.recursion)
        out["altstack"] = list(self.altstack)
        return out

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> MapSnapshot:
        """The snapshot that ``to_json`` described."""
        made = dict(data)
        made["entries"] = tuple(EntryState(**entry) for entry in data["entries"])
        made["objects"] = tuple(ObjectState(**obj) for obj in data["objects"])
        shape = data["recursion"]
        if shape is not None:
            callers = tuple((addr, times) for addr, times in shape.get("callers", ()))
            shape = Recursion(**(shape | {"callers": callers}))
        made["recursion"] = shape
        made["altstack"] = tuple(data["altstack"])
        return cls(**made)

    def at(self, va: int) -> EntryState | None:
        """The entry that holds *va*."""
        return next((entry for entry in self.entries if entry.start <= va < entry.end), None)

    def above(self, va: int) -> EntryState | None:
        """The lowest entry that starts above *va*."""
        return next((entry for entry in self.entries if entry.start > va), None)


def _plain(record: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the slotted records
    return {one.name: getattr(record, one.name) for one in fields(record)}
