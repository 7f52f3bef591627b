"""Inheritance and advice.

FreeBSD: vm_map_inherit(), vm_map_madvise() in sys/vm/vm_map.c; vm_map_inherit(9), vm_map_madvise(9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.vm.vm import VM_INHERIT_NONE, VM_INHERIT_ZERO
from kernel_model.vm.vm_map_delete import clip_allowed
from kernel_model.vm.vm_map_flags import (
    MAP_ENTRY_BEHAV_MASK,
    MAP_ENTRY_BEHAV_NORMAL,
    MAP_ENTRY_BEHAV_RANDOM,
    MAP_ENTRY_BEHAV_SEQUENTIAL,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_NOCOREDUMP,
    MAP_ENTRY_NOSYNC,
    MAP_PREFAULT_MADVISE,
)
from kernel_model.vm.vm_map_insert import (
    vm_map_clip_end,
    vm_map_clip_start,
    vm_map_pmap_enter,
    vm_map_simplify_entry,
)
from kernel_model.vm.vm_map_report import ADVISE, INHERIT, report
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_object import vm_object_madvise
from kernel_model.vm.vm_param import KERN_INVALID_ARGUMENT, KERN_SUCCESS, PAGE_SHIFT, KernReturn

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
EINVAL = 22

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
    """Set what fork does with ``[start, end)``; holes are fine.

    Returns: KERN_INVALID_ARGUMENT for a value the release does not know.
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
            entry.inheritance = new_inheritance
            if map_.vm.ktrace.maps is not None:
                report(map_, INHERIT, entry, entry.start, entry.end)
        vm_map_simplify_entry(map_, entry)
        entry = entry.next
    map_.unlock()
    return KERN_SUCCESS


def vm_map_madvise(map_: VmMap, start: int, end: int, behav: int) -> int:
    """Take note of how ``[start, end)`` will be used; holes are fine.

    Returns: 0; for an unknown advice KERN_INVALID_ARGUMENT, since 12 the errno EINVAL.
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
            entry.eflags = (entry.eflags & ~clear) | set_
            map_.pmap.map_changed(entry.start, entry.end)
            if map_.vm.ktrace.maps is not None:
                report(map_, ADVISE, entry, entry.start, entry.end)
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
