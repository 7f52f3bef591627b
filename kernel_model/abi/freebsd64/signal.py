"""The FreeBSD calls on signals, with their layouts.

FreeBSD: sys/kern/kern_sig.c; struct sigaction and stack_t, sys/sys/signal.h; getcontext, sys/kern/kern_context.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.abi.freebsd64.sendsig import PSL_USERCHANGE, set_context, sys_sigreturn
from kernel_model.abi.freebsd64.ucontext import (
    MC_FLAG_MASK,
    MC_HASFPXSTATE,
    SIZEOF_MCONTEXT,
    SIZEOF_STACK,
    SIZEOF_UCONTEXT,
    UC_MCONTEXT,
    MContext,
    pack_mcontext,
    pack_siginfo,
    pack_sigset,
    pack_stack,
    unpack_stack,
)
from kernel_model.errno import EAGAIN, EINTR, EINVAL, EJUSTRETURN, ENOMEM, EPERM, ERESTART, ESRCH
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_sig import (
    SIG_SETMASK,
    kern_kill,
    kern_sigaction,
    kern_sigprocmask,
    sigpending,
    tdsendsignal,
)
from kernel_model.kern.kern_synch import kern_sigsuspend, kern_sigtimedwait
from kernel_model.kern.kern_time import read_timespec
from kernel_model.kern.machdep import PSL_C
from kernel_model.kern.signalvar import KSigInfo, SigAction, StackT
from kernel_model.kern.signo import (
    MINSIGSTKSZ,
    NSIG,
    SA_ALL,
    SI_LWP,
    SI_QUEUE,
    SI_USER,
    SIG_DFL,
    SIG_IGN,
    SS_DISABLE,
)
from kernel_model.kern.sysent import Support, Sysent

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

_SIGACTION = struct.Struct("<Qi16s4x")
SIZEOF_SIGSET = 16


def read_set(td: Thread, va: int) -> int:
    """The sigset_t at *va* as a mask."""
    return int.from_bytes(copyin(td, va, SIZEOF_SIGSET), "little")


def sys_sigaction(td: Thread, signo: int, act: int, oact: int) -> int:
    """sigaction(2)."""
    new = None
    if act:
        handler, flags, mask = _SIGACTION.unpack(copyin(td, act, _SIGACTION.size))
        if handler not in (SIG_DFL, SIG_IGN) and flags & ~SA_ALL:
            raise SyscallError(EINVAL)
        new = SigAction(handler, flags & SA_ALL, int.from_bytes(mask, "little"))
    old = kern_sigaction(td, signo, new)
    if oact:
        mask = pack_sigset(old.sa_mask)
        copyout(td, oact, _SIGACTION.pack(old.sa_handler, old.sa_flags, mask))
    return 0


def sys_sigprocmask(td: Thread, how: int, set_: int, oset: int) -> int:
    """sigprocmask(2)."""
    old = td.td_sigmask
    if set_:
        _ = kern_sigprocmask(td, how, read_set(td, set_))
    if oset:
        copyout(td, oset, pack_sigset(old))
    return 0


def sys_sigpending(td: Thread, set_: int) -> int:
    """sigpending(2)."""
    copyout(td, set_, pack_sigset(sigpending(td)))
    return 0


def sys_sigsuspend(td: Thread, mask: int) -> int:
    """sigsuspend(2)."""
    return kern_sigsuspend(td, read_set(td, mask))


def sys_sigaltstack(td: Thread, ss: int, oss: int) -> int:
    """sigaltstack(2).  Raises EPERM on the alternate stack itself, EINVAL for unknown flags, ENOMEM when too small."""
    sp = td.td_cpu.get_frame().rsp
    old = td.td_sigstk
    before = pack_stack(old.ss_sp, old.ss_size, old.flags_at(sp))
    if ss:
        new_sp, size, flags = unpack_stack(copyin(td, ss, SIZEOF_STACK))
        if old.holds(sp):
            raise SyscallError(EPERM)
        if flags & ~SS_DISABLE:
            raise SyscallError(EINVAL)
        if flags & SS_DISABLE:
            old.ss_flags = SS_DISABLE
        elif size < MINSIGSTKSZ:
            raise SyscallError(ENOMEM)
        else:
            td.td_sigstk = StackT(new_sp, size, 0)
    if oss:
        copyout(td, oss, before)
    return 0


# -- sending ------------------------------------------------------------------------------------------------


def _from(td: Thread, signo: int, code: int, value: int = 0) -> KSigInfo:
    proc = td.td_proc
    return KSigInfo(signo, code, ksi_pid=proc.p_pid, ksi_uid=proc.p_ucred.cr_ruid, ksi_value=value)


def sys_kill(td: Thread, pid: int, signo: int) -> int:
    """kill(2)."""
    kern_kill(td, pid, _from(td, signo, SI_USER))
    return 0


def sys_sigqueue(td: Thread, pid: int, signo: int, value: int) -> int:
    """sigqueue(2): EAGAIN when too many wait."""
    if pid <= 0:
        raise SyscallError(EINVAL)
    kern_kill(td, pid, _from(td, signo, SI_QUEUE, value))
    return 0


def sys_thr_kill(td: Thread, tid: int, signo: int) -> int:
    """thr_kill(2): -1 means every other thread, of which there is none."""
    if not 0 <= signo < NSIG:
        raise SyscallError(EINVAL)
    if tid == -1:
        if signo:
            raise SyscallError(ESRCH)
        return 0
    if tid != td.td_tid:
        raise SyscallError(ESRCH)
    if signo:
        tdsendsignal(td, _from(td, signo, SI_LWP))
    return 0


def sys_thr_kill2(td: Thread, pid: int, tid: int, signo: int) -> int:
    """thr_kill2(2)."""
    if pid != td.td_proc.p_pid:
        raise SyscallError(ESRCH)
    return sys_thr_kill(td, tid, signo)


# -- waiting ------------------------------------------------------------------------------------------------


def sys_sigtimedwait(td: Thread, set_: int, info: int, timeout: int) -> int:
    """sigtimedwait(2): EAGAIN when the time is over."""
    mask = read_set(td, set_)
    ksi = kern_sigtimedwait(td, mask, read_timespec(td, timeout) if timeout else None)
    if ksi is None:
        raise SyscallError(EAGAIN)
    if info:
        copyout(td, info, pack_siginfo(ksi))
    return ksi.ksi_signo


def sys_sigwaitinfo(td: Thread, set_: int, info: int) -> int:
    """sigwaitinfo(2)."""
    return sys_sigtimedwait(td, set_, info, 0)


def sys_sigwait(td: Thread, set_: int, sig: int) -> int:
    """sigwait(2): the errno is the result, as POSIX wants."""
    try:
        ksi = kern_sigtimedwait(td, read_set(td, set_), None)
    except SyscallError as error:
        if error.errno in (ERESTART, EINTR):
            raise SyscallError(ERESTART) from error
        return error.errno
    if ksi is not None:
        copyout(td, sig, ksi.ksi_signo.to_bytes(4, "little"))
    return 0


# -- contexts -----------------------------------------------------------------------------------------------


def sys_getcontext(td: Thread, ucp: int) -> int:
    """getcontext(2): the thread as it will be after a successful return."""
    if not ucp:
        raise SyscallError(EINVAL)
    frame = td.td_cpu.get_frame()
    sp = frame.rsp
    frame.rax = 0
    frame.rdx = 0
    frame.rflags &= ~PSL_C
    onstack = td.td_sigstk.holds(sp)
    context = pack_mcontext(frame, td.td_cpu.get_fpregs(), onstack=onstack, trapno=0, addr=0, err=0)
    copyout(td, ucp, pack_sigset(td.td_sigmask) + context)
    return 0


def sys_setcontext(td: Thread, ucp: int) -> int:
    """setcontext(2).  Raises EINVAL for what set_mcontext() does not believe."""
    if not ucp:
        raise SyscallError(EINVAL)
    data = copyin(td, ucp, SIZEOF_UCONTEXT)
    context = MContext(data[UC_MCONTEXT : UC_MCONTEXT + SIZEOF_MCONTEXT])
    flags = context.flags
    if context.length != SIZEOF_MCONTEXT or flags & ~MC_FLAG_MASK or flags & MC_HASFPXSTATE:
        raise SyscallError(EINVAL)
    before = td.td_cpu.get_frame()
    context.frame.rflags = (context.frame.rflags & PSL_USERCHANGE) | (before.rflags & ~PSL_USERCHANGE)
    set_context(td, context)
    _ = kern_sigprocmask(td, SIG_SETMASK, int.from_bytes(data[:SIZEOF_SIGSET], "little"))
    td.td_ast = True
    return EJUSTRETURN


def sys_swapcontext(td: Thread, oucp: int, ucp: int) -> int:
    """swapcontext(2)."""
    if not ucp or not oucp:
        raise SyscallError(EINVAL)
    _ = sys_getcontext(td, oucp)
    return sys_setcontext(td, ucp)


SYSCALLS: dict[int, Sysent] = {
    37: Sysent("kill", "dd", Support.FULL, sys_kill),
    53: Sysent("sigaltstack", "pp", Support.FULL, sys_sigaltstack),
    340: Sysent("sigprocmask", "dpp", Support.FULL, sys_sigprocmask),
    341: Sysent("sigsuspend", "p", Support.FULL, sys_sigsuspend),
    343: Sysent("sigpending", "p", Support.FULL, sys_sigpending),
    345: Sysent("sigtimedwait", "ppp", Support.FULL, sys_sigtimedwait),
    346: Sysent("sigwaitinfo", "pp", Support.FULL, sys_sigwaitinfo),
    416: Sysent("sigaction", "dpp", Support.FULL, sys_sigaction),
    417: Sysent("sigreturn", "p", Support.FULL, sys_sigreturn),
    421: Sysent("getcontext", "p", Support.FULL, sys_getcontext),
    422: Sysent("setcontext", "p", Support.FULL, sys_setcontext),
    423: Sysent("swapcontext", "pp", Support.FULL, sys_swapcontext),
    429: Sysent("sigwait", "pp", Support.FULL, sys_sigwait),
    433: Sysent("thr_kill", "ld", Support.FULL, sys_thr_kill),
    456: Sysent("sigqueue", "ddp", Support.FULL, sys_sigqueue),
    481: Sysent("thr_kill2", "dld", Support.FULL, sys_thr_kill2),
}
"""Number to row."""
