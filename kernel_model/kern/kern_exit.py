"""The end of a process.

FreeBSD: sys/kern/kern_exit.c.
Differs: nobody waits yet: the Proc stays in the kernel's table with its status, its memory and files are let go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errno import EJUSTRETURN
from kernel_model.errors import kassert
from kernel_model.kern.proc import P_EXITED
from kernel_model.kern.signo import NSIG

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread


def exit1(td: Thread, status: int, signo: int) -> int:
    """End the process of *td*: by exit(2) with *status*, or by *signo*.  FreeBSD: exit1().

    The address space stays for whoever wants to look at it; the machine frees it with the process.
    """
    proc = td.td_proc
    kassert(not proc.p_state, "exit1: process %d exits twice", proc.p_pid)
    kassert(td in proc.p_threads, "exit1: thread %d is not of process %d", td.td_tid, proc.p_pid)
    kassert(0 <= signo < NSIG, "exit1: signal %d", signo)
    proc.p_state = P_EXITED
    proc.p_xexit = status & 0xFF
    proc.p_xsig = signo
    td.td_ast = True
    proc.p_sigqueue.clear()
    td.td_sigqueue.clear()
    proc.p_fd.free(proc)
    if proc.p_textvp is not None:
        proc.p_textvp.unset_text()
        proc.p_textvp = None
    return EJUSTRETURN


def sys_exit(td: Thread, rval: int) -> int:
    """exit(2), exit_group(2)."""
    return exit1(td, rval, 0)
