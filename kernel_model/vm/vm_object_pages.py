"""What is done to ranges of an object's pages: removing, cleaning, advising, unwiring.

FreeBSD: sys/vm/vm_object.c; vm_page_advise() and vm_page_dontneed(), sys/vm/vm_page.c.
Differs: vm_page_dontneed() of FreeBSD 9 leaves one page in 32 alone at random; here none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.vm import pmap as pmap_ops
from kernel_model.vm.swap_pager import VM_PAGER_OK, swap_pager_freespace
from kernel_model.vm.vm import (
    OBJ_FICTITIOUS,
    OBJ_MIGHTBEDIRTY,
    OBJ_ONEMAPPING,
    OBJ_UNMANAGED,
    OBJT_DEFAULT,
    OBJT_DEVICE,
    OBJT_SWAP,
    OBJT_VNODE,
)
from kernel_model.vm.vm_page import (
    MADV_DONTNEED,
    MADV_FREE,
    MADV_WILLNEED,
    PG_NOSYNC,
    PQ_INACTIVE,
    PQ_LAUNDRY,
    vm_page_activate,
    vm_page_enqueue,
    vm_page_free_all,
    vm_page_launder,
    vm_page_range,
    vm_page_unwire,
)
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT

if TYPE_CHECKING:
    from kernel_model.vm.vm_object import VmObject
    from kernel_model.vm.vm_page import VmPage
    from kernel_model.vm.vm_param import VmOffset

OBJPR_CLEANONLY = 0x1
"""vm_object_page_remove: leave dirty pages alone."""
OBJPR_NOTMAPPED = 0x2
"""vm_object_page_remove: the caller knows that no page is mapped."""

OBJPC_SYNC = 0x1
OBJPC_INVAL = 0x2
OBJPC_NOSYNC = 0x4
"""vm_object_page_clean: leave pages of MAP_NOSYNC mappings alone."""


def vm_object_page_remove(object_: VmObject, start: int, end: int, options: int = 0) -> None:
    """Free the pages with ``start <= pindex < end`` (end 0: to the object's end), removing their mappings.

    A wired page cannot be freed: it loses its mappings and its contents and stays.
    FreeBSD: vm_object_page_remove().
    """
    if not object_.pages:
        return
    doomed: list[VmPage] = []
    mapped = not options & OBJPR_NOTMAPPED and object_.ref_count != 0
    for m in vm_page_range(object_, start, end if end else max(object_.pages) + 1):
        if m.wire_count:
            if mapped:
                pmap_ops.remove_all(m)
            if not options & OBJPR_CLEANONLY:
                m.valid = False
                m.dirty = False
            continue
        if options & OBJPR_CLEANONLY and m.valid:
            if mapped:
                pmap_ops.remove_write(m)
            if m.dirty:
                continue
        if mapped:
            pmap_ops.remove_all(m)
        doomed.append(m)
    vm_page_free_all(object_, doomed)


def vm_object_set_writeable_dirty(object_: VmObject) -> None:
    """A page of a vnode object may be written from now on.  FreeBSD: vm_object_set_writeable_dirty()."""
    if object_.type == OBJT_VNODE:
        object_.generation += 1
        object_.flags |= OBJ_MIGHTBEDIRTY


def vm_object_page_clean(object_: VmObject, start: VmOffset, end: VmOffset, flags: int) -> bool:
    """Write the dirty pages of bytes [start, end) back (end 0: all); False when the file system refused one.

    FreeBSD: vm_object_page_clean().
    """
    if not object_.flags & OBJ_MIGHTBEDIRTY or not object_.pages or object_.pager is None:
        return True
    first = start >> PAGE_SHIFT
    last = object_.size if end == 0 else (end + PAGE_MASK) >> PAGE_SHIFT
    all_clean = first == 0 and last >= object_.size
    result = True
    for m in vm_page_range(object_, first, last):
        if not m.valid:
            continue
        if flags & OBJPC_NOSYNC and m.flags & PG_NOSYNC:
            all_clean = False
            continue
        pmap_ops.remove_write(m)
        if m.dirty and object_.pager.putpage(object_, m) != VM_PAGER_OK:
            result = all_clean = False
    if all_clean:
        object_.flags &= ~OBJ_MIGHTBEDIRTY
    return result


def vm_object_sync(object_: VmObject | None, offset: VmOffset, size: VmOffset, syncio: bool, invalidate: bool) -> bool:
    """Write back, and with *invalidate* drop, bytes [offset, offset+size) of the bottom of the chain.

    False when a page could not be written.  FreeBSD: vm_object_sync().
    """
    if object_ is None:
        return True
    while (backing := object_.backing_object) is not None:
        offset += object_.backing_object_offset
        object_ = backing
        size = max(min(size, (object_.size << PAGE_SHIFT) - offset), 0)
    result = True
    if object_.type == OBJT_VNODE and object_.flags & OBJ_MIGHTBEDIRTY:
        flags = OBJPC_SYNC if syncio or invalidate else 0
        result = vm_object_page_clean(object_, offset, offset + size, flags | (OBJPC_INVAL if invalidate else 0))
    if invalidate and object_.type in (OBJT_VNODE, OBJT_DEVICE):
        options = 0 if object_.vm.old_msync else OBJPR_CLEANONLY
        if object_.type == OBJT_DEVICE:
            options = OBJPR_NOTMAPPED
        vm_object_page_remove(object_, offset >> PAGE_SHIFT, (offset + size + PAGE_MASK) >> PAGE_SHIFT, options)
    return result


def vm_object_madvise(object_: VmObject | None, pindex: int, end: int, advice: int) -> None:
    """Apply MADV_WILLNEED, MADV_DONTNEED or MADV_FREE to page indexes [pindex, end), down the shadow chain.

    WILLNEED activates what is resident and reads nothing; DONTNEED lets the page daemon take pages first and
    keeps their contents; FREE makes anonymous pages clean and drops their copy on the swap device.
    FreeBSD: vm_object_madvise().
    """
    if object_ is None or not _advice_applies(object_, advice):
        return
    if object_.backing_object is None:
        if advice == MADV_FREE:
            swap_pager_freespace(object_, pindex, end - pindex)
        for m in vm_page_range(object_, pindex, end):
            _advise_unless_held(m, advice)
        return
    for top in _indexes_of_chain(object_, pindex, end):
        found = _find_advised(object_, top, advice)
        if found is not None:
            _advise_unless_held(found, advice)


def vm_page_advise(m: VmPage, advice: int) -> None:
    """Act on advice about one page.  FreeBSD: vm_page_advise()."""
    if advice == MADV_WILLNEED:
        vm_page_activate(m)
        return
    if advice == MADV_FREE:
        # The next store must be seen again, or its page could be thrown away as clean.
        pmap_ops.clear_modify(m)
        m.dirty = False
    elif advice != MADV_DONTNEED:
        return
    m.referenced = False
    m.act_count = 0
    if not m.dirty:
        vm_page_enqueue(m, PQ_INACTIVE, head=True)
    elif m.queue != PQ_LAUNDRY:
        vm_page_launder(m)


def resident_page(object_: VmObject, pindex: int) -> VmPage | None:
    """The page that a read would find, if it is in memory and no pager has to be asked on the way."""
    while True:
        m = object_.pages.get(pindex)
        if m is not None:
            return m
        backing = object_.backing_object
        if backing is None or object_.type != OBJT_DEFAULT:
            return None
        pindex += object_.backing_object_offset >> PAGE_SHIFT
        object_ = backing


def vm_object_unwire(object_: VmObject, offset: VmOffset, length: VmOffset, queue: int) -> None:
    """Unwire, for each page of the range, the topmost page in the shadow chain.

    FreeBSD: vm_object_unwire().  Differs: an absent page is left out (FreeBSD asserts that there is none).
    """
    if object_.flags & OBJ_FICTITIOUS:
        return
    first = offset >> PAGE_SHIFT
    for pindex in range(first, first + (length >> PAGE_SHIFT)):
        m = _topmost(object_, pindex)
        if m is not None:
            vm_page_unwire(m, queue)


def _topmost(object_: VmObject, pindex: int) -> VmPage | None:
    """The first resident page down the chain; None for a device page, which is always there."""
    here: VmObject | None = object_
    while here is not None and not here.flags & OBJ_FICTITIOUS:
        m = here.pages.get(pindex)
        if m is not None:
            return m
        pindex += here.backing_object_offset >> PAGE_SHIFT
        here = here.backing_object
    return None


def _advice_applies(object_: VmObject, advice: int) -> bool:
    if object_.flags & OBJ_UNMANAGED:
        return False
    if advice != MADV_FREE:
        return True
    return object_.type <= OBJT_SWAP and object_.flags & OBJ_ONEMAPPING != 0


def _indexes_of_chain(object_: VmObject, start: int, end: int) -> list[int]:
    """Page indexes of the top object, in order, at which some object of the chain holds a page or a block.

    Model only: FreeBSD walks every index of the range, which a mapping of terabytes would make a very long walk.
    """
    found: set[int] = set()
    shift = 0
    here: VmObject | None = object_
    while here is not None:
        for pindex in (*here.pages, *(here.swap or ())):
            if start <= pindex - shift < end:
                found.add(pindex - shift)
        shift += here.backing_object_offset >> PAGE_SHIFT
        here = here.backing_object
    return sorted(found)


def _find_advised(object_: VmObject, pindex: int, advice: int) -> VmPage | None:
    """The page that *advice* reaches for a page index of the top object."""
    here: VmObject | None = object_
    while here is not None and _advice_applies(here, advice):
        m = here.pages.get(pindex)
        if m is not None:
            return m
        if advice == MADV_FREE:
            swap_pager_freespace(here, pindex, 1)
        pindex += here.backing_object_offset >> PAGE_SHIFT
        here = here.backing_object
    return None


def _advise_unless_held(m: VmPage, advice: int) -> None:
    object_ = m.object
    if object_ is None or not m.valid or m.wire_count:
        return
    vm_page_advise(m, advice)
    if advice == MADV_FREE:
        swap_pager_freespace(object_, m.pindex, 1)
