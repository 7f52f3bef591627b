"""vm_map_protect in both forms, inherit, madvise, check_protection, submap, sync."""

import pytest

from kernel_model.vm.vm_map import vm_map_create, vm_map_entry_submap
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_IS_SUB_MAP,
    MAP_IS_SUB_MAP,
    MAP_WXORX,
    VM_MAP_PROTECT_GROWSDOWN,
    VM_MAP_PROTECT_SET_MAXPROT,
    VM_MAP_PROTECT_SET_PROT,
)
from kernel_model.vm.vm_map_insert import vm_map_insert, vm_map_submap
from kernel_model.vm.vm_map_protect import vm_map_protect_flags
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_INVALID_ARGUMENT,
    KERN_OUT_OF_BOUNDS,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    USRSTACK,
)
from tests.conformance.rig import FREEBSD, MODERN, STACK_BOTTOM, process_rig, rig

A = 0x10000000
SINCE_12 = ("freebsd-12.1", "freebsd-15.0")
PROT, MAXPROT = VM_MAP_PROTECT_SET_PROT, VM_MAP_PROTECT_SET_MAXPROT


def mapped(name, prot=3, max_=7, **setup):
    process = rig(name, **setup)
    assert process.do("insert", start=A, end=A + 0x10000, prot=prot, max=max_) == KERN_SUCCESS
    return process


def rights(process):
    return [(entry.protection, entry.max_protection) for entry in process.map]


@pytest.mark.parametrize("name", FREEBSD)
def test_protect_cuts_sets_and_merges(name):
    process = mapped(name)
    assert process.do("protect", start=A + 0x4000, end=A + 0x8000, prot=1) == KERN_SUCCESS
    assert rights(process) == [(3, 7), (1, 7), (3, 7)]
    assert process.do("protect", start=A + 0x4000, end=A + 0x8000, prot=3) == KERN_SUCCESS
    assert rights(process) == [(3, 7)]


@pytest.mark.parametrize("name", FREEBSD)
def test_set_max_lowers_both(name):
    """set_max: the maximum becomes new_prot and the protection loses what it lacks; without it only the protection."""
    process = mapped(name, prot=3)
    assert process.do("protect", start=A, end=A + 0x10000, prot=5, set_max=1) == KERN_SUCCESS
    assert rights(process) == [(1, 5)]
    assert process.do("protect", start=A, end=A + 0x10000, prot=3) == KERN_PROTECTION_FAILURE
    assert process.do("protect", start=A, end=A + 0x10000, prot=7, set_max=1) == KERN_PROTECTION_FAILURE


@pytest.mark.parametrize("name", FREEBSD)
def test_holes_are_fine_whatever_the_page_says(name):
    """The manual page demands a contiguous range; the source protects what there is."""
    process = mapped(name)
    process.do("insert", start=A + 0x20000, end=A + 0x30000, prot=3, max=7)
    assert process.do("protect", start=A - 0x10000, end=A + 0x40000, prot=1) == KERN_SUCCESS
    assert rights(process) == [(1, 7), (1, 7)]
    assert process.do("protect", start=0x30000000, end=0x40000000, prot=1) == KERN_SUCCESS
    assert process.do("protect", start=A, end=A, prot=7) == KERN_SUCCESS


@pytest.mark.parametrize("name", FREEBSD)
def test_a_refused_call_changes_no_right(name):
    """One entry beyond its maximum refuses all; before 13 the cut at the start remains."""
    process = mapped(name)
    process.do("insert", start=A + 0x10000, end=A + 0x20000, prot=1, max=1)
    assert process.do("protect", start=A + 0x4000, end=A + 0x18000, prot=3) == KERN_PROTECTION_FAILURE
    assert set(rights(process)) == {(3, 7), (1, 1)}
    assert len(rights(process)) == (2 if name == "freebsd-15.0" else 3)


@pytest.mark.parametrize("name", FREEBSD)
def test_becoming_writable_is_charged(name):
    """Without object or copied on write: the entry; an anonymous object: all of it; a file: nothing."""
    process = mapped(name, prot=1)
    process.do("protect", start=A, end=A + 0x8000, prot=3)
    assert process.vm.swap_reserved == 0x10000  # the cut made one object of the whole
    process = mapped(name, prot=1)
    process.do("protect", start=A, end=A + 0x10000, prot=3)
    assert process.vm.swap_reserved == 0x10000
    assert process.entry(A).cred is not None
    process = rig(name)
    number = process.out("mkobj", type="vnode", size=16)
    process.do("insert", obj=number, start=A, end=A + 0x10000, prot=1, max=7)
    process.do("protect", start=A, end=A + 0x10000, prot=3)
    assert process.vm.swap_reserved == 0
    process.do("insert", obj=number, start=2 * A, end=2 * A + 0x4000, prot=1, max=7, cow=2)
    process.do("protect", start=2 * A, end=2 * A + 0x4000, prot=3)
    assert process.vm.swap_reserved == 0x4000


