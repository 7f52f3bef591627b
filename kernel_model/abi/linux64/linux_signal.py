"""The Linux calls on signals, with their layouts.

FreeBSD: sys/compat/linux/linux_signal.c.  Linux: kernel/signal.c for checks and errnos.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.abi.linux64.sendsig import (
    LINUX_MINSIGSTKSZ,
    LINUX_SS_DISABLE,
    LINUX_SS_ONSTACK,
    SIZEOF_SIGINFO,
    linux_ss_flags,
    pack_siginfo,
    sys_rt_sigreturn,
)
from kernel_model.abi.linux64.signo import (
    LINUX_NSIG,
    TO_BSD,
    code_to_bsd,
    mask_to_bsd,
    mask_to_linux,
    to_linux,
)
from kernel_model.errno import EAGAIN, EINVAL, ENOMEM, EPERM, ESRCH
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_sig import (
    SIG_BLOCK,
    SIG_SETMASK,
    SIG_UNBLOCK,
    kern_kill,
    kern_sigaction,
    kern_sigprocmask,
    psignal,
    sigpending,
    tdsendsignal,
)
from kernel_model.kern.kern_synch import kern_sigsuspend, kern_sigtimedwait
from kernel_model.kern.kern_time import read_timespec
from kernel_model.kern.signalvar import KSigInfo, SigAction, StackT
from kernel_model.kern.signo import (
    SA_NOCLDSTOP,
    SA_NOCLDWAIT,
    SA_NODEFER,
    SA_ONSTACK,
    SA_RESETHAND,
    SA_RESTART,
    SA_SIGINFO,
    SI_LWP,
    SI_USER,
    SS_DISABLE,
)
from kernel_model.kern.sysent import Support, Sysent

if TYPE_CHECKING:
    from kernel_model.kern.proc import Proc, Thread

SA_RESTORER = 0x04000000
_FLAGS = (
    (0x1, SA_NOCLDSTOP), (0x2, SA_NOCLDWAIT), (0x4, SA_SIGINFO), (0x08000000, SA_ONSTACK),
    (0x10000000, SA_RESTART), (0x40000000, SA_NODEFER), (0x80000000, SA_RESETHAND),
)  # fmt: skip
_SIGACTION = struct.Struct("<QQQQ")
_STACK = struct.Struct("<Qi4xQ")
SIZEOF_SIGSET = 8
LINUX_SIG_BLOCK, LINUX_SIG_UNBLOCK, LINUX_SIG_SETMASK = range(3)
_HOW = {LINUX_SIG_BLOCK: SIG_BLOCK, LINUX_SIG_UNBLOCK: SIG_UNBLOCK, LINUX_SIG_SETMASK: SIG_SETMASK}
"""Linux's ways of rt_sigprocmask(2) to FreeBSD's."""


def _signo(linux: int) -> int:
    """FreeBSD's number; EINVAL for one that does not exist."""
    if not 0 < linux < LINUX_NSIG:
        raise SyscallError(EINVAL)
    return TO_BSD[linux]


def read_mask(td: Thread, va: int, size: int) -> int:
    """The mask of *size* bytes at *va*, in FreeBSD's numbers; EINVAL for another size than 8."""
    if size != SIZEOF_SIGSET:
        raise SyscallError(EINVAL)
    return mask_to_bsd(int.from_bytes(copyin(td, va, SIZEOF_SIGSET), "little"))


def _pack_mask(mask: int) -> bytes:
    return mask_to_linux(mask).to_bytes(SIZEOF_SIGSET, "little")


# -- actions and masks --------------------------------------------------------------------------------------


def sys_rt_sigaction(td: Thread, signo: int, act: int, oact: int, size: int) -> int:
    """rt_sigaction(2)."""
    if size != SIZEOF_SIGSET:
        raise SyscallError(EINVAL)
    new = None
    if act:
        handler, flags, restorer, mask = _SIGACTION.unpack(copyin(td, act, _SIGACTION.size))
        bsd = sum(bit for linux, bit in _FLAGS if flags & linux)
        kept = restorer if flags & SA_RESTORER else 0
        new = SigAction(handler, bsd, mask_to_bsd(mask), kept)
    old = kern_sigaction(td, _signo(signo), new)
    if oact:
        flags = sum(linux for linux, bit in _FLAGS if old.sa_flags & bit)
        flags |= SA_RESTORER if old.sa_restorer else 0
        mask = mask_to_linux(old.sa_mask)
        copyout(td, oact, _SIGACTION.pack(old.sa_handler, flags, old.sa_restorer, mask))
    return 0


def sys_rt_sigprocmask(td: Thread, how: int, set_: int, oset: int, size: int) -> int:
    """rt_sigprocmask(2)."""
    if size != SIZEOF_SIGSET:
        raise SyscallError(EINVAL)
    old = td.td_sigmask
    if set_:
        mask = read_mask(td, set_, size)
        if how not in _HOW:
            raise SyscallError(EINVAL)
        _ = kern_sigprocmask(td, _HOW[how], mask)
    if oset:
        copyout(td, oset, _pack_mask(old))
    return 0


def sys_rt_sigpending(td: Thread, set_: int, size: int) -> int:
    """rt_sigpending(2)."""
    if size > SIZEOF_SIGSET:
        raise SyscallError(EINVAL)
    copyout(td, set_, _pack_mask(sigpending(td))[:size])
    return 0


def sys_rt_sigsuspend(td: Thread, mask: int, size: int) -> int:
    """rt_sigsuspend(2)."""
    return kern_sigsuspend(td, read_mask(td, mask, size))


def sys_pause(td: Thread) -> int:
    """pause(2)."""
    return kern_sigsuspend(td, td.td_sigmask)


