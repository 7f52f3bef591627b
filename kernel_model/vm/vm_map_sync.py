"""Writing back what was changed in shared mappings of files.

FreeBSD: vm_map_sync() in sys/vm/vm_map.c.
Differs: vm_map_sync(9) swaps the two error codes and forbids submaps; this follows the source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.vm.vm_map_flags import MAP_ENTRY_USER_WIRED
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_object import vm_object_deallocate, vm_object_reference, vm_object_sync
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_INVALID_ARGUMENT,
    KERN_SUCCESS,
    KernReturn,
)

if TYPE_CHECKING:
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_object import VmObject


def vm_map_sync(map_: VmMap, start: int, end: int, syncio: bool, invalidate: bool) -> KernReturn:
    """Push dirty pages of ``[start, end)`` to their files; *syncio*: wait for it; *invalidate*: drop the
    cached pages too.

    An empty range means the whole entry that holds *start*.
    Returns: KERN_INVALID_ADDRESS when something is not mapped; KERN_INVALID_ARGUMENT to invalidate wired
             memory; KERN_FAILURE when a write failed (all the others were still made).
    FreeBSD: vm_map_sync(9).
    """
    map_.lock_read()
    start, end = map_.range_check(start, end)
    found, entry = vm_map_lookup_entry(map_, start)
    if not found:
        map_.unlock_read()
        return KERN_INVALID_ADDRESS
    if start == end:
        start, end = entry.start, entry.end
    rv = _check(map_, entry, end, invalidate)
    if rv == KERN_SUCCESS:
        if invalidate:
            map_.pmap.remove(start, end)
        rv = _sync_entries(map_, entry, start, end, syncio, invalidate)
    map_.unlock_read()
    return rv


def _check(map_: VmMap, entry: VmMapEntry, end: int, invalidate: bool) -> KernReturn:
    """No hole, and nothing wired that would be thrown away."""
    header = map_.header
    while entry is not header and entry.start < end:
        if invalidate and entry.eflags & MAP_ENTRY_USER_WIRED:
            return KERN_INVALID_ARGUMENT
        if end > entry.end and (entry.next is header or entry.end != entry.next.start):
            return KERN_INVALID_ADDRESS
        entry = entry.next
    return KERN_SUCCESS


def _sync_entries(map_: VmMap, entry: VmMapEntry, start: int, end: int, syncio: bool, invalidate: bool) -> KernReturn:
    failed = False
    header = map_.header
    while entry is not header and entry.start < end:
        obj, offset, size = _behind(entry, start, min(end, entry.end) - start)
        if obj is not None:
            vm_object_reference(obj)
            if not vm_object_sync(obj, offset, size, syncio, invalidate):
                failed = True
            vm_object_deallocate(obj)
        start += size
        entry = entry.next
    return KERN_FAILURE if failed else KERN_SUCCESS


def _behind(entry: VmMapEntry, start: int, size: int) -> tuple[VmObject | None, int, int]:
    """The object, offset and length behind *start*; a submap is entered one level deep."""
    offset = entry.offset + (start - entry.start)
    sub = entry.sub_map
    if sub is None:
        return entry.vm_object, offset, size
    sub.lock_read()
    _, inner = vm_map_lookup_entry(sub, offset)
    size = min(size, inner.end - offset) if inner.end > offset else size
    result = inner.vm_object, inner.offset + (offset - inner.start), size
    sub.unlock_read()
    return result
