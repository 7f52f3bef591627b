"""vm_map_stack and vm_map_growstack beyond the vectors: limits, directions, what a listener hears."""

import pytest

from kernel_model.ktrace import MAP
from kernel_model.ktrace.events import CHECK
from kernel_model.release import RELEASES
from kernel_model.vm.vm_check import StepRecorder
from kernel_model.vm.vm_param import (
    KERN_CODES,
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_INVALID_ARGUMENT,
    KERN_NO_SPACE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    USRSTACK,
    WORD_MASK,
)
from tests.conformance.rig import CLASSIC, FREEBSD, MODERN, PG, STACK_BOTTOM, process_rig, rig

A = 0x10000000
DOWN, UP = 0x1000, 0x2000
SG = 0x20000
BELOW = USRSTACK - 0x21000
"""The page right below the first piece of the process stack."""


def stacked(name, cow=DOWN, size=0x100000, **setup):
    process = rig(name, **setup)
    assert process.do("stack", addr=A, size=size, prot=3, max=7, cow=cow) == KERN_SUCCESS
    return process


@pytest.mark.parametrize("name", FREEBSD)
def test_placement(name):
    """The first SGROWSIZ bytes are at the end from which the stack grows away; the rest is reserve."""
    down = stacked(name)
    piece = down.entry(A + 0x100000 - 1)
    assert (piece.start, piece.end) == (A + 0x100000 - SG, A + 0x100000)
    assert (piece.protection, piece.max_protection) == (3, 7)
    up = stacked(name, cow=UP)
    assert (up.entry(A).start, up.entry(A).end) == (A, A + SG)
    if name in CLASSIC:
        assert down.avail() == up.avail() == [0x100000 - SG]


