"""The resource limits of a process.

FreeBSD: struct plimit, sys/sys/resourcevar.h; limit0 of sys/kern/init_main.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.rlimit import (
    RLIM_INFINITY,
    RLIM_NLIMITS,
    RLIMIT_DATA,
    RLIMIT_MEMLOCK,
    RLIMIT_NOFILE,
    RLIMIT_NPROC,
    RLIMIT_RSS,
    RLIMIT_STACK,
)
from kernel_model.vm.vm_param import DFLDSIZ, DFLSSIZ, MAXSSIZ, PAGE_SHIFT

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm

MAXDSIZ = 32 << 30
LINUX_ONLY = 6
"""LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME."""


def _defaults() -> list[tuple[int, int]]:
    table = [(RLIM_INFINITY, RLIM_INFINITY)] * (RLIM_NLIMITS + LINUX_ONLY)
    table[RLIMIT_DATA] = (DFLDSIZ, MAXDSIZ)
    table[RLIMIT_STACK] = (DFLSSIZ, MAXSSIZ)
    table[RLIMIT_MEMLOCK] = (64 << 20, RLIM_INFINITY)
    table[RLIMIT_NOFILE] = (1024, 4096)
    table[RLIMIT_NPROC] = (1024, 1024)
    for index, value in enumerate((RLIM_INFINITY, 15000, 819200, 0, 0, RLIM_INFINITY)):
        table[RLIM_NLIMITS + index] = (value, value)
    return table


@dataclass(slots=True, eq=False)
class Plimit:
    """Soft and hard limits, bytes or counts, indexed by RLIMIT_*."""

    pl_rlimit: list[tuple[int, int]] = field(default_factory=_defaults)

    @classmethod
    def initial(cls, vm: Vm) -> Plimit:
        """The limits of the first process.  FreeBSD: proc0_init(), sys/kern/init_main.c."""
        limit = cls()
        free = vm.cnt.v_free_count << PAGE_SHIFT
        limit.set(RLIMIT_DATA, vm.release.dfldsiz, MAXDSIZ)
        limit.set(RLIMIT_STACK, min(DFLSSIZ, vm.maxssiz), vm.maxssiz)
        limit.set(RLIMIT_RSS, free, free)
        limit.set(RLIMIT_MEMLOCK, free // 3, free)
        return limit

    def lim_cur(self, which: int) -> int:
        """The soft limit."""
        return self.pl_rlimit[which][0]

    def lim_max(self, which: int) -> int:
        """The hard limit."""
        return self.pl_rlimit[which][1]

    def set(self, which: int, cur: int, max_: int) -> None:
        """Replace both, unchecked; setrlimit(2) is kern_proc_setrlimit()."""
        kassert(0 <= which < len(self.pl_rlimit), "no resource limit has the number %d", which)
        kassert(0 <= cur <= max_, "limit %d: soft %#x, hard %#x", which, cur, max_)
        self.pl_rlimit[which] = (cur, max_)

    def copy(self) -> Plimit:
        """lim_copy(): what a child starts with."""
        return Plimit(list(self.pl_rlimit))
