"""The other FreeBSD calls of a program with one thread.

FreeBSD: sys/kern/kern_procctl.c, kern_resource.c, sched_4bsd.c; numbers of sys/kern/syscalls.master.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.freebsd64 import sys_machdep as machdep
from kernel_model.errno import (
    EBADF,
    ECHILD,
    EINVAL,
    ENOENT,
    ENOTSOCK,
    EPERM,
    ERANGE,
    ERESTART,
    ESRCH,
)
from kernel_model.errors import SyscallError
from kernel_model.kern import kern_prot as prot
from kernel_model.kern import kern_resource as resource
from kernel_model.kern import kern_sysctl, kern_umtx
from kernel_model.kern import kern_time as time
from kernel_model.kern.copyin import copyinstr, copyout, fuword32, suword32
from kernel_model.kern.kern_exec import sys_execve
from kernel_model.kern.kern_exit import sys_exit
from kernel_model.kern.proc import P2_STKGAP_DISABLE, P2_STKGAP_DISABLE_EXEC
from kernel_model.kern.sys_getrandom import sys_getrandom
from kernel_model.kern.sysent import Support, Sysent
from kernel_model.ktrace import Unsupported

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

FULL, PARTIAL, STUB, NONE = Support.FULL, Support.PARTIAL, Support.STUB, Support.NONE




def sys_wait4(td: Thread, pid: int, status: int, options: int, rusage: int) -> int:
    """wait4(2): there are no children."""
    if options & ~0x7F:
        raise SyscallError(EINVAL)
    raise SyscallError(ECHILD)


def sys_wait6(
    td: Thread, idtype: int, id_: int, status: int, options: int, wrusage: int, info: int
) -> int:
    """wait6(2): there are no children."""
    raise SyscallError(ECHILD)


def sys_getlogin(td: Thread, namebuf: int, size: int) -> int:
    """getlogin(2)."""
    name = b"root\0"
    if size < len(name):
        raise SyscallError(ERANGE)
    copyout(td, namebuf, name)
    return 0


def sys_clock_nanosleep(td: Thread, clock: int, flags: int, rqtp: int, rmtp: int) -> int:
    """clock_nanosleep(2): the errno is the result, as POSIX wants."""
    try:
        return time.sys_clock_nanosleep(td, clock, flags, rqtp, rmtp)
    except SyscallError as error:
        if error.errno == ERESTART:
            raise
        return error.errno


# -- scheduling ---------------------------------------------------------------------------------------------


def sys_sched_yield(td: Thread) -> int:
    """sched_yield(2)."""
    return 0


def sys_sched_getcpu(td: Thread) -> int:
    """sched_getcpu(2)."""
    return 0


PRIO_PROCESS, PRIO_PGRP, PRIO_USER = range(3)
PRIO_MIN, PRIO_MAX = -20, 20


def sys_getpriority(td: Thread, which: int, who: int) -> int:
    """getpriority(2): the nice value."""
    _which(td, which, who)
    return td.td_proc.p_nice


def sys_setpriority(td: Thread, which: int, who: int, value: int) -> int:
    """setpriority(2): the nice value is kept, nothing competes."""
    _which(td, which, who)
    td.td_proc.p_nice = max(PRIO_MIN, min(value, PRIO_MAX))
    return 0


def _which(td: Thread, which: int, who: int) -> None:
    if not PRIO_PROCESS <= which <= PRIO_USER:
        raise SyscallError(EINVAL)
    if who not in (0, td.td_proc.p_pid):
        raise SyscallError(ESRCH)


SCHED_FIFO, SCHED_OTHER, SCHED_RR = 1, 2, 3
_SCHED_PRIORITIES = {SCHED_FIFO: (0, 31), SCHED_OTHER: (0, 103), SCHED_RR: (0, 31)}
"""Lowest and highest of each policy."""


def sys_sched_get_priority_max(td: Thread, policy: int) -> int:
    """sched_get_priority_max(2)."""
    if policy not in _SCHED_PRIORITIES:
        raise SyscallError(EINVAL)
    return _SCHED_PRIORITIES[policy][1]


def sys_sched_get_priority_min(td: Thread, policy: int) -> int:
    """sched_get_priority_min(2)."""
    if policy not in _SCHED_PRIORITIES:
        raise SyscallError(EINVAL)
    return _SCHED_PRIORITIES[policy][0]


def sys_sched_getscheduler(td: Thread, pid: int) -> int:
    """sched_getscheduler(2): SCHED_OTHER."""
    if pid not in (0, td.td_proc.p_pid):
        raise SyscallError(ESRCH)
    return SCHED_OTHER


# -- procctl ------------------------------------------------------------------------------------------------

P_PID = 0
PROC_STACKGAP_CTL = 17
PROC_STACKGAP_STATUS = 18
STACKGAP_ENABLE, STACKGAP_DISABLE, STACKGAP_ENABLE_EXEC, STACKGAP_DISABLE_EXEC = 1, 2, 4, 8
_NOW = STACKGAP_ENABLE | STACKGAP_DISABLE
_AT_EXEC = STACKGAP_ENABLE_EXEC | STACKGAP_DISABLE_EXEC


def sys_procctl(td: Thread, idtype: int, id_: int, cmd: int, data: int) -> int:
    """procctl(2): the stack gap, from 12 on."""
    proc = td.td_proc
    if idtype == P_PID and id_ not in (0, proc.p_pid):
        raise SyscallError(ESRCH)
    if cmd == PROC_STACKGAP_CTL and proc.kernel.release.stkgap_disable:
        return _stackgap_ctl(td, fuword32(td, data))
    if cmd == PROC_STACKGAP_STATUS and proc.kernel.release.stkgap_disable:
        off, off_exec = proc.p_flag2 & P2_STKGAP_DISABLE, proc.p_flag2 & P2_STKGAP_DISABLE_EXEC
        state = STACKGAP_DISABLE if off else STACKGAP_ENABLE
        state |= STACKGAP_DISABLE_EXEC if off_exec else STACKGAP_ENABLE_EXEC
        suword32(td, data, state)
        return 0
    kt = proc.kernel.ktrace
    if kt.unsupported is not None:
        kt.emit(Unsupported("procctl", f"command {cmd}", cmd, pid=proc.p_pid))
    raise SyscallError(EINVAL)


def _stackgap_ctl(td: Thread, state: int) -> int:
    """FreeBSD: stackgap_ctl(): what is off cannot be put on again for this image."""
    proc = td.td_proc
    now, later = state & _NOW, state & _AT_EXEC
    if state & ~(_NOW | _AT_EXEC) or now == _NOW or later == _AT_EXEC:
        raise SyscallError(EINVAL)
    if now == STACKGAP_ENABLE and proc.p_flag2 & P2_STKGAP_DISABLE:
        raise SyscallError(EINVAL)
    if now == STACKGAP_DISABLE:
        proc.p_flag2 |= P2_STKGAP_DISABLE
    if later == STACKGAP_DISABLE_EXEC:
        proc.p_flag2 |= P2_STKGAP_DISABLE_EXEC
    elif later == STACKGAP_ENABLE_EXEC:
        proc.p_flag2 &= ~P2_STKGAP_DISABLE_EXEC
    return 0


# -- odds and ends ------------------------------------------------------------------------------------------


def _no_socket(td: Thread, fd: int, *_: int) -> int:
    """A socket call on a descriptor: none is a socket here."""
    if fd not in td.td_proc.p_fd.fd_files:
        raise SyscallError(EBADF)
    raise SyscallError(ENOTSOCK)


def sys_utrace(td: Thread, addr: int, size: int) -> int:
    """utrace(2): nobody runs ktrace."""
    return 0


MAXLOGNAME = 33
"""Bytes of a log-in name with its NUL."""
MAXMODNAME = 1024


def sys_setlogin(td: Thread, name: int) -> int:
    """setlogin(2)."""
    _ = copyinstr(td, name, MAXLOGNAME)
    raise SyscallError(EPERM)


def sys_modfind(td: Thread, name: int) -> int:
    """modfind(2), kldfind(2): no modules."""
    _ = copyinstr(td, name, MAXMODNAME)
    raise SyscallError(ENOENT)


SYSCALLS: dict[int, Sysent] = {
    1: Sysent("exit", "d", FULL, sys_exit),
    7: Sysent("wait4", "dpxp", PARTIAL, sys_wait4, "no children"),
    20: Sysent("getpid", "", FULL, prot.sys_getpid),
    23: Sysent("setuid", "n", FULL, prot.sys_setuid),
    24: Sysent("getuid", "", FULL, prot.sys_getuid),
    25: Sysent("geteuid", "", FULL, prot.sys_geteuid),
    31: Sysent("getpeername", "fpp", STUB, _no_socket, "no sockets"),
    32: Sysent("getsockname", "fpp", STUB, _no_socket, "no sockets"),
    39: Sysent("getppid", "", FULL, prot.sys_getppid),
    43: Sysent("getegid", "", FULL, prot.sys_getegid),
    47: Sysent("getgid", "", FULL, prot.sys_getgid),
    49: Sysent("getlogin", "bn", FULL, sys_getlogin),
    50: Sysent("setlogin", "s", PARTIAL, sys_setlogin, "EPERM"),
    59: Sysent("execve", "spp", FULL, sys_execve),
    79: Sysent("getgroups", "np", FULL, prot.sys_getgroups),
    80: Sysent("setgroups", "np", FULL, prot.sys_setgroups),
    81: Sysent("getpgrp", "", FULL, prot.sys_getpgrp),
    82: Sysent("setpgid", "dd", FULL, prot.sys_setpgid),
    83: Sysent("setitimer", "npp", FULL, time.sys_setitimer),
    86: Sysent("getitimer", "np", FULL, time.sys_getitimer),
    96: Sysent("setpriority", "ddd", FULL, sys_setpriority),
    100: Sysent("getpriority", "dd", FULL, sys_getpriority),
    105: Sysent("setsockopt", "fddpn", STUB, _no_socket, "no sockets"),
    116: Sysent("gettimeofday", "pp", FULL, time.sys_gettimeofday),
    117: Sysent("getrusage", "dp", PARTIAL, resource.sys_getrusage, "all time is user time"),
    118: Sysent("getsockopt", "fddpp", STUB, _no_socket, "no sockets"),
    122: Sysent("settimeofday", "pp", FULL, time.sys_clock_settime),
    126: Sysent("setreuid", "nn", FULL, prot.sys_setreuid),
    127: Sysent("setregid", "nn", FULL, prot.sys_setregid),
    147: Sysent("setsid", "", FULL, prot.sys_setsid),
    165: Sysent("sysarch", "dp", PARTIAL, machdep.sys_sysarch, "FS and GS bases"),
    181: Sysent("setgid", "n", FULL, prot.sys_setgid),
    182: Sysent("setegid", "n", FULL, prot.sys_setegid),
    183: Sysent("seteuid", "n", FULL, prot.sys_seteuid),
    194: Sysent("getrlimit", "np", FULL, resource.sys_getrlimit),
    195: Sysent("setrlimit", "np", FULL, resource.sys_setrlimit),
    202: Sysent("__sysctl", "pnppbu", PARTIAL, kern_sysctl.sys___sysctl, "the names that programs ask for"),
    207: Sysent("getpgid", "d", FULL, prot.sys_getpgid),
    232: Sysent("clock_gettime", "dp", FULL, time.sys_clock_gettime),
    233: Sysent("clock_settime", "dp", FULL, time.sys_clock_settime),
    234: Sysent("clock_getres", "dp", FULL, time.sys_clock_getres),
    240: Sysent("nanosleep", "pp", FULL, time.sys_nanosleep),
    244: Sysent("clock_nanosleep", "dxpp", FULL, sys_clock_nanosleep),
    253: Sysent("issetugid", "", FULL, prot.sys_issetugid),
    303: Sysent("modfind", "s", STUB, sys_modfind, "no modules"),
    306: Sysent("kldfind", "s", STUB, sys_modfind, "no modules"),
    310: Sysent("getsid", "d", FULL, prot.sys_getsid),
    311: Sysent("setresuid", "nnn", FULL, prot.sys_setresuid),
    312: Sysent("setresgid", "nnn", FULL, prot.sys_setresgid),
    330: Sysent("sched_getscheduler", "d", FULL, sys_sched_getscheduler),
    331: Sysent("sched_yield", "", FULL, sys_sched_yield),
    332: Sysent("sched_get_priority_max", "d", FULL, sys_sched_get_priority_max),
    333: Sysent("sched_get_priority_min", "d", FULL, sys_sched_get_priority_min),
    335: Sysent("utrace", "pu", STUB, sys_utrace, "goes nowhere"),
    360: Sysent("getresuid", "ppp", FULL, prot.sys_getresuid),
    361: Sysent("getresgid", "ppp", FULL, prot.sys_getresgid),
    431: Sysent("thr_exit", "p", PARTIAL, kern_umtx.sys_thr_exit, "one thread"),
    432: Sysent("thr_self", "p", FULL, kern_umtx.sys_thr_self),
    442: Sysent("thr_suspend", "p", FULL, kern_umtx.sys_thr_suspend),
    443: Sysent("thr_wake", "l", FULL, kern_umtx.sys_thr_wake),
    454: Sysent("_umtx_op", "pduup", PARTIAL, kern_umtx.sys_umtx_op, "one thread; waits and wakes"),
    464: Sysent("thr_set_name", "ls", FULL, kern_umtx.sys_thr_set_name),
    484: Sysent("cpuset", "p", NONE, machdep.sys_cpuset, "one processor"),
    486: Sysent("cpuset_getid", "ddlp", FULL, machdep.sys_cpuset_getid),
    487: Sysent("cpuset_getaffinity", "ddlup", FULL, machdep.sys_cpuset_getaffinity),
    488: Sysent("cpuset_setaffinity", "ddlup", FULL, machdep.sys_cpuset_setaffinity),
    532: Sysent("wait6", "dlpdpp", PARTIAL, sys_wait6, "no children"),
    544: Sysent("procctl", "dldp", PARTIAL, sys_procctl, "PROC_STACKGAP_*"),
    563: Sysent("getrandom", "bux", FULL, sys_getrandom),
    570: Sysent("__sysctlbyname", "suppbu", PARTIAL, kern_sysctl.sys___sysctlbyname, "as __sysctl"),
    581: Sysent("sched_getcpu", "", FULL, sys_sched_getcpu),
}
"""Number to row."""
