"""The machine-independent page table: which page is mapped where, and with what rights.

    Pmap.ptes     page number of an address -> (page, protection, wired)
    VmPage.pv_*   page -> the (pmap, page number) pairs that map it

A real pmap lets the processor record what was accessed and written.  Nobody tells this one, so it keeps two rules:

* an entry with VM_PROT_WRITE means that the page is dirty; what must stay provably clean is entered without it,
  and the first store faults again;
* an entry means that the page was referenced; pmap_ts_referenced() takes the entries of a page away and the next
  access puts one back through a soft fault.

FreeBSD: pmap(9), sys/amd64/amd64/pmap.c.
Differs: no page-table pages, no superpages; resident_count therefore sinks when the page daemon samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from kernel_model.errors import kassert, some
from kernel_model.vm.vm import VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_page import MADV_DONTNEED, MADV_FREE
from kernel_model.vm.vm_param import NBPDR, PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernel_model.vm.vm_page import VmPage
    from kernel_model.vm.vm_param import VmOffset
    from kernel_model.vm.vm_phys import PhysRun, VmPhys

Pte: TypeAlias = "tuple[VmPage, int, bool]"
"""(page, VM_PROT bits, wired)."""


class PmapHardware(Protocol):
    """What a machine must do for a pmap.  ``NullHardware`` is the reference: it has nothing to do."""

    def invalidate(self, start: VmOffset, end: VmOffset) -> None:
        """A right was lowered, or a mapping replaced or removed, in [start, end): forget cached translations."""
        ...

    def map_changed(self, start: VmOffset, end: VmOffset) -> None:
        """The map's entries inside [start, end) changed in any way."""
        ...

    def promised_run(self, start: VmOffset, end: VmOffset) -> PhysRun | None:
        """Frames already shown for the object-less entry [start, end), which its new object must adopt."""
        ...

    def code_changed(self, start: VmOffset, end: VmOffset) -> None:
        """The kernel wrote into executable pages at [start, end)."""
        ...

    def destroy(self) -> None:
        """The address space is gone: pmap_release()."""
        ...


class NullHardware:
    """A machine that reads ``Pmap.ptes`` at every access and caches nothing."""

    __slots__ = ("pmap",)

    def __init__(self, pmap: Pmap) -> None:
        self.pmap = pmap

    def invalidate(self, start: VmOffset, end: VmOffset) -> None:
        """Nothing is cached."""

    def map_changed(self, start: VmOffset, end: VmOffset) -> None:
        """Nothing is mirrored."""

    def promised_run(self, start: VmOffset, end: VmOffset) -> PhysRun | None:
        """Nothing was shown to anybody."""

    def code_changed(self, start: VmOffset, end: VmOffset) -> None:
        """Nothing is translated."""

    def destroy(self) -> None:
        """Nothing is held."""


class PmapVm(Protocol):
    """What a pmap asks of the machine: ``vm_init.Vm``."""

    @property
    def phys(self) -> VmPhys:
        """The frames that it maps, for the hardware to show."""
        ...

    @property
    def make_hardware(self) -> Callable[[Pmap], PmapHardware]:
        """What makes a new pmap's hardware."""
        ...


