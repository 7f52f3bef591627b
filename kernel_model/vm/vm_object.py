"""VM objects: what backs a map entry, the shadow chains between them, and what is done to ranges of their pages.

    entry ──> object ──backing_object──> object ──> ... ──> vnode object or nothing
                 pages: page index -> VmPage

``ref_count`` counts entries and shadows that point here, ``shadow_count`` the shadows alone; an anonymous object
with OBJ_ONEMAPPING is reached through one mapping only, so what is unmapped can be thrown away.  A chain is kept short:

    before     object ──> backing ──> next           backing has pages that object may lack
    collapse   object ──────────────> next           ref_count of backing was 1: its pages moved up, it is gone
    bypass     object ──────────────> next           others use backing, but object needs none of its pages
                          backing ──> next

In this order: the structure; references; shadow, split and coalesce; collapse; pages.

FreeBSD: sys/vm/vm_object.c, sys/vm/vm_object.h; vm_page_advise() and vm_page_dontneed(), sys/vm/vm_page.c.
Differs: no object locks and no paging_in_progress, because nothing sleeps in between: a collapse always completes and
vm_object_qcollapse() has no use; the pages of a vnode that nobody maps are not kept; vm_page_dontneed() of FreeBSD 9
leaves one page in 32 alone at random, here none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from kernel_model.errors import kassert, some
from kernel_model.vm.pmap import pmap_clear_modify, pmap_is_modified, pmap_remove_all, pmap_remove_write
from kernel_model.vm.swap_pager import (
    swap_pager_copy,
    swap_pager_dealloc,
    swap_pager_freespace,
    swap_pager_haspage,
    swap_release_by_cred,
    swap_reserve_by_cred,
)
from kernel_model.vm.vm import (
    OBJ_DEAD,
    OBJ_FICTITIOUS,
    OBJ_MIGHTBEDIRTY,
    OBJ_NOSPLIT,
    OBJ_ONEMAPPING,
    OBJ_UNMANAGED,
    OBJT_DEAD,
    OBJT_DEFAULT,
    OBJT_DEVICE,
    OBJT_MGTDEVICE,
    OBJT_PHYS,
    OBJT_SG,
    OBJT_SWAP,
    OBJT_VNODE,
    VM_PAGER_OK,
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
    vm_page_rename,
    vm_page_unwire,
)
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT
from kernel_model.vm.vm_phys import PhysRun, RunPiece

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel_model.ucred import Ucred
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_page import VmPage
    from kernel_model.vm.vm_param import VmOffset

INITIAL_FLAGS = {
    OBJT_DEFAULT: OBJ_ONEMAPPING,
    OBJT_SWAP: OBJ_ONEMAPPING,
    OBJT_VNODE: 0,
    OBJT_DEVICE: OBJ_FICTITIOUS | OBJ_UNMANAGED,
    OBJT_SG: OBJ_FICTITIOUS | OBJ_UNMANAGED,
    OBJT_MGTDEVICE: OBJ_FICTITIOUS,
    OBJT_PHYS: OBJ_UNMANAGED,
}

OBJPR_CLEANONLY = 0x1
"""vm_object_page_remove: leave dirty pages alone."""
OBJPR_NOTMAPPED = 0x2
"""vm_object_page_remove: the caller knows that no page is mapped."""

OBJPC_SYNC = 0x1
"""vm_object_page_clean: wait for the writes, which happens in any case."""
OBJPC_NOSYNC = 0x4
"""vm_object_page_clean: leave pages of MAP_NOSYNC mappings alone."""


class Pager(Protocol):
    """Where an object's contents come from: struct pagerops, with the pager's own state.

    ``getpages`` fills a frame that is zero and sets ``valid``; it may bring in that many absent pages behind and ahead
    of it, and returns as well how many ahead it read.  Results are VM_PAGER_OK, FAIL (it is not mine: look further),
    BAD (outside the object) or ERROR (the device refused).  The pagers are vm_pager.py and vnode_pager.py.
    """

    def haspage(self, object_: VmObject, pindex: int) -> bool:
        """Whether the page can be brought in."""
        ...

    def getpages(self, object_: VmObject, m: VmPage, behind: int, ahead: int) -> tuple[int, int]:
        """Fill *m* and perhaps neighbours: the result, and how many pages ahead of it were read."""
        ...

    def putpages(self, object_: VmObject, m: VmPage) -> int:
        """Write *m* back: the result."""
        ...

    def dealloc(self, object_: VmObject) -> None:
        """The object is gone."""
        ...


class MappedRange(Protocol):
    """What vm_object_split() asks of a map entry, and changes in it."""

    start: int
    end: int
    offset: int

    @property
    def vm_object(self) -> VmObject | None:
        """The object that backs the entry."""
        ...

    @vm_object.setter
    def vm_object(self, object_: VmObject) -> None: ...


class VmObject:
    """struct vm_object."""

    __slots__ = (
        "backing_object",  # what this object shadows
        "backing_object_offset",  # bytes into it
        "charge",  # bytes of swap reserved
        "cred",  # who pays for them; None: nobody
        "flags",
        "handle",  # the vnode, device or name behind it; None: anonymous
        "more_runs",  # frames of page indexes beyond run, after growth
        "pager",  # where its contents come from; None: zeroes and the swap device
        "pages",  # resident pages by page index
        "pg_color",  # superpage alignment with OBJ_COLORED
        "ref_count",
        "run",  # frames reserved for page indexes from 0 on; None: not yet, or too large
        "shadow_count",
        "shadow_head",  # the objects that shadow this one, newest last
        "size",  # pages
        "swap",  # page index -> block on the swap device
        "type",
        "vm",
    )

    def __init__(self, vm: Vm, type_: int, size: int) -> None:
        self.vm = vm
        self.type = type_
        self.size = size
        self.flags = INITIAL_FLAGS[type_]
        self.ref_count = 1
        self.shadow_count = 0
        self.backing_object: VmObject | None = None
        self.backing_object_offset = 0
        self.shadow_head: dict[VmObject, None] = {}
        self.pages: dict[int, VmPage] = {}
        self.charge = 0
        self.cred: Ucred | None = None
        self.handle: object | None = None
        self.pager: Pager | None = None
        self.swap: dict[int, int] | None = None
        self.run: PhysRun | None = None
        self.more_runs: list[RunPiece] | None = None
        self.pg_color = 0

    @property
    def is_anon(self) -> bool:
        """Zero-filled, swap-backed and nameless: what may be shadowed in place, collapsed and split."""
        return self.type <= OBJT_SWAP and self.handle is None

    def runs(self) -> Iterator[RunPiece]:
        """The reserved frames, by page index."""
        if self.run is not None:
            yield RunPiece(0, self.run)
        yield from self.more_runs or ()

    def reserve_frames(self) -> None:
        """Make sure that every page index below ``size`` has a reserved frame, if it can be had."""
        if self.run is None:
            self.run = self.vm.phys.reserve(max(self.size, 1))
            return
        covered = self.run.npages
        if self.more_runs:
            first, last = self.more_runs[-1]
            covered = first + last.npages
        if covered < self.size:
            # At least as much again, so that an object growing page by page has few pieces.
            run = self.vm.phys.reserve(max(self.size - covered, covered))
            if run is not None:
                self.more_runs = [*(self.more_runs or ()), RunPiece(covered, run)]

    def frame_of(self, pindex: int) -> int | None:
        """The frame reserved for *pindex*; None when there is none or a renamed page still lives in it."""
        for attempt in range(2):
            for first, run in self.runs():
                if first <= pindex < first + run.npages:
                    frame = run.base + pindex - first
                    return None if frame in run.strays else frame
            if attempt == 0:
                self.reserve_frames()
        return None

    def adopt_run(self, run: PhysRun | None) -> None:
        """Take over frames that the machine has already shown.  Requires: none were reserved yet."""
        kassert(self.run is None, "object has a run already")
        self.run = run

    def release_frames(self) -> None:
        """Give the reserved frame numbers back, now or when their last stray page is gone."""
        for _, run in self.runs():
            self.vm.phys.disown(run)
        self.run = None
        self.more_runs = None

    def __repr__(self) -> str:
        return f"<VmObject type={self.type} size={self.size:#x} refs={self.ref_count} pages={len(self.pages)}>"


def vm_object_list(vm: Vm) -> list[VmObject]:
    """Every live object that has pages: where the syncer looks.  FreeBSD: the list of the same name, vm_object.h."""
    return cast("list[VmObject]", list(vm.objects))


def vm_page_object(m: VmPage) -> VmObject:
    """The object that *m* belongs to: ``m->object``.  Requires: the page is not free."""
    return cast("VmObject", some(m.object, "object of a page in use"))


def bottom_object(object_: VmObject, offset: VmOffset = 0) -> tuple[VmObject, VmOffset]:
    """The last object of *object_*'s shadow chain, and where *offset* lies in it."""
    while (backing := object_.backing_object) is not None:
        offset += object_.backing_object_offset
        object_ = backing
    return object_, offset


