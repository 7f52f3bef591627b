"""vmspace_alloc, free, exec, fork and unshare."""

import pytest

from kernel_model.errors import KernelPanic
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_entry import MAP_ASLR, MAP_WIREFUTURE, MAP_WXORX
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import KERN_SUCCESS, USRSTACK
from kernel_model.vm.vmspace import (
    vmspace_alloc,
    vmspace_exec,
    vmspace_fork,
    vmspace_free,
    vmspace_ref,
    vmspace_unshare,
)
from tests.conformance.rig import CLASSIC, FREEBSD, MODERN, PG, process_rig, rig
from tests.property.vm_model import check_objects

A = 0x10000000
SHARE, COPY, NONE, ZERO = range(4)


def forked(process):
    return process.spaces[process.out("fork")["child"]]


def child_entry(child, addr):
    found, entry = vm_map_lookup_entry(child.vm_map, addr)
    return entry if found else None


def test_a_new_address_space_is_empty():
    vm = rig("freebsd-10.1").vm
    space = vmspace_alloc(vm, PG, 1 << 47)
    assert (space.vm_refcnt, space.vm_tsize, space.vm_dsize, space.vm_ssize) == (1, 0, 0, 0)
    assert (space.vm_taddr, space.vm_daddr, space.vm_maxsaddr) == (0, 0, 0)
    assert (space.vm_map.min_offset, space.vm_map.max_offset, space.vm_map.nentries) == (PG, 1 << 47, 0)


def test_the_last_reference_unmaps_everything():
    process = rig("freebsd-10.1")
    space = process.space
    process.do("insert", start=A, end=A + 4 * PG, prot=3, max=7)
    process.do("fault", addr=A, type=2)
    vmspace_ref(space)
    vmspace_free(space)
    assert space.vm_map.nentries == 1
    vmspace_free(space)
    assert (space.vm_map.nentries, process.vm.swap_reserved, len(space.vm_pmap.ptes)) == (0, 0, 0)
    with pytest.raises(KernelPanic):
        vmspace_free(space)


def test_exec_gives_a_fresh_space_and_leaves_the_old_one():
    process = rig("freebsd-10.1")
    old = process.space
    process.do("insert", start=A, end=A + PG, prot=3, max=7)
    old.vm_swrss = 7
    assert vmspace_exec(process.owner.proc, 2 * PG, 1 << 40) == 0
    new = process.owner.proc.p_vmspace
    assert new is not old
    assert (new.vm_map.nentries, new.vm_map.min_offset, new.vm_map.max_offset, new.vm_swrss) == (0, 2 * PG, 1 << 40, 7)
    assert old.vm_map.nentries == 1


def test_unshare_forks_only_what_is_shared():
    process = rig("freebsd-10.1")
    old = process.space
    process.do("insert", start=A, end=A + PG, prot=3, max=7)
    assert vmspace_unshare(process.owner.proc) == 0
    assert process.owner.proc.p_vmspace is old
    vmspace_ref(old)
    assert vmspace_unshare(process.owner.proc) == 0
    assert process.owner.proc.p_vmspace is not old
    assert old.vm_refcnt == 1
    assert process.owner.proc.p_vmspace.vm_map.nentries == 1
    vmspace_ref(old)
    process.owner.proc.p_vmspace = old
    process.vm.swap_cap = process.vm.swap_reserved
    assert vmspace_unshare(process.owner.proc) == 12
    assert process.owner.proc.p_vmspace is old


