"""Handing a range over to a map of its own.

FreeBSD: vm_map_submap() in sys/vm/vm_map.c; vm_map_submap(9).
Differs: with nothing mapped at or above the range, 9.3 to 11.0 cut the map's header and so corrupt the map
(12.1 asserts); here KERN_INVALID_ARGUMENT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.vm.vm_map_flags import MAP_ENTRY_COW, MAP_ENTRY_IS_SUB_MAP, MAP_IS_SUB_MAP
from kernel_model.vm.vm_map_insert import vm_map_clip_end, vm_map_clip_start
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import KERN_INVALID_ARGUMENT, KERN_SUCCESS, KernReturn

if TYPE_CHECKING:
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry


def vm_map_submap(map_: VmMap, start: int, end: int, submap: VmMap) -> KernReturn:
    """Let *submap* serve ``[start, end)``, which must be one fresh entry: no object, no copy-on-write.

    Returns: KERN_INVALID_ARGUMENT otherwise; before 13 the range is left clipped then.
    FreeBSD: vm_map_submap(9).
    """
    release = map_.vm.release
    if release.submap_marks_map:
        submap.lock()
        submap.flags |= MAP_IS_SUB_MAP
        submap.unlock()
    map_.lock()
    rv = _submap(map_, *map_.range_check(start, end), submap)
    map_.unlock()
    if rv != KERN_SUCCESS and release.submap_marks_map:
        submap.lock()
        submap.flags &= ~MAP_IS_SUB_MAP
        submap.unlock()
    return rv


def _submap(map_: VmMap, start: int, end: int, submap: VmMap) -> KernReturn:
    if start >= end:
        return KERN_INVALID_ARGUMENT
    found, entry = vm_map_lookup_entry(map_, start)
    if map_.vm.release.submap_checks_first:
        return _submap_checked(map_, found, entry, start, end, submap)
    if found:
        vm_map_clip_start(map_, entry, start)
    else:
        entry = entry.next
    if entry is map_.header:
        return KERN_INVALID_ARGUMENT
    vm_map_clip_end(map_, entry, end)
    if entry.start != start or entry.end != end or entry.eflags & MAP_ENTRY_COW or entry.object is not None:
        return KERN_INVALID_ARGUMENT
    _hand_over(map_, entry, submap)
    return KERN_SUCCESS


def _submap_checked(map_: VmMap, found: bool, entry: VmMapEntry, start: int, end: int, submap: VmMap) -> KernReturn:
    """Since 13: checked before the cuts and not after them; the object that a cut made in a user map is forgotten."""
    fits = found and entry.end >= end and not entry.eflags & MAP_ENTRY_COW and entry.object is None
    if not fits:
        return KERN_INVALID_ARGUMENT
    vm_map_clip_start(map_, entry, start)
    vm_map_clip_end(map_, entry, end)
    _hand_over(map_, entry, submap)
    return KERN_SUCCESS


def _hand_over(map_: VmMap, entry: VmMapEntry, submap: VmMap) -> None:
    entry.object = submap
    entry.eflags |= MAP_ENTRY_IS_SUB_MAP
    map_.pmap.map_changed(entry.start, entry.end)