def vm_object_allocate(vm: Vm, type_: int, size: int) -> VmObject:
    """A new object of *size* pages with one reference.  FreeBSD: vm_object_allocate()."""
    kassert(size >= 0, "vm_object_allocate: %d pages", size)
    return VmObject(vm, type_, size)


def vm_object_reference(object_: VmObject | None) -> None:
    """Add a reference.  FreeBSD: vm_object_reference()."""
    if object_ is not None:
        kassert(not object_.flags & OBJ_DEAD, "vm_object_reference: object %r is dead", object_)
        object_.ref_count += 1


def vm_object_deallocate(object_: VmObject | None) -> None:
    """Drop a reference and, down the chain, everything that hung on it.

    When one reference remains, and it is a single shadow's, the object is collapsed into that shadow.
    FreeBSD: vm_object_deallocate().
    """
    while object_ is not None:
        kassert(object_.ref_count > 0, "vm_object_deallocate: object deallocated too many times: %d", object_.type)
        object_.ref_count -= 1
        if object_.type == OBJT_VNODE:
            _vndeallocate(object_)
            return
        if object_.ref_count > 1:
            return
        if object_.ref_count == 1:
            object_ = _last_reference(object_)
            continue
        object_ = _terminate_top(object_)


def _last_reference(object_: VmObject) -> VmObject | None:
    """One reference is left: the object vm_object_deallocate() goes on with, one reference in hand, or None."""
    if object_.shadow_count == 0 and object_.is_anon:
        object_.flags |= OBJ_ONEMAPPING
        return None
    if object_.shadow_count != 1 or not object_.is_anon:
        return None
    shadow = next(iter(object_.shadow_head))
    if shadow.flags & OBJ_DEAD or not shadow.is_anon:
        return None
    # The reference protects the shadow during the collapse; the caller's loop drops it again.
    shadow.ref_count += 1
    vm_object_collapse(shadow)
    return shadow