@pytest.mark.parametrize("name", FREEBSD)
def test_inheritance_values(name):
    """SHARE one object, COPY lazily, NONE nothing; ZERO fresh memory where it is known."""
    process = rig(name)
    values = (SHARE, COPY, NONE) + ((ZERO,) if name in MODERN else ())
    for value in values:
        start = A * (value + 1)
        process.do("insert", start=start, end=start + 4 * PG, prot=3, max=7)
        process.do("fault", addr=start, type=2)
        process.do("inherit", start=start, end=start + 4 * PG, inh=value)
    child = forked(process)
    shared = child_entry(child, A)
    assert shared.object is process.entry(A).object
    assert not shared.eflags & 0xC
    copied = child_entry(child, 2 * A)
    assert copied.object is process.entry(2 * A).object
    assert copied.eflags & process.entry(2 * A).eflags & 0xC == 0xC
    assert child_entry(child, 3 * A) is None
    if ZERO in values:
        fresh = child_entry(child, 4 * A)
        assert (fresh.object, fresh.inheritance, fresh.protection, fresh.max_protection) == (None, ZERO, 3, 7)
    assert process.map.timestamp >= 1
    assert child.vm_map.timestamp == 1
    check_objects(process)


@pytest.mark.parametrize("name", FREEBSD)
def test_a_write_after_fork_is_private_and_a_shared_one_is_not(name):
    """Through pages: the child's store does not reach the parent, except in shared memory."""
    process = rig(name)
    for start in (A, 2 * A):
        process.do("insert", start=start, end=start + PG, prot=3, max=7)
        process.do("fault", addr=start, type=2)
    process.do("inherit", start=2 * A, end=2 * A + PG, inh=SHARE)
    process.do("fork")
    process.do("use", vm=1)
    for start in (A, 2 * A):
        process.do("fault", addr=start, type=2)
    child, parent = process.spaces[1], process.spaces[0]
    assert child is not None
    assert parent is not None
    assert child.vm_pmap.extract(2 * A) is not None
    process.do("use", vm=0)
    for start in (A, 2 * A):
        process.do("fault", addr=start, type=1)
    assert child.vm_pmap.extract(A) != parent.vm_pmap.extract(A)
    assert child.vm_pmap.extract(2 * A) == parent.vm_pmap.extract(2 * A)


@pytest.mark.parametrize("name", FREEBSD)
def test_fork_charges_what_may_be_copied(name):
    """A private writable entry is charged to the child, and again to the parent when it begins to copy."""
    process = rig(name)
    process.do("insert", start=A, end=A + 4 * PG, prot=3, max=7)
    assert process.out("fork")["charge"] == 4 * PG  # no object yet: the child's alone
    process.do("fault", addr=A, type=2)
    assert process.out("fork")["charge"] == 8 * PG
    assert process.out("fork")["charge"] == 4 * PG  # the parent is charged already
    check_objects(process)


@pytest.mark.parametrize("name", FREEBSD)
def test_guards_and_gaps_are_copied_with_what_they_saved(name):
    process = process_rig(name)
    child = forked(process)
    assert [(e.start, e.end, e.next_read, e.eflags) for e in child.vm_map if e.is_guard] == [
        (e.start, e.end, e.next_read, e.eflags) for e in process.map if e.is_guard
    ]
    process.do("use", vm=1)
    assert process.do("growstack", addr=USRSTACK - 0x21000) == KERN_SUCCESS
    assert process.entry(USRSTACK - 0x21000).protection == 7
    if name in CLASSIC:
        assert process.avail() == [(512 << 20) - 0x40000]


@pytest.mark.parametrize("name", FREEBSD)
def test_flags_and_places_that_are_inherited(name):
    """ASLR since 12, W^X since 13; never WIREFUTURE.  Text, data and stack places are copied."""
    process = rig(name)
    process.map.flags = MAP_WIREFUTURE | MAP_ASLR | MAP_WXORX
    space = process.space
    space.vm_taddr, space.vm_daddr, space.vm_maxsaddr, space.vm_stacktop = 1, 2, 3, 4
    process.map.anon_loc = A
    child = forked(process)
    expected = MAP_ASLR | (MAP_WXORX if name == "freebsd-15.0" else 0)
    assert child.vm_map.flags == expected
    assert (child.vm_taddr, child.vm_daddr, child.vm_maxsaddr, child.vm_stacktop) == (1, 2, 3, 4)
    assert child.vm_map.anon_loc == A


