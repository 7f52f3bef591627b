"""The system-call table of the FreeBSD ABI.  FreeBSD: sys/kern/init_sysent.c.

A call that has a name and no row of its own answers ENOSYS and says so; a number without a name raises SIGSYS too.
"""

from __future__ import annotations

from functools import cache

from kernel_model.abi.freebsd64 import misc, mman, signal, sys_file
from kernel_model.abi.freebsd64.syscalls import SYSCALLS, SYS___syscall, SYS_syscall
from kernel_model.kern.sysent import Support, Sysent

MISSING: dict[int, str] = {
    2: "no processes yet",
    66: "no processes yet",
    251: "no processes yet",
    362: "no kqueue yet",
    430: "no threads yet",
    455: "no threads yet",
    518: "no processes yet",
    560: "no kqueue yet",
}
"""Why the important missing calls are missing."""


@cache
def table() -> dict[int, Sysent]:
    """Number to row; made once."""
    rows = {
        number: Sysent(name, letters, caveat=MISSING.get(number, "")) for number, (name, letters) in SYSCALLS.items()
    }
    rows.update(sys_file.FILES_SYSCALLS)
    for part in (mman, signal, misc):
        rows.update(part.SYSCALLS)
    for number in (SYS_syscall, SYS___syscall):  # the way in replaces them, a handler would never run
        rows[number] = rows[number]._replace(support=Support.FULL, caveat="the number is the first argument")
    return rows
