"""Page tables: entries, rights, wiring, references, and what the machine is told."""

from __future__ import annotations

import pytest

from kernel_model.errors import KernelPanic
from kernel_model.vm.pmap import (
    NullHardware,
    Pmap,
    pmap_align_superpage,
    pmap_clear_modify,
    pmap_is_modified,
    pmap_mappings,
    pmap_remove_all,
    pmap_ts_referenced,
)
from kernel_model.vm.vm import OBJT_DEFAULT, VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_object import vm_object_allocate
from kernel_model.vm.vm_page import MADV_DONTNEED, VmPage, vm_page_alloc, vm_page_free
from kernel_model.vm.vm_param import NBPDR, PAGE_SIZE
from tests.process import Process

VA = 0x40_0000


class Told(NullHardware):
    """Keeps what it was told to invalidate."""

    __slots__ = ("calls", "destroyed")

    def __init__(self, pmap: Pmap) -> None:
        super().__init__(pmap)
        self.calls: list[tuple[int, int]] = []
        self.destroyed = False

    def invalidate(self, start: int, end: int) -> None:
        self.calls.append((start, end))

    def destroy(self) -> None:
        self.destroyed = True


def setup(npages: int = 4) -> tuple[Pmap, Told, list[VmPage]]:
    vm = Process(bare=True).vm
    vm.make_hardware = Told
    pmap = Pmap(vm)
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, npages)
    pages = []
    for pindex in range(npages):
        m = vm_page_alloc(object_, pindex)
        assert m is not None
        m.valid = True
        pages.append(m)
    assert isinstance(pmap.hardware, Told)
    return pmap, pmap.hardware, pages


def test_enter_maps_and_a_right_to_write_means_dirty() -> None:
    pmap, told, (first, second, *_) = setup()
    pmap.enter(VA + 5, first, VM_PROT_READ)
    assert pmap.extract(VA + 0xFFF) == first.frame
    assert not first.dirty
    pmap.enter(VA, first, VM_PROT_RW)
    assert first.dirty
    assert told.calls == [], "more rights need no flush"
    pmap.enter(VA, first, VM_PROT_READ)
    assert told.calls == [(VA, VA + PAGE_SIZE)], "fewer do"
    pmap.enter(VA, second, VM_PROT_READ)
    assert told.calls == [(VA, VA + PAGE_SIZE)] * 2, "and another page does"
    assert pmap_mappings(first) == []
    assert pmap_mappings(second) == [(pmap, VA >> 12)]
    assert pmap.resident_count == 1


def test_enter_quick_never_replaces_and_never_writes() -> None:
    pmap, _, (first, second, *_) = setup()
    pmap.enter_quick(VA, first, VM_PROT_RW | VM_PROT_EXECUTE)
    pmap.enter_quick(VA, second, VM_PROT_RW)
    assert pmap.lookup(VA) == (first, VM_PROT_READ | VM_PROT_EXECUTE, False)
    assert not first.dirty


def test_wired_count_follows_entries() -> None:
    pmap, _, pages = setup()
    for number, m in enumerate(pages):
        pmap.enter(VA + number * PAGE_SIZE, m, VM_PROT_READ, True)
    assert pmap.wired_count == 4
    pmap.enter(VA, pages[0], VM_PROT_READ, False)
    pmap.unwire(VA + PAGE_SIZE, VA + 2 * PAGE_SIZE)
    assert pmap.wired_count == 2
    pmap_remove_all(pages[2])
    assert pmap.wired_count == 1
    pmap.remove(0, 1 << 47)
    assert (pmap.wired_count, pmap.resident_count) == (0, 0)


def test_remove_and_protect_touch_only_their_range() -> None:
    pmap, told, pages = setup()
    for number, m in enumerate(pages):
        pmap.enter(VA + number * PAGE_SIZE, m, VM_PROT_RW)
    pmap.protect(VA, VA + PAGE_SIZE, VM_PROT_READ)
    pmap.protect(VA, VA + PAGE_SIZE, VM_PROT_READ)
    assert told.calls == [(VA, VA + PAGE_SIZE)], "nothing was lowered the second time"
    assert [pte[1] for _, pte in pmap.mappings()] == [VM_PROT_READ, VM_PROT_RW, VM_PROT_RW, VM_PROT_RW]
    pmap.protect(VA + PAGE_SIZE, VA + 2 * PAGE_SIZE, VM_PROT_WRITE)
    assert [va for va, _ in pmap.mappings()] == [VA, VA + 2 * PAGE_SIZE, VA + 3 * PAGE_SIZE]
    pmap.remove(VA + 3 * PAGE_SIZE, VA + 9 * PAGE_SIZE)
    pmap.remove(VA + 3 * PAGE_SIZE, VA + 9 * PAGE_SIZE)
    assert len(told.calls) == 3
    with pytest.raises(KernelPanic, match="still mapped"):
        pmap.release()
    pmap.remove(VA, VA + 9 * PAGE_SIZE)
    pmap.release()
    assert told.destroyed


