"""Counters of the virtual memory system.

FreeBSD: struct vmmeter, sys/sys/vmmeter.h; sysctl vm.stats, sys/vm/vm_meter.c.
"""

from __future__ import annotations

from typing import Protocol

RESERVED_SHARE = 256
"""One page in this many is kept for the page daemon itself."""
TARGET_SHARE = 32


class Counted(Protocol):
    """A page queue, as far as it is counted: struct vm_pagequeue."""

    @property
    def cnt(self) -> int:
        """Pages in it."""
        ...


class VmMeter:
    """struct vmmeter: events since boot, and how many pages are where."""

    __slots__ = (
        "_queues", "v_cow_faults", "v_cow_optim", "v_dfree", "v_free_count", "v_free_min", "v_free_reserved",
        "v_free_target", "v_io_faults", "v_page_count", "v_pdpages", "v_pdwakeups", "v_pfree",
        "v_reactivated", "v_swapin", "v_swapout", "v_swappgsin", "v_swappgsout", "v_tfree", "v_vm_faults",
        "v_vnodein", "v_vnodeout", "v_vnodepgsin", "v_vnodepgsout", "v_wire_count", "v_zfod",
    )  # fmt: skip

    def __init__(self, page_count: int, queues: tuple[Counted, Counted, Counted]) -> None:
        self._queues = queues
        self.v_page_count = page_count
        self.v_free_count = page_count
        self.v_free_reserved = max(2, page_count // RESERVED_SHARE)
        self.v_free_min = self.v_free_reserved * 2
        self.v_free_target = max(self.v_free_min * 2, page_count // TARGET_SHARE)
        self.v_wire_count = 0
        self.v_vm_faults = 0
        self.v_io_faults = 0
        self.v_cow_faults = 0
        self.v_cow_optim = 0
        self.v_zfod = 0
        self.v_vnodein = 0
        self.v_vnodepgsin = 0
        self.v_vnodeout = 0
        self.v_vnodepgsout = 0
        self.v_swapin = 0
        self.v_swappgsin = 0
        self.v_swapout = 0
        self.v_swappgsout = 0
        self.v_reactivated = 0
        self.v_pdwakeups = 0
        self.v_pdpages = 0
        self.v_dfree = 0
        self.v_pfree = 0
        self.v_tfree = 0

    def severe(self) -> bool:
        """Memory is so short that nothing is mapped ahead of need.  FreeBSD: vm_page_count_severe()."""
        return self.v_free_count * 2 <= self.v_free_reserved + self.v_free_min

    @property
    def v_inactive_count(self) -> int:
        """Pages on the inactive queue."""
        return self._queues[0].cnt

    @property
    def v_active_count(self) -> int:
        """Pages on the active queue."""
        return self._queues[1].cnt

    @property
    def v_laundry_count(self) -> int:
        """Pages waiting to be cleaned; always 0 on a release without a laundry queue."""
        return self._queues[2].cnt
