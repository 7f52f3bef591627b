"""The worked vectors of stack growth, computed apart from any implementation.

V8, the initial stack image, is in test_exec_stack.py.
"""

import pytest

from kernel_model.vm.vm_param import KERN_FAILURE, KERN_NO_SPACE, KERN_PROTECTION_FAILURE, KERN_SUCCESS
from tests.conformance.rig import CLASSIC, MODERN, PG, STACK_BOTTOM, process_rig, rig

DOWN = 0x1000
WRITE = 2
V1_STEPS = (
    # fault, lowest address of the new piece, vm_ssize in bytes, classic avail_ssize
    (0x7FFFFFFDE000, 0x7FFFFFFBF000, 0x40000, 0x1FFC0000),
    (0x7FFFFFFBE000, 0x7FFFFFF9F000, 0x60000, 0x1FFA0000),
    (0x7FFFFFEFF000, 0x7FFFFFEFF000, 0x100000, 0x1FF00000),
    (0x7FFFFF7FF000, 0x7FFFFF7FF000, 0x800000, 0x1F800000),
)


@pytest.mark.parametrize("name", MODERN)
def test_v1_modern_process_stack_up_to_its_limit(name):
    """V1: growth by SGROWSIZ, over a skipped range, exactly to the limit, and one page past it."""
    process = process_rig(name, lim_stack=8 << 20)
    assert process.ranges() == [(0x7FFFDFFFF000, 0x7FFFFFFDF000), (0x7FFFFFFDF000, 0x7FFFFFFFF000)]
    for fault, low, ssize, _ in V1_STEPS:
        top = process.ranges()[1][0]
        assert process.do("fault", addr=fault, type=WRITE) == KERN_SUCCESS
        assert process.ranges()[:2] == [(0x7FFFDFFFF000, low), (low, top)]
        assert process.space.vm_ssize * PG == ssize
    assert process.do("growstack", addr=0x7FFFFF7FE000) == KERN_NO_SPACE
    assert process.do("fault", addr=0x7FFFFF7FE000, type=WRITE) == KERN_PROTECTION_FAILURE
    assert process.space.vm_ssize * PG == 0x800000


@pytest.mark.parametrize("name", CLASSIC)
def test_v1_classic_process_stack_up_to_its_limit(name):
    """V1 with the reserve as a number: the same pieces, avail_ssize counts down, the end is FAILURE."""
    process = process_rig(name, lim_stack=8 << 20)
    assert process.do("insert", start=0x800FFF000, end=0x801000000, prot=3, max=7) == KERN_SUCCESS
    assert process.avail() == [0x1FFE0000]
    for fault, low, ssize, avail in V1_STEPS:
        top = process.ranges()[1][0]
        assert process.do("fault", addr=fault, type=WRITE) == KERN_SUCCESS
        assert process.ranges()[1] == (low, top)
        assert process.avail() == [avail]
        assert process.space.vm_ssize * PG == ssize
    assert process.do("growstack", addr=0x7FFFFF7FE000) == KERN_NO_SPACE
    assert process.do("fault", addr=0x7FFFFF7FE000, type=WRITE) == KERN_FAILURE


@pytest.mark.parametrize("name", CLASSIC + MODERN)
def test_v2_a_limit_off_the_page_trims_the_amount_not_the_need(name):
    """V2: limit 0x2f800 lets the first growth have 0xf000 bytes and refuses the next page."""
    process = process_rig(name, lim_stack=0x2F800)
    assert process.do("growstack", addr=0x7FFFFFFDE000) == KERN_SUCCESS
    assert process.entry(0x7FFFFFFDE000).start == 0x7FFFFFFD0000
    assert process.space.vm_ssize * PG == 0x2F000
    assert process.do("growstack", addr=0x7FFFFFFCF000) == KERN_NO_SPACE
    assert process.space.vm_ssize * PG == 0x2F000


