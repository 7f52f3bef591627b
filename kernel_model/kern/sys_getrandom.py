"""Random bytes for a program; one handler serves both ABIs.

FreeBSD: sys/kern/sys_getrandom.c.  Linux: drivers/char/random.c, whose flags have the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errno import EINVAL
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyout

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

GRND_NONBLOCK = 1
GRND_RANDOM = 2
GRND_INSECURE = 4
GETRANDOM_MAX = 32 << 20
"""Bytes that one call gives at most."""


def sys_getrandom(td: Thread, buf: int, size: int, flags: int) -> int:
    """getrandom(2)."""
    exclusive = GRND_RANDOM | GRND_INSECURE
    if flags & ~(GRND_NONBLOCK | exclusive) or flags & exclusive == exclusive:
        raise SyscallError(EINVAL)
    size = min(size, GETRANDOM_MAX)
    copyout(td, buf, td.td_proc.kernel.random_bytes(size))
    return size