@pytest.mark.parametrize("name", FREEBSD)
def test_no_swap_to_become_writable(name):
    """RESOURCE_SHORTAGE; what was charged before the entry that failed stays charged, no right changes."""
    process = mapped(name, prot=1)
    process.do("insert", start=A + 0x20000, end=A + 0x30000, prot=1, max=7)
    process.do("set", name="swap_cap", value=0x18000)
    assert process.do("protect", start=A, end=A + 0x30000, prot=3) == KERN_RESOURCE_SHORTAGE
    assert rights(process) == [(1, 7), (1, 7)]
    assert process.vm.swap_reserved == 0x10000


@pytest.mark.parametrize("name", FREEBSD)
def test_protect_refuses_submaps(name):
    process = mapped(name)
    assert process.do("submap", start=A, end=A + 0x10000) == KERN_SUCCESS
    assert process.do("protect", start=A, end=A + 0x10000, prot=1) == KERN_INVALID_ARGUMENT


@pytest.mark.parametrize("name", FREEBSD)
def test_lost_rights_leave_the_page_table(name):
    """A page mapped writable is so no longer; with no right at all it is gone."""
    process = mapped(name)
    assert process.do("fault", addr=A, type=2) == KERN_SUCCESS
    process.do("protect", start=A, end=A + 0x1000, prot=1)
    assert process.map.pmap.lookup(A)[1] == 1
    process.do("protect", start=A, end=A + 0x1000, prot=0)
    assert process.map.pmap.lookup(A) is None


def test_both_protections_at_once():
    """13 and later: SET_PROT and SET_MAXPROT together; more than the new maximum is OUT_OF_BOUNDS, before any lock."""
    process = mapped("freebsd-15.0")
    before = process.map.timestamp
    assert vm_map_protect_flags(process.map, A, A + 0x10000, 7, 3, PROT | MAXPROT) == KERN_OUT_OF_BOUNDS
    assert process.map.timestamp == before
    assert vm_map_protect_flags(process.map, A, A + 0x10000, 1, 5, PROT | MAXPROT) == KERN_SUCCESS
    assert rights(process) == [(1, 5)]
    assert vm_map_protect_flags(process.map, A, A + 0x10000, 0, 7, MAXPROT) == KERN_PROTECTION_FAILURE


def test_write_xor_execute():
    process = mapped("freebsd-15.0", prot=1)
    process.map.flags |= MAP_WXORX
    assert vm_map_protect_flags(process.map, A, A + 0x10000, 7, 0, PROT) == KERN_PROTECTION_FAILURE
    assert vm_map_protect_flags(process.map, A, A + 0x10000, 5, 0, PROT) == KERN_SUCCESS


def test_growsdown_reaches_down_to_the_gap():
    """Linux's PROT_GROWSDOWN: the stack's lower pieces and what the gap remembers are protected too."""
    process = process_rig("freebsd-15.0")
    process.do("growstack", addr=USRSTACK - 0x21000)
    top = USRSTACK - 0x1000
    assert vm_map_protect_flags(process.map, top, USRSTACK, 3, 0, PROT | VM_MAP_PROTECT_GROWSDOWN) == KERN_SUCCESS
    gap, *pieces = process.map
    assert {piece.protection for piece in pieces} == {3}
    assert gap.offset == 3 | 7 << 16
    assert process.do("growstack", addr=USRSTACK - 0x60000) == KERN_SUCCESS
    assert process.entry(USRSTACK - 0x60000).protection == 3


def test_a_gap_s_saved_maximum_counts_in_15():
    process = process_rig("freebsd-15.0")
    assert vm_map_protect_flags(process.map, STACK_BOTTOM, USRSTACK, 0, 3, MAXPROT) == KERN_SUCCESS
    assert process.entry(STACK_BOTTOM).offset == 3 | 3 << 16
    assert vm_map_protect_flags(process.map, STACK_BOTTOM, STACK_BOTTOM + 0x1000, 5, 0, PROT) == KERN_PROTECTION_FAILURE


