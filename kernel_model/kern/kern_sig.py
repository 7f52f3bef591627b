"""Signals: what a process keeps about them, how they are sent and how they arrive.

FreeBSD: sys/kern/kern_sig.c, sys/sys/signalvar.h.  Numbers and masks are always FreeBSD's; the Linux ABI translates
at its border (abi/linux64/signo.py).

    trap or kill(2) --> trapsignal() / psignal() --> queue, td_ast
    machine leaves the engine --> ast() --> cursig() --> postsig() --> sv_sendsig: a frame on the guest's stack
                                                                  \\-> sigexit()

Differs: one thread, so the process's queue and the thread's are asked one after the other; nothing stops a
process: a stop signal is reported as unsupported and dropped; a trap's signal is queued first and delivered when
the engine has been left, with the registers of the faulting instruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errno import EAGAIN, EINTR, EINVAL, EPERM, ERESTART, ESRCH
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.kern_exit import exit1
from kernel_model.kern.proc import P_INEXEC
from kernel_model.kern.signalvar import KSigInfo, SigAction, StackT
from kernel_model.kern.signo import (
    CANTMASK,
    NSIG,
    SA_NODEFER,
    SA_ONSTACK,
    SA_RESETHAND,
    SA_RESTART,
    SI_KERNEL,
    SI_QUEUE,
    SIG_DFL,
    SIG_IGN,
    SIGKILL,
    SIGPROP_CORE,
    SIGPROP_IGNORE,
    SIGPROP_STOP,
    SIGSTOP,
    sigmask,
    signame,
)
from kernel_model.ktrace import SignalEvent, Unsupported
from kernel_model.text import printable
from kernel_model.vm.vm_pageout import vm_pageout_oom

if TYPE_CHECKING:
    from kernel_model.kern.proc import Kernel, Proc, Thread

MAX_PENDING = 128
"""kern.sigqueue.max_pending_per_proc: signals that wait with their information."""


def execsigs(td: Thread) -> None:
    """What execve(2) does to signals: no handlers, no alternate stack; mask and pending ones stay."""
    td.td_proc.p_sigacts.reset_for_exec()
    td.td_sigstk = StackT()
    td.td_oldsigmask = None


# -- actions and masks ------------------------------------------------------------------------------------


def kern_sigaction(td: Thread, signo: int, action: SigAction | None) -> SigAction:
    """Set what *signo* does, unless *action* is None; returns what it did.  Raises EINVAL.

    FreeBSD: kern_sigaction().
    """
    if not 0 < signo < NSIG:
        raise SyscallError(EINVAL)
    proc = td.td_proc
    acts = proc.p_sigacts
    old = acts.ps_sigact[signo]
    if action is not None:
        if signo in (SIGKILL, SIGSTOP) and action.sa_handler != SIG_DFL:
            raise SyscallError(EINVAL)
        action.sa_mask &= ~CANTMASK
        acts.ps_sigact[signo] = action
        ignored = action.sa_handler == SIG_IGN or (
            action.sa_handler == SIG_DFL and proc.p_sysent.signals.sigprop(signo) & SIGPROP_IGNORE
        )
        if ignored:
            proc.p_sigqueue[:] = [ksi for ksi in proc.p_sigqueue if ksi.ksi_signo != signo]
            td.td_sigqueue[:] = [ksi for ksi in td.td_sigqueue if ksi.ksi_signo != signo]
    return old


SIG_BLOCK = 1
SIG_UNBLOCK = 2
SIG_SETMASK = 3


def kern_sigprocmask(td: Thread, how: int, mask: int) -> int:
    """Change the blocked signals; returns the old mask.  FreeBSD: kern_sigprocmask()."""
    old = td.td_sigmask
    mask &= ~CANTMASK
    if how == SIG_BLOCK:
        td.td_sigmask = old | mask
    elif how == SIG_UNBLOCK:
        td.td_sigmask = old & ~mask
    elif how == SIG_SETMASK:
        td.td_sigmask = mask
    else:
        raise SyscallError(EINVAL)
    kassert(not td.td_sigmask & CANTMASK, "sigprocmask: mask %#x", td.td_sigmask)
    if td.td_sigqueue or td.td_proc.p_sigqueue:
        td.td_ast = True
    return old


def set_mask_of_call(td: Thread, mask: int) -> None:
    """Block *mask* alone until the return to user mode; the old mask comes back after the handlers.

    FreeBSD: TDP_OLDMASK in kern_sigsuspend(), kern_pselect() and sys_ppoll().
    """
    td.td_oldsigmask = kern_sigprocmask(td, SIG_SETMASK, mask)
    td.td_ast = True


def sigpending(td: Thread) -> int:
    """The signals that wait, as a mask."""
    mask = 0
    for ksi in (*td.td_sigqueue, *td.td_proc.p_sigqueue):
        mask |= sigmask(ksi.ksi_signo)
    return mask


def deliverable(td: Thread) -> list[KSigInfo]:
    """The signals that wait and are not blocked, in the order they will arrive.

    FreeBSD: issignal(): the thread's queue before the process's, lowest number first.
    """
    waiting = [*td.td_sigqueue, *td.td_proc.p_sigqueue]
    open_ = [ksi for ksi in waiting if ksi.ksi_trap or not td.td_sigmask & sigmask(ksi.ksi_signo)]
    open_.sort(key=lambda ksi: (not ksi.ksi_trap, ksi.ksi_signo != SIGKILL, ksi.ksi_signo))
    return open_


def interrupted(td: Thread) -> int:
    """Errno for a blocking call that a signal ends: ERESTART or EINTR; 0 when none waits.

    FreeBSD: sigintr() and cursig() in sleepq_catch_signals().
    """
    acts = td.td_proc.p_sigacts
    sigprop = td.td_proc.p_sysent.signals.sigprop
    for ksi in deliverable(td):
        action = acts.ps_sigact[ksi.ksi_signo]
        if acts.ignores(ksi.ksi_signo, sigprop):
            continue
        return ERESTART if action.sa_flags & SA_RESTART else EINTR
    return 0


# -- sending ----------------------------------------------------------------------------------------------


def psignal(proc: Proc, ksi: KSigInfo) -> None:
    """Send a signal to *proc*.  FreeBSD: pksignal()."""
    kassert(proc.p_threads, "psignal: process %d has no thread", proc.p_pid)
    _send(proc, proc.p_threads[0], proc.p_sigqueue, ksi)


def tdsendsignal(td: Thread, ksi: KSigInfo) -> None:
    """Send a signal to one thread.  FreeBSD: tdsendsignal()."""
    _send(td.td_proc, td, td.td_sigqueue, ksi)


def _send(proc: Proc, td: Thread, queue: list[KSigInfo], ksi: KSigInfo) -> None:
    signo = ksi.ksi_signo
    kassert(0 < signo < NSIG, "signal %d sent", signo)
    if proc.p_state:
        return
    rules = proc.p_sysent.signals
    if proc.p_sigacts.ignores(signo, rules.sigprop) and not ksi.ksi_trap:
        _tell(td, ksi, "ignore")
        return
    known = any(known.ksi_signo == signo for known in queue)
    if known and (signo in (SIGKILL, SIGSTOP) or signo < rules.once_below):
        return
    if known and ksi.ksi_code == SI_KERNEL and not ksi.ksi_trap:
        return
    if len(queue) >= MAX_PENDING:
        if ksi.ksi_code == SI_QUEUE:
            raise SyscallError(EAGAIN)
        if known:
            return
    kassert(ksi not in queue, "signal %d is queued twice", signo)
    queue.append(ksi)
    if td.td_sigmask & sigmask(signo):
        _tell(td, ksi, "queue")
    td.td_ast = True


def trapsignal(td: Thread, ksi: KSigInfo) -> None:
    """The instruction at rip raised *ksi*.  It arrives even if blocked or ignored, and then it kills.

    FreeBSD: trapsignal() with kern.forcesigexit; Linux: force_sig_info().
    """
    kassert(0 < ksi.ksi_signo < NSIG, "trapsignal: signal %d", ksi.ksi_signo)
    kassert(not td.td_proc.p_state, "trapsignal: process %d has exited", td.td_proc.p_pid)
    acts = td.td_proc.p_sigacts
    bit = sigmask(ksi.ksi_signo)
    if td.td_sigmask & bit or acts.ps_sigact[ksi.ksi_signo].sa_handler == SIG_IGN:
        td.td_sigmask &= ~bit
        acts.ps_sigact[ksi.ksi_signo] = SigAction()
    ksi.ksi_trap = True
    td.td_sigqueue.insert(0, ksi)
    td.td_ast = True


# -- arriving ---------------------------------------------------------------------------------------------


def ast(td: Thread) -> None:
    """Do what must be done before the next user instruction: deliver every signal that can be.

    Requires: the engine is not running; ``td_cpu.get_frame()`` is complete.
    FreeBSD:  ast(), sys/kern/subr_trap.c.
    """
    proc = td.td_proc
    while not proc.p_state:
        td.td_ast = False
        ready = deliverable(td)
        if not ready:
            break
        ksi = ready[0]
        queue = td.td_sigqueue if ksi in td.td_sigqueue else proc.p_sigqueue
        queue.remove(ksi)
        postsig(td, ksi)
    if td.td_oldsigmask is not None:
        td.td_sigmask = td.td_oldsigmask
        td.td_oldsigmask = None


def postsig(td: Thread, ksi: KSigInfo) -> None:
    """Take one signal: ignore, stop, kill, or build the handler's frame.  FreeBSD: issignal(), postsig()."""
    proc = td.td_proc
    acts = proc.p_sigacts
    signo = ksi.ksi_signo
    kassert(not proc.p_state, "postsig: process %d has exited", proc.p_pid)
    kassert(ksi.ksi_trap or not td.td_sigmask & sigmask(signo), "postsig: signal %d is blocked", signo)
    action = acts.ps_sigact[signo]
    if action.sa_handler == SIG_DFL or signo == SIGKILL:
        prop = proc.p_sysent.signals.sigprop(signo)
        if prop & SIGPROP_IGNORE and not ksi.ksi_trap:
            _tell(td, ksi, "ignore")
        elif prop & SIGPROP_STOP:
            _stop(td, ksi)
        else:
            _tell(td, ksi, "core" if prop & SIGPROP_CORE else "kill")
            sigexit(td, signo)
        return
    if action.sa_handler == SIG_IGN:
        _tell(td, ksi, "ignore")
        return
    returnmask = td.td_sigmask if td.td_oldsigmask is None else td.td_oldsigmask
    td.td_oldsigmask = None
    _postsig_handler(td, ksi, action, returnmask)