def test_a_page_knows_all_its_mappings() -> None:
    pmap, _, (m, *_) = setup()
    other = Pmap(pmap.vm)
    pmap.enter(VA, m, VM_PROT_RW)
    pmap.enter(VA + PAGE_SIZE, m, VM_PROT_READ)
    other.enter(VA, m, VM_PROT_RW)
    assert len(pmap_mappings(m)) == 3
    assert pmap_is_modified(m)
    pmap_clear_modify(m)
    assert not pmap_is_modified(m)
    assert {pte[1] for table in (pmap, other) for _, pte in table.mappings()} == {VM_PROT_READ}
    pmap.remove(VA, VA + PAGE_SIZE)
    assert sorted(vpn for _, vpn in pmap_mappings(m)) == [VA >> 12, (VA >> 12) + 1]
    with pytest.raises(KernelPanic, match="mapped"):
        vm_page_free(m)
    pmap_remove_all(m)
    assert pmap_mappings(m) == []
    assert pmap.resident_count == other.resident_count == 0


def test_a_reference_is_counted_once_and_seen_again_after_the_next_use() -> None:
    pmap, told, (m, wired, *_) = setup()
    pmap.enter(VA, m, VM_PROT_READ)
    pmap.enter(VA + PAGE_SIZE, wired, VM_PROT_READ, True)
    assert m.referenced
    assert pmap_ts_referenced(m) == 1
    assert pmap_ts_referenced(m) == 0
    assert pmap.lookup(VA) is None
    assert told.calls == [(VA, VA + PAGE_SIZE)]
    pmap.enter(VA, m, VM_PROT_READ)
    assert pmap_ts_referenced(m) == 1
    assert pmap_ts_referenced(wired) == 1
    assert pmap.lookup(VA + PAGE_SIZE) is not None, "a wired mapping must not go"


def test_advise_forgets_that_a_page_was_used() -> None:
    pmap, _, (m, *_) = setup()
    pmap.enter(VA, m, VM_PROT_READ)
    pmap.advise(VA, VA + PAGE_SIZE, MADV_DONTNEED)
    assert not m.referenced


def test_copy_takes_over_mappings_without_wiring() -> None:
    pmap, _, pages = setup()
    other = Pmap(pmap.vm)
    pmap.enter(VA, pages[0], VM_PROT_READ, True)
    pmap.enter(VA + PAGE_SIZE, pages[1], VM_PROT_RW)
    pmap.enter(VA + 5 * PAGE_SIZE, pages[2], VM_PROT_READ)
    other.enter(VA + PAGE_SIZE, pages[3], VM_PROT_READ)
    other.copy(pmap, VA, 2 * PAGE_SIZE)
    assert list(other.mappings()) == [
        (VA, (pages[0], VM_PROT_READ, False)),
        (VA + PAGE_SIZE, (pages[3], VM_PROT_READ, False)),
    ]


def test_the_kernel_grows_in_steps_of_a_superpage() -> None:
    pmap, _, _ = setup()
    pmap.growkernel(NBPDR + 1)
    assert pmap.kernel_end == 2 * NBPDR
    pmap.growkernel(5)
    assert pmap.kernel_end == 2 * NBPDR


@pytest.mark.parametrize(
    ("color", "offset", "addr", "size", "expected"),
    [
        (0, 0, 0x1000, NBPDR - 1, 0x1000),
        (0, 0, 0x1000, NBPDR, NBPDR),
        (0, 0x1000, 0x2000, 2 * NBPDR, NBPDR + 0x1000),
        (0, 0x3000, 0x2000, 2 * NBPDR, 0x3000),
        (0, 0x3000, 0x2000, NBPDR, 0x2000),
        (2, 0x1000, 0x2000, 2 * NBPDR, 0x3000),
    ],
)
def test_superpage_alignment(color: int, offset: int, addr: int, size: int, expected: int) -> None:
    assert pmap_align_superpage(color, offset, addr, size) == expected
