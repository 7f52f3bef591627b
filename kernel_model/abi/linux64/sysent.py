"""The system-call table of the Linux ABI.  FreeBSD: sys/amd64/linux/linux_sysent.c.

A call that has a name and no row of its own answers ENOSYS and says so.
"""

from __future__ import annotations

from functools import cache

from kernel_model.abi.linux64 import linux_file, linux_misc, linux_mmap, linux_signal, madvise, mlock, mremap
from kernel_model.abi.linux64.syscalls import SYSCALLS
from kernel_model.kern.sysent import Sysent

MISSING: dict[int, str] = {
    56: "no processes or threads yet",
    57: "no processes yet",
    58: "no processes yet",
    435: "no processes or threads yet",
}
"""Why the important missing calls are missing."""


@cache
def table() -> dict[int, Sysent]:
    """Number to row; made once."""
    rows = {
        number: Sysent(name, "pppppp", caveat=MISSING.get(number, ""))
        for number, name in SYSCALLS.items()
    }
    rows.update(linux_file.FILES_SYSCALLS)
    for part in (linux_mmap, mremap, madvise, mlock, linux_signal, linux_misc):
        rows.update(part.SYSCALLS)
    return rows