def _postsig_handler(td: Thread, ksi: KSigInfo, action: SigAction, returnmask: int) -> None:
    proc = td.td_proc
    signo = ksi.ksi_signo
    before = td.td_cpu.get_frame()
    onstack = bool(action.sa_flags & SA_ONSTACK) and td.td_sigstk.enabled
    if not proc.p_sysent.sv_sendsig(td, action, ksi, returnmask):
        _tell(td, ksi, "no_frame", action)
        proc.p_sysent.no_frame(td, signo)
        return
    frame = td.td_cpu.get_frame()
    _tell(td, ksi, "deliver", action, frame.rsp, before.rip, altstack=onstack)
    mask = action.sa_mask
    if not action.sa_flags & SA_NODEFER:
        mask |= sigmask(signo)
    td.td_sigmask |= mask & ~CANTMASK
    if action.sa_flags & SA_RESETHAND:
        proc.p_sigacts.ps_sigact[signo] = SigAction()


def _stop(td: Thread, ksi: KSigInfo) -> None:
    proc = td.td_proc
    kt = proc.kernel.ktrace
    if kt.unsupported is not None:
        detail = "processes cannot be stopped; it goes on"
        kt.emit(Unsupported("stop", signame(ksi.ksi_signo), ksi.ksi_signo, detail, pid=proc.p_pid))