def _terminate_top(object_: VmObject) -> VmObject | None:
    """No reference is left: end the object and return the one it shadowed, whose reference must go too."""
    backing = object_.backing_object
    if backing is not None:
        _backing_remove(object_, backing)
    if not object_.flags & OBJ_DEAD:
        vm_object_terminate(object_)
    return backing


def _vndeallocate(object_: VmObject) -> None:
    """A vnode object lost a reference; the last one writes it back and ends it.  FreeBSD: vm_object_vndeallocate()."""
    if object_.ref_count == 0:
        kassert(not object_.shadow_count, "vm_object_vndeallocate: %d shadows", object_.shadow_count)
        if object_.pager is not None:
            object_.pager.dealloc(object_)


def vm_object_terminate(object_: VmObject) -> None:
    """Free all pages, blocks, frames and the charge.  Requires: no references.  FreeBSD: vm_object_terminate()."""
    kassert(object_.ref_count == 0, "vm_object_terminate: object with references, ref_count=%d", object_.ref_count)
    kassert(not object_.shadow_count, "vm_object_terminate: %d shadows", object_.shadow_count)
    kassert(object_.backing_object is None, "vm_object_terminate: object %r still shadows", object_)
    object_.flags |= OBJ_DEAD
    if object_.flags & OBJ_UNMANAGED:
        for m in object_.pages.values():
            m.wire_count = 0
            object_.vm.cnt.v_wire_count -= 1
    if object_.pages:
        object_.vm.cnt.v_pfree += vm_page_free_all(object_, list(object_.pages.values()))
    kassert(not object_.pages, "vm_object_terminate: %d pages left", len(object_.pages))
    swap_pager_dealloc(object_)
    object_.type = OBJT_DEAD
    vm_object_destroy(object_)


def vm_object_destroy(object_: VmObject) -> None:
    """Release the charge, to whom it was made, and the frame numbers.  FreeBSD: vm_object_destroy()."""
    if object_.cred is not None:
        swap_release_by_cred(object_.vm, object_.charge, object_.cred)
        object_.charge = 0
        object_.cred = None
    object_.release_frames()


