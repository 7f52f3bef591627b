"""VM objects: what backs a map entry, and the shadow chains between them.

    entry ──> object ──backing_object──> object ──> ... ──> vnode object or nothing
                 pages: page index -> VmPage

``ref_count`` counts entries and shadows that point here, ``shadow_count`` the shadows alone; an anonymous object
with OBJ_ONEMAPPING is reached through one mapping only, so what is unmapped can be thrown away.

FreeBSD: sys/vm/vm_object.c, sys/vm/vm_object.h.
Differs: no object locks and no paging_in_progress, because nothing sleeps in between; the pages of a vnode that
nobody maps are not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert, panic
from kernel_model.vm.swap_pager import (
    swap_pager_copy,
    swap_pager_dealloc,
    swap_pager_freespace,
    swap_release_by_cred,
    swap_reserve_by_cred,
)
from kernel_model.vm.vm import (
    OBJ_DEAD,
    OBJ_FICTITIOUS,
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
)
from kernel_model.vm.vm_object_collapse import vm_object_collapse
from kernel_model.vm.vm_object_pages import (
    OBJPC_INVAL,
    OBJPC_NOSYNC,
    OBJPC_SYNC,
    OBJPR_CLEANONLY,
    OBJPR_NOTMAPPED,
    resident_page,
    vm_object_madvise,
    vm_object_page_clean,
    vm_object_page_remove,
    vm_object_set_writeable_dirty,
    vm_object_sync,
    vm_object_unwire,
)
from kernel_model.vm.vm_page import vm_page_free_all, vm_page_range, vm_page_rename
from kernel_model.vm.vm_param import PAGE_SHIFT
from kernel_model.vm.vm_phys import PhysRun, RunPiece

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel_model.ucred import Ucred
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_page import VmPage
    from kernel_model.vm.vm_pager import Pager
    from kernel_model.vm.vm_param import VmOffset

__all__ = [
    "OBJPC_INVAL",
    "OBJPC_NOSYNC",
    "OBJPC_SYNC",
    "OBJPR_CLEANONLY",
    "OBJPR_NOTMAPPED",
    "VmObject",
    "resident_page",
    "vm_object_allocate",
    "vm_object_clear_flag",
    "vm_object_coalesce",
    "vm_object_collapse",
    "vm_object_deallocate",
    "vm_object_destroy",
    "vm_object_madvise",
    "vm_object_page_clean",
    "vm_object_page_remove",
    "vm_object_reference",
    "vm_object_set_writeable_dirty",
    "vm_object_shadow",
    "vm_object_split",
    "vm_object_sync",
    "vm_object_terminate",
    "vm_object_unwire",
]

INITIAL_FLAGS = {
    OBJT_DEFAULT: OBJ_ONEMAPPING,
    OBJT_SWAP: OBJ_ONEMAPPING,
    OBJT_VNODE: 0,
    OBJT_DEVICE: OBJ_FICTITIOUS | OBJ_UNMANAGED,
    OBJT_SG: OBJ_FICTITIOUS | OBJ_UNMANAGED,
    OBJT_MGTDEVICE: OBJ_FICTITIOUS,
    OBJT_PHYS: OBJ_UNMANAGED,
}


class VmObject:
    """struct vm_object."""

    __slots__ = (
        "__weakref__",
        "backing_object",  # what this object shadows
        "backing_object_offset",  # bytes into it
        "charge",  # bytes of swap reserved
        "cred",  # who pays for them; None: nobody
        "flags",
        "generation",  # counts modifications of a vnode object
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
        self.generation = 1
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
    def resident_page_count(self) -> int:
        """Pages in memory."""
        return len(self.pages)

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


def vm_object_allocate(vm: Vm, type_: int, size: int) -> VmObject:
    """A new object of *size* pages with one reference.  FreeBSD: vm_object_allocate()."""
    return VmObject(vm, type_, size)


def vm_object_reference(object_: VmObject | None) -> None:
    """Add a reference.  FreeBSD: vm_object_reference()."""
    if object_ is not None:
        object_.ref_count += 1


def vm_object_clear_flag(object_: VmObject, bits: int) -> None:
    """Clear flags.  FreeBSD: vm_object_clear_flag()."""
    object_.flags &= ~bits


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


def vm_object_terminate(object_: VmObject) -> None:
    """Free all pages, blocks, frames and the charge.  Requires: no references.  FreeBSD: vm_object_terminate()."""
    kassert(object_.ref_count == 0, "vm_object_terminate: object with references, ref_count=%d", object_.ref_count)
    object_.flags |= OBJ_DEAD
    if object_.flags & OBJ_UNMANAGED:
        for m in object_.pages.values():
            m.wire_count = 0
            object_.vm.cnt.v_wire_count -= 1
    if object_.pages:
        object_.vm.cnt.v_pfree += vm_page_free_all(object_, list(object_.pages.values()))
    swap_pager_dealloc(object_)
    object_.type = OBJT_DEAD
    vm_object_destroy(object_)


def vm_object_destroy(object_: VmObject) -> None:
    """Release the charge and the frame numbers.  FreeBSD: vm_object_destroy()."""
    if object_.cred is not None:
        swap_release_by_cred(object_.vm, object_.charge, object_.cred)
        object_.charge = 0
        object_.cred = None
    object_.release_frames()


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
    result.backing_object = source
    result.backing_object_offset = offset
    if source is not None:
        source.shadow_head[result] = None
        source.shadow_count += 1
        result.pg_color = source.pg_color + (offset >> PAGE_SHIFT)
    if shared:
        result.ref_count += 1
        result.flags &= ~OBJ_ONEMAPPING
    return result, 0


def vm_object_split(entry: VmMapEntry) -> None:
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
        source.shadow_head[new] = None
        source.shadow_count += 1
        source.ref_count += 1
        source.flags &= ~OBJ_ONEMAPPING
        new.backing_object_offset = original.backing_object_offset + entry.offset
        new.backing_object = source
    if original.cred is not None:
        new.cred = original.cred
        new.charge = size << PAGE_SHIFT
        kassert(original.charge >= new.charge, "orig_object->charge < 0")
        original.charge -= new.charge
    for m in vm_page_range(original, first, first + size):
        vm_page_rename(m, new, m.pindex - first)
    swap_pager_copy(original, new, first, destroy_source=False)
    entry.object = new
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
        del backing.shadow_head[object_]
        backing.shadow_count -= 1
        object_.backing_object = None
    if not object_.flags & OBJ_DEAD:
        vm_object_terminate(object_)
    return backing


def _vndeallocate(object_: VmObject) -> None:
    """A vnode object lost a reference; the last one writes it back and ends it.  FreeBSD: vm_object_vndeallocate()."""
    if object_.ref_count == 0:
        if object_.shadow_count:
            panic("vm_object_vndeallocate: %d shadows without reference", object_.shadow_count)
        if object_.pager is not None:
            object_.pager.dealloc(object_)
