"""Memory has run out: kill the biggest process.

FreeBSD: vm_pageout_oom(), sys/vm/vm_pageout.c; killproc(), sys/kern/kern_sig.c.
Differs: the victim dies when it next returns to user mode; until then only the reserve is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.kern.kern_sig import psignal
from kernel_model.kern.proc import P_INEXEC
from kernel_model.kern.signalvar import KSigInfo
from kernel_model.kern.signo import SI_KERNEL, SIGKILL
from kernel_model.vm.vm_pageout import vm_pageout_oom

if TYPE_CHECKING:
    from kernel_model.kern.proc import Kernel, Proc


def out_of_memory(kernel: Kernel) -> bool:
    """Kill the process whose end frees most; False, because nothing is free yet.  FreeBSD: vm_pageout_oom()."""
    victim = vm_pageout_oom(proc for proc in kernel.procs.values() if _may_die(proc))
    if victim is not None:
        killproc(kernel, victim, "out of swap space")
    return False


def killproc(kernel: Kernel, proc: Proc, why: str) -> None:
    """Send SIGKILL and say so on the terminal.  FreeBSD: killproc()."""
    if kernel.uprintf is not None:
        uid = proc.p_ucred.cr_uid
        kernel.uprintf(f"pid {proc.p_pid} ({proc.p_comm}), uid {uid}, was killed: {why}")
    psignal(proc, KSigInfo(SIGKILL, SI_KERNEL))


def was_killed(proc: Proc) -> bool:
    """A SIGKILL waits for the process: P_KILLED()."""
    return any(ksi.ksi_signo == SIGKILL for ksi in proc.p_sigqueue)


def _may_die(proc: Proc) -> bool:
    return not proc.p_state and not proc.p_flag & P_INEXEC and not was_killed(proc)
