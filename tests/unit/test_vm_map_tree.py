"""The search tree against a sorted list."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_model.errors import KernelPanic
from kernel_model.vm.vm_map import vm_map_assert_consistent, vm_map_entry_resize
from kernel_model.vm.vm_map_delete import vm_map_delete
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_tree import first_gap, vm_map_entry_resize_free, vm_map_lookup_entry
from tests.conformance.rig import rig

PG = 0x1000
BASE = 0x10000000
SLOTS = 48


def plain_gap(taken, start, length, end):
    at = start
    while at + length <= end:
        hit = [slot for slot in range(at // PG, (at + length) // PG) if slot in taken]
        if not hit:
            return at
        at = (max(hit) + 1) * PG
    return None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, SLOTS - 1), st.integers(1, 5)), max_size=60),
    st.integers(0, SLOTS - 1),
    st.integers(1, 12),
)
def test_tree_agrees_with_a_set_of_pages(changes, start, length):
    """After any insertions and removals: lookups, the lowest gap, order, balance, adj_free and max_free."""
    end = BASE + SLOTS * PG
    process = rig("freebsd-10.1", min=BASE, max=end)
    map_ = process.map
    taken = set()
    with map_.locked():
        for number, (add, slot, pages) in enumerate(changes):
            low, high = BASE + slot * PG, min(BASE + (slot + pages) * PG, end)
            span = set(range(low // PG, high // PG))
            if add and not span & taken:
                # neighbours differ in their rights, so that nothing merges
                assert vm_map_insert(map_, None, 0, low, high, 0, number % 8, 0) == 0
                taken |= span
            elif not add:
                assert vm_map_delete(map_, low, high) == 0
                taken -= span
            vm_map_assert_consistent(map_)
        for slot in range(SLOTS):
            addr = BASE + slot * PG
            found, entry = vm_map_lookup_entry(map_, addr + 5)
            assert found == (addr // PG in taken)
            if found:
                assert entry.start <= addr < entry.end
            else:
                below = [page for page in taken if page < addr // PG]
                assert entry is map_.header if not below else entry.end == (max(below) + 1) * PG
        if start + length <= SLOTS:
            gap = plain_gap(taken, BASE + start * PG, length * PG, end)
            assert first_gap(map_, BASE + start * PG, length * PG) == gap


def test_4096_entries_are_at_most_17_levels_deep():
    """Height balance: 1.44 log2(n), in ascending, descending and alternating order."""
    for order in (range(4096), range(4095, -1, -1), [n // 2 if n % 2 else 4095 - n // 2 for n in range(4096)]):
        process = rig("freebsd-10.1", max=1 << 40)
        with process.map.locked():
            for slot in order:
                assert (
                    vm_map_insert(process.map, None, 0, BASE + slot * 2 * PG, BASE + slot * 2 * PG + PG, 0, 7, 0) == 0
                )
        vm_map_assert_consistent(process.map)
        assert process.map.root.height <= 17


def test_resize_free_after_the_end_or_the_start_moved():
    """vm_map_entry_resize_free(9)'s two examples: end moved, pass the entry; start moved, pass the one before."""
    process = rig("freebsd-10.1", min=BASE, max=BASE + 64 * PG)
    map_ = process.map
    for slot in (4, 12, 20):
        process.do("insert", start=BASE + slot * PG, end=BASE + (slot + 4) * PG, prot=0, max=7)
    low, middle, high = map_
    middle.end += PG
    map_.size += PG
    vm_map_entry_resize_free(map_, middle)
    assert middle.adj_free == 3 * PG
    vm_map_assert_consistent(map_)
    high.start -= PG
    map_.size += PG
    vm_map_entry_resize_free(map_, high.prev)
    assert middle.adj_free == 2 * PG
    assert low.adj_free == 4 * PG
    vm_map_assert_consistent(map_)


def test_entry_resize_moves_the_end_itself():
    """vm_map_entry_resize, the form since 13."""
    process = rig("freebsd-15.0", min=BASE, max=BASE + 64 * PG)
    map_ = process.map
    process.do("insert", start=BASE, end=BASE + 8 * PG, prot=0, max=7)
    entry = process.entry(BASE)
    for pages in (4, -6):
        vm_map_entry_resize(map_, entry, pages * PG)
        vm_map_assert_consistent(map_)
    assert entry.end == BASE + 6 * PG
    with pytest.raises(KernelPanic):
        vm_map_entry_resize(map_, entry, -6 * PG)


def test_adj_free_and_max_free_are_the_page_s_formulas():
    """adj_free is the room up to the next entry or the end; max_free the largest in the subtree."""
    process = rig("freebsd-10.1", min=BASE, max=BASE + 64 * PG)
    for slot in (2, 7, 30):
        process.do("insert", start=BASE + slot * PG, end=BASE + (slot + 1) * PG, prot=0, max=7)
    entries = list(process.map)
    assert [entry.adj_free for entry in entries] == [4 * PG, 22 * PG, 33 * PG]
    assert process.map.root.max_free == 33 * PG