@pytest.mark.parametrize("name", FREEBSD)
def test_sizes_of_the_child(name):
    """Data and text are counted by where an entry begins; size without guards (with them on classic releases)."""
    process = rig(name)
    space = process.space
    for start in (A, 2 * A, 3 * A):
        process.do("insert", start=start, end=start + 8 * PG, prot=3, max=7)
    space.vm_taddr, space.vm_tsize = A, 6
    space.vm_daddr, space.vm_dsize = 2 * A, 4
    child = forked(process)
    assert (child.vm_tsize, child.vm_dsize, child.vm_ssize) == (6, 4, 0)
    assert child.vm_map.size == process.map.size == 24 * PG


def test_a_submap_cannot_be_forked():
    process = rig("freebsd-10.1")
    process.do("insert", start=A, end=A + PG, prot=3, max=7)
    process.do("submap", start=A, end=A + PG)
    with pytest.raises(KernelPanic):
        process.do("fork")


@pytest.mark.parametrize("name", ["freebsd-10.1", "freebsd-12.1"])
def test_two_thousand_generations(name):
    """Each child writes and forks, its parent exits: no recursion, and the shadow chain stays short."""
    process = rig(name)
    process.do("insert", start=A, end=A + 4 * PG, prot=3, max=7)
    process.do("fault", addr=A, type=2)
    vm = process.vm
    space = process.space
    for generation in range(2000):
        child, charge = vmspace_fork(space)
        vm.swap_reserved += charge
        process.owner.proc.p_vmspace = child
        assert vm_fault(child.vm_map, A + generation % 4 * PG, 2) == KERN_SUCCESS
        vmspace_free(space)
        space = child
    depth = 0
    obj = child_entry(space, A).object
    while obj is not None:
        depth += 1
        obj = obj.backing_object
    assert depth <= 2
    vmspace_free(space)
    assert vm.swap_reserved == 0


@pytest.mark.parametrize("name", ["freebsd-10.1", "freebsd-12.1"])
def test_two_thousand_living_generations(name):
    """A chain in which every parent stays alive is 2,000 objects deep; it is looked through, forked and freed."""
    process = rig(name)
    process.do("insert", start=A, end=A + 2 * PG, prot=3, max=7)
    process.do("fault", addr=A, type=2)
    vm = process.vm
    spaces = [process.space]
    for _ in range(2000):
        child, charge = vmspace_fork(spaces[-1])
        vm.swap_reserved += charge
        process.owner.proc.p_vmspace = child
        assert vm_fault(child.vm_map, A + PG, 2) == KERN_SUCCESS
        spaces.append(child)
    assert vm_fault(spaces[-1].vm_map, A, 1) == KERN_SUCCESS
    for space in spaces:
        process.owner.proc.p_vmspace = space
        vmspace_free(space)
    assert vm.swap_reserved == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_the_childs_stack_counts_a_page_that_is_used_in_part(name):
    """vm_map.c, vmspace_map_entry_forked: btoc() rounds up; kern.sgrowsiz need not be a multiple of a page."""
    process = rig(name, sgrowsiz=PG + 1000)
    process.do("stack", addr=A, size=64 * PG, prot=5, max=7, cow=0x1000)
    assert forked(process).vm_ssize == 2


@pytest.mark.parametrize("name", FREEBSD)
def test_a_growing_stack_counts_a_page_that_is_used_in_part(name):
    """vm_map.c, vm_map_growstack: vm_ssize goes up by btoc() of what the stack grew by."""
    bottom = USRSTACK - 64 * PG
    process = rig(name, sgrowsiz=PG + 1000, maxsaddr=bottom)
    process.do("stack", addr=bottom, size=64 * PG, prot=5, max=7, cow=0x1000)
    process.do("set", name="ssize", value=2)
    assert process.do("growstack", addr=USRSTACK - PG - 1001) == KERN_SUCCESS
    assert process.entry(USRSTACK - 2 * PG - 2000).protection == 5
    assert process.space.vm_ssize == 4
