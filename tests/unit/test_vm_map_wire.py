"""vm_map_wire and vm_map_unwire: counts, limits, and what a failure leaves."""

import pytest

from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_IN_TRANSITION,
    MAP_ENTRY_USER_WIRED,
    MAP_ENTRY_WIRE_SKIPPED,
    VM_MAP_WIRE_HOLESOK,
    VM_MAP_WIRE_SYSTEM,
    VM_MAP_WIRE_USER,
    VM_MAP_WIRE_WRITE,
)
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_INVALID_ARGUMENT,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    USRSTACK,
)
from tests.conformance.rig import FREEBSD, PG, process_rig, rig
from tests.replay.pagefree import FaultRecord, page_free

A = 0x10000000
USER = VM_MAP_WIRE_USER
SINCE_12 = ("freebsd-12.1", "freebsd-15.0")


def mapped(name, **setup):
    process = rig(name, **setup)
    process.do("insert", start=A, end=A + 4 * PG, prot=3, max=7)
    process.do("insert", start=A + 4 * PG, end=A + 8 * PG, prot=1, max=7)
    process.do("insert", start=A + 12 * PG, end=A + 14 * PG, prot=3, max=7)
    return process


def counts(process):
    return [entry.wired_count for entry in process.map]


def nothing_is_left_over(process):
    left = MAP_ENTRY_IN_TRANSITION | MAP_ENTRY_WIRE_SKIPPED
    return not any(entry.eflags & left for entry in process.map) and process.map.busy == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_wired_pages_are_in_memory_and_counted(name):
    process = mapped(name)
    assert process.do("wire", start=A, end=A + 8 * PG, flags=USER) == KERN_SUCCESS
    assert counts(process) == [1, 1, 0]
    assert process.map.pmap.wired_count == 8
    assert all(process.entry(A).object.pages[index].wire_count for index in range(4))
    assert process.do("unwire", start=A, end=A + 8 * PG, flags=USER) == KERN_SUCCESS
    assert counts(process) == [0, 0, 0]
    assert process.map.pmap.wired_count == 0
    assert not any(entry.eflags & MAP_ENTRY_USER_WIRED for entry in process.map)
    assert nothing_is_left_over(process)


@pytest.mark.parametrize("name", FREEBSD)
def test_a_user_wires_once_the_system_counts(name):
    """A second user wiring changes nothing; each system wiring adds one, and is undone one by one."""
    process = mapped(name)
    for flags, count in ((USER, 1), (USER, 1), (VM_MAP_WIRE_SYSTEM, 2), (VM_MAP_WIRE_SYSTEM, 3)):
        assert process.do("wire", start=A, end=A + 4 * PG, flags=flags) == KERN_SUCCESS
        assert counts(process)[0] == count
    assert process.do("unwire", start=A, end=A + 4 * PG, flags=VM_MAP_WIRE_SYSTEM) == KERN_SUCCESS
    assert process.do("unwire", start=A, end=A + 4 * PG, flags=USER) == KERN_SUCCESS
    assert counts(process)[0] == 1
    assert process.do("unwire", start=A, end=A + 4 * PG, flags=VM_MAP_WIRE_SYSTEM) == KERN_SUCCESS
    assert process.do("unwire", start=A, end=A + 4 * PG, flags=VM_MAP_WIRE_SYSTEM) == KERN_INVALID_ARGUMENT
    assert nothing_is_left_over(process)


@pytest.mark.parametrize("name", FREEBSD)
def test_holes(name):
    """INVALID_ADDRESS without HOLESOK, and nothing stays wired; with it what is there gets wired."""
    process = mapped(name)
    assert process.do("wire", start=A, end=A + 14 * PG, flags=USER) == KERN_INVALID_ADDRESS
    assert counts(process) == [0, 0, 0]
    assert process.map.pmap.wired_count == 0
    assert process.do("wire", start=A - PG, end=A + PG, flags=USER) == KERN_INVALID_ADDRESS
    assert process.do("wire", start=A - PG, end=A + 14 * PG, flags=USER | VM_MAP_WIRE_HOLESOK) == KERN_SUCCESS
    assert counts(process) == [1, 1, 1]
    assert process.do("unwire", start=A, end=A + 14 * PG, flags=USER) == KERN_INVALID_ADDRESS
    assert process.do("unwire", start=A - PG, end=A + PG, flags=USER) == KERN_INVALID_ADDRESS
    assert process.do("unwire", start=A - PG, end=A + 14 * PG, flags=USER | VM_MAP_WIRE_HOLESOK) == KERN_SUCCESS
    assert nothing_is_left_over(process)


@pytest.mark.parametrize("name", FREEBSD)
def test_memory_without_access_cannot_be_wired(name):
    """PROT_NONE, or no write access with VM_MAP_WIRE_WRITE: skipped, and an error unless holes are allowed."""
    process = mapped(name)
    assert process.do("wire", start=A, end=A + 8 * PG, flags=USER | VM_MAP_WIRE_WRITE) == KERN_INVALID_ADDRESS
    assert counts(process) == [0, 0, 0]
    process.do("protect", start=A, end=A + PG, prot=0)
    assert process.do("wire", start=A, end=A + 8 * PG, flags=USER | VM_MAP_WIRE_HOLESOK) == KERN_SUCCESS
    assert process.entry(A).wired_count == 0
    assert process.entry(A + PG).wired_count == 1
    assert nothing_is_left_over(process)


