"""Numbers of signals, their codes, flags and default actions.

FreeBSD: sys/sys/signal.h; the default actions are sigproptbl of sys/kern/kern_sig.c.
"""

from __future__ import annotations

SIGHUP = 1
SIGINT = 2
SIGQUIT = 3
SIGILL = 4
SIGTRAP = 5
SIGABRT = 6
SIGEMT = 7
SIGFPE = 8
SIGKILL = 9
SIGBUS = 10
SIGSEGV = 11
SIGSYS = 12
SIGPIPE = 13
SIGALRM = 14
SIGTERM = 15
SIGURG = 16
SIGSTOP = 17
SIGTSTP = 18
SIGCONT = 19
SIGCHLD = 20
SIGTTIN = 21
SIGTTOU = 22
SIGIO = 23
SIGXCPU = 24
SIGXFSZ = 25
SIGVTALRM = 26
SIGPROF = 27
SIGWINCH = 28
SIGINFO = 29
SIGUSR1 = 30
SIGUSR2 = 31
SIGTHR = 32
SIGLIBRT = 33
SIGRTMIN = 65
SIGRTMAX = 126
NSIG = 129
"""One more than the highest signal number."""

SIG_NAMES: dict[int, str] = {
    value: name for name, value in globals().items() if name[:3] == "SIG" and name != "SIGRTMAX"
}
"""Number to name."""

SIG_DFL = 0
SIG_IGN = 1

SA_ONSTACK = 0x1
SA_RESTART = 0x2
SA_RESETHAND = 0x4
SA_NOCLDSTOP = 0x8
SA_NODEFER = 0x10
SA_NOCLDWAIT = 0x20
SA_SIGINFO = 0x40
SA_ALL = 0x7F

SS_ONSTACK = 1
SS_DISABLE = 4
MINSIGSTKSZ = 2048

SI_USER = 0x10001
SI_QUEUE = 0x10002
SI_TIMER = 0x10003
SI_KERNEL = 0x10006
SI_LWP = 0x10007

ILL_ILLOPC = 1
ILL_ILLOPN = 2
ILL_PRVOPC = 5
ILL_COPROC = 7
BUS_ADRALN = 1
BUS_ADRERR = 2
BUS_OBJERR = 3
BUS_OOMERR = 100
SEGV_MAPERR = 1
SEGV_ACCERR = 2
SEGV_PKUERR = 100
FPE_INTOVF = 1
FPE_INTDIV = 2
FPE_FLTDIV = 3
FPE_FLTOVF = 4
FPE_FLTUND = 5
FPE_FLTRES = 6
FPE_FLTINV = 7
FPE_FLTSUB = 8
TRAP_BRKPT = 1
TRAP_TRACE = 2

SIGPROP_KILL = 1
SIGPROP_CORE = 2
SIGPROP_STOP = 4
SIGPROP_IGNORE = 8
SIGPROP_CONT = 16

_CORE = (SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGEMT, SIGFPE, SIGBUS, SIGSEGV, SIGSYS)
_STOP = (SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)
_IGNORE = (SIGURG, SIGCHLD, SIGIO, SIGWINCH, SIGINFO)


def sigmask(signo: int) -> int:
    """The bit of *signo* in a mask."""
    return 1 << signo - 1


CANTMASK = sigmask(SIGKILL) | sigmask(SIGSTOP)
"""What no mask may block: SIG_CANTMASK()."""


def sigprop(signo: int) -> int:
    """What *signo* does by default: SIGPROP_* bits."""
    if signo in _CORE:
        return SIGPROP_KILL | SIGPROP_CORE
    if signo in _STOP:
        return SIGPROP_STOP
    if signo in _IGNORE:
        return SIGPROP_IGNORE
    if signo == SIGCONT:
        return SIGPROP_IGNORE | SIGPROP_CONT
    return SIGPROP_KILL


def signame(signo: int) -> str:
    """``SIGSEGV``, ``SIGRT+3``."""
    name = SIG_NAMES.get(signo)
    if name is None:
        return f"SIGRT+{signo - SIGRTMIN}" if signo > SIGRTMIN else f"signal {signo}"
    return name