@pytest.mark.parametrize("name", CLASSIC)
def test_a_stack_that_grows_both_ways(name):
    """Classic only: the piece is in the middle, and the nearer end grows."""
    process = stacked(name, cow=DOWN | UP)
    piece = process.entry(A + 0x80000)
    assert (piece.start, piece.end) == (A + 0x80000 - SG // 2, A + 0x80000 + SG // 2)
    assert process.do("growstack", addr=piece.start - 1) == KERN_SUCCESS
    assert process.do("growstack", addr=piece.end) == KERN_SUCCESS


RANGES = [
    (0, 0x40000, KERN_NO_SPACE, KERN_NO_SPACE, KERN_INVALID_ADDRESS),
    (0x20000000, 0x40000, KERN_INVALID_ADDRESS, KERN_INVALID_ADDRESS, KERN_INVALID_ADDRESS),
    (0x20001000, 0x40000, KERN_NO_SPACE, KERN_NO_SPACE, KERN_INVALID_ADDRESS),
    (A, WORD_MASK - 0xFFF, KERN_NO_SPACE, KERN_NO_SPACE, KERN_INVALID_ADDRESS),
    (A, 0, KERN_INVALID_ADDRESS, KERN_NO_SPACE, KERN_INVALID_ADDRESS),
]


@pytest.mark.parametrize("name", FREEBSD)
@pytest.mark.parametrize(("addr", "size", "classic", "ten", "later"), RANGES)
def test_bad_ranges(name, addr, size, classic, ten, later):
    """Classic and 10.4: NO_SPACE for the bottom, vm_map_insert's code for the top; since 12 INVALID_ADDRESS."""
    process = rig(name, max=0x20000000)
    expected = classic if name in CLASSIC else ten if name == "freebsd-10.4" else later
    assert process.do("stack", addr=addr, size=size, prot=3, max=7, cow=DOWN) == expected
    assert process.map.nentries == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_what_is_in_the_way(name):
    """NO_SPACE when the bottom is mapped or an entry begins inside the range, wherever in it."""
    for start in (A, A + 0x50000, A + 0x100000 - PG):
        process = rig(name)
        process.do("insert", start=start, end=start + PG, prot=1, max=7)
        assert process.do("stack", addr=A, size=0x100000, prot=3, max=7, cow=DOWN) == KERN_NO_SPACE
        assert process.map.nentries == 1


@pytest.mark.parametrize("name", FREEBSD)
def test_vmem_bounds_the_first_piece_and_each_growth(name):
    """size + piece against RLIMIT_VMEM; exactly equal succeeds."""
    process = rig(name, lim_vmem=SG - 1)
    assert process.do("stack", addr=A, size=0x100000, prot=3, max=7, cow=DOWN) == KERN_NO_SPACE
    process = stacked(name, lim_vmem=2 * SG)
    assert process.do("growstack", addr=A + 0x100000 - SG - 1) == KERN_SUCCESS
    assert process.do("growstack", addr=A + 0x100000 - 2 * SG - 1) == KERN_NO_SPACE


@pytest.mark.parametrize("name", CLASSIC)
def test_memlock_bounds_a_classic_stack_with_wirefuture(name):
    process = rig(name, lim_memlock=SG - 1)
    process.do("set", name="wirefuture", value=1)
    assert process.do("stack", addr=A, size=0x100000, prot=3, max=7, cow=DOWN) == KERN_NO_SPACE
    process.do("set", name="old_mlock", value=1)
    assert process.do("stack", addr=A, size=0x100000, prot=3, max=7, cow=DOWN) == KERN_SUCCESS


@pytest.mark.parametrize("name", FREEBSD)
def test_fixed_and_find_make_stacks_since_10(name):
    """From vm_map_fixed and vm_map_find with a GROWS bit; 9.3 makes ordinary memory; VMEM is not tested there."""
    process = rig(name, lim_vmem=PG)
    assert process.do("fixed", start=A, len=0x40000, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    top = process.entry(A + 0x3FFFF)
    assert top.start == (A if name == "freebsd-9.3" else A + SG)
    assert bool(top.eflags & DOWN) == (name != "freebsd-9.3")


@pytest.mark.parametrize("name", FREEBSD)
def test_growing_up(name):
    """The entry itself is extended, not a new one made; its object grows along."""
    process = stacked(name, cow=UP)
    assert process.do("fault", addr=A, type=2) == KERN_SUCCESS
    obj = process.entry(A).object
    assert process.do("growstack", addr=A + SG) == KERN_SUCCESS
    assert (process.entry(A).end, process.entry(A).object) == (A + 2 * SG, obj)
    assert (obj.size, obj.charge) == (2 * SG // PG, 2 * SG)
    assert process.do("growstack", addr=A + 0x100000 - 1) == (KERN_SUCCESS if name in CLASSIC else KERN_NO_SPACE)
    assert process.vm.swap_reserved == process.map.size


@pytest.mark.parametrize("name", FREEBSD)
def test_growing_up_without_swap(name):
    process = stacked(name, cow=UP)
    process.do("set", name="swap_cap", value=SG)
    assert process.do("growstack", addr=A + SG) == KERN_NO_SPACE
    assert process.entry(A).end == A + SG


@pytest.mark.parametrize("name", FREEBSD)
def test_growing_down_without_swap_restores_the_gap(name):
    """vm_map_insert's code; the map is as before, also when the whole gap would have been used up."""
    for addr in (A + 0x100000 - SG - 1, A):
        process = stacked(name, guard=0)
        process.do("set", name="swap_cap", value=SG)
        before = process.ranges()
        assert process.do("growstack", addr=addr) == KERN_RESOURCE_SHORTAGE
        assert process.ranges() == before
        assert process.space.vm_ssize == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_only_the_process_stack_is_counted_in_ssize(name):
    process = process_rig(name)
    process.do("stack", addr=A, size=0x100000, prot=3, max=7, cow=DOWN)
    ssize = process.space.vm_ssize
    assert process.do("growstack", addr=A + 0x100000 - SG - 1) == KERN_SUCCESS
    assert process.space.vm_ssize == ssize
    assert process.do("growstack", addr=BELOW) == KERN_SUCCESS
    assert process.space.vm_ssize == ssize + SG // PG


@pytest.mark.parametrize("name", FREEBSD)
def test_addresses_may_be_unaligned(name):
    process = process_rig(name)
    assert process.do("growstack", addr=BELOW + 0xFFF) == KERN_SUCCESS
    assert process.entry(BELOW).start == USRSTACK - 2 * SG


@pytest.mark.parametrize("name", FREEBSD)
def test_a_mapped_address_is_success_and_changes_nothing(name):
    process = process_rig(name)
    before = process.dump()
    assert process.do("growstack", addr=USRSTACK - 1) == KERN_SUCCESS
    after = process.dump()
    before.pop("timestamp"), after.pop("timestamp")
    assert after == before


@pytest.mark.parametrize("name", MODERN)
def test_without_a_text_vnode_nothing_grows(name):
    """A debugger or an AIO daemon would be measured against the wrong limits."""
    process = process_rig(name)
    process.do("set", name="textvp", value=0)
    assert process.do("growstack", addr=BELOW) == KERN_FAILURE


@pytest.mark.parametrize("name", MODERN)
def test_a_plain_guard_does_not_grow(name):
    process = rig(name)
    process.do("insert", start=A, end=A + PG, prot=0, max=0, cow=0x80)
    assert process.do("growstack", addr=A) == KERN_FAILURE
    assert process.do("growstack", addr=A + PG) == KERN_FAILURE


@pytest.mark.parametrize("name", ["freebsd-12.1", "freebsd-15.0"])
def test_disabling_the_gap_later_makes_its_guard_usable(name):
    """PROC_STACKGAP_CTL: the saved guard counts for nothing once the process has opted out."""
    process = stacked(name, guard=4)
    assert process.do("growstack", addr=A) == KERN_NO_SPACE
    process.do("set", name="stkgap_disable", value=1)
    assert process.do("growstack", addr=A) == KERN_SUCCESS
    assert process.ranges()[0][0] == A
    assert process.do("stack", addr=2 * A, size=SG, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    assert (2 * A, 2 * A + SG) in process.ranges()


def test_the_elf_note_disables_the_gap_as_well():
    process = rig("freebsd-15.0")
    process.owner.proc.p_fctl0 = 4
    assert process.do("stack", addr=A, size=SG, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    assert process.ranges() == [(A, A + SG)]


@pytest.mark.parametrize("name", FREEBSD)
def test_huge_guards(name):
    """A guard as large as the gap: modern stacks refuse to be made, classic ones know one page only."""
    process = rig(name, guard=1 << 20)
    rv = process.do("stack", addr=A, size=0x100000, prot=3, max=7, cow=DOWN)
    assert rv == (KERN_SUCCESS if name in CLASSIC else KERN_CODES[RELEASES[name].stack_tiny_code])
    assert rv in (KERN_SUCCESS, KERN_NO_SPACE, KERN_INVALID_ARGUMENT)


@pytest.mark.parametrize(
    ("make", "step", "operands"),
    [
        (lambda n: process_rig(n, lim_stack=SG), "stack_limit", {"need": PG, "ssize": SG, "limit": SG}),
        (lambda n: process_rig(n, lim_vmem=SG), "vmem", {"size": SG, "amount": SG, "limit": SG}),
    ],
    ids=["stack_limit", "vmem"],
)
@pytest.mark.parametrize("name", FREEBSD)
def test_a_listener_hears_which_check_said_no(name, make, step, operands):
    """Named steps with their operands; the last one is the one that refused."""
    process = make(name)
    probe = StepRecorder()
    process.vm.listen(probe)
    assert process.do("growstack", addr=BELOW) == KERN_NO_SPACE
    failed = probe.failed()
    assert failed is not None
    assert failed.name == step
    assert failed.operands.items() >= operands.items()
    assert probe.steps[-1] is failed


@pytest.mark.parametrize("name", FREEBSD)
def test_a_listener_hears_every_check_of_a_growth_in_order(name):
    process = process_rig(name)
    probe = StepRecorder()
    process.vm.listen(probe)
    assert process.do("growstack", addr=BELOW) == KERN_SUCCESS
    heard = [step.name for step in probe.steps if step.kind == CHECK]
    if name in CLASSIC:
        assert heard == ["unmapped", "neighbour", "reserve", "guard", "stack_limit", "vmem", "trim", "insert"]
    else:
        assert heard == ["own_map", "neighbour", "guard", "stack_limit", "vmem", "insert"]
    assert probe.failed() is None


@pytest.mark.parametrize("name", FREEBSD)
def test_a_growth_is_reported_as_a_map_change(name):
    """insert first, then grow with the reserve as it was; nothing is built while nobody listens."""
    process = process_rig(name)
    heard = []
    process.vm.ktrace.subscribe(MAP, heard.append)
    assert process.do("growstack", addr=BELOW) == KERN_SUCCESS
    assert [change.what for change in heard] == ["insert", "grow"]
    grow = heard[-1]
    assert (grow.start, grow.end) == (USRSTACK - 2 * SG, USRSTACK - SG)
    assert (grow.before_start, grow.before_end) == (STACK_BOTTOM, USRSTACK - SG)
