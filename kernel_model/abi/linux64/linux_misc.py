"""The other Linux calls of a program with one thread: ids, time, resources, threads, the machine.

FreeBSD: sys/compat/linux/linux_misc.c, sys/amd64/linux/linux_machdep.c.
Linux: kernel/sys.c, arch/x86/kernel/process_64.c for checks and errnos.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.abi.linux64 import linux_futex, linux_resource, linux_time
from kernel_model.abi.linux64.linux_util import linux_msg
from kernel_model.errno import (
    EBADF,
    ECHILD,
    EINVAL,
    ENOSYS,
    ENOTSOCK,
    EPERM,
    ESRCH,
)
from kernel_model.errors import SyscallError
from kernel_model.kern import kern_prot as prot
from kernel_model.kern import kern_resource as resource
from kernel_model.kern import kern_time as time
from kernel_model.kern.copyin import copyin, copyout, suword32
from kernel_model.kern.kern_exec import sys_execve
from kernel_model.kern.kern_exit import sys_exit
from kernel_model.kern.linux_mib import LINUX_OSNAME, LINUX_RELEASE, LINUX_VERSION
from kernel_model.kern.proc import P2_NO_NEW_PRIVS
from kernel_model.kern.sys_getrandom import sys_getrandom
from kernel_model.kern.sysent import Support, Sysent
from kernel_model.kern.vfs_lookup import AT_FDCWD, path_arg
from kernel_model.vm.vm_param import PAGE_SHIFT, VM_MAXUSER_ADDRESS

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

TASK_COMM_LEN = 16
"""Bytes of a thread's name with its NUL."""

FULL, PARTIAL, STUB, NONE = Support.FULL, Support.PARTIAL, Support.STUB, Support.NONE


# -- the machine --------------------------------------------------------------------------------------------


NEW_UTS_LEN = 64
"""Bytes of a field of struct new_utsname, without its NUL."""


def sys_uname(td: Thread, buf: int) -> int:
    """uname(2)."""
    kernel = td.td_proc.kernel
    fields = (LINUX_OSNAME, kernel.hostname, LINUX_RELEASE, LINUX_VERSION, "x86_64", "(none)")
    copyout(td, buf, b"".join(field.encode()[:NEW_UTS_LEN].ljust(NEW_UTS_LEN + 1, b"\0") for field in fields))
    return 0


def sys_sysinfo(td: Thread, info: int) -> int:
    """sysinfo(2)."""
    kernel = td.td_proc.kernel
    cnt = kernel.vm.cnt
    total, free = cnt.v_page_count << PAGE_SHIFT, cnt.v_free_count << PAGE_SHIFT
    uptime = kernel.clock.nanouptime() // time.NS
    swap = kernel.vm.swap_total
    copyout(
        td,
        info,
        struct.pack(
            "<q3Q6QHH4xQQI4x", uptime, 0, 0, 0, total, free, 0, 0, swap, swap, len(kernel.procs), 0, 0, 0, 1
        ),
    )  # fmt: skip
    return 0


ARCH_SET_GS = 0x1001
ARCH_SET_FS = 0x1002
ARCH_GET_FS = 0x1003
ARCH_GET_GS = 0x1004


def sys_arch_prctl(td: Thread, code: int, addr: int) -> int:
    """arch_prctl(2): the FS and GS bases; EINVAL for control-flow enforcement, which the processor lacks."""
    if code in (ARCH_SET_FS, ARCH_SET_GS):
        if addr >= VM_MAXUSER_ADDRESS:
            raise SyscallError(EPERM)
        if code == ARCH_SET_FS:
            td.td_cpu.set_fsbase(addr)
        else:
            td.td_cpu.set_gsbase(addr)
        return 0
    if code in (ARCH_GET_FS, ARCH_GET_GS):
        frame = td.td_cpu.get_frame()
        base = frame.fs_base if code == ARCH_GET_FS else frame.gs_base
        copyout(td, addr, base.to_bytes(8, "little"))
        return 0
    raise SyscallError(EINVAL)