@pytest.mark.parametrize("name", MODERN)
def test_v3_a_mapped_stack_grows_down_to_its_guard(name):
    """V3: 256 KiB: the gap shrinks to the guard page, which is never given away."""
    process = rig(name)
    assert process.do("stack", addr=0x10000000, size=0x40000, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    assert process.ranges() == [(0x10000000, 0x10020000), (0x10020000, 0x10040000)]
    assert process.do("growstack", addr=0x1001F000) == KERN_SUCCESS
    assert process.ranges() == [(0x10000000, 0x10001000), (0x10001000, 0x10020000), (0x10020000, 0x10040000)]
    assert process.do("growstack", addr=0x10000ABC) == KERN_NO_SPACE


@pytest.mark.parametrize("name", MODERN)
def test_v4_a_small_stack_leaves_only_its_guard(name):
    """V4: 64 KiB: everything but the guard is mapped at once and nothing can grow."""
    process = rig(name)
    assert process.do("stack", addr=0x10000000, size=0x10000, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    assert process.ranges() == [(0x10000000, 0x10001000), (0x10001000, 0x10010000)]
    assert process.do("growstack", addr=0x10000FFF) == KERN_NO_SPACE


@pytest.mark.parametrize("name", CLASSIC)
@pytest.mark.parametrize(("guard", "low", "avail"), [(0, 0x1000F000, 0), (1, 0x10010000, 0x1000)])
def test_v5_a_neighbour_in_the_reserve_cuts_the_growth(name, guard, low, avail):
    """V5: growth stops at the neighbour, one page before it with the guard."""
    process = rig(name, guard=guard)
    assert process.do("stack", addr=0x10000000, size=0x40000, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    assert process.do("insert", start=0x1000E000, end=0x1000F000, prot=1, max=7) == KERN_SUCCESS
    assert process.do("growstack", addr=0x1001F000) == KERN_SUCCESS
    assert process.entry(0x1001F000).start == low
    assert process.avail() == [avail]


@pytest.mark.parametrize("name", CLASSIC)
def test_v6_rounding_to_the_neighbour_uses_up_the_guard(name):
    """V6 (Q1): the new piece ends exactly at the neighbour: nothing is cut, no guard page remains."""
    process = rig(name, guard=1)
    assert process.do("insert", start=0x0FFFF000, end=0x10000000, prot=1, max=7) == KERN_SUCCESS
    assert process.do("stack", addr=0x10000000, size=0x40000, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    assert process.do("growstack", addr=0x1001F000) == KERN_SUCCESS
    assert process.ranges() == [(0x0FFFF000, 0x10000000), (0x10000000, 0x10020000), (0x10020000, 0x10040000)]


@pytest.mark.parametrize("name", CLASSIC)
def test_v7_a_refused_growth_trims_the_reserve_and_the_next_takes_the_guard(name):
    """V7 (Q2): avail_ssize becomes the gap, so a smaller growth takes all of it, guard included."""
    process = rig(name, guard=1)
    assert process.do("stack", addr=0x10000000, size=0x40000, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    assert process.do("insert", start=0x1001D000, end=0x1001E000, prot=1, max=7) == KERN_SUCCESS
    assert process.do("growstack", addr=0x1001E000) == KERN_NO_SPACE
    assert process.avail() == [0x2000]
    assert process.do("growstack", addr=0x1001F000) == KERN_SUCCESS
    assert process.ranges() == [(0x1001D000, 0x1001E000), (0x1001E000, 0x10020000), (0x10020000, 0x10040000)]


@pytest.mark.parametrize("name", CLASSIC)
def test_v9_growth_onto_a_neighbour_of_the_same_kind(name):
    """Until 10.1 growstack inserts with cow 0: the piece coalesces with the entry below, then vm_map_clip_end cuts it
    off and gives both an object.  Since 11 GROWS_DOWN is in cow, which keeps vm_map_insert from coalescing.
    """
    process = rig(name)
    assert process.do("insert", start=0x0FFFF000, end=0x10000000, prot=3, max=7) == KERN_SUCCESS
    assert process.do("stack", addr=0x10000000, size=0x40000, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    assert process.do("growstack", addr=0x1001F000) == KERN_SUCCESS
    assert process.ranges() == [(0x0FFFF000, 0x10000000), (0x10000000, 0x10020000), (0x10020000, 0x10040000)]
    assert process.avail() == [0]
    below, piece = process.entry(0x0FFFF000), process.entry(0x10000000)
    if name == "freebsd-11.0":
        assert (below.object, piece.object) == (None, None)
        return
    assert below.object is piece.object
    assert (below.offset, piece.offset, piece.object.size, piece.object.ref_count) == (0, 0x1000, 33, 2)
    assert (below.eflags, piece.eflags) == (0, DOWN)


def test_the_process_stack_is_where_execve_puts_it():
    """The rig itself: 512 MiB below the shared page."""
    assert STACK_BOTTOM == 0x7FFFDFFFF000
