"""Sleeping: until a time, for a signal, or for what cannot come.

FreeBSD: sys/kern/kern_synch.c; kern_sigsuspend() and kern_sigtimedwait() are of sys/kern/kern_sig.c.  They stand here
because they sleep, and whoever sleeps asks kern_sig whether a signal ends it: kern_sig itself never waits.
Differs: there is one process, so what only another one could do will never happen, and who waits for it would sleep
until somebody kills it.  The run ends there with a report instead of a host process that hangs.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NoReturn

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.kern_clock import itimers_due, next_itimer
from kernel_model.kern.kern_sig import deliverable, interrupted, set_mask_of_call, sigexit
from kernel_model.kern.signo import SIGKILL, sigmask
from kernel_model.ktrace import Unsupported

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread
    from kernel_model.kern.signalvar import KSigInfo


def sleep_until(td: Thread, due: int) -> int:
    """Sleep until nanouptime reaches *due*; returns 0, or the errno by which a signal ended it.

    FreeBSD: msleep_sbt() with PCATCH.  A timer of the process that is due earlier ends it, too.
    """
    proc = td.td_proc
    kassert(not proc.p_state, "sleep_until: process %d has exited", proc.p_pid)
    clock = proc.kernel.clock
    while True:
        itimers_due(proc)
        if deliverable(td):
            error = interrupted(td)
            if error:
                return error
        now = clock.nanouptime()
        if now >= due:
            return 0
        alarm = next_itimer(proc)
        clock.sleep((due if alarm is None else min(due, alarm)) - now)


def sleep_forever(td: Thread, wmesg: str) -> NoReturn:
    """The thread waits for *wmesg* and nothing but a timer can wake it: take a signal, or kill the process.

    Raises: SyscallError, EINTR or ERESTART by the signal; after a kill its number does not matter.
    """
    proc = td.td_proc
    kassert(not proc.p_state, "sleep_forever: process %d has exited", proc.p_pid)
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


# -- sleeping for a signal --------------------------------------------------------------------------


def kern_sigsuspend(td: Thread, mask: int) -> NoReturn:
    """sigsuspend(2): with *mask* until a signal was taken; the old mask comes back after its handler.

    FreeBSD: kern_sigsuspend().
    """
    kassert(td.td_oldsigmask is None, "sigsuspend: thread %d has a mask to go back to", td.td_tid)
    set_mask_of_call(td, mask)
    if not interrupted(td):
        with contextlib.suppress(SyscallError):
            sleep_forever(td, "pause")
    raise SyscallError(E.EINTR)


def kern_sigtimedwait(td: Thread, mask: int, timeout: int | None) -> KSigInfo | None:
    """Take a waiting signal of *mask*; None when *timeout* nanoseconds passed.  FreeBSD: kern_sigtimedwait()."""
    proc = td.td_proc
    clock = proc.kernel.clock
    due = None if timeout is None else clock.nanouptime() + timeout
    while True:
        for queue in (td.td_sigqueue, proc.p_sigqueue):
            for ksi in sorted(queue, key=lambda waiting: waiting.ksi_signo):
                if mask & sigmask(ksi.ksi_signo):
                    queue.remove(ksi)
                    return ksi
        if due is not None and clock.nanouptime() >= due:
            return None
        blocked = td.td_sigmask
        td.td_sigmask = blocked & ~mask
        try:
            if due is None:
                sleep_forever(td, "sigwait")
            _ = sleep_until(td, due)
        except SyscallError:
            if proc.p_state:
                raise
        finally:
            td.td_sigmask = blocked
        if interrupted(td):
            raise SyscallError(E.EINTR)
