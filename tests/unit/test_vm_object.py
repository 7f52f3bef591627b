"""Objects: references, shadows, collapse, split, coalesce, ranges of pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel_model.errors import KernelPanic
from kernel_model.ucred import Ucred
from kernel_model.vm.swap_pager import swap_device, swap_pager_putpages, swap_reserve_by_cred
from kernel_model.vm.vm import (
    OBJ_NOSPLIT,
    OBJ_ONEMAPPING,
    OBJT_DEAD,
    OBJT_DEFAULT,
    OBJT_PHYS,
    OBJT_SWAP,
    OBJT_VNODE,
    VM_PROT_RW,
)
from kernel_model.vm.vm_map_entry import VmMapEntry
from kernel_model.vm.vm_object import (
    OBJPR_CLEANONLY,
    OBJPR_NOTMAPPED,
    VmObject,
    vm_object_allocate,
    vm_object_coalesce,
    vm_object_collapse,
    vm_object_deallocate,
    vm_object_madvise,
    vm_object_page_remove,
    vm_object_reference,
    vm_object_shadow,
    vm_object_split,
    vm_object_sync,
    vm_object_unwire,
)
from kernel_model.vm.vm_page import (
    MADV_DONTNEED,
    MADV_FREE,
    MADV_WILLNEED,
    PQ_ACTIVE,
    PQ_INACTIVE,
    PQ_LAUNDRY,
    VmPage,
    vm_page_alloc,
    vm_page_wire,
)
from kernel_model.vm.vm_param import PAGE_SIZE
from tests.audit import assert_nothing_left
from tests.process import Process

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm


def put(object_: VmObject, pindex: int, text: bytes = b"") -> VmPage:
    m = vm_page_alloc(object_, pindex)
    assert m is not None
    m.valid = True
    m.dirty = True
    object_.vm.phys.page(m.frame)[: len(text)] = text
    return m


def text(object_: VmObject, pindex: int, size: int) -> bytes:
    return bytes(object_.vm.phys.page(object_.pages[pindex].frame)[:size])


def anon(vm: Vm, size: int, *pindexes: int) -> VmObject:
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, size)
    for pindex in pindexes:
        put(object_, pindex, b"%d" % pindex)
    return object_


def chain(vm: Vm, lower: VmObject, offset: int, size: int) -> VmObject:
    """A shadow of *lower*, which keeps a reference of its own."""
    vm_object_reference(lower)
    shadow, zero = vm_object_shadow(vm, lower, offset * PAGE_SIZE, size * PAGE_SIZE)
    assert zero == 0
    assert shadow is not lower
    return shadow


def test_a_shadow_is_only_made_when_somebody_else_looks() -> None:
    vm = Process(bare=True).vm
    object_ = anon(vm, 4)
    assert vm_object_shadow(vm, object_, 0x3000, 0x1000) == (object_, 0x3000)
    vm_object_reference(object_)
    shadow, offset = vm_object_shadow(vm, object_, 0x3000, 0x1000)
    assert (offset, shadow.size, shadow.backing_object_offset) == (0, 1, 0x3000)
    assert (object_.ref_count, object_.shadow_count, shadow.ref_count) == (2, 1, 1)
    named = vm_object_allocate(vm, OBJT_VNODE, 4)
    named.handle = "a file"
    assert vm_object_shadow(vm, named, 0, 0x1000)[0] is not named
    nothing, _ = vm_object_shadow(vm, None, 0x1000, 0x2000, shared=True)
    assert (nothing.backing_object, nothing.ref_count, nothing.flags & OBJ_ONEMAPPING) == (None, 2, 0)


def test_collapse_moves_what_the_shadow_lacks_and_frees_the_rest() -> None:
    vm = Process(bare=True).vm
    lower = anon(vm, 8, 0, 2, 3, 7)
    shadow = chain(vm, lower, 2, 3)
    put(shadow, 0, b"own")
    vm_object_deallocate(lower)
    assert lower.type == OBJT_DEAD
    assert shadow.backing_object is None
    assert sorted(shadow.pages) == [0, 1]
    assert (text(shadow, 0, 3), text(shadow, 1, 1)) == (b"own", b"3")
    assert shadow.pages[1].dirty
    vm_object_deallocate(shadow)
    assert_nothing_left(vm)


def test_collapse_takes_over_what_was_paged_out_unless_the_shadow_has_its_own() -> None:
    vm = Process(bare=True).vm
    lower = anon(vm, 4, 0, 1)
    for pindex in (0, 1):
        assert swap_pager_putpages(lower, lower.pages[pindex]) == 0
    vm_object_page_remove(lower, 0, 0)
    assert (lower.type, swap_device(vm).used) == (OBJT_SWAP, 2)
    shadow = chain(vm, lower, 0, 4)
    put(shadow, 0, b"own")
    vm_object_deallocate(lower)
    assert (shadow.swap, shadow.type) == ({1: 1}, OBJT_SWAP)
    assert swap_device(vm).used == 1
    vm_object_deallocate(shadow)
    assert_nothing_left(vm)


def test_a_shared_object_is_bypassed_only_when_nothing_of_it_shows() -> None:
    vm = Process(bare=True).vm
    bottom = anon(vm, 4, 3)
    middle = chain(vm, bottom, 0, 4)
    put(middle, 1)
    top = chain(vm, middle, 0, 4)
    vm_object_reference(middle)
    vm_object_collapse(top)
    assert top.backing_object is middle
    put(top, 1)
    vm_object_collapse(top)
    assert top.backing_object is bottom
    assert (middle.ref_count, middle.shadow_count) == (2, 0)
    assert (bottom.ref_count, bottom.shadow_count) == (3, 2)
    for object_ in (top, middle, middle, bottom):
        vm_object_deallocate(object_)
    assert_nothing_left(vm)


@pytest.mark.parametrize(
    ("release", "bypassed"), [("freebsd-9.3", False), ("freebsd-11.0", True), ("freebsd-10.4", False)]
)
def test_a_paged_out_object_is_bypassed_by_release(release: str, bypassed: bool) -> None:
    vm = Process(release=release, bare=True).vm
    middle = anon(vm, 2, 0)
    assert swap_pager_putpages(middle, middle.pages[0]) == 0
    vm_object_page_remove(middle, 0, 0)
    top = chain(vm, middle, 0, 2)
    vm_object_reference(middle)
    put(top, 0)
    vm_object_collapse(top)
    assert (top.backing_object is None) == bypassed
    if bypassed:
        middle.swap = {**(middle.swap or {}), 1: swap_device(vm).alloc() or 0}
        other = chain(vm, middle, 0, 2)
        put(other, 0)
        vm_object_collapse(other)
        assert other.backing_object is middle, "page 1 is only on the device"


@pytest.mark.parametrize("spoiler", ["handle", "type", "nosplit"])
def test_what_cannot_be_collapsed(spoiler: str) -> None:
    vm = Process(bare=True).vm
    lower = anon(vm, 2)
    shadow = chain(vm, lower, 0, 2)
    if spoiler == "handle":
        lower.handle = "name"
    elif spoiler == "type":
        lower.type = OBJT_PHYS
    else:
        lower.flags |= OBJ_NOSPLIT
    vm_object_collapse(shadow)
    assert shadow.backing_object is lower


def test_the_last_mapping_is_remembered() -> None:
    vm = Process(bare=True).vm
    object_ = anon(vm, 2)
    vm_object_reference(object_)
    object_.flags &= ~OBJ_ONEMAPPING
    vm_object_deallocate(object_)
    assert object_.flags & OBJ_ONEMAPPING
    vm_object_deallocate(object_)
    with pytest.raises(KernelPanic, match="too many times"):
        vm_object_deallocate(object_)


def test_the_charge_goes_with_the_object() -> None:
    vm = Process(bare=True).vm
    cred = Ucred()
    lower = anon(vm, 4)
    lower.cred, lower.charge = cred, 4 * PAGE_SIZE
    shadow = chain(vm, lower, 0, 2)
    shadow.cred, shadow.charge = cred, 2 * PAGE_SIZE
    assert swap_reserve_by_cred(vm, 6 * PAGE_SIZE, cred)
    vm_object_deallocate(lower)
    assert vm.swap_reserved == 2 * PAGE_SIZE
    vm_object_deallocate(shadow)
    assert_nothing_left(vm)


def entry_of(object_: VmObject, first: int, count: int) -> VmMapEntry:
    entry = VmMapEntry(0x10_0000, 0x10_0000 + count * PAGE_SIZE)
    entry.object = object_
    entry.offset = first * PAGE_SIZE
    return entry


def test_split_gives_an_entry_its_own_object_with_pages_blocks_and_charge() -> None:
    vm = Process(bare=True).vm
    bottom = anon(vm, 16, 9)
    object_ = chain(vm, bottom, 1, 8)
    for pindex in (2, 3, 5):
        put(object_, pindex, b"%d" % pindex)
    assert swap_pager_putpages(object_, object_.pages[3]) == 0
    vm_object_page_remove(object_, 3, 4)
    object_.cred, object_.charge = Ucred(), 8 * PAGE_SIZE
    assert swap_reserve_by_cred(vm, 8 * PAGE_SIZE, object_.cred)
    vm_object_reference(object_)
    entry = entry_of(object_, 2, 2)
    bottom.flags |= OBJ_ONEMAPPING
    vm_object_split(entry)
    assert not bottom.flags & OBJ_ONEMAPPING, "two shadows look at it now"
    new = entry.vm_object
    assert new is not None and new is not object_
    assert (entry.offset, new.size, new.charge, object_.charge) == (0, 2, 2 * PAGE_SIZE, 6 * PAGE_SIZE)
    assert (new.backing_object, new.backing_object_offset) == (bottom, 3 * PAGE_SIZE)
    assert (sorted(new.pages), new.swap, sorted(object_.pages), object_.swap) == ([0], {1: 0}, [5], {})
    assert (bottom.ref_count, bottom.shadow_count, object_.ref_count) == (3, 2, 1)
    for gone in (new, object_, bottom):
        vm_object_deallocate(gone)
    assert_nothing_left(vm)


def test_split_leaves_alone_what_is_not_shared_or_not_anonymous() -> None:
    vm = Process(bare=True).vm
    single = anon(vm, 4)
    entry = entry_of(single, 0, 2)
    vm_object_split(entry)
    assert entry.vm_object is single
    named = vm_object_allocate(vm, OBJT_VNODE, 4)
    vm_object_reference(named)
    entry = entry_of(named, 0, 2)
    vm_object_split(entry)
    assert entry.vm_object is named


def test_coalesce_grows_an_object_and_drops_stale_pages() -> None:
    vm = Process(bare=True).vm
    assert vm_object_coalesce(None, 0, PAGE_SIZE, PAGE_SIZE, False)
    object_ = anon(vm, 4, 0, 2)
    assert vm_object_coalesce(object_, 0, 2 * PAGE_SIZE, 5 * PAGE_SIZE, False)
    assert (object_.size, sorted(object_.pages)) == (7, [0])
    assert not vm_object_coalesce(vm_object_allocate(vm, OBJT_PHYS, 1), 0, PAGE_SIZE, PAGE_SIZE, False)
    object_.flags |= OBJ_NOSPLIT
    assert not vm_object_coalesce(object_, 0, 7 * PAGE_SIZE, PAGE_SIZE, False)
    shadow = chain(vm, anon(vm, 4, 1), 0, 4)
    assert not vm_object_coalesce(shadow, 0, 4 * PAGE_SIZE, PAGE_SIZE, False)


@pytest.mark.parametrize(("release", "one_mapping_helps"), [("freebsd-10.4", False), ("freebsd-12.1", True)])
def test_coalesce_with_several_references(release: str, one_mapping_helps: bool) -> None:
    vm = Process(release=release, bare=True).vm
    object_ = anon(vm, 4)
    vm_object_reference(object_)
    assert vm_object_coalesce(object_, 0, 4 * PAGE_SIZE, PAGE_SIZE, False), "at the object's end it always may"
    assert vm_object_coalesce(object_, 0, 2 * PAGE_SIZE, PAGE_SIZE, False) == one_mapping_helps
    object_.flags &= ~OBJ_ONEMAPPING
    assert not vm_object_coalesce(object_, 0, 2 * PAGE_SIZE, PAGE_SIZE, False)


def test_coalesce_charges_and_fails_when_swap_is_refused() -> None:
    vm = Process(bare=True).vm
    object_ = anon(vm, 2)
    object_.cred, object_.charge = Ucred(), 2 * PAGE_SIZE
    vm.swap_reserved = 2 * PAGE_SIZE
    assert vm_object_coalesce(object_, 0, 2 * PAGE_SIZE, PAGE_SIZE, True)
    assert (object_.charge, vm.swap_reserved) == (3 * PAGE_SIZE, 2 * PAGE_SIZE)
    assert vm_object_coalesce(object_, 0, 3 * PAGE_SIZE, PAGE_SIZE, False)
    assert (object_.charge, vm.swap_reserved) == (4 * PAGE_SIZE, 3 * PAGE_SIZE)
    vm.swap_cap = vm.swap_reserved
    assert not vm_object_coalesce(object_, 0, 4 * PAGE_SIZE, PAGE_SIZE, False)
    assert (object_.charge, object_.size) == (4 * PAGE_SIZE, 4)


def test_page_remove_spares_wired_pages_and_with_cleanonly_dirty_ones() -> None:
    process = Process(bare=True)
    pmap = process.space.vm_pmap
    object_ = anon(process.vm, 8, 0, 1, 2, 3)
    dirty, clean, wired, beyond = (object_.pages[pindex] for pindex in range(4))
    clean.dirty = wired.dirty = False
    vm_page_wire(wired)
    for number, m in enumerate((dirty, clean, wired)):
        pmap.enter(0x1000 * (number + 1), m, VM_PROT_RW if m is dirty else 1)
    vm_object_page_remove(object_, 0, 3, OBJPR_CLEANONLY)
    assert sorted(object_.pages) == [0, 2, 3]
    assert wired.valid
    assert pmap.lookup(0x1000)[1] == 1  # type: ignore[index]
    vm_object_page_remove(object_, 0, 3)
    assert sorted(object_.pages) == [2, 3]
    assert not wired.valid
    assert pmap.resident_count == 0
    assert beyond.valid
    with pytest.raises(KernelPanic, match="mapped"):
        pmap.enter(0x1000, beyond, 1)
        vm_object_page_remove(object_, 3, 4, OBJPR_NOTMAPPED)


def test_unwire_finds_the_topmost_page() -> None:
    vm = Process(bare=True).vm
    lower = anon(vm, 4, 0, 1)
    shadow = chain(vm, lower, 0, 2)
    put(shadow, 0)
    for m in (shadow.pages[0], lower.pages[1]):
        vm_page_wire(m)
    vm_object_unwire(shadow, 0, 4 * PAGE_SIZE, PQ_INACTIVE)
    assert shadow.pages[0].queue == lower.pages[1].queue == PQ_INACTIVE
    assert vm.cnt.v_wire_count == 0


@pytest.mark.parametrize("release", ["freebsd-9.3", "freebsd-12.1"])
def test_advice_moves_pages_and_keeps_their_contents(release: str) -> None:
    process = Process(release=release, bare=True)
    lower = anon(process.vm, 4, 1)
    shadow = chain(process.vm, lower, 0, 4)
    put(shadow, 0)
    put(shadow, 2).dirty = False
    vm_object_madvise(shadow, 0, 4, MADV_WILLNEED)
    assert [m.queue for m in (shadow.pages[0], lower.pages[1], shadow.pages[2])] == [PQ_ACTIVE] * 3
    process.space.vm_pmap.enter(0x1000, shadow.pages[0], VM_PROT_RW)
    vm_object_madvise(shadow, 0, 4, MADV_DONTNEED)
    laundry = PQ_LAUNDRY if process.vm.release.laundry_queue else PQ_INACTIVE
    assert [m.queue for m in (shadow.pages[0], lower.pages[1], shadow.pages[2])] == [laundry, laundry, PQ_INACTIVE]
    assert process.vm.pagequeues[PQ_INACTIVE].places[0] is shadow.pages[2], "clean pages are the first to go"
    assert text(lower, 1, 1) == b"1"
    assert process.space.vm_pmap.lookup(0x1000) is not None


def test_free_makes_pages_clean_and_drops_their_blocks_if_one_mapping_has_them() -> None:
    process = Process(bare=True)
    object_ = anon(process.vm, 4, 0, 1)
    assert swap_pager_putpages(object_, object_.pages[0]) == 0
    object_.pages[0].dirty = True
    vm_page_wire(object_.pages[1])
    process.space.vm_pmap.enter(0x1000, object_.pages[0], VM_PROT_RW)
    object_.flags &= ~OBJ_ONEMAPPING
    vm_object_madvise(object_, 0, 4, MADV_FREE)
    assert object_.pages[0].dirty
    object_.flags |= OBJ_ONEMAPPING
    vm_object_madvise(object_, 0, 4, MADV_FREE)
    assert not object_.pages[0].dirty
    assert object_.pages[1].dirty, "a wired page is left alone"
    assert object_.swap == {}
    assert process.space.vm_pmap.lookup(0x1000)[1] == 1, "the next store must be seen"  # type: ignore[index]
    shadow = chain(process.vm, object_, 0, 4)
    object_.flags |= OBJ_ONEMAPPING
    object_.swap = {2: swap_device(process.vm).alloc() or 0}
    object_.pages[0].dirty = True
    vm_object_madvise(shadow, 0, 4, MADV_FREE)
    assert object_.swap == {}
    assert not object_.pages[0].dirty
    phys = vm_object_allocate(process.vm, OBJT_PHYS, 1)
    vm_object_madvise(phys, 0, 1, MADV_DONTNEED)
    vm_object_madvise(None, 0, 1, MADV_DONTNEED)


def test_syncing_what_has_no_file_is_a_success() -> None:
    vm = Process(bare=True).vm
    assert vm_object_sync(None, 0, PAGE_SIZE, True, True)
    assert vm_object_sync(anon(vm, 2, 0), 0, PAGE_SIZE, True, True)