# -- shadow, split, coalesce --------------------------------------------------------------------------------------


def _backing_insert(object_: VmObject, backing: VmObject) -> None:
    """*object_* shadows *backing* from now on; the reference is the caller's.  FreeBSD: vm_object_backing_insert()."""
    kassert(not backing.flags & OBJ_DEAD, "shadowing dead object %r", backing)
    object_.backing_object = backing
    backing.shadow_head[object_] = None
    backing.shadow_count += 1


def _backing_remove(object_: VmObject, backing: VmObject) -> None:
    """*object_* shadows *backing* no longer.  FreeBSD: vm_object_backing_remove()."""
    kassert(object_.backing_object is backing, "object %r does not shadow %r", object_, backing)
    del backing.shadow_head[object_]
    backing.shadow_count -= 1
    kassert(backing.shadow_count >= len(backing.shadow_head), "shadow_count %d of %r", backing.shadow_count, backing)
    object_.backing_object = None


def vm_object_shadow(
    vm: Vm,
    source: VmObject | None,
    offset: VmOffset,
    length: VmOffset,
    shared: bool = False,
) -> tuple[VmObject, VmOffset]:
    """An object of *length* bytes that shadows *source* at *offset*: (object, offset into it).

    The caller's reference to *source* moves into the new object.  An anonymous *source* with one reference is
    returned as it is.  *shared* adds a second reference for another entry (FreeBSD 13 and newer).
    FreeBSD: vm_object_shadow().
    """
    if source is not None and source.ref_count == 1 and source.is_anon:
        return source, offset
    result = VmObject(vm, OBJT_DEFAULT, length >> PAGE_SHIFT)
    result.backing_object_offset = offset
    if source is not None:
        _backing_insert(result, source)
        result.pg_color = source.pg_color + (offset >> PAGE_SHIFT)
    if shared:
        result.ref_count += 1
        result.flags &= ~OBJ_ONEMAPPING
    return result, 0


def vm_object_split(entry: MappedRange) -> None:
    """Move the pages of *entry*'s range into an object of its own.  FreeBSD: vm_object_split()."""
    original = entry.vm_object
    if original is None or original.type > OBJT_SWAP or original.ref_count <= 1:
        return
    first = entry.offset >> PAGE_SHIFT
    size = (entry.end - entry.start) >> PAGE_SHIFT
    source = original.backing_object
    if source is not None and source.flags & OBJ_DEAD:
        return
    new = VmObject(original.vm, OBJT_DEFAULT, size)
    if source is not None:
        _backing_insert(new, source)
        source.ref_count += 1
        source.flags &= ~OBJ_ONEMAPPING
        new.backing_object_offset = original.backing_object_offset + entry.offset
    if original.cred is not None:
        new.cred = original.cred
        new.charge = size << PAGE_SHIFT
        kassert(original.charge >= new.charge, "orig_object->charge < 0")
        original.charge -= new.charge
    for m in vm_page_range(original, first, first + size):
        vm_page_rename(m, new, m.pindex - first)
    swap_pager_copy(original, new, first, destroy_source=False)
    entry.vm_object = new
    entry.offset = 0
    vm_object_deallocate(original)


def vm_object_coalesce(
    previous: VmObject | None, offset: VmOffset, previous_size: VmOffset, next_size: VmOffset, reserved: bool
) -> bool:
    """Extend *previous* by *next_size* bytes behind the range [offset, offset+previous_size).

    *reserved*: swap for the extension is already accounted for.  FreeBSD: vm_object_coalesce().
    """
    if previous is None:
        return True
    if previous.type > OBJT_SWAP or previous.flags & OBJ_NOSPLIT:
        return False
    vm_object_collapse(previous)
    if previous.backing_object is not None:
        return False
    next_pages = next_size >> PAGE_SHIFT
    next_pindex = (offset >> PAGE_SHIFT) + (previous_size >> PAGE_SHIFT)
    if previous.ref_count > 1 and previous.size != next_pindex:
        one_mapping = previous.vm.release.coalesce_onemapping and previous.flags & OBJ_ONEMAPPING
        if not one_mapping:
            return False
    if previous.cred is not None:
        nbytes = next_pages << PAGE_SHIFT
        if not reserved and not swap_reserve_by_cred(previous.vm, nbytes, previous.cred):
            return False
        previous.charge += nbytes
    if next_pindex < previous.size:
        vm_object_page_remove(previous, next_pindex, next_pindex + next_pages)
        swap_pager_freespace(previous, next_pindex, next_pages)
    previous.size = max(previous.size, next_pindex + next_pages)
    return True