@pytest.mark.parametrize("name", FREEBSD)
def test_a_fault_that_fails_undoes_everything(name):
    """The first failing page's code; the pages before it are unwired, in this entry and in those before."""
    record = FaultRecord()
    with page_free(record):
        process = mapped(name)
        process.record.fault_fail = A + 6 * PG
        record.fault_fail = A + 6 * PG
        assert process.do("wire", start=A, end=A + 8 * PG, flags=USER) == KERN_FAILURE
        assert counts(process) == [0, 0, 0]
        assert process.map.pmap.wired_count == 0
        assert process.vm.user_wire_count == 0
        assert nothing_is_left_over(process)


@pytest.mark.parametrize("name", FREEBSD)
def test_the_limit_of_user_wired_pages(name):
    """vm.max_user_wired: enforced here since 12, and given back by unwire and by unmapping."""
    process = mapped(name)
    process.do("set", name="max_user_wired", value=5)
    rv = process.do("wire", start=A, end=A + 8 * PG, flags=USER)
    if name not in SINCE_12:
        assert rv == KERN_SUCCESS
        return
    assert rv == KERN_RESOURCE_SHORTAGE
    assert (counts(process), process.vm.user_wire_count) == ([0, 0, 0], 0)
    assert process.do("wire", start=A, end=A + 4 * PG, flags=USER) == KERN_SUCCESS
    assert process.vm.user_wire_count == 4
    assert process.do("wire", start=A + 4 * PG, end=A + 8 * PG, flags=VM_MAP_WIRE_SYSTEM) == KERN_SUCCESS
    assert process.vm.user_wire_count == 4
    process.do("remove", start=A, end=A + 4 * PG)
    assert process.vm.user_wire_count == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_unmapping_drops_a_user_s_wiring(name):
    process = mapped(name)
    process.do("wire", start=A, end=A + 4 * PG, flags=USER)
    assert process.do("remove", start=A, end=A + 4 * PG) == KERN_SUCCESS
    assert process.map.pmap.wired_count == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_timestamps_of_wiring(name):
    """One for the call and one for each entry that was faulted; the empty range locks only since 12."""
    process = mapped(name)
    process.do("fault", addr=A, type=2)
    process.do("fault", addr=A + 4 * PG, type=1)
    before = process.map.timestamp
    assert process.do("wire", start=A, end=A + 8 * PG, flags=USER) == KERN_SUCCESS
    assert process.map.timestamp - before == 3
    before = process.map.timestamp
    assert process.do("wire", start=A, end=A, flags=USER) == KERN_SUCCESS
    assert process.map.timestamp - before == (1 if name in SINCE_12 else 0)
    assert process.do("unwire", start=A, end=A, flags=USER) == KERN_SUCCESS


@pytest.mark.parametrize("name", FREEBSD)
def test_an_inverted_range_is_an_empty_one(name):
    """Sources: a zero-length entry (9.3) or an assertion (12.1); the model wires nothing."""
    process = mapped(name)
    assert process.do("wire", start=A + 3 * PG, end=A + PG, flags=USER) == KERN_SUCCESS
    assert process.do("unwire", start=A + 3 * PG, end=A + PG, flags=USER) == KERN_SUCCESS
    assert counts(process) == [0, 0, 0]


@pytest.mark.parametrize("name", FREEBSD)
def test_wired_writable_memory_is_copied_by_fork(name):
    """The child's pages are copies at once, and pageable."""
    process = mapped(name)
    process.do("wire", start=A, end=A + 4 * PG, flags=USER)
    child = process.spaces[process.out("fork")["child"]]
    assert child is not None
    entry = vm_map_lookup_entry(child.vm_map, A)[1]
    assert (entry.wired_count, entry.eflags & MAP_ENTRY_USER_WIRED) == (0, 0)
    assert entry.object is not process.entry(A).object
    assert len(entry.object.pages) == 4
    assert child.vm_pmap.wired_count == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_future_mappings_of_a_stack_are_wired_within_memlock(name):
    """MAP_WIREFUTURE: growth wires the new piece, and RLIMIT_MEMLOCK stops it, unless vm.old_mlock."""
    process = process_rig(name, lim_memlock=0x20000)
    process.do("set", name="wirefuture", value=1)
    assert process.do("growstack", addr=USRSTACK - 0x21000) == KERN_SUCCESS
    assert process.entry(USRSTACK - 0x21000).wired_count == 1
    assert process.map.pmap.wired_count == 32
    assert process.do("growstack", addr=USRSTACK - 0x41000) == 3
    process.do("set", name="old_mlock", value=1)
    assert process.do("growstack", addr=USRSTACK - 0x41000) == KERN_SUCCESS


def test_a_wired_stack_that_grew_up_is_counted_out_whole():
    """vm_map.c 12.1: growing up counts nothing in, unwiring counts all out; the unsigned count wraps and refuses."""
    process = rig("freebsd-12.1", sgrowsiz=4 * PG)
    process.do("stack", addr=A, size=64 * PG, prot=3, max=7, cow=0x2000)
    assert process.do("wire", start=A, end=A + 4 * PG, flags=USER) == KERN_SUCCESS
    assert process.vm.user_wire_count == 4
    assert process.do("growstack", addr=A + 5 * PG) == KERN_SUCCESS
    process.do("unwire", start=A, end=A + 8 * PG, flags=USER)
    assert process.vm.user_wire_count == (1 << 64) - 4
    assert process.do("wire", start=A, end=A + 2 * PG, flags=USER) == KERN_RESOURCE_SHORTAGE