class Pmap:
    """struct pmap: the translations of one address space."""

    __slots__ = (
        "hardware", "kernel_end", "majflt", "minflt", "ptes", "vm", "wired_count",
    )  # fmt: skip

    def __init__(self, vm: PmapVm) -> None:
        self.vm = vm
        self.ptes: dict[int, Pte] = {}
        self.wired_count = 0
        """Pages of wired entries: pmap_wired_count()."""
        self.minflt = 0
        self.majflt = 0
        """Faults served without and with input: ru_minflt, ru_majflt of the address space."""
        self.kernel_end = 0
        """End of what growkernel() prepared; only the kernel pmap uses it."""
        self.hardware: PmapHardware = vm.make_hardware(self)

    @property
    def resident_count(self) -> int:
        """Pages mapped: pmap_resident_count()."""
        return len(self.ptes)

    def enter(self, va: VmOffset, m: VmPage, prot: int, wired: bool = False) -> None:
        """Map *m* at *va*, in place of whatever was there.  FreeBSD: pmap_enter()."""
        vpn = va >> PAGE_SHIFT
        ptes = self.ptes
        old = ptes.get(vpn)
        ptes[vpn] = (m, prot, wired)
        if prot & VM_PROT_WRITE:
            m.dirty = True
        m.referenced = True
        if old is None:
            if m.pv_pmap is None:
                m.pv_pmap = self
                m.pv_vpn = vpn
            else:
                _pv_insert(m, self, vpn)
            if wired:
                self.wired_count += 1
        else:
            self._replaced(vpn, old, m, prot, wired)

    def enter_quick(self, va: VmOffset, m: VmPage, prot: int) -> None:
        """Map *m* without write access unless *va* is mapped already.  FreeBSD: pmap_enter_quick()."""
        if va >> PAGE_SHIFT not in self.ptes:
            self.enter(va, m, prot & (VM_PROT_READ | VM_PROT_EXECUTE))

    def remove(self, start: VmOffset, end: VmOffset) -> None:
        """Remove every mapping in [start, end).  FreeBSD: pmap_remove()."""
        vpns = self._range(start, end)
        if not vpns:
            return
        for vpn in vpns:
            m, _, wired = self.ptes.pop(vpn)
            if wired:
                self.wired_count -= 1
            _pv_remove(m, self, vpn)
        self.hardware.invalidate(start, end)

    def protect(self, start: VmOffset, end: VmOffset, prot: int) -> None:
        """Take away every right that *prot* lacks.  FreeBSD: pmap_protect()."""
        if not prot & VM_PROT_READ:
            self.remove(start, end)
            return
        lowered = False
        for vpn in self._range(start, end):
            m, old, wired = self.ptes[vpn]
            if old & ~prot:
                self.ptes[vpn] = (m, old & prot, wired)
                lowered = True
        if lowered:
            self.hardware.invalidate(start, end)

    def unwire(self, start: VmOffset, end: VmOffset) -> None:
        """Clear the wired attribute in [start, end).  FreeBSD: pmap_unwire()."""
        for vpn in self._range(start, end):
            m, prot, wired = self.ptes[vpn]
            if wired:
                self.ptes[vpn] = (m, prot, False)
                self.wired_count -= 1

    def extract(self, va: VmOffset) -> int | None:
        """The frame that *va* is mapped to, or None.  FreeBSD: pmap_extract()."""
        pte = self.ptes.get(va >> PAGE_SHIFT)
        return None if pte is None else pte[0].frame

    def lookup(self, va: VmOffset) -> Pte | None:
        """The entry of the page that holds *va*, or None."""
        return self.ptes.get(va >> PAGE_SHIFT)

    def mappings(self) -> Iterator[tuple[VmOffset, Pte]]:
        """Every mapping in address order, so that a mirror can be checked."""
        for vpn in sorted(self.ptes):
            yield vpn << PAGE_SHIFT, self.ptes[vpn]

    def advise(self, start: VmOffset, end: VmOffset, advice: int) -> None:
        """Forget that pages were used (MADV_DONTNEED) or written (MADV_FREE).  FreeBSD: pmap_advise().

        Unwired mappings go, so that the next use is seen.
        Differs: the modified bit lives in the page, so vm_page_advise() clears it for MADV_FREE.
        """
        if advice not in (MADV_DONTNEED, MADV_FREE):
            return
        vpns = self._range(start, end)
        for vpn in vpns:
            m, _, wired = self.ptes[vpn]
            m.referenced = False
            if not wired:
                del self.ptes[vpn]
                _pv_remove(m, self, vpn)
        if vpns:
            self.hardware.invalidate(start, end)

    def copy(self, source: Pmap, start: VmOffset, length: int) -> None:
        """Take over *source*'s mappings of [start, start+length), unwired.  FreeBSD: pmap_copy().

        Only a saving of soft faults: whoever calls it has write-protected what is copied on write.
        """
        ptes = self.ptes
        theirs = source.ptes
        for vpn in source._range(start, start + length):
            if vpn in ptes:
                continue
            pte = theirs[vpn]
            m, prot, wired = pte
            ptes[vpn] = (m, prot, False) if wired else pte
            _pv_insert(m, self, vpn)

    def growkernel(self, addr: VmOffset) -> None:
        """Make the kernel address space usable up to *addr*.  FreeBSD: pmap_growkernel() (steps of 2 MiB)."""
        self.kernel_end = max(self.kernel_end, (addr + NBPDR - 1) & ~(NBPDR - 1))

    def object_init_pt(self, addr: VmOffset, object_: object, pindex: int, size: int) -> None:
        """Map a device object with superpages: nothing to do, there are none.  FreeBSD: pmap_object_init_pt()."""

    def map_changed(self, start: VmOffset, end: VmOffset) -> None:
        """Tell the machine that the map's entries in [start, end) changed."""
        self.hardware.map_changed(start, end)

    def release(self) -> None:
        """The address space is gone.  Requires: nothing is mapped any more.  FreeBSD: pmap_release()."""
        kassert(not self.ptes, "pmap_release: %d pages still mapped", len(self.ptes))
        kassert(self.wired_count == 0, "pmap_release: %d pages still wired", self.wired_count)
        self.hardware.destroy()

    def _range(self, start: VmOffset, end: VmOffset) -> list[int]:
        """Mapped page numbers in [start, end), without walking a huge empty range."""
        ptes = self.ptes
        first = start >> PAGE_SHIFT
        last = (end + PAGE_SIZE - 1) >> PAGE_SHIFT
        if not ptes or first >= last:
            return []
        if last - first <= len(ptes):
            return [vpn for vpn in range(first, last) if vpn in ptes]
        return [vpn for vpn in ptes if first <= vpn < last]

    def _replaced(self, vpn: int, old: Pte, m: VmPage, prot: int, wired: bool) -> None:
        """Bookkeeping for an entry that took the place of *old*."""
        old_page, old_prot, old_wired = old
        if wired != old_wired:
            self.wired_count += 1 if wired else -1
        if old_page is not m:
            _pv_remove(old_page, self, vpn)
            if m.pv_pmap is None:
                m.pv_pmap = self
                m.pv_vpn = vpn
            else:
                _pv_insert(m, self, vpn)
            _invalidate_page(self, vpn)
        elif old_prot & ~prot:
            _invalidate_page(self, vpn)