# -- collapse ---------------------------------------------------------------------------------------------------


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
    kassert(backing.shadow_count == 1, "collapse of a backing object with %d shadows", backing.shadow_count)
    backing.flags |= OBJ_DEAD
    if backing.pages:
        _move_pages(object_, backing)
    if backing.swap is not None:
        _drop_shadowed_blocks(object_, backing)
        swap_pager_copy(backing, object_, object_.backing_object_offset >> PAGE_SHIFT, destroy_source=True)
    below = backing.backing_object
    _backing_remove(object_, backing)
    if below is not None:
        # The backing object's place among the shadows, and its reference, pass to *object_*.
        del below.shadow_head[backing]
        below.shadow_head[object_] = None
    object_.backing_object = below
    object_.backing_object_offset += backing.backing_object_offset
    kassert(backing.ref_count == 1, "backing object was re-referenced during collapse")
    kassert(not backing.pages, "collapse left %d pages behind", len(backing.pages))
    backing.backing_object = None
    backing.type = OBJT_DEAD
    backing.ref_count = 0
    vm_object_destroy(backing)


def _bypass(object_: VmObject, backing: VmObject) -> None:
    """Let *object_* shadow what is behind *backing*; others keep *backing* alive."""
    kassert(backing.ref_count > 1, "bypass of the last reference to %r", backing)
    below = backing.backing_object
    _backing_remove(object_, backing)
    if below is not None:
        _backing_insert(object_, below)
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
    return pindex in object_.pages or swap_pager_haspage(object_, pindex)


def _all_shadowed(object_: VmObject, backing: VmObject) -> bool:
    """Whether *object_* has its own copy of every page of *backing* that it could see."""
    if backing.type != OBJT_DEFAULT and not (backing.type == OBJT_SWAP and backing.vm.release.bypass_swapped):
        return False
    first = object_.backing_object_offset >> PAGE_SHIFT
    end = first + object_.size
    needed = [pindex - first for pindex in (*backing.pages, *(backing.swap or ())) if first <= pindex < end]
    return all(_has_page(object_, pindex) for pindex in needed)


# -- pages ------------------------------------------------------------------------------------------------------


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
                pmap_remove_all(m)
            if not options & OBJPR_CLEANONLY:
                m.valid = False
                m.dirty = False
            continue
        if options & OBJPR_CLEANONLY and m.valid:
            if mapped:
                pmap_remove_write(m)
            if m.dirty:
                continue
        if mapped:
            pmap_remove_all(m)
        doomed.append(m)
    vm_page_free_all(object_, doomed)


def vm_object_set_writeable_dirty(object_: VmObject) -> None:
    """A page of a vnode object may be written from now on.  FreeBSD: vm_object_set_writeable_dirty()."""
    if object_.type == OBJT_VNODE:
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
        pmap_remove_write(m)
        kassert(not pmap_is_modified(m), "page %r can be written while it is cleaned", m)
        if m.dirty and object_.pager.putpages(object_, m) != VM_PAGER_OK:
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
        result = vm_object_page_clean(object_, offset, offset + size, flags)
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
    if not m.valid or m.wire_count:
        return
    vm_page_advise(m, advice)
    if advice == MADV_FREE:
        swap_pager_freespace(vm_page_object(m), m.pindex, 1)


def vm_page_advise(m: VmPage, advice: int) -> None:
    """Act on advice about one page.  FreeBSD: vm_page_advise()."""
    if advice == MADV_WILLNEED:
        vm_page_activate(m)
        return
    if advice == MADV_FREE:
        # The next store must be seen again, or its page could be thrown away as clean.
        pmap_clear_modify(m)
        m.dirty = False
    elif advice != MADV_DONTNEED:
        return
    m.referenced = False
    m.act_count = 0
    if not m.dirty:
        vm_page_enqueue(m, PQ_INACTIVE, head=True)
    elif m.queue != PQ_LAUNDRY:
        vm_page_launder(m)


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
