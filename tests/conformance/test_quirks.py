"""The quirks Q1 to Q18 of stack growth and the map: what nobody would design, and the real thing does.

Q1 and Q2 are vectors V6 and V7 (test_vectors.py).  Q13, the SIGBUS of a program without the ABI note, is the
trap's, and Q17, strings beyond the stack limit, is execve's: their tests stand with those.
"""

import pytest

from kernel_model.vm.vm_mmap import vm_mmap_to_errno
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_INVALID_ARGUMENT,
    KERN_NO_SPACE,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    USRSTACK,
)
from kernel_model.vm.vm_stack import vm_map_stack
from tests.conformance.rig import CLASSIC, FREEBSD, MODERN, PG, STACK_BOTTOM, process_rig, rig

DOWN = 0x1000
UP = 0x2000
WRITE = 2
EINVAL, ENOMEM = 22, 12
USER_NOHOLES = 1


@pytest.mark.parametrize("name", CLASSIC)
def test_q3_classic_growstack_succeeds_where_no_stack_is(name):
    process = rig(name)
    process.do("insert", start=0x10000000, end=0x10001000, prot=3, max=7)
    assert process.do("growstack", addr=0x20000000) == KERN_SUCCESS
    assert process.do("fault", addr=0x20000000, type=WRITE) != KERN_SUCCESS
    assert process.ranges() == [(0x10000000, 0x10001000)]


@pytest.mark.parametrize("name", CLASSIC)
def test_q4_classic_access_by_another_process_grows_that_process(name):
    process = process_rig(name)
    stack_map = process.stranger.map
    assert vm_map_stack(stack_map, STACK_BOTTOM, 512 << 20, 7, 7, DOWN) == KERN_SUCCESS
    process.set_foreign(1)
    before = process.ranges()
    assert process.do("growstack", addr=USRSTACK - 0x21000) == KERN_SUCCESS
    assert process.ranges() == before
    assert [entry.start for entry in stack_map] == [USRSTACK - 0x40000, USRSTACK - 0x20000]


@pytest.mark.parametrize("name", MODERN)
def test_q4_modern_access_by_another_process_grows_nothing(name):
    process = process_rig(name)
    process.set_foreign(1)
    before = process.ranges()
    assert process.do("growstack", addr=USRSTACK - 0x21000) == KERN_FAILURE
    assert process.do("fault", addr=USRSTACK - 0x21000, type=WRITE) == KERN_PROTECTION_FAILURE
    assert process.ranges() == before


