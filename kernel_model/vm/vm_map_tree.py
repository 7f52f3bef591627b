"""The search tree of a map: link, unlink, look up an address, find a gap, prove it.

FreeBSD: vm_map_entry_link(), vm_map_entry_unlink(), vm_map_entry_resize_free(), vm_map_lookup_entry() and
vm_map_findspace() in sys/vm/vm_map.c; vm_map_entry_resize_free(9).
Differs: the kernel splays, which moves the root at each search; this is a height-balanced (AVL) tree with
parent links, so a search writes nothing and a million entries are 20 levels deep.  The numbers kept are the
kernel's: ``adj_free`` and ``max_free``.

Shape: the entries also form a ring ``header, first .. last, header``; ``header.end`` is the map's lowest address and
``header.start`` its end, so that the ring can be walked without asking for the header.  ``header.adj_free``
is the gap below the first entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kernel_model.errors import kassert, panic, some

if TYPE_CHECKING:
    from kernel_model.vm.vm_map_entry import VmMapEntry


class EntryTree(Protocol):
    """What holds the tree: struct vm_map."""

    header: VmMapEntry
    root: VmMapEntry | None
    nentries: int


def vm_map_lookup_entry(map_: EntryTree, address: int) -> tuple[bool, VmMapEntry]:
    """True and the entry that holds *address*, or False and the one right below it (the header when there is none).

    FreeBSD: vm_map_lookup_entry(); vm_map_lookup(9).
    """
    cur = map_.root
    bound = map_.header
    while cur is not None:
        if address < cur.start:
            cur = cur.left
        else:
            bound = cur
            cur = cur.right
    return address < bound.end and bound is not map_.header, bound


def vm_map_tree_link(map_: EntryTree, prev: VmMapEntry, entry: VmMapEntry) -> None:
    """Put *entry* right above *prev* (the header for the lowest place).  FreeBSD: part of vm_map_entry_link()."""
    nxt = prev.next
    map_.nentries += 1
    entry.prev = prev
    entry.next = nxt
    prev.next = entry
    nxt.prev = entry
    entry.left = entry.right = None
    entry.height = 1
    entry.adj_free = entry.max_free = nxt.start - entry.end
    prev.adj_free = entry.start - prev.end
    header = map_.header
    parent: VmMapEntry | None
    if prev is not header and prev.right is None:
        parent = prev
        parent.right = entry
    elif nxt is not header:
        parent = nxt
        parent.left = entry
    else:
        kassert(map_.root is None, "vm_map_tree_link: no place above %r", prev)
        parent = None
        map_.root = entry
    entry.parent = parent
    if parent is not None:
        _retrace(map_, parent, prev)


def vm_map_tree_unlink(map_: EntryTree, entry: VmMapEntry) -> None:
    """Take *entry* out; the free space below it grows.  FreeBSD: part of vm_map_entry_unlink()."""
    prev = entry.prev
    nxt = entry.next
    map_.nentries -= 1
    prev.next = nxt
    nxt.prev = prev
    prev.adj_free = nxt.start - prev.end
    left = entry.left
    right = entry.right
    header = map_.header
    if left is None or right is None:
        low = entry.parent
        _replace(map_, entry, left if right is None else right)
        if low is not None:
            _retrace(map_, low, header)
    else:
        _retrace(map_, _unlink_inner(map_, entry, nxt), nxt)
    entry.left = entry.right = entry.parent = None
    if prev is not header:
        _refree(prev)


def _unlink_inner(map_: EntryTree, entry: VmMapEntry, nxt: VmMapEntry) -> VmMapEntry:
    """Replace *entry*, which has two children, by its successor; returns where the tree got lower."""
    low = some(nxt.parent, "parent of a successor")
    if low is entry:
        low = nxt
    else:
        _replace(map_, nxt, nxt.right)
        nxt.right = entry.right
        some(nxt.right, "right child").parent = nxt
    nxt.left = entry.left
    some(nxt.left, "left child").parent = nxt
    nxt.height = entry.height
    _replace(map_, entry, nxt)
    return low


def _replace(map_: EntryTree, old: VmMapEntry, new: VmMapEntry | None) -> None:
    parent = old.parent
    if parent is None:
        map_.root = new
    elif parent.left is old:
        parent.left = new
    else:
        parent.right = new
    if new is not None:
        new.parent = parent


def vm_map_entry_resize_free(map_: EntryTree, entry: VmMapEntry) -> None:
    """Recompute the free space above *entry* after its end, or the next one's start, moved; the header is allowed.

    FreeBSD: vm_map_entry_resize_free(9): when ``end`` moved pass that entry, when ``start`` moved pass the
    one before.
    """
    entry.adj_free = entry.next.start - entry.end
    if entry is not map_.header:
        _refree(entry)


def _refree(node: VmMapEntry | None) -> None:
    """Recompute max_free from *node* up, until nothing changes."""
    while node is not None:
        most = node.adj_free
        left = node.left
        if left is not None and left.max_free > most:
            most = left.max_free
        right = node.right
        if right is not None and right.max_free > most:
            most = right.max_free
        if node.max_free == most:
            return
        node.max_free = most
        node = node.parent


def _retrace(map_: EntryTree, node: VmMapEntry | None, dirty: VmMapEntry) -> None:
    """Restore heights, balance and max_free from *node* up.

    ``dirty`` is the entry whose adj_free changed; it lies on this path or is updated by the caller.  Stops
    early once a node beyond it is left unchanged.
    """
    passed = dirty is map_.header
    while node is not None:
        left = node.left
        right = node.right
        lheight = left.height if left is not None else 0
        rheight = right.height if right is not None else 0
        if node is dirty:
            passed = True
        if -2 < lheight - rheight < 2:
            height = (lheight if lheight > rheight else rheight) + 1
            most = node.adj_free
            if left is not None and left.max_free > most:
                most = left.max_free
            if right is not None and right.max_free > most:
                most = right.max_free
            if passed and node.height == height and node.max_free == most:
                return
            node.height = height
            node.max_free = most
        else:
            node = _rebalance(map_, node, lheight > rheight)
        node = node.parent


def _rebalance(map_: EntryTree, node: VmMapEntry, left_heavy: bool) -> VmMapEntry:
    """Rotate at *node*, whose sides differ by two; returns the subtree's new root."""
    if left_heavy:
        low = some(node.left, "left child")
        if _height(low.right) > _height(low.left):
            _rotate_left(map_, low)
        return _rotate_right(map_, node)
    low = some(node.right, "right child")
    if _height(low.left) > _height(low.right):
        _rotate_right(map_, low)
    return _rotate_left(map_, node)


