"""DragonFly's six-argument findspace, its stacks and their growth."""

import pytest

from kernel_model.vm.vm_check import StepRecorder
from kernel_model.vm.vm_map_dragonfly import (
    MAP_FIXED,
    MAP_STACK,
    MAP_TRYFIXED,
    dragonfly_findspace,
    dragonfly_stack,
)
from kernel_model.vm.vm_param import KERN_NO_SPACE, KERN_SUCCESS
from tests.conformance.rig import PG, rig

A = 0x10000000
SG = 0x20000
MAX = 0x20000000


@pytest.fixture
def process():
    return rig("dragonfly", max=MAX)


def stack_at(process, addr, size, flags=MAP_FIXED):
    return dragonfly_stack(process.map, addr, size, flags, 3, 7, 0)


@pytest.mark.parametrize("align", [1, PG, 0x10000, 0x200000, 3 * PG, 7 * PG])
def test_alignment_of_any_value(process, align):
    """Powers of two by mask, others by division: each candidate is rounded up."""
    process.do("insert", start=A, end=A + 5 * PG, prot=1, max=7)
    found = dragonfly_findspace(process.map, A, PG, align)
    assert found is not None
    assert found % align == 0
    assert A + 5 * PG <= found < A + 5 * PG + align


def test_ordinary_mappings_stay_out_of_a_reserve(process):
    """Only MAP_STACK mappings may lie in it; the ordinary search goes on above."""
    assert stack_at(process, A, 0x100000) == (KERN_SUCCESS, A)
    assert dragonfly_findspace(process.map, A, PG) == A + 0x100000
    assert dragonfly_findspace(process.map, A, PG, 1, MAP_STACK) == A
    assert dragonfly_findspace(process.map, A - PG, PG) == A - PG
    assert dragonfly_findspace(process.map, A - PG, 2 * PG) == A + 0x100000
    assert process.out("find", addr=A, len=PG, space=1, prot=1, max=7) == A + 0x100000


def test_no_space(process):
    assert dragonfly_findspace(process.map, MAX + 1, PG) is None
    assert dragonfly_findspace(process.map, A, MAX) is None
    assert dragonfly_findspace(process.map, MAX - PG, PG, 1 << 32) is None
    assert dragonfly_findspace(process.map, 0, PG) == PG


def test_a_stack_finds_its_own_place(process):
    """Without MAP_FIXED or MAP_TRYFIXED; with them exactly there or NO_SPACE.  RLIMIT_VMEM is not asked."""
    process.do("set", name="lim_vmem", value=0)
    process.do("insert", start=A, end=A + PG, prot=1, max=7)
    assert stack_at(process, A, 0x100000, flags=MAP_STACK) == (KERN_SUCCESS, A + PG)
    for flags in (MAP_FIXED, MAP_TRYFIXED):
        assert stack_at(process, A, 0x100000, flags=flags)[0] == KERN_NO_SPACE
        assert stack_at(process, A - PG, 0x100000, flags=flags)[0] == KERN_NO_SPACE
    assert stack_at(process, A, MAX, flags=MAP_STACK)[0] == KERN_NO_SPACE


def test_growth_has_all_rights_and_its_reserve_is_unprotected(process):
    """The new piece is VM_PROT_ALL and no stack entry, so the search no longer spares what is left of the reserve."""
    stack_at(process, A, 0x100000)
    assert process.do("growstack", addr=A + 0x100000 - SG - 1) == KERN_SUCCESS
    piece = process.entry(A + 0x100000 - SG - 1)
    assert (piece.start, piece.protection, piece.eflags & 0x1000) == (A + 0x100000 - 2 * SG, 7, 0)
    assert piece.avail_ssize == 0x100000 - 2 * SG
    assert dragonfly_findspace(process.map, A, PG) == A
    assert process.do("growstack", addr=A + 0x100000 - 2 * SG - 1) == KERN_SUCCESS
    assert process.do("growstack", addr=A) == KERN_SUCCESS  # there is no guard page
    assert process.entry(A).start == A


def test_outside_every_reserve_is_success(process):
    stack_at(process, A, 0x40000)
    before = process.ranges()
    for addr in (A - 1, A + 0x40000, MAX - 1, A + 0x40000 - 1):
        assert process.do("growstack", addr=addr) == KERN_SUCCESS
    assert process.ranges() == before


def test_a_neighbour_in_the_reserve(process):
    """Too little room trims the reserve and refuses; enough room is cut at the neighbour."""
    stack_at(process, A, 0x100000)
    process.do("insert", start=A + 0xC0000, end=A + 0xD0000, prot=1, max=7)
    assert process.do("growstack", addr=A + 0xDF000) == KERN_SUCCESS
    assert process.entry(A + 0xDF000).start == A + 0xD0000
    assert process.entry(A + 0xDF000).avail_ssize == 0


def test_a_stack_limit_off_the_page_is_not_rounded():
    """FreeBSD truncates the amount to pages; DragonFly does not, and the insertion shows it."""
    process = rig("dragonfly", max=MAX, maxsaddr=A, ssize=SG // PG, lim_stack=0x2F800)
    stack_at(process, A, 0x100000)
    assert process.do("growstack", addr=A + 0x100000 - SG - 0x10000) == KERN_NO_SPACE
    process.do("set", name="lim_stack", value=SG + 3 * PG)
    assert process.do("growstack", addr=A + 0x100000 - SG - PG) == KERN_SUCCESS
    assert process.entry(A + 0x100000 - SG - PG).start == A + 0x100000 - SG - 3 * PG
    assert process.space.vm_ssize == SG // PG + 3


def test_vmem_bounds_growth():
    process = rig("dragonfly", max=MAX, lim_vmem=2 * SG - 1)
    stack_at(process, A, 0x100000)
    probe = StepRecorder()
    process.vm.listen(probe)
    assert process.do("growstack", addr=A + 0x100000 - SG - PG) == KERN_NO_SPACE
    failed = probe.failed()
    assert failed is not None
    assert failed.name == "vmem"