@pytest.mark.parametrize("name", FREEBSD)
def test_q5_until_10_1_a_stack_above_the_process_stack_is_counted(name):
    process = rig(name, usrstack=0x20000000, maxsaddr=0x10000000, ssize=8, lim_stack=8 * PG)
    assert process.do("stack", addr=0x30000000, size=0x80000, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    rv = process.do("growstack", addr=0x30000000 + 0x5F000)
    assert rv == (KERN_NO_SPACE if name in ("freebsd-9.3", "freebsd-10.1") else KERN_SUCCESS)


@pytest.mark.parametrize(
    ("name", "rv"),
    [
        ("freebsd-10.4", KERN_INVALID_ADDRESS),
        ("freebsd-12.1", KERN_SUCCESS),
        ("freebsd-15.0", KERN_SUCCESS),
        ("freebsd-10.1", KERN_SUCCESS),
    ],
)
def test_q6_a_stack_that_needs_no_gap(name, rv):
    process = rig(name, guard=0)
    assert process.do("stack", addr=0x10000000, size=0x10000, prot=3, max=7, cow=DOWN) == rv
    assert process.ranges() == ([] if rv else [(0x10000000, 0x10010000)])


@pytest.mark.parametrize("name", FREEBSD)
def test_q7_the_child_s_stack_size_is_what_still_grows(name):
    """Classic: only the lowest piece of each stack is counted; modern: every piece; both count MAP_STACK mappings."""
    process = process_rig(name)
    assert process.do("growstack", addr=USRSTACK - 0x21000) == KERN_SUCCESS
    assert process.do("stack", addr=0x10000000, size=0x40000, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    assert process.space.vm_ssize == 64
    child = process.spaces[process.out("fork")["child"]]
    assert child is not None
    assert child.vm_ssize == (64 if name in CLASSIC else 96)


@pytest.mark.parametrize(
    ("name", "rv", "errno"),
    [
        ("freebsd-10.4", KERN_NO_SPACE, ENOMEM),
        ("freebsd-12.1", KERN_INVALID_ARGUMENT, EINVAL),
        ("freebsd-15.0", KERN_INVALID_ARGUMENT, EINVAL),
    ],
)
def test_q8_a_stack_not_larger_than_its_guard(name, rv, errno):
    process = rig(name)
    assert process.do("stack", addr=0x10000000, size=PG, prot=3, max=7, cow=DOWN) == rv
    assert vm_mmap_to_errno(rv) == errno
    assert process.ranges() == []


@pytest.mark.parametrize("name", MODERN)
def test_q9_lowering_and_raising_the_limit_caps_growth_for_good(name):
    """setrlimit(2) protects the band between the limits; its cut through the gap is never mended."""
    process = process_rig(name, lim_stack=64 << 20)
    low, high = USRSTACK - (64 << 20), USRSTACK - (8 << 20)
    assert process.do("protect", start=low, end=high, prot=0) == KERN_SUCCESS  # 64M -> 8M
    process.do("set", name="lim_stack", value=8 << 20)
    assert process.do("protect", start=low, end=high, prot=7) == KERN_SUCCESS  # back to 64M
    process.do("set", name="lim_stack", value=64 << 20)
    assert (STACK_BOTTOM, low) in process.ranges()
    assert process.do("fault", addr=high + PG, type=WRITE) == KERN_SUCCESS  # above the old limit's guard
    assert process.do("fault", addr=high, type=WRITE) == KERN_PROTECTION_FAILURE  # the upper piece keeps its guard
    assert process.do("fault", addr=high - PG, type=WRITE) == KERN_PROTECTION_FAILURE
    assert process.do("growstack", addr=high - PG) == KERN_FAILURE  # its successor is no stack


@pytest.mark.parametrize("name", MODERN)
def test_q10_protecting_a_guard_succeeds_and_changes_nothing(name):
    process = rig(name)
    assert process.do("insert", start=0x10000000, end=0x10010000, prot=0, max=0, cow=0x80) == KERN_SUCCESS
    assert process.do("protect", start=0x10000000, end=0x10010000, prot=7) == KERN_SUCCESS
    assert [entry.protection for entry in process.map] == [0] * len(process.ranges())
    assert process.do("fault", addr=0x10000000, type=1) == KERN_PROTECTION_FAILURE


@pytest.mark.parametrize("name", MODERN)
def test_q11_a_hole_cut_into_the_top_of_a_gap(name):
    """What remains of the gap answers with ACCERR's code, the hole with MAPERR's; neither grows."""
    process = process_rig(name)
    top = USRSTACK - 0x20000
    assert process.do("remove", start=top - PG, end=top) == KERN_SUCCESS
    assert process.do("fault", addr=top - PG, type=WRITE) == KERN_INVALID_ADDRESS
    assert process.do("fault", addr=top - 2 * PG, type=WRITE) == KERN_PROTECTION_FAILURE


@pytest.mark.parametrize("name", FREEBSD)
def test_q12_no_swap_is_einval_to_mmap(name):
    process = rig(name)
    process.do("set", name="swap_cap", value=PG)
    rv = process.do("find", addr=0x10000000, len=2 * PG, space=1, prot=3, max=7)
    assert rv == KERN_RESOURCE_SHORTAGE
    assert vm_mmap_to_errno(rv) == EINVAL


@pytest.mark.parametrize("name", MODERN)
def test_q14_wiring_a_stack_with_its_gap_fails(name):
    process = process_rig(name)
    assert process.do("wire", start=STACK_BOTTOM, end=USRSTACK, flags=USER_NOHOLES) == KERN_INVALID_ADDRESS
    assert [entry.wired_count for entry in process.map] == [0, 0]
    assert process.map.pmap.wired_count == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_q15_protect_counts_two_on_the_timestamp_since_12(name):
    process = rig(name)
    process.do("insert", start=0x10000000, end=0x10010000, prot=3, max=7)
    before = process.map.timestamp
    assert process.do("protect", start=0x10000000, end=0x10010000, prot=1) == KERN_SUCCESS
    ticks = 2 if name in ("freebsd-12.1", "freebsd-15.0") else 1
    assert process.map.timestamp - before == ticks


@pytest.mark.parametrize("name", FREEBSD)
def test_q16_no_swap_for_a_copy_is_a_shortage_in_the_lookup(name):
    """Since 13 vm_fault keeps such a lookup to itself and tries again; the map layer says the same in every
    release.
    """
    process = rig(name)
    obj = process.out("mkobj", type="anon", size=16)
    assert process.do("insert", obj=obj, start=0x10000000, end=0x10010000, prot=3, max=7, cow=2 | 0x8000) == 0
    process.do("set", name="swap_cap", value=PG)
    assert process.do("lookup", addr=0x10000000, type=WRITE) == KERN_RESOURCE_SHORTAGE
    assert process.do("fault", addr=0x10000000, type=WRITE) == KERN_RESOURCE_SHORTAGE


@pytest.mark.parametrize("name", FREEBSD)
def test_q18_sync_follows_the_source_not_the_page(name):
    """vm_map_sync(9) has the two codes swapped and forbids submaps; the source does neither."""
    process = rig(name)
    process.do("insert", start=0x10000000, end=0x10004000, prot=3, max=7)
    assert process.do("sync", start=0x10000000, end=0x10008000, syncio=1) == KERN_INVALID_ADDRESS
    assert process.do("wire", start=0x10000000, end=0x10004000, flags=USER_NOHOLES) == KERN_SUCCESS
    rv = process.do("sync", start=0x10000000, end=0x10004000, syncio=1, invalidate=1)
    assert rv == KERN_INVALID_ARGUMENT
    process.do("insert", start=0x20000000, end=0x20004000, prot=3, max=7)
    assert process.do("submap", start=0x20000000, end=0x20004000) == KERN_SUCCESS
    assert process.do("sync", start=0x20000000, end=0x20004000, syncio=1) == KERN_SUCCESS
