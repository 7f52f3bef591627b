"""Questions about a map: is this range allowed, is the structure sound.

FreeBSD: vm_map_check_protection() and _vm_map_assert_consistent() in sys/vm/vm_map.c; vm_map_check_protection(9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.vm.vm_map_flags import MAP_ENTRY_GUARD
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry

if TYPE_CHECKING:
    from kernel_model.vm.vm_map import VmMap


def vm_map_check_protection(map_: VmMap, start: int, end: int, protection: int) -> bool:
    """Whether all of ``[start, end)`` is mapped and every entry allows *protection* now.

    Requires: the map locked, a read lock is enough.
    FreeBSD:  vm_map_check_protection(9).
    """
    found, entry = vm_map_lookup_entry(map_, start)
    if not found:
        return False
    header = map_.header
    while start < end:
        if entry is header or start < entry.start or entry.protection & protection != protection:
            return False
        start = entry.end
        entry = entry.next
    return True


def vm_map_assert_consistent(map_: VmMap) -> None:
    """Walk the whole map and check order, gaps, tree, counts.

    FreeBSD: VM_MAP_ASSERT_CONSISTENT, sysctl debug.vmmap_check.
    """
    header = map_.header
    kassert(header.end == map_.min_offset and header.start == map_.max_offset, "header bounds")
    count = size = 0
    with_guards = map_.vm.release.size_counts_guards
    prev = header
    entry = header.next
    while entry is not header:
        kassert(entry.prev is prev, "map %r: ring broken at %r", map_, entry)
        kassert(entry.start < entry.end, "map %r: empty %r", map_, entry)
        kassert(prev.end <= entry.start, "map %r: overlap at %r", map_, entry)
        kassert(prev.adj_free == entry.start - prev.end, "map %r: adj_free of %r", map_, prev)
        count += 1
        if with_guards or not entry.eflags & MAP_ENTRY_GUARD:
            size += entry.end - entry.start
        prev = entry
        entry = entry.next
    kassert(header.prev is prev, "map %r: ring broken at its end", map_)
    kassert(prev.end <= map_.max_offset, "map %r: beyond its end", map_)
    kassert(prev.adj_free == map_.max_offset - prev.end, "map %r: adj_free of the last entry", map_)
    kassert(count == map_.nentries, "map %r: %d entries, nentries %d", map_, count, map_.nentries)
    kassert(size == map_.size, "map %r: %#x mapped, size %#x", map_, size, map_.size)
    _assert_tree(map_)


def _assert_tree(map_: VmMap) -> None:
    """Every node is above its left and below its right child, balanced, and knows its largest gap."""
    root = map_.root
    if root is None:
        kassert(map_.nentries == 0, "map %r: no root", map_)
        return
    kassert(root.parent is None, "map %r: parent of the root", map_)
    seen = 0
    stack = [root]
    while stack:
        node = stack.pop()
        seen += 1
        most = node.adj_free
        heights = [0, 0]
        for side, child in enumerate((node.left, node.right)):
            if child is None:
                continue
            kassert(child.parent is node, "map %r: parent of %r", map_, child)
            kassert((child.end <= node.start, node.end <= child.start)[side], "map %r: %r misplaced", map_, child)
            most = max(most, child.max_free)
            heights[side] = child.height
            stack.append(child)
        kassert(node.max_free == most, "map %r: max_free of %r is %#x, not %#x", map_, node, node.max_free, most)
        kassert(node.height == max(heights) + 1, "map %r: height of %r", map_, node)
        kassert(abs(heights[0] - heights[1]) < 2, "map %r: %r out of balance", map_, node)
    kassert(seen == map_.nentries, "map %r: %d nodes, nentries %d", map_, seen, map_.nentries)
