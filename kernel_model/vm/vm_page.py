"""Resident pages and the queues they wait in.

    FREE --alloc--> (PQ_NONE, in an object) --fault--> PQ_ACTIVE <--> PQ_INACTIVE --> freed
                                                           \\---> PQ_LAUNDRY --cleaned--/   (releases that have it)

A page that is wired, or belongs to no object, is in no queue.
FreeBSD: sys/vm/vm_page.c, sys/vm/vm_page.h.
Differs: no busy bits and no page locks (nothing sleeps while it holds a page); ``valid`` and ``dirty`` are about the
whole page; there are no cached pages (PQ_CACHE of FreeBSD 9 to 11).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from kernel_model.errors import kassert, panic, some

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel_model.release import Release
    from kernel_model.vm.vm_meter import VmMeter
    from kernel_model.vm.vm_phys import PhysRun, RunPiece, VmPhys

PQ_INACTIVE = 0
PQ_ACTIVE = 1
PQ_LAUNDRY = 2
PQ_NONE = 255

PG_NOSYNC = 0x1
"""The syncer leaves the page alone (VPO_NOSYNC)."""
PG_POOL = 0x2
"""Model only: the frame came from the pool, not from a run."""

ACT_INIT = 5
ACT_MAX = 64
ACT_ADVANCE = 3
ACT_DECLINE = 1

MADV_WILLNEED = 3
MADV_DONTNEED = 4
MADV_FREE = 5


class PageQueue:
    """struct vm_pagequeue: first in, first out.

    Leaving from the middle only lowers ``cnt``; the stale place is skipped when it comes up (``VmPage.queue`` no
    longer says this queue), and all stale places are dropped when they outnumber the real ones.
    """

    __slots__ = ("cnt", "places")

    def __init__(self) -> None:
        self.cnt = 0
        self.places: deque[VmPage] = deque()


class PageVm(Protocol):
    """What pages ask of the machine whose memory they are: ``vm_init.Vm``."""

    @property
    def cnt(self) -> VmMeter:
        """How many pages are where."""
        ...

    @property
    def phys(self) -> VmPhys:
        """The frames."""
        ...

    @property
    def pagequeues(self) -> tuple[PageQueue, PageQueue, PageQueue]:
        """PQ_INACTIVE, PQ_ACTIVE and PQ_LAUNDRY."""
        ...

    @property
    def release(self) -> Release:
        """Which queues there are."""
        ...

    @property
    def objects(self) -> dict[PageOwner, None]:
        """The objects that have pages."""
        ...


class PageOwner(Protocol):
    """What a page asks of its object.  ``vm_object.vm_page_object()`` gives the object itself."""

    @property
    def vm(self) -> PageVm:
        """The machine."""
        ...

    @property
    def pages(self) -> dict[int, VmPage]:
        """Its resident pages by page index."""
        ...

    @property
    def run(self) -> PhysRun | None:
        """The frames reserved for it, from page index 0 on."""
        ...

    def runs(self) -> Iterator[RunPiece]:
        """All the frames reserved for it."""
        ...

    def frame_of(self, pindex: int) -> int | None:
        """The frame reserved for a page index, if it has one."""
        ...


class VmPage:
    """struct vm_page.  The first mapping is kept inline, further ones in ``pv_more``."""

    __slots__ = (
        "act_count", "dirty", "flags", "frame", "object", "pindex", "pv_more", "pv_pmap", "pv_vpn", "queue",
        "referenced", "run", "valid", "wire_count",
    )  # fmt: skip

    def __init__(self, object_: PageOwner, pindex: int, frame: int) -> None:
        self.object: PageOwner | None = object_
        self.pindex = pindex
        self.frame = frame
        self.valid = False
        self.dirty = False
        self.referenced = False
        """PGA_REFERENCED together with the hardware's accessed bits."""
        self.wire_count = 0
        self.queue = PQ_NONE
        self.act_count = 0
        self.flags = 0
        self.run: PhysRun | None = None
        """The foreign run this page's frame belongs to, when it was renamed; None otherwise."""
        self.pv_pmap: object | None = None
        """The first Pmap that maps the page; pmap_mappings() lists them all, typed."""
        self.pv_vpn = 0
        self.pv_more: dict[tuple[object, int], None] | None = None

    def __repr__(self) -> str:
        state = "".join(mark for mark, on in (("v", self.valid), ("d", self.dirty), ("w", self.wire_count)) if on)
        return f"<VmPage {self.pindex:#x} frame={self.frame:#x} {state}>"