def sys_sigaltstack(td: Thread, ss: int, oss: int) -> int:
    """sigaltstack(2)."""
    rsp = td.td_cpu.get_frame().rsp
    old = td.td_sigstk
    before = _STACK.pack(old.ss_sp, linux_ss_flags(old.flags_at(rsp)), old.ss_size)
    if ss:
        sp, flags, size = _STACK.unpack(copyin(td, ss, _STACK.size))
        if old.holds(rsp):
            raise SyscallError(EPERM)
        if flags not in (0, LINUX_SS_ONSTACK, LINUX_SS_DISABLE):
            raise SyscallError(EINVAL)
        if flags == LINUX_SS_DISABLE:
            td.td_sigstk = StackT(0, 0, SS_DISABLE)
        elif size < LINUX_MINSIGSTKSZ:
            raise SyscallError(ENOMEM)
        else:
            td.td_sigstk = StackT(sp, size, 0)
    if oss:
        copyout(td, oss, before)
    return 0


# -- sending ------------------------------------------------------------------------------------------------


def _from(td: Thread, signo: int, code: int) -> KSigInfo:
    if signo and not 0 < signo < LINUX_NSIG:
        raise SyscallError(EINVAL)
    proc = td.td_proc
    return KSigInfo(TO_BSD[signo], code, ksi_pid=proc.p_pid, ksi_uid=proc.p_ucred.cr_ruid)


def sys_kill(td: Thread, pid: int, signo: int) -> int:
    """kill(2)."""
    kern_kill(td, pid, _from(td, signo, SI_USER))
    return 0


def _send_thread(td: Thread, tid: int, ksi: KSigInfo) -> int:
    if tid <= 0:
        raise SyscallError(EINVAL)
    for thread in td.td_proc.p_threads:
        if thread.td_tid == tid:
            if ksi.ksi_signo:
                tdsendsignal(thread, ksi)
            return 0
    raise SyscallError(ESRCH)


def sys_tkill(td: Thread, tid: int, signo: int) -> int:
    """tkill(2)."""
    return _send_thread(td, tid, _from(td, signo, SI_LWP))


def sys_tgkill(td: Thread, tgid: int, tid: int, signo: int) -> int:
    """tgkill(2)."""
    if tgid <= 0:
        raise SyscallError(EINVAL)
    ksi = _from(td, signo, SI_LWP)
    if tgid != td.td_proc.p_pid:
        raise SyscallError(ESRCH)
    return _send_thread(td, tid, ksi)


def _read_info(td: Thread, signo: int, info: int) -> KSigInfo:
    """A siginfo_t that the program made up: what it says of the sender is passed on."""
    data = copyin(td, info, SIZEOF_SIGINFO)
    code = struct.unpack_from("<i", data, 8)[0]
    pid, uid, value = struct.unpack_from("<iIQ", data, 16)
    number = _signo(signo) if signo else 0
    return KSigInfo(number, code_to_bsd(code), ksi_pid=pid, ksi_uid=uid, ksi_value=value)


def _own_process(td: Thread, pid: int) -> Proc:
    proc = td.td_proc.kernel.procs.get(pid)
    if proc is None:
        raise SyscallError(ESRCH)
    return proc


def sys_rt_sigqueueinfo(td: Thread, pid: int, signo: int, info: int) -> int:
    """rt_sigqueueinfo(2)."""
    ksi = _read_info(td, signo, info)
    target = _own_process(td, pid)
    if ksi.ksi_signo:
        psignal(target, ksi)
    return 0


def sys_rt_tgsigqueueinfo(td: Thread, tgid: int, tid: int, signo: int, info: int) -> int:
    """rt_tgsigqueueinfo(2)."""
    ksi = _read_info(td, signo, info)
    if tgid != td.td_proc.p_pid:
        raise SyscallError(ESRCH)
    return _send_thread(td, tid, ksi)


def sys_rt_sigtimedwait(td: Thread, set_: int, info: int, timeout: int, size: int) -> int:
    """rt_sigtimedwait(2): EAGAIN when the time is over."""
    mask = read_mask(td, set_, size)
    ksi = kern_sigtimedwait(td, mask, read_timespec(td, timeout) if timeout else None)
    if ksi is None:
        raise SyscallError(EAGAIN)
    if info:
        copyout(td, info, pack_siginfo(ksi))
    return to_linux(ksi.ksi_signo)


SYSCALLS: dict[int, Sysent] = {
    13: Sysent("rt_sigaction", "dppu", Support.FULL, sys_rt_sigaction),
    14: Sysent("rt_sigprocmask", "dppu", Support.FULL, sys_rt_sigprocmask),
    15: Sysent("rt_sigreturn", "", Support.FULL, sys_rt_sigreturn),
    34: Sysent("pause", "", Support.FULL, sys_pause),
    62: Sysent("kill", "dd", Support.FULL, sys_kill),
    127: Sysent("rt_sigpending", "pu", Support.FULL, sys_rt_sigpending),
    128: Sysent("rt_sigtimedwait", "pppu", Support.FULL, sys_rt_sigtimedwait),
    129: Sysent("rt_sigqueueinfo", "ddp", Support.FULL, sys_rt_sigqueueinfo),
    130: Sysent("rt_sigsuspend", "pu", Support.FULL, sys_rt_sigsuspend),
    131: Sysent("sigaltstack", "pp", Support.PARTIAL, sys_sigaltstack, "no SS_AUTODISARM"),
    200: Sysent("tkill", "dd", Support.FULL, sys_tkill),
    234: Sysent("tgkill", "ddd", Support.FULL, sys_tgkill),
    297: Sysent("rt_tgsigqueueinfo", "dddp", Support.FULL, sys_rt_tgsigqueueinfo),
}
"""Number to row."""
