"""FreeBSD's tests/sys/vm/shared_shadow_inval_test (CVE-2021-29626), its idea and its combinations.

    P1 maps memory and writes it
     └─ P2 (copied)  minherit(SHARE), and forks
         └─ P3 (shared with P2)  has looked at the memory
            P2 writes; P3 must see what P2 wrote, and P1 must not

lazy: P2's entry still needs its copy when P3 is made.  eager: P2 wrote before, so a shadow object is there already.
Optionally a P4 is forked from P1 and keeps the lower object shared, so that nothing can be moved up or collapsed.
"""

from __future__ import annotations

import itertools

import pytest

from kernel_model.vm.vm import VM_INHERIT_SHARE
from kernel_model.vm.vm_map_advise import vm_map_inherit
from kernel_model.vm.vm_param import PAGE_SIZE
from tests.audit import assert_nothing_left
from tests.process import Process

BASE = 0x10_0000
FLAGS = list(itertools.product([False, True], repeat=3))
FLAG_NAMES = [
    f"{'collapse' if collapse else 'keep'}-{'all' if all_pages else 'one'}-{'touched' if touched else 'untouched'}"
    for collapse, all_pages, touched in FLAGS
]


@pytest.mark.parametrize("npages", [1, 2, 4, 16, 64])
@pytest.mark.parametrize(("collapse", "all_pages", "touched"), FLAGS, ids=FLAG_NAMES)
@pytest.mark.parametrize("eager", [False, True], ids=["lazy_cow", "eager_cow"])
def test_a_sharer_sees_the_writers_copy(
    eager: bool, collapse: bool, all_pages: bool, touched: bool, npages: int
) -> None:
    first = Process(release="freebsd-15.0", bare=True)
    first.map_at(BASE, npages * PAGE_SIZE)
    for page in range(npages):
        first.poke(BASE + page * PAGE_SIZE, b"P1")
    family = [first]
    if not collapse:
        family.append(first.fork())
    second = first.fork()
    if eager:
        second.poke(BASE + 100, b"e")
    assert vm_map_inherit(second.map, BASE, BASE + npages * PAGE_SIZE, VM_INHERIT_SHARE) == 0
    third = second.fork()
    family += [second, third]
    if touched:
        for process in (second, third):
            for page in range(npages):
                assert process.peek(BASE + page * PAGE_SIZE, 2) == b"P1"
    written = range(npages) if all_pages else range(npages - 1, npages)
    for page in written:
        second.poke(BASE + page * PAGE_SIZE, b"P2")
    first.check(*family[1:])
    for page in range(npages):
        expected = b"P2" if page in written else b"P1"
        assert second.peek(BASE + page * PAGE_SIZE, 2) == expected
        assert third.peek(BASE + page * PAGE_SIZE, 2) == expected, "the sharer looks at a stale page"
        assert first.peek(BASE + page * PAGE_SIZE, 2) == b"P1"
    third.poke(BASE, b"P3")
    assert second.peek(BASE, 2) == b"P3"
    first.check(*family[1:])
    for process in family:
        process.exit()
    assert_nothing_left(first.vm)