def sigexit(td: Thread, signo: int) -> None:
    """End the process by *signo*.  FreeBSD: sigexit().  Differs: no core file is written here."""
    kassert(signo > 0, "sigexit: no signal")
    exit1(td, 0, signo)


def _tell(
    td: Thread,
    ksi: KSigInfo,
    what: str,
    action: SigAction | None = None,
    frame: int = 0,
    rip: int = 0,
    *,
    altstack: bool = False,
) -> None:
    kt = td.td_proc.kernel.ktrace
    if kt.signals is None:
        return
    handler = 0 if action is None else action.sa_handler
    kt.emit(
        SignalEvent(
            ksi.ksi_signo, ksi.ksi_code, ksi.ksi_addr, what, handler, frame, altstack,
            rip or td.td_cpu.get_frame().rip, ksi.ksi_fault, pid=td.td_proc.p_pid, tid=td.td_tid,
        )
    )  # fmt: skip


# -- kill -----------------------------------------------------------------------------


def kern_kill(td: Thread, pid: int, ksi: KSigInfo) -> None:
    """Send *ksi* to *pid* as kill(2) counts them; signal 0 only asks.  Raises ESRCH, EPERM, EINVAL.

    FreeBSD: kern_kill(), killpg1().
    """
    procs = td.td_proc.kernel.procs
    if not 0 <= ksi.ksi_signo < NSIG:
        raise SyscallError(EINVAL)
    if pid > 0:
        targets = [procs[pid]] if pid in procs else []
    elif pid == -1:
        targets = [p for p in procs.values() if p is not td.td_proc]
    else:
        group = td.td_proc.p_pgid if pid == 0 else -pid
        targets = [p for p in procs.values() if p.p_pgid == group]
    if not targets:
        raise SyscallError(EPERM if pid == 1 else ESRCH)
    for target in targets:
        if ksi.ksi_signo:
            psignal(target, ksi)