@pytest.mark.parametrize("name", FREEBSD)
def test_inherit(name):
    """The range gets the value and is cut out; unknown values are refused before anything."""
    process = mapped(name)
    before = process.map.timestamp
    for value in (-1, 4, 99):
        assert process.do("inherit", start=A, end=A + 0x10000, inh=value) == KERN_INVALID_ARGUMENT
    assert process.map.timestamp == before
    for value in (2, 0):
        assert process.do("inherit", start=A + 0x4000, end=A + 0x8000, inh=value) == KERN_SUCCESS
        assert [entry.inheritance for entry in process.map] == [1, value, 1]
    zero = process.do("inherit", start=A, end=A + 0x4000, inh=3)
    assert zero == (KERN_SUCCESS if name in MODERN else KERN_INVALID_ARGUMENT)


@pytest.mark.parametrize("name", FREEBSD)
def test_advice_about_the_entry(name):
    """NORMAL, RANDOM, SEQUENTIAL, NOSYNC, AUTOSYNC, NOCORE, CORE change the entry, cut to the range."""
    process = mapped(name)
    for behav, eflags in ((1, 0x80), (2, 0x40), (0, 0), (6, 1), (8, 0x401), (7, 0x400), (9, 0)):
        assert process.do("madvise", start=A + 0x4000, end=A + 0x8000, behav=behav) == KERN_SUCCESS
        assert process.entry(A + 0x4000).eflags == eflags
        assert process.map.nentries == (3 if eflags else 1)


@pytest.mark.parametrize("name", FREEBSD)
def test_advice_about_the_pages_leaves_the_entries(name):
    """WILLNEED, DONTNEED, FREE: no clipping, a read lock, contents of DONTNEED kept."""
    process = mapped(name)
    process.do("fault", addr=A, type=2)
    before = process.map.timestamp
    for behav in (3, 4, 5):
        assert process.do("madvise", start=A, end=A + 0x4000, behav=behav) == KERN_SUCCESS
    assert (process.map.nentries, process.map.timestamp) == (1, before)


@pytest.mark.parametrize("name", FREEBSD)
def test_unknown_advice(name):
    """KERN_INVALID_ARGUMENT; since 12 the errno EINVAL, which the manual page does not say."""
    process = mapped(name)
    for behav in (10, -1, 77):
        assert process.do("madvise", start=A, end=A + 0x1000, behav=behav) == (22 if name in SINCE_12 else 4)
    assert process.do("madvise", start=A, end=A, behav=0) == KERN_SUCCESS


@pytest.mark.parametrize("name", FREEBSD)
def test_check_protection(name):
    """The whole range mapped without holes, every entry allowing it now; maximum protections do not count."""
    process = mapped(name, prot=1)
    process.do("insert", start=A + 0x10000, end=A + 0x20000, prot=5, max=7)
    asked = [
        ((A, A + 0x20000, 1), 1),
        ((A, A + 0x20000, 4), 0),
        ((A, A + 0x21000, 1), 0),
        ((A - 0x1000, A + 0x1000, 1), 0),
        ((A, A + 0x20000, 0), 1),
        ((A + 0x5000, A + 0x5000, 7), 1),
        ((A, A + 0x10000, 2), 0),
    ]
    for (start, end, prot), answer in asked:
        assert process.do("check", start=start, end=end, prot=prot) == answer


