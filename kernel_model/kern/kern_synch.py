"""Waiting for what cannot come.

FreeBSD: sys/kern/kern_synch.c, where such a process would sleep until somebody kills it.
Model only: there is one process, so what only another one could do will never happen.  The run ends there with a
report instead of a host process that hangs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.kern.kern_sig import interrupted, sigexit
from kernel_model.kern.kern_time import next_itimer, sleep_until
from kernel_model.kern.signo import SIGKILL
from kernel_model.ktrace import Unsupported

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread


def sleep_forever(td: Thread, wmesg: str) -> NoReturn:
    """The thread waits for *wmesg* and nothing but a timer can wake it: take a signal, or kill the process.

    Raises: SyscallError, EINTR or ERESTART by the signal; after a kill its number does not matter.
    """
    proc = td.td_proc
    error = interrupted(td)
    while not error:
        alarm = next_itimer(proc)
        if alarm is None:
            break
        error = sleep_until(td, alarm) or interrupted(td)
    if error:
        raise SyscallError(error)
    kt = proc.kernel.ktrace
    if kt.unsupported is not None:
        detail = f"would sleep in {wmesg} for ever: no other process can wake it; killed"
        kt.emit(Unsupported("deadlock", wmesg, td.td_syscall, detail, pid=proc.p_pid))
    sigexit(td, SIGKILL)
    raise SyscallError(E.EDEADLK)