def pmap_mappings(m: VmPage) -> list[tuple[Pmap, int]]:
    """Every (pmap, page number) that maps *m*."""
    if m.pv_pmap is None:
        return []
    return cast("list[tuple[Pmap, int]]", [(m.pv_pmap, m.pv_vpn), *(m.pv_more or ())])


def pmap_remove_all(m: VmPage) -> None:
    """Remove every mapping of a page.  FreeBSD: pmap_remove_all()."""
    for pmap, vpn in pmap_mappings(m):
        if pmap.ptes.pop(vpn)[2]:
            pmap.wired_count -= 1
        _invalidate_page(pmap, vpn)
    m.pv_pmap = None
    m.pv_more = None


def pmap_remove_write(m: VmPage) -> None:
    """Take write access away from every mapping of a page.  FreeBSD: pmap_remove_write()."""
    for pmap, vpn in pmap_mappings(m):
        _, prot, wired = pmap.ptes[vpn]
        if prot & VM_PROT_WRITE:
            pmap.ptes[vpn] = (m, prot & ~VM_PROT_WRITE, wired)
            _invalidate_page(pmap, vpn)


def pmap_is_modified(m: VmPage) -> bool:
    """Whether a mapping can have been written through since it was cleaned.  FreeBSD: pmap_is_modified()."""
    return any(pmap.ptes[vpn][1] & VM_PROT_WRITE for pmap, vpn in pmap_mappings(m))


def pmap_clear_modify(m: VmPage) -> None:
    """Make the next store visible again: mappings lose write access.  FreeBSD: pmap_clear_modify()."""
    pmap_remove_write(m)


def pmap_ts_referenced(m: VmPage) -> int:
    """Count and clear references.  FreeBSD: pmap_ts_referenced().

    The unwired mappings go, so that the next use is seen as a soft fault.
    """
    referenced = m.referenced
    m.referenced = False
    mappings = pmap_mappings(m)
    for pmap, vpn in mappings:
        if not pmap.ptes[vpn][2]:
            del pmap.ptes[vpn]
            _pv_remove(m, pmap, vpn)
            _invalidate_page(pmap, vpn)
    return max(1, len(mappings)) if referenced else 0


def pmap_align_superpage(color: int, offset: VmOffset, addr: VmOffset, size: int) -> VmOffset:
    """Raise *addr* so that it and the object offset agree modulo 2 MiB.  FreeBSD: pmap_align_superpage().

    *color* is the object's pg_color in pages, 0 without OBJ_COLORED.
    """
    if size < NBPDR:
        return addr
    offset += color << PAGE_SHIFT
    superpage_offset = offset & (NBPDR - 1)
    mask = NBPDR - 1
    if size - ((NBPDR - superpage_offset) & mask) < NBPDR or addr & mask == superpage_offset:
        return addr
    if addr & mask < superpage_offset:
        return (addr & ~mask) + superpage_offset
    return ((addr + mask) & ~mask) + superpage_offset


def _invalidate_page(pmap: Pmap, vpn: int) -> None:
    pmap.hardware.invalidate(vpn << PAGE_SHIFT, (vpn + 1) << PAGE_SHIFT)


def _pv_insert(m: VmPage, pmap: Pmap, vpn: int) -> None:
    if m.pv_more is None:
        m.pv_more = {}
    kassert((pmap, vpn) not in m.pv_more, "page %r is mapped at %#x already", m, vpn << PAGE_SHIFT)
    m.pv_more[pmap, vpn] = None


def _pv_remove(m: VmPage, pmap: Pmap, vpn: int) -> None:
    more = m.pv_more
    if m.pv_pmap is pmap and m.pv_vpn == vpn:
        if more:
            (m.pv_pmap, m.pv_vpn), _ = more.popitem()
        else:
            m.pv_pmap = None
    else:
        del some(more, "further mappings of a page")[pmap, vpn]
