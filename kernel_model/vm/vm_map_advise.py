"""Inheritance, advice, and writing back what was changed in shared mappings of files.

FreeBSD: vm_map_inherit(), vm_map_madvise(), vm_map_sync() in sys/vm/vm_map.c; vm_map_inherit(9), vm_map_madvise(9),
vm_map_sync(9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errno import EINVAL
from kernel_model.vm.vm import VM_INHERIT_NONE, VM_INHERIT_ZERO
from kernel_model.vm.vm_map import ADVISE, vm_map_entry_set_eflags, vm_map_entry_set_inheritance, vm_map_entry_submap
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_BEHAV_MASK,
    MAP_ENTRY_BEHAV_NORMAL,
    MAP_ENTRY_BEHAV_RANDOM,
    MAP_ENTRY_BEHAV_SEQUENTIAL,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_NOCOREDUMP,
    MAP_ENTRY_NOSYNC,
    MAP_ENTRY_USER_WIRED,
    MAP_PREFAULT_MADVISE,
)
from kernel_model.vm.vm_map_insert import (
    clip_allowed,
    vm_map_clip_end,
    vm_map_clip_start,
    vm_map_pmap_enter,
    vm_map_simplify_entry,
)
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_object import (
    VmObject,
    vm_object_deallocate,
    vm_object_madvise,
    vm_object_reference,
    vm_object_sync,
)
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_INVALID_ARGUMENT,
    KERN_SUCCESS,
    PAGE_SHIFT,
    KernReturn,
)

if TYPE_CHECKING:
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry

MADV_NORMAL = 0
MADV_RANDOM = 1
MADV_SEQUENTIAL = 2
MADV_WILLNEED = 3
MADV_DONTNEED = 4
MADV_FREE = 5
MADV_NOSYNC = 6
MADV_AUTOSYNC = 7
MADV_NOCORE = 8
MADV_CORE = 9

_ENTRY_ADVICE: dict[int, tuple[int, int]] = {
    MADV_NORMAL: (MAP_ENTRY_BEHAV_NORMAL, MAP_ENTRY_BEHAV_MASK),
    MADV_RANDOM: (MAP_ENTRY_BEHAV_RANDOM, MAP_ENTRY_BEHAV_MASK),
    MADV_SEQUENTIAL: (MAP_ENTRY_BEHAV_SEQUENTIAL, MAP_ENTRY_BEHAV_MASK),
    MADV_NOSYNC: (MAP_ENTRY_NOSYNC, 0),
    MADV_AUTOSYNC: (0, MAP_ENTRY_NOSYNC),
    MADV_NOCORE: (MAP_ENTRY_NOCOREDUMP, 0),
    MADV_CORE: (0, MAP_ENTRY_NOCOREDUMP),
}
"""Advice that is kept in the entry: the flags to set and to clear."""
_OBJECT_ADVICE = (MADV_WILLNEED, MADV_DONTNEED, MADV_FREE)


def vm_map_inherit(map_: VmMap, start: int, end: int, new_inheritance: int) -> KernReturn:
    """Set what fork does with ``[start, end)``: VM_INHERIT_SHARE, _COPY, _NONE or (since 10.4) _ZERO.  Holes are fine.

    Returns: KERN_SUCCESS; KERN_INVALID_ARGUMENT for a value that the release does not know.
    FreeBSD: vm_map_inherit(9).
    """
    release = map_.vm.release
    known = VM_INHERIT_ZERO if release.inherit_zero else VM_INHERIT_NONE
    if not 0 <= new_inheritance <= known:
        return KERN_INVALID_ARGUMENT
    if start == end:
        return KERN_SUCCESS
    map_.lock()
    start, end = map_.range_check(start, end)
    found, entry = vm_map_lookup_entry(map_, start)
    if found:
        if not clip_allowed(entry, start):
            map_.unlock()
            return KERN_INVALID_ARGUMENT
        vm_map_clip_start(map_, entry, start)
    else:
        entry = entry.next
    header = map_.header
    while entry is not header and entry.start < end:
        vm_map_clip_end(map_, entry, end)
        if not entry.eflags & MAP_ENTRY_GUARD or new_inheritance != VM_INHERIT_ZERO:
            vm_map_entry_set_inheritance(map_, entry, new_inheritance)
        vm_map_simplify_entry(map_, entry)
        entry = entry.next
    map_.unlock()
    return KERN_SUCCESS


def vm_map_madvise(map_: VmMap, start: int, end: int, behav: int) -> int:
    """Take note of how ``[start, end)`` will be used, MADV_*; holes are fine.

    Returns: KERN_SUCCESS; for an unknown advice KERN_INVALID_ARGUMENT, since 12 the errno EINVAL.
    FreeBSD: vm_map_madvise(9).
    """
    if behav in _ENTRY_ADVICE:
        if start != end:
            _advise_entries(map_, start, end, behav)
        return KERN_SUCCESS
    if behav in _OBJECT_ADVICE:
        if start != end:
            _advise_objects(map_, start, end, behav)
        return KERN_SUCCESS
    return EINVAL if map_.vm.release.madvise_returns_errno else KERN_INVALID_ARGUMENT


def _advise_entries(map_: VmMap, start: int, end: int, behav: int) -> None:
    """Change the entries, which are clipped to the range."""
    set_, clear = _ENTRY_ADVICE[behav]
    map_.lock()
    start, end = map_.range_check(start, end)
    found, entry = vm_map_lookup_entry(map_, start)
    if found:
        vm_map_clip_start(map_, entry, start)
    else:
        entry = entry.next
    header = map_.header
    while entry is not header and entry.start < end:
        if not entry.eflags & MAP_ENTRY_IS_SUB_MAP:
            vm_map_clip_end(map_, entry, end)
            vm_map_entry_set_eflags(map_, entry, set_, clear, ADVISE)
            vm_map_simplify_entry(map_, entry)
        entry = entry.next
    map_.unlock()


def _advise_objects(map_: VmMap, start: int, end: int, behav: int) -> None:
    """Tell the pages; the entries stay as they are."""
    map_.lock_read()
    start, end = map_.range_check(start, end)
    found, entry = vm_map_lookup_entry(map_, start)
    if not found:
        entry = entry.next
    header = map_.header
    while entry is not header and entry.start < end:
        _advise_object(map_, entry, max(start, entry.start), min(end, entry.end), behav)
        entry = entry.next
    map_.unlock_read()


def _advise_object(map_: VmMap, entry: VmMapEntry, start: int, end: int, behav: int) -> None:
    release = map_.vm.release
    obj = entry.vm_object
    if obj is None or start >= end:
        return
    if behav == MADV_FREE and obj.backing_object is not None and release.madvise_free_skips_shadows:
        return
    first = (entry.offset + start - entry.start) >> PAGE_SHIFT
    last = first + ((end - start) >> PAGE_SHIFT)
    if behav in (MADV_DONTNEED, MADV_FREE):
        map_.pmap.advise(start, end, behav)
    vm_object_madvise(obj, first, last, behav)
    if behav == MADV_WILLNEED and (entry.wired_count == 0 or release.madvise_maps_wired):
        vm_map_pmap_enter(map_, start, entry.protection, obj, first, end - start, MAP_PREFAULT_MADVISE)


def vm_map_sync(map_: VmMap, start: int, end: int, syncio: bool, invalidate: bool) -> KernReturn:
    """Push dirty pages of ``[start, end)`` to their files; *syncio*: wait for it; *invalidate*: drop the
    cached pages too.

    An empty range means the whole entry that holds *start*.
    Returns: KERN_SUCCESS; KERN_INVALID_ADDRESS when something is not mapped; KERN_INVALID_ARGUMENT to invalidate wired
             memory; KERN_FAILURE when a write failed (all the others were still made).
    FreeBSD: vm_map_sync(9).
    Differs: the manual page swaps the two error codes and forbids submaps; this follows the source.
    """
    map_.lock_read()
    start, end = map_.range_check(start, end)
    found, entry = vm_map_lookup_entry(map_, start)
    if not found:
        map_.unlock_read()
        return KERN_INVALID_ADDRESS
    if start == end:
        start, end = entry.start, entry.end
    rv = _check_sync(map_, entry, end, invalidate)
    if rv == KERN_SUCCESS:
        if invalidate:
            map_.pmap.remove(start, end)
        rv = _sync_entries(map_, entry, start, end, syncio, invalidate)
    map_.unlock_read()
    return rv


def _check_sync(map_: VmMap, entry: VmMapEntry, end: int, invalidate: bool) -> KernReturn:
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
    sub = vm_map_entry_submap(entry)
    if sub is None:
        return entry.vm_object, offset, size
    sub.lock_read()
    _, inner = vm_map_lookup_entry(sub, offset)
    size = min(size, inner.end - offset) if inner.end > offset else size
    result = inner.vm_object, inner.offset + (offset - inner.start), size
    sub.unlock_read()
    return result
