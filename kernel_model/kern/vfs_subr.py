"""The syncer: dirty pages of shared file mappings reach their files half a minute later at the latest.

FreeBSD: sched_sync(), sys/kern/vfs_subr.c; kern.filedelay.
Differs: a kernel process there; here whoever runs the machine calls ``tick``.  Only mapped pages wait: write(2) goes to
the host at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.vm.vnode_pager import vfs_msync

if TYPE_CHECKING:
    from kernel_model.host.clock import Clock
    from kernel_model.vm.vm_init import Vm

FILEDELAY = 30
"""Seconds that a dirty page may wait: kern.filedelay."""
_SECOND = 1_000_000_000


class Syncer:
    """Writes dirty mapped pages back each FILEDELAY seconds of the kernel's clock, but for MAP_NOSYNC mappings."""

    __slots__ = ("_clock", "_due", "_vm")

    def __init__(self, vm: Vm, clock: Clock) -> None:
        self._vm = vm
        self._clock = clock
        self._due = clock.nanouptime() + FILEDELAY * _SECOND

    def tick(self) -> int:
        """Run if it is time: how many dirty objects were written back."""
        now = self._clock.nanouptime()
        if now < self._due:
            return 0
        self._due = now + FILEDELAY * _SECOND
        return vfs_msync(self._vm)