# -- the process --------------------------------------------------------------------------------------------


PER_QUERY = 0xFFFFFFFF
"""A persona that only asks for the present one."""


def sys_personality(td: Thread, persona: int) -> int:
    """personality(2): READ_IMPLIES_EXEC has an effect; there is no randomisation to turn off."""
    proc = td.td_proc
    old = proc.p_personality
    if persona != PER_QUERY:
        proc.p_personality = persona
    return old


PR_SET_PDEATHSIG = 1
PR_GET_PDEATHSIG = 2
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_GET_NAME = 16
PR_CAPBSET_READ = 23
PR_SET_TIMERSLACK = 29
PR_GET_TIMERSLACK = 30
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_SET_THP_DISABLE = 41
PR_GET_THP_DISABLE = 42
PR_SET_VMA = 0x53564D41
TIMER_SLACK_NS = 50_000


def sys_prctl(td: Thread, option: int, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    """prctl(2): names, dumpable, and what a program asks at its start."""
    proc = td.td_proc
    if option == PR_SET_NAME:
        name = copyin(td, arg2, TASK_COMM_LEN).split(b"\0")[0][: TASK_COMM_LEN - 1]
        td.td_name = name.decode("latin-1")
        return 0
    if option == PR_GET_NAME:
        name = (td.td_name or proc.p_comm).encode("latin-1")[: TASK_COMM_LEN - 1]
        copyout(td, arg2, name.ljust(TASK_COMM_LEN, b"\0"))
        return 0
    if option == PR_SET_DUMPABLE:
        if arg2 not in (0, 1):
            raise SyscallError(EINVAL)
        proc.p_dumpable = arg2
        return 0
    if option == PR_GET_PDEATHSIG:
        suword32(td, arg2, 0)
        return 0
    answers = {PR_GET_DUMPABLE: proc.p_dumpable, PR_GET_TIMERSLACK: TIMER_SLACK_NS, PR_GET_THP_DISABLE: 0,
               PR_SET_TIMERSLACK: 0, PR_SET_PDEATHSIG: 0, PR_CAPBSET_READ: 1}  # fmt: skip
    if option in answers:
        return answers[option]
    if option == PR_SET_NO_NEW_PRIVS and arg2 == 1:
        proc.p_flag2 |= P2_NO_NEW_PRIVS
        return 0
    if option == PR_GET_NO_NEW_PRIVS:
        return int(proc.p_flag2 & P2_NO_NEW_PRIVS != 0)
    if option != PR_SET_VMA:  # the C library names its arenas and does not mind
        linux_msg(td, "prctl", f"option {option}", option)
    raise SyscallError(EINVAL)


_WAIT4_OPTIONS = 0xE000000F
"""WNOHANG, WUNTRACED, WEXITED, WCONTINUED; __WNOTHREAD, __WALL, __WCLONE."""


def sys_wait4(td: Thread, pid: int, status: int, options: int, rusage: int) -> int:
    """wait4(2): there are no children."""
    if options & ~_WAIT4_OPTIONS:
        raise SyscallError(EINVAL)
    raise SyscallError(ECHILD)


def sys_waitid(td: Thread, which: int, pid: int, info: int, options: int, rusage: int) -> int:
    """waitid(2): there are no children."""
    raise SyscallError(ECHILD)


PRIO_PROCESS, PRIO_PGRP, PRIO_USER = range(3)
MIN_NICE, MAX_NICE = -20, 19


def sys_getpriority(td: Thread, which: int, who: int) -> int:
    """getpriority(2): 20 minus the nice value."""
    if not 0 <= which <= 2:
        raise SyscallError(EINVAL)
    if who not in (0, td.td_proc.p_pid):
        raise SyscallError(ESRCH)
    return MAX_NICE + 1 - td.td_proc.p_nice


def sys_setpriority(td: Thread, which: int, who: int, value: int) -> int:
    """setpriority(2): the nice value is kept, nothing competes."""
    if not 0 <= which <= 2:
        raise SyscallError(EINVAL)
    if who not in (0, td.td_proc.p_pid):
        raise SyscallError(ESRCH)
    td.td_proc.p_nice = max(MIN_NICE, min(value, MAX_NICE))
    return 0


# -- threads ------------------------------------------------------------------------------------------------


def sys_set_tid_address(td: Thread, tidptr: int) -> int:
    """set_tid_address(2)."""
    td.td_clear_tid = tidptr
    return td.td_tid


def sys_rseq(td: Thread, rseq: int, size: int, flags: int, sig: int) -> int:
    """rseq(2): not there; the C library does without, so no event says so."""
    raise SyscallError(ENOSYS)


# -- scheduling ---------------------------------------------------------------------------------------------


def sys_sched_yield(td: Thread) -> int:
    """sched_yield(2)."""
    return 0


def sys_sched_getaffinity(td: Thread, pid: int, size: int, mask: int) -> int:
    """sched_getaffinity(2): one processor."""
    if pid not in (0, td.td_tid, td.td_proc.p_pid):
        raise SyscallError(ESRCH)
    if size < 8 or size & 7:
        raise SyscallError(EINVAL)
    copyout(td, mask, (1).to_bytes(8, "little"))
    return 8


def sys_sched_setaffinity(td: Thread, pid: int, size: int, mask: int) -> int:
    """sched_setaffinity(2): the one processor must be in it."""
    if pid not in (0, td.td_tid, td.td_proc.p_pid):
        raise SyscallError(ESRCH)
    if not copyin(td, mask, min(size, 8))[:1] or not copyin(td, mask, 1)[0] & 1:
        raise SyscallError(EINVAL)
    return 0


def sys_getcpu(td: Thread, cpu: int, node: int) -> int:
    """getcpu(2)."""
    for place in (cpu, node):
        if place:
            suword32(td, place, 0)
    return 0


SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE = 0, 1, 2, 3, 5, 6
_SCHED_PRIORITIES = {
    SCHED_OTHER: (0, 0), SCHED_FIFO: (1, 99), SCHED_RR: (1, 99), SCHED_BATCH: (0, 0), SCHED_IDLE: (0, 0),
    SCHED_DEADLINE: (0, 0),
}  # fmt: skip
"""Lowest and highest of each policy."""
RR_TIMESLICE_NS = 4_000_000


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
    if pid not in (0, td.td_tid, td.td_proc.p_pid):
        raise SyscallError(ESRCH)
    return SCHED_OTHER


def sys_sched_getparam(td: Thread, pid: int, param: int) -> int:
    """sched_getparam(2)."""
    _ = sys_sched_getscheduler(td, pid)
    suword32(td, param, 0)
    return 0


def sys_sched_rr_get_interval(td: Thread, pid: int, tp: int) -> int:
    """sched_rr_get_interval(2): the slice of a machine that slices nothing."""
    _ = sys_sched_getscheduler(td, pid)
    copyout(td, tp, time.pack_timespec(RR_TIMESLICE_NS))
    return 0


# -- sockets that are none ----------------------------------------------------------------------------------


def _no_socket(td: Thread, fd: int, *_: int) -> int:
    """A socket call on a descriptor: none is a socket here."""
    if fd not in td.td_proc.p_fd.fd_files:
        raise SyscallError(EBADF)
    raise SyscallError(ENOTSOCK)


def sys_sethostname(td: Thread, name: int, size: int) -> int:
    """sethostname(2)."""
    if td.td_proc.p_ucred.cr_uid != 0:
        raise SyscallError(EPERM)
    if not 0 <= size <= NEW_UTS_LEN:
        raise SyscallError(EINVAL)
    td.td_proc.kernel.hostname = copyin(td, name, size).decode("latin-1")
    return 0


CAPABILITY_VERSION_1 = 0x19980330
CAPABILITY_VERSION_2 = 0x20071026
CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITY_WORDS = {CAPABILITY_VERSION_1: 1, CAPABILITY_VERSION_2: 2, CAPABILITY_VERSION_3: 2}
CAP_LAST_CAP = 40


def sys_capget(td: Thread, header: int, data: int) -> int:
    """capget(2): the super-user has all capabilities, others none."""
    version, _pid = struct.unpack("<Ii", copyin(td, header, 8))
    count = _CAPABILITY_WORDS.get(version)
    if count is None:
        suword32(td, header, CAPABILITY_VERSION_3)
        if data:
            raise SyscallError(EINVAL)
        return 0
    every = (1 << CAP_LAST_CAP + 1) - 1 if td.td_proc.p_ucred.cr_uid == 0 else 0
    low, high = every & 0xFFFFFFFF, every >> 32
    sets = struct.pack("<III", low, low, 0) + struct.pack("<III", high, high, 0)
    if data:
        copyout(td, data, sets[: 12 * count])
    return 0


def sys_execveat(td: Thread, fd: int, path: int, argv: int, envv: int, flags: int) -> int:
    """execveat(2), for absolute paths and AT_FDCWD."""
    name = path_arg(td, path)
    if flags or (fd != AT_FDCWD and name[:1] != b"/"):
        linux_msg(td, "execveat", "a descriptor or flags")
        raise SyscallError(ENOSYS)
    return sys_execve(td, path, argv, envv)


SYSCALLS: dict[int, Sysent] = {
    24: Sysent("sched_yield", "", FULL, sys_sched_yield),
    35: Sysent("nanosleep", "pp", FULL, time.sys_nanosleep),
    36: Sysent("getitimer", "np", FULL, time.sys_getitimer),
    37: Sysent("alarm", "n", FULL, linux_time.sys_alarm),
    38: Sysent("setitimer", "npp", FULL, time.sys_setitimer),
    39: Sysent("getpid", "", FULL, prot.sys_getpid),
    48: Sysent("shutdown", "fd", STUB, _no_socket, "no sockets"),
    51: Sysent("getsockname", "fpp", STUB, _no_socket, "no sockets"),
    52: Sysent("getpeername", "fpp", STUB, _no_socket, "no sockets"),
    54: Sysent("setsockopt", "fddpn", STUB, _no_socket, "no sockets"),
    55: Sysent("getsockopt", "fddpp", STUB, _no_socket, "no sockets"),
    59: Sysent("execve", "spp", FULL, sys_execve),
    60: Sysent("exit", "d", FULL, sys_exit),
    61: Sysent("wait4", "dpxp", PARTIAL, sys_wait4, "no children"),
    63: Sysent("uname", "p", FULL, sys_uname),
    96: Sysent("gettimeofday", "pp", FULL, time.sys_gettimeofday),
    97: Sysent("getrlimit", "np", FULL, linux_resource.linux_getrlimit),
    98: Sysent("getrusage", "dp", PARTIAL, resource.sys_getrusage, "all time is user time"),
    99: Sysent("sysinfo", "p", FULL, sys_sysinfo),
    100: Sysent("times", "p", PARTIAL, linux_time.sys_times, "all time is user time"),
    102: Sysent("getuid", "", FULL, prot.sys_getuid),
    104: Sysent("getgid", "", FULL, prot.sys_getgid),
    105: Sysent("setuid", "n", FULL, prot.sys_setuid),
    106: Sysent("setgid", "n", FULL, prot.sys_setgid),
    107: Sysent("geteuid", "", FULL, prot.sys_geteuid),
    108: Sysent("getegid", "", FULL, prot.sys_getegid),
    109: Sysent("setpgid", "dd", FULL, prot.sys_setpgid),
    110: Sysent("getppid", "", FULL, prot.sys_getppid),
    111: Sysent("getpgrp", "", FULL, prot.sys_getpgrp),
    112: Sysent("setsid", "", FULL, prot.sys_setsid),
    113: Sysent("setreuid", "nn", FULL, prot.sys_setreuid),
    114: Sysent("setregid", "nn", FULL, prot.sys_setregid),
    115: Sysent("getgroups", "dp", FULL, prot.sys_getgroups),
    116: Sysent("setgroups", "dp", FULL, prot.sys_setgroups),
    117: Sysent("setresuid", "nnn", FULL, prot.sys_setresuid),
    118: Sysent("getresuid", "ppp", FULL, prot.sys_getresuid),
    119: Sysent("setresgid", "nnn", FULL, prot.sys_setresgid),
    120: Sysent("getresgid", "ppp", FULL, prot.sys_getresgid),
    121: Sysent("getpgid", "d", FULL, prot.sys_getpgid),
    122: Sysent("setfsuid", "n", STUB, prot.sys_setfsuid, "changes nothing"),
    123: Sysent("setfsgid", "n", STUB, prot.sys_setfsgid, "changes nothing"),
    124: Sysent("getsid", "d", FULL, prot.sys_getsid),
    125: Sysent("capget", "pp", FULL, sys_capget),
    135: Sysent("personality", "x", PARTIAL, sys_personality, "READ_IMPLIES_EXEC only"),
    140: Sysent("getpriority", "dd", FULL, sys_getpriority),
    141: Sysent("setpriority", "ddd", FULL, sys_setpriority),
    143: Sysent("sched_getparam", "dp", FULL, sys_sched_getparam),
    145: Sysent("sched_getscheduler", "d", FULL, sys_sched_getscheduler),
    146: Sysent("sched_get_priority_max", "d", FULL, sys_sched_get_priority_max),
    147: Sysent("sched_get_priority_min", "d", FULL, sys_sched_get_priority_min),
    148: Sysent("sched_rr_get_interval", "dp", FULL, sys_sched_rr_get_interval),
    157: Sysent("prctl", "dpppp", PARTIAL, sys_prctl, "names, dumpable, a few questions"),
    158: Sysent("arch_prctl", "xp", FULL, sys_arch_prctl),
    160: Sysent("setrlimit", "np", FULL, linux_resource.linux_setrlimit),
    164: Sysent("settimeofday", "pp", FULL, time.sys_clock_settime),
    170: Sysent("sethostname", "pd", FULL, sys_sethostname),
    186: Sysent("gettid", "", FULL, prot.sys_gettid),
    201: Sysent("time", "p", FULL, linux_time.sys_time),
    202: Sysent("futex", "pxnppn", PARTIAL, linux_futex.sys_futex, "one thread; no PI futexes"),
    203: Sysent("sched_setaffinity", "dup", FULL, sys_sched_setaffinity),
    204: Sysent("sched_getaffinity", "dup", FULL, sys_sched_getaffinity),
    218: Sysent("set_tid_address", "p", FULL, sys_set_tid_address),
    227: Sysent("clock_settime", "dp", FULL, time.sys_clock_settime),
    228: Sysent("clock_gettime", "dp", FULL, time.sys_clock_gettime),
    229: Sysent("clock_getres", "dp", FULL, time.sys_clock_getres),
    230: Sysent("clock_nanosleep", "dxpp", FULL, time.sys_clock_nanosleep),
    231: Sysent("exit_group", "d", FULL, sys_exit),
    247: Sysent("waitid", "ddpxp", PARTIAL, sys_waitid, "no children"),
    273: Sysent("set_robust_list", "pu", STUB, linux_futex.sys_set_robust_list, "kept, never walked"),
    274: Sysent("get_robust_list", "dpp", FULL, linux_futex.sys_get_robust_list),
    302: Sysent("prlimit64", "dnpp", PARTIAL, linux_resource.linux_prlimit64, "this process only"),
    309: Sysent("getcpu", "pp", FULL, sys_getcpu),
    318: Sysent("getrandom", "bux", FULL, sys_getrandom),
    322: Sysent("execveat", "fsppx", PARTIAL, sys_execveat, "absolute paths and AT_FDCWD"),
    334: Sysent("rseq", "pnxx", NONE, sys_rseq, "ENOSYS"),
}
"""Number to row."""