def _height(node: VmMapEntry | None) -> int:
    return node.height if node is not None else 0


def _update(node: VmMapEntry) -> None:
    left = node.left
    right = node.right
    lheight = rheight = 0
    most = node.adj_free
    if left is not None:
        lheight = left.height
        if left.max_free > most:
            most = left.max_free
    if right is not None:
        rheight = right.height
        if right.max_free > most:
            most = right.max_free
    node.height = (lheight if lheight > rheight else rheight) + 1
    node.max_free = most


def _rotate_left(map_: EntryTree, node: VmMapEntry) -> VmMapEntry:
    up = some(node.right, "right child")
    node.right = up.left
    if up.left is not None:
        up.left.parent = node
    _replace(map_, node, up)
    up.left = node
    node.parent = up
    _update(node)
    _update(up)
    return up


def _rotate_right(map_: EntryTree, node: VmMapEntry) -> VmMapEntry:
    up = some(node.left, "left child")
    node.left = up.right
    if up.right is not None:
        up.right.parent = node
    _replace(map_, node, up)
    up.right = node
    node.parent = up
    _update(node)
    _update(up)
    return up


def first_gap(map_: EntryTree, start: int, length: int) -> int | None:
    """The lowest address >= *start* with *length* free bytes above it, None when the map has no such place.

    Requires: start >= the map's minimum; start + length <= its end.
    FreeBSD: vm_map_findspace(), the search proper.
    """
    found, entry = vm_map_lookup_entry(map_, start)
    begin = entry.end if found or entry.end > start else start
    if begin + length <= entry.next.start:
        return begin
    above = _next_gap(map_, entry, length)
    return above.end if above is not None else None


def _next_gap(map_: EntryTree, entry: VmMapEntry, length: int) -> VmMapEntry | None:
    """The lowest entry above *entry* with *length* free bytes after it."""
    if entry is map_.header:
        root = map_.root
        return _lowest_gap(root, length) if root is not None and root.max_free >= length else None
    node: VmMapEntry = entry
    while True:
        right = node.right
        if right is not None and right.max_free >= length:
            return _lowest_gap(right, length)
        parent = node.parent
        while parent is not None and parent.right is node:
            node = parent
            parent = node.parent
        if parent is None:
            return None
        if parent.adj_free >= length:
            return parent
        node = parent


def _lowest_gap(node: VmMapEntry | None, length: int) -> VmMapEntry:
    """The lowest entry of the subtree with *length* free bytes after it; one exists."""
    while node is not None:
        left = node.left
        if left is not None and left.max_free >= length:
            node = left
        elif node.adj_free >= length:
            return node
        else:
            node = node.right
    panic("vm_map_findspace: max_free corrupt")


def vm_map_assert_tree(map_: EntryTree) -> None:
    """Every node is above its left and below its right child, balanced, and knows its largest gap.

    FreeBSD: part of _vm_map_assert_consistent().
    """
    root = map_.root
    at = map_.header.end
    if root is None:
        kassert(map_.nentries == 0, "map at %#x: no root", at)
        return
    kassert(root.parent is None, "map at %#x: parent of the root", at)
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
            kassert(child.parent is node, "map at %#x: parent of %r", at, child)
            kassert((child.end <= node.start, node.end <= child.start)[side], "map at %#x: %r misplaced", at, child)
            most = max(most, child.max_free)
            heights[side] = child.height
            stack.append(child)
        kassert(node.max_free == most, "map at %#x: max_free of %r is %#x, not %#x", at, node, node.max_free, most)
        kassert(node.height == max(heights) + 1, "map at %#x: height of %r", at, node)
        kassert(abs(heights[0] - heights[1]) < 2, "map at %#x: %r out of balance", at, node)
    kassert(seen == map_.nentries, "map at %#x: %d nodes, nentries %d", at, seen, map_.nentries)