@pytest.mark.parametrize("name", FREEBSD)
def test_submap_takes_one_fresh_entry(name):
    """Marked, not cut further, and found by a lookup; an object, COW or a hole is INVALID_ARGUMENT."""
    process = mapped(name)
    sub = vm_map_create(process.vm, process.map.pmap, A + 0x4000, A + 0x8000)
    rv = vm_map_submap(process.map, A + 0x4000, A + 0x8000, sub)
    # the cut gives it an object; until 12 that is seen and the cuts remain, since 13 nobody looks again
    assert rv == (KERN_SUCCESS if name == "freebsd-15.0" else KERN_INVALID_ARGUMENT)
    assert bool(sub.flags & MAP_IS_SUB_MAP) == (name == "freebsd-15.0")
    assert len(process.ranges()) == 3
    assert vm_map_submap(process.map, A + 0x8000, A + 0x20000, sub) == KERN_INVALID_ARGUMENT
    process = mapped(name)
    sub = vm_map_create(process.vm, process.map.pmap, A, A + 0x10000)
    assert vm_map_submap(process.map, A, A + 0x10000, sub) == KERN_SUCCESS
    entry = process.entry(A)
    assert entry.eflags & MAP_ENTRY_IS_SUB_MAP
    assert (vm_map_entry_submap(entry), entry.vm_object) == (sub, None)
    assert bool(sub.flags & MAP_IS_SUB_MAP) == (name in SINCE_12)
    with sub.locked():
        assert vm_map_insert(sub, None, 0, A + 0x2000, A + 0x4000, 3, 7, 0) == KERN_SUCCESS
    assert process.do("lookup", addr=A + 0x3000, type=1) == KERN_SUCCESS
    assert process.do("lookup", addr=A + 0x5000, type=1) == KERN_INVALID_ADDRESS
    assert process.do("submap", start=0x30000000, end=0x30001000) == KERN_INVALID_ARGUMENT
    number = process.out("mkobj", type="anon", size=4)
    process.do("insert", obj=number, start=2 * A, end=2 * A + 0x4000, prot=1, max=7)
    assert process.do("submap", start=2 * A, end=2 * A + 0x4000) == KERN_INVALID_ARGUMENT


@pytest.mark.parametrize("name", FREEBSD)
def test_sync_codes(name):
    """Holes and unmapped starts INVALID_ADDRESS, wired memory INVALID_ARGUMENT; an empty range is its entry."""
    process = mapped(name)
    assert process.do("sync", start=A, end=A + 0x10000, syncio=1) == KERN_SUCCESS
    assert process.do("sync", start=A, end=A) == KERN_SUCCESS
    assert process.do("sync", start=A + 0x8000, end=A + 0x18000) == KERN_INVALID_ADDRESS
    assert process.do("sync", start=A - 0x1000, end=A + 0x1000) == KERN_INVALID_ADDRESS
    process.do("wire", start=A, end=A + 0x2000, flags=1)
    assert process.do("sync", start=A, end=A + 0x10000, invalidate=1) == KERN_INVALID_ARGUMENT


def test_sync_fails_when_a_page_cannot_be_written(monkeypatch):
    """FAILURE at the end; the other entries are still synced."""
    from kernel_model.vm import vm_map_advise

    process = mapped("freebsd-10.1")
    asked = []
    for number in range(3):
        process.do("insert", obj=process.out("mkobj", type="anon", size=16), start=2 * A + number * 0x1000,
                   end=2 * A + (number + 1) * 0x1000, prot=1, max=7)  # fmt: skip

    def vm_object_sync(obj, offset, size, syncio, invalidate):
        asked.append((offset, size, syncio, invalidate))
        return len(asked) != 2

    monkeypatch.setattr(vm_map_advise, "vm_object_sync", vm_object_sync)
    assert process.do("sync", start=2 * A, end=2 * A + 0x3000, syncio=1) == KERN_FAILURE
    assert len(asked) == 3


@pytest.mark.parametrize("name", FREEBSD)
def test_remove_and_delete(name):
    """Holes are fine, edges are cut, and it always succeeds; delete wants the lock, remove takes it and clamps."""
    process = mapped(name)
    process.do("insert", start=A + 0x20000, end=A + 0x30000, prot=3, max=7)
    assert process.do("remove", start=A + 0x8000, end=A + 0x28000) == KERN_SUCCESS
    assert process.ranges() == [(A, A + 0x8000), (A + 0x28000, A + 0x30000)]
    assert process.do("delete", start=A, end=A) == KERN_SUCCESS
    assert process.do("delete", start=A + 0x9000, end=A + 0xA000) == KERN_SUCCESS
    assert process.do("remove", start=0, end=(1 << 64) - 0x1000) == KERN_SUCCESS
    assert (process.map.nentries, process.map.size, process.vm.swap_reserved) == (0, 0, 0)
    assert process.map.root is None


@pytest.mark.parametrize("name", FREEBSD)
def test_unmapping_the_end_of_an_object_shortens_it(name):
    """One mapping, several references: the pages go, and the object ends where they began."""
    process = mapped(name)
    process.do("clip", addr=A + 0x8000)
    obj = process.entry(A).object
    assert (obj.size, obj.ref_count) == (16, 2)
    process.do("remove", start=A + 0xC000, end=A + 0x10000)
    assert (obj.size, obj.charge) == (12, 0xC000)
    process.do("remove", start=A + 0x2000, end=A + 0x4000)
    assert (obj.size, obj.charge) == (12, 0xC000)
