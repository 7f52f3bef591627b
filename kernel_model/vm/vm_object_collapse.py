"""Shortening shadow chains.

    before     object ──> backing ──> next           backing has pages that object may lack
    collapse   object ──────────────> next           ref_count of backing was 1: its pages moved up, it is gone
    bypass     object ──────────────> next           others use backing, but object needs none of its pages
                          backing ──> next

FreeBSD: vm_object_collapse(), vm_object_collapse_scan(), vm_object_scan_all_shadowed(), sys/vm/vm_object.c.
Differs: pages are never busy here, so a collapse always completes and vm_object_qcollapse() has no use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.vm.swap_pager import swap_pager_copy, swap_pager_freespace, swap_release_by_cred
from kernel_model.vm.vm import OBJ_DEAD, OBJ_NOSPLIT, OBJT_DEAD, OBJT_DEFAULT, OBJT_SWAP
from kernel_model.vm.vm_page import vm_page_free_all, vm_page_rename
from kernel_model.vm.vm_param import PAGE_SHIFT

if TYPE_CHECKING:
    from kernel_model.vm.vm_object import VmObject
    from kernel_model.vm.vm_page import VmPage


def vm_object_collapse(object_: VmObject) -> None:
    """Collapse or bypass backing objects for as long as that is possible.  FreeBSD: vm_object_collapse()."""
    while True:
        backing = object_.backing_object
        if backing is None or not _collapsible(object_, backing):
            return
        if backing.ref_count == 1:
            _collapse(object_, backing)
        else:
            if len(object_.pages) != object_.size and not _all_shadowed(object_, backing):
                return
            _bypass(object_, backing)


def _collapsible(object_: VmObject, backing: VmObject) -> bool:
    return (
        backing.handle is None
        and backing.type <= OBJT_SWAP
        and not backing.flags & (OBJ_DEAD | OBJ_NOSPLIT)
        and object_.handle is None
        and object_.type <= OBJT_SWAP
        and not object_.flags & OBJ_DEAD
    )


def _collapse(object_: VmObject, backing: VmObject) -> None:
    """Merge *backing*, which only *object_* uses, into it."""
    backing.flags |= OBJ_DEAD
    if backing.pages:
        _move_pages(object_, backing)
    if backing.swap is not None:
        _drop_shadowed_blocks(object_, backing)
        swap_pager_copy(backing, object_, object_.backing_object_offset >> PAGE_SHIFT, destroy_source=True)
    del backing.shadow_head[object_]
    backing.shadow_count -= 1
    below = backing.backing_object
    if below is not None:
        del below.shadow_head[backing]
        below.shadow_head[object_] = None
    object_.backing_object = below
    object_.backing_object_offset += backing.backing_object_offset
    kassert(backing.ref_count == 1, "backing object was re-referenced during collapse")
    backing.backing_object = None
    backing.type = OBJT_DEAD
    backing.ref_count = 0
    if backing.cred is not None:
        swap_release_by_cred(backing.vm, backing.charge, backing.cred)
        backing.charge = 0
        backing.cred = None
    backing.release_frames()


def _bypass(object_: VmObject, backing: VmObject) -> None:
    """Let *object_* shadow what is behind *backing*; others keep *backing* alive."""
    del backing.shadow_head[object_]
    backing.shadow_count -= 1
    below = backing.backing_object
    object_.backing_object = below
    if below is not None:
        below.shadow_head[object_] = None
        below.shadow_count += 1
        below.ref_count += 1
        object_.backing_object_offset += backing.backing_object_offset
    backing.ref_count -= 1


def _move_pages(object_: VmObject, backing: VmObject) -> None:
    """Move pages up that *object_* lacks; the others are out of its window or shadowed, and freed."""
    first = object_.backing_object_offset >> PAGE_SHIFT
    doomed: list[VmPage] = []
    moving: list[VmPage] = []
    for m in backing.pages.values():
        pindex = m.pindex - first
        if pindex < 0 or pindex >= object_.size or _has_page(object_, pindex):
            doomed.append(m)
        else:
            moving.append(m)
    for m in doomed:
        swap_pager_freespace(backing, m.pindex, 1)
    vm_page_free_all(backing, doomed)
    for m in moving:
        swap_pager_freespace(backing, m.pindex, 1)
        vm_page_rename(m, object_, m.pindex - first)


def _drop_shadowed_blocks(object_: VmObject, backing: VmObject) -> None:
    """Free swap blocks of *backing* for which *object_* has a resident page; swap_pager_copy() does the rest."""
    first = object_.backing_object_offset >> PAGE_SHIFT
    for pindex in [pindex for pindex in backing.swap or () if pindex - first in object_.pages]:
        swap_pager_freespace(backing, pindex, 1)


def _has_page(object_: VmObject, pindex: int) -> bool:
    """Resident, or on the swap device."""
    return pindex in object_.pages or (object_.swap is not None and pindex in object_.swap)


def _all_shadowed(object_: VmObject, backing: VmObject) -> bool:
    """Whether *object_* has its own copy of every page of *backing* that it could see."""
    if backing.type != OBJT_DEFAULT and not (backing.type == OBJT_SWAP and backing.vm.release.bypass_swapped):
        return False
    first = object_.backing_object_offset >> PAGE_SHIFT
    end = first + object_.size
    needed = [pindex - first for pindex in (*backing.pages, *(backing.swap or ())) if first <= pindex < end]
    return all(_has_page(object_, pindex) for pindex in needed)
