"""Tells the machine and the listeners what changed in a map.

Model only: the pmap learns of every changed span (its mirror follows), a listener gets a MapChange record
when there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.ktrace.events import MapChange
from kernel_model.ktrace.naming import full_path
from kernel_model.vm.vm import OBJT_VNODE
from kernel_model.vm.vm_param import VM_MIN_KERNEL_ADDRESS

if TYPE_CHECKING:
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry

INSERT = "insert"
DELETE = "delete"
PROTECT = "protect"
GROW = "grow"
INHERIT = "inherit"
WIRE = "wire"
UNWIRE = "unwire"
ADVISE = "advise"


def report(
    map_: VmMap, what: str, entry: VmMapEntry, start: int, end: int, before: tuple[int, int, int] = (0, 0, 0)
) -> None:
    """Record that *what* happened to ``[start, end)``, whose attributes are those of *entry*.

    The kernel's own maps are not told.
    Requires: ``map_.vm.ktrace.maps`` is set; callers test it first, so that nobody pays for what nobody hears.
    *before*: protection, and start and end of the reserve, as they were.
    """
    if map_.min_offset >= VM_MIN_KERNEL_ADDRESS:
        return
    obj = entry.vm_object
    vnode = ""
    if obj is not None and obj.type == OBJT_VNODE:
        vnode = full_path(obj.handle)
    map_.vm.ktrace.map_changed(
        MapChange(
            what=what,
            start=start,
            end=end,
            prot=entry.protection,
            max_prot=entry.max_protection,
            inheritance=entry.inheritance,
            eflags=entry.eflags,
            offset=entry.offset + (start - entry.start),
            object_type=-1 if obj is None else obj.type,
            vnode=vnode,
            before_prot=before[0],
            before_start=before[1],
            before_end=before[2],
            map=map_,
        )
    )
