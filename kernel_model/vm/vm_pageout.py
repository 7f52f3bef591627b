"""The page daemon: what happens when free memory is short.

    active ──unreferenced long enough──> inactive ──clean──> freed
                                            │ dirty
                                            ├─ releases with a laundry: ──> laundry ──written──> inactive
                                            └─ others: written where it stands, freed at the next pass
    A page that was referenced goes (back) to active: its second chance.

FreeBSD: sys/vm/vm_pageout.c (vm_pageout_scan(), vm_pageout_launder(), vm_pageout_oom()).
Differs: the daemon is no thread; it runs inside vm_wait(), when an allocation was refused, and tries to reach
v_free_target in one go.  There is no swapping out of whole processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from kernel_model.errors import kassert
from kernel_model.vm.pmap import pmap_is_modified, pmap_remove_all, pmap_remove_write, pmap_ts_referenced
from kernel_model.vm.vm import OBJ_UNMANAGED, VM_PAGER_OK
from kernel_model.vm.vm_object import vm_page_object
from kernel_model.vm.vm_page import (
    ACT_ADVANCE,
    ACT_DECLINE,
    ACT_MAX,
    PQ_ACTIVE,
    PQ_INACTIVE,
    PQ_LAUNDRY,
    vm_page_activate,
    vm_page_dequeue,
    vm_page_enqueue,
    vm_page_free,
)
from kernel_model.vm.vm_pager import vm_pager_put_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_object import VmObject
    from kernel_model.vm.vm_page import VmPage

P = TypeVar("P", bound="OomProc")

PASSES = 4
"""A page may have to lose its references, be written and be freed: one pass each, and one to spare."""
WINDOW = 4
"""The first passes look at this many active pages for each one that is wanted."""
FULL_PASS = 2
"""From this pass on the whole active queue is looked at."""


class OomSpace(Protocol):
    """An address space whose memory is counted: struct vmspace."""

    @property
    def vm_map(self) -> VmMap:
        """Its map."""
        ...


class OomProc(Protocol):
    """A process that could be killed for its memory: struct proc."""

    @property
    def p_vmspace(self) -> OomSpace:
        """Its address space."""
        ...


def vm_wait(vm: Vm) -> bool:
    """Free memory, by paging out and then by killing; True when an allocation can succeed again.

    FreeBSD: vm_wait(), vm_waitpfault().
    """
    if vm.in_pageout:
        return False
    cnt = vm.cnt
    cnt.v_pdwakeups += 1
    vm.in_pageout = True
    try:
        vm_pageout_scan(vm)
    finally:
        vm.in_pageout = False
    if cnt.v_free_count > cnt.v_free_reserved:
        return True
    return vm.on_oom is not None and vm.on_oom() and cnt.v_free_count > cnt.v_free_reserved


def vm_pageout_scan(vm: Vm) -> None:
    """Run passes over the queues until v_free_target pages are free or nothing moves any more.

    FreeBSD: vm_pageout_scan().
    """
    cnt = vm.cnt
    for number in range(PASSES):
        if cnt.v_free_count >= cnt.v_free_target:
            return
        _scan_active(vm, number)
        _scan_inactive(vm)
        if vm.release.laundry_queue:
            vm_pageout_launder(vm)
            _scan_inactive(vm)


def _scan_active(vm: Vm, number: int) -> None:
    """Age the active queue and deactivate what nobody uses: its oldest part first, all of it in the third pass,
    and in the last one what is in use as well.
    """
    cnt = vm.cnt
    shortage = cnt.v_free_target - cnt.v_free_count - cnt.v_inactive_count - cnt.v_laundry_count
    if shortage <= 0:
        return
    budget = WINDOW * shortage if number < FULL_PASS else cnt.v_active_count
    for m in _from_head(vm, PQ_ACTIVE):
        if budget == 0:
            vm_page_enqueue(m, PQ_ACTIVE, head=True)
            return
        budget -= 1
        cnt.v_pdpages += 1
        references = pmap_ts_referenced(m)
        if references and number < PASSES - 1:
            m.act_count = min(m.act_count + ACT_ADVANCE + references, ACT_MAX)
            vm_page_enqueue(m, PQ_ACTIVE)
            continue
        m.act_count = max(m.act_count - ACT_DECLINE, 0)
        if number == 0 and m.act_count:
            vm_page_enqueue(m, PQ_ACTIVE)
            continue
        m.act_count = 0
        vm_page_enqueue(m, PQ_INACTIVE)
        shortage -= 1
        if shortage <= 0:
            return


def _scan_inactive(vm: Vm) -> None:
    """Free clean pages, give referenced ones back, pass dirty ones on.  FreeBSD: vm_pageout_scan_inactive()."""
    cnt = vm.cnt
    for m in _from_head(vm, PQ_INACTIVE):
        cnt.v_pdpages += 1
        references = pmap_ts_referenced(m)
        if references:
            m.act_count = min(m.act_count + ACT_ADVANCE + references, ACT_MAX)
            cnt.v_reactivated += 1
            vm_page_activate(m)
        elif not m.valid or not m.dirty:
            _reclaim(vm, m)
        elif vm.release.laundry_queue:
            vm_page_enqueue(m, PQ_LAUNDRY)
        elif _clean(m):
            _reclaim(vm, m)
        else:
            vm_page_activate(m)
        if cnt.v_free_count >= cnt.v_free_target:
            return


def vm_pageout_launder(vm: Vm) -> None:
    """Write out dirty pages of the laundry queue.  FreeBSD: vm_pageout_launder()."""
    wanted = vm.cnt.v_free_target - vm.cnt.v_free_count
    if wanted <= 0:
        return
    for m in _from_head(vm, PQ_LAUNDRY):
        if pmap_ts_referenced(m):
            vm_page_activate(m)
            continue
        if m.dirty and not _clean(m):
            vm_page_activate(m)
            continue
        vm_page_enqueue(m, PQ_INACTIVE)
        wanted -= 1
        if wanted <= 0:
            return


def vm_pageout_oom(procs: Iterable[P]) -> P | None:
    """The process whose end frees most: the one that vm_pageout_oom() kills.

    The caller leaves out what must not die.  FreeBSD: vm_pageout_oom(); size is vm_pageout_oom_pagecount().
    """
    return max(procs, key=lambda proc: vm_pageout_oom_pagecount(proc), default=None)


def vm_pageout_oom_pagecount(proc: OomProc) -> int:
    """Pages, in memory or on the swap device, that only this process uses.

    FreeBSD: vm_pageout_oom_pagecount(), vmspace_swap_count().
    """
    total = 0
    seen: set[VmObject] = set()
    for entry in proc.p_vmspace.vm_map:
        object_ = entry.vm_object
        if object_ is None or object_ in seen or object_.flags & OBJ_UNMANAGED or object_.ref_count != 1:
            continue
        seen.add(object_)
        total += len(object_.pages) + len(object_.swap or ())
    return total


def _from_head(vm: Vm, which: int) -> Iterator[VmPage]:
    """Take pages off the head of a queue, each at most about once; who keeps one queues it again."""
    for _ in range(len(vm.pagequeues[which].places)):
        places = vm.pagequeues[which].places
        if not places:
            return
        m = places.popleft()
        if m.queue == which:
            vm_page_dequeue(m)
            yield m


def _clean(m: VmPage) -> bool:
    """Write a dirty page to where it belongs; its mappings lose write access first."""
    pmap_remove_write(m)
    kassert(m.pv_pmap is None or not pmap_is_modified(m), "page %r can be written while it is cleaned", m)
    return vm_pager_put_pages(vm_page_object(m), m) == VM_PAGER_OK


def _reclaim(vm: Vm, m: VmPage) -> None:
    pmap_remove_all(m)
    vm_page_free(m)
    vm.cnt.v_dfree += 1
