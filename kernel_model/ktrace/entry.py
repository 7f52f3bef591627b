"""How records show an entry of a map, and name a file.

Model only.
"""

from __future__ import annotations

from typing import NamedTuple

from kernel_model.text import printable_bytes


class EntryState(NamedTuple):
    """A vm_map_entry as it was.  FreeBSD: struct vm_map_entry, sys/vm/vm_map.h."""

    start: int
    end: int
    prot: int
    max_prot: int
    inheritance: int = 1
    eflags: int = 0
    wired_count: int = 0
    offset: int = 0
    avail_ssize: int = 0
    guard: int = 0
    """Guard bytes saved in a stack gap (next_read)."""
    object: int = -1
    """Number of its object in the snapshot, -1 for none; only identity matters."""
    object_type: int = -1
    object_size: int = 0
    """In pages."""
    vnode: str = ""


def full_path(vp: object) -> str:
    """The path by which *vp* was looked up last, printable; empty when it is no vnode."""
    names: list[bytes] = []
    while vp is not None:
        name = getattr(vp, "v_name", None)
        if name is None:
            return ""
        if name:
            names.append(name)
        vp = getattr(vp, "v_dd", None)
    return "/" + printable_bytes(b"/".join(reversed(names))) if names else ""
