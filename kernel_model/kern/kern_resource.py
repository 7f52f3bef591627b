"""Resource limits of a process.

FreeBSD: kern_resource.c, struct plimit in sys/sys/resourcevar.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kernel_model.rlimit import (
    RLIM_INFINITY,
    RLIM_NLIMITS,
    RLIMIT_DATA,
    RLIMIT_MEMLOCK,
    RLIMIT_NOFILE,
    RLIMIT_NPROC,
    RLIMIT_STACK,
)
from kernel_model.vm.vm_param import DFLDSIZ, DFLSSIZ, MAXSSIZ

MAXDSIZ = 32 << 30


def _defaults() -> list[tuple[int, int]]:
    table = [(RLIM_INFINITY, RLIM_INFINITY)] * RLIM_NLIMITS
    table[RLIMIT_DATA] = (DFLDSIZ, MAXDSIZ)
    table[RLIMIT_STACK] = (DFLSSIZ, MAXSSIZ)
    table[RLIMIT_MEMLOCK] = (64 << 20, RLIM_INFINITY)
    table[RLIMIT_NOFILE] = (1024, 4096)
    table[RLIMIT_NPROC] = (1024, 1024)
    return table


@dataclass(slots=True, eq=False)
class Plimit:
    """Soft and hard limits, bytes or counts, indexed by RLIMIT_*."""

    pl_rlimit: list[tuple[int, int]] = field(default_factory=_defaults)

    def lim_cur(self, which: int) -> int:
        """The soft limit."""
        return self.pl_rlimit[which][0]

    def lim_max(self, which: int) -> int:
        """The hard limit."""
        return self.pl_rlimit[which][1]

    def set(self, which: int, cur: int, max_: int) -> None:
        """Replace both, unchecked; setrlimit(2) is kern_proc_setrlimit()."""
        self.pl_rlimit[which] = (cur, max_)

    def copy(self) -> Plimit:
        """lim_copy(): what a child starts with."""
        return Plimit(list(self.pl_rlimit))
