"""Keeps count, at the vnode, of the entries that run it or may write it.

FreeBSD: vm_map_entry_set_vnode_text() and the MAP_ENTRY_WRITECNT part of vm_map_process_deferred(), sys/vm/vm_map.c.
Differs: FreeBSD counts the bytes of writable mappings and lets vm_mmap(9) and the ELF activator make the
first count; here each entry counts as one, from vm_map_insert on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from kernel_model.errors import kassert
from kernel_model.vm.vm import OBJT_VNODE
from kernel_model.vm.vm_map_flags import MAP_ENTRY_VN_EXEC, MAP_ENTRY_WRITECNT

if TYPE_CHECKING:
    from kernel_model.kern.vnode import Vnode
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_object import VmObject


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


def _bottom_vnode(obj: VmObject | None) -> Vnode | None:
    while obj is not None and obj.backing_object is not None:
        obj = obj.backing_object
    if obj is None or obj.type != OBJT_VNODE:
        return None
    return cast("Vnode", obj.handle)