def vm_page_alloc(object_: PageOwner, pindex: int) -> VmPage | None:
    """Allocate a zero page at *pindex*, or None when free memory is down to the reserve.

    The page is neither valid nor queued.  FreeBSD: vm_page_alloc(), sys/vm/vm_page.c (VM_ALLOC_NORMAL).
    """
    cnt = object_.vm.cnt
    free = cnt.v_free_count
    if free <= cnt.v_free_reserved:
        return None
    run = object_.run
    pages = object_.pages
    if run is not None and not run.strays and pindex < run.npages:
        m = VmPage(object_, pindex, run.base + pindex)
    else:
        m = _alloc_elsewhere(object_, pindex)
    if not pages:
        object_.vm.objects[object_] = None
    pages[pindex] = m
    cnt.v_free_count = free - 1
    return m


def vm_page_range(object_: PageOwner, start: int, end: int) -> list[VmPage]:
    """Resident pages with ``start <= pindex < end``, in order: the loop over vm_page_find_least()."""
    pages = object_.pages
    if not pages:
        return []
    if end - start <= len(pages):
        return [pages[pindex] for pindex in range(start, end) if pindex in pages]
    return [pages[pindex] for pindex in sorted(pages) if start <= pindex < end]


def vm_page_free(m: VmPage) -> None:
    """Free a page.  Requires: not mapped, not wired.  FreeBSD: vm_page_free()."""
    kassert(m.pv_pmap is None, "freeing mapped page %r", m)
    kassert(m.wire_count == 0, "freeing wired page %r", m)
    object_ = some(m.object, "object of a page to be freed")
    kassert(object_.pages.get(m.pindex) is m, "freeing page %r that its object does not have", m)
    del object_.pages[m.pindex]
    if not object_.pages:
        object_.vm.objects.pop(object_, None)
    vm_page_dequeue(m)
    vm = object_.vm
    vm.phys.zero(m.frame)
    _return_frame(object_, m)
    m.object = None
    vm.cnt.v_free_count += 1
    vm.cnt.v_tfree += 1


def vm_page_free_all(object_: PageOwner, doomed: Iterable[VmPage]) -> int:
    """Free many pages of one object at once and return how many.  Model only: clears frames in stretches."""
    vm = object_.vm
    pages = object_.pages
    frames: list[int] = []
    freed: list[VmPage] = []
    for m in doomed:
        kassert(m.pv_pmap is None, "freeing mapped page %r", m)
        kassert(m.wire_count == 0, "freeing wired page %r", m)
        del pages[m.pindex]
        vm_page_dequeue(m)
        frames.append(m.frame)
        freed.append(m)
    vm.phys.zero_frames(frames)
    for m in freed:
        _return_frame(object_, m)
        m.object = None
    if not pages:
        vm.objects.pop(object_, None)
    vm.cnt.v_free_count += len(freed)
    vm.cnt.v_tfree += len(freed)
    return len(freed)


def vm_page_rename(m: VmPage, new_object: PageOwner, new_pindex: int) -> None:
    """Move a page between objects; its mappings and its frame stay, and it becomes dirty.

    FreeBSD: vm_page_rename().
    """
    old = some(m.object, "object of a page to be moved")
    kassert(new_pindex not in new_object.pages, "rename over page %#x", new_pindex)
    kassert(old.vm is new_object.vm, "page %r moved to another machine", m)
    _make_stray(old, m)
    del old.pages[m.pindex]
    if not old.pages:
        old.vm.objects.pop(old, None)
    if not new_object.pages:
        new_object.vm.objects[new_object] = None
    m.object = new_object
    m.pindex = new_pindex
    new_object.pages[new_pindex] = m
    m.dirty = True