# -- when memory runs out -------------------------------------------------------------


def out_of_memory(kernel: Kernel) -> bool:
    """Kill the process whose end frees most; False, because nothing is free yet.

    FreeBSD: vm_pageout_oom(), sys/vm/vm_pageout.c; what asks the processes is here.
    Differs: the victim dies when it next returns to user mode; until then only the reserve is left.
    """
    victim = vm_pageout_oom(proc for proc in kernel.procs.values() if _may_die(proc))
    if victim is not None:
        kassert(_may_die(victim), "out_of_memory: process %d may not die", victim.p_pid)
        killproc(kernel, victim, "out of swap space")
    return False


def killproc(kernel: Kernel, proc: Proc, why: str) -> None:
    """Send SIGKILL and say so on the terminal.  FreeBSD: killproc()."""
    if kernel.uprintf is not None:
        uid = proc.p_ucred.cr_uid
        kernel.uprintf(f"pid {proc.p_pid} ({printable(proc.p_comm)}), uid {uid}, was killed: {why}")
    psignal(proc, KSigInfo(SIGKILL, SI_KERNEL))


def was_killed(proc: Proc) -> bool:
    """A SIGKILL waits for the process: P_KILLED()."""
    return any(ksi.ksi_signo == SIGKILL for ksi in proc.p_sigqueue)


def _may_die(proc: Proc) -> bool:
    return not proc.p_state and not proc.p_flag & P_INEXEC and not was_killed(proc)