def vm_page_activate(m: VmPage) -> None:
    """Put a page at the tail of the active queue.  FreeBSD: vm_page_activate()."""
    if m.queue == PQ_ACTIVE:
        if m.act_count < ACT_INIT:
            m.act_count = ACT_INIT
        return
    if m.wire_count or m.object is None:
        return
    if m.act_count < ACT_INIT:
        m.act_count = ACT_INIT
    queues = m.object.vm.pagequeues
    if m.queue != PQ_NONE:
        queues[m.queue].cnt -= 1
    m.queue = PQ_ACTIVE
    queue = queues[PQ_ACTIVE]
    queue.cnt += 1
    queue.places.append(m)
    if len(queue.places) > 2 * queue.cnt + 4096:
        _drop_stale(queue, PQ_ACTIVE)


def vm_page_enqueue(m: VmPage, which: int, head: bool = False) -> None:
    """Move a page to a queue's tail, or to its head where the daemon looks first."""
    if m.object is None:
        return
    kassert(m.wire_count == 0, "vm_page_enqueue: wired page %r", m)
    queues = m.object.vm.pagequeues
    vm_page_dequeue(m)
    m.queue = which
    queue = queues[which]
    queue.cnt += 1
    if head:
        queue.places.appendleft(m)
    else:
        queue.places.append(m)
    if len(queue.places) > 2 * queue.cnt + 4096:
        _drop_stale(queue, which)


def vm_page_launder(m: VmPage) -> None:
    """Queue a dirty page for cleaning, where the release has a laundry.  FreeBSD: vm_page_launder()."""
    if m.wire_count == 0 and m.object is not None and m.queue != PQ_LAUNDRY:
        laundry = m.object.vm.release.laundry_queue
        vm_page_enqueue(m, PQ_LAUNDRY if laundry else PQ_INACTIVE)


def vm_page_dequeue(m: VmPage) -> None:
    """Take a page out of whatever queue it is in.  FreeBSD: vm_page_dequeue()."""
    if m.queue != PQ_NONE and m.object is not None:
        m.object.vm.pagequeues[m.queue].cnt -= 1
        m.queue = PQ_NONE


def vm_page_wire(m: VmPage) -> None:
    """Add a wiring; the page leaves the queues.  FreeBSD: vm_page_wire()."""
    if m.wire_count == 0:
        vm_page_dequeue(m)
        if m.object is not None:
            m.object.vm.cnt.v_wire_count += 1
    m.wire_count += 1


def vm_page_unwire(m: VmPage, queue: int = PQ_ACTIVE) -> None:
    """Drop a wiring; the last one puts the page back into *queue*.  FreeBSD: vm_page_unwire()."""
    kassert(m.wire_count > 0, "unwiring page %r", m)
    m.wire_count -= 1
    if m.wire_count == 0 and m.object is not None:
        cnt = m.object.vm.cnt
        kassert(cnt.v_wire_count > 0, "vm_page_unwire: v_wire_count is %d", cnt.v_wire_count)
        cnt.v_wire_count -= 1
        if queue == PQ_ACTIVE:
            vm_page_activate(m)
        elif queue != PQ_NONE:
            vm_page_enqueue(m, queue)


def _alloc_elsewhere(object_: PageOwner, pindex: int) -> VmPage:
    """The page of an object that has no run yet, was grown past it, or lent that frame to another object."""
    frame = object_.frame_of(pindex)
    if frame is not None:
        return VmPage(object_, pindex, frame)
    m = VmPage(object_, pindex, object_.vm.phys.alloc_frame())
    m.flags = PG_POOL
    return m


def _make_stray(old: PageOwner, m: VmPage) -> None:
    """Remember that a frame of *old*'s run now serves somebody else."""
    if m.run is not None or m.flags & PG_POOL:
        return
    for first, run in old.runs():
        if first <= m.pindex < first + run.npages:
            kassert(run.base + m.pindex - first == m.frame, "frame of %r is not its run's", m)
            run.strays.add(m.frame)
            m.run = run
            return
    panic("page %r has no run", m)


def _return_frame(object_: PageOwner, m: VmPage) -> None:
    if m.flags & PG_POOL:
        object_.vm.phys.free_frame(m.frame)
    elif m.run is not None:
        object_.vm.phys.stray_freed(m.run, m.frame)
        m.run = None


def _drop_stale(queue: PageQueue, which: int) -> None:
    """Forget places that pages have left; a page that left and came back keeps only its newest place."""
    seen: set[VmPage] = set()
    kept: deque[VmPage] = deque()
    for m in reversed(queue.places):
        if m.queue == which and m not in seen:
            seen.add(m)
            kept.appendleft(m)
    queue.places = kept
