"""Names of flags and choices in system-call arguments.

FreeBSD: sys/sys/mman.h, fcntl.h, signal.h, resource.h, time.h.  Linux: include/uapi.  A key with ``.freebsd`` or
``.linux`` is for that ABI; in a set of flags key 0 names nought and key -1 the names of its low two bits.
"""

from __future__ import annotations

from kernel_model.kern.signo import SIG_NAMES


def _numbered(names: str, first: int = 0) -> dict[int, str]:
    """Number the words of *names* from *first* on."""
    return dict(enumerate(names.split(), first))


_LINUX_SIGNALS = _numbered(
    "SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE "
    "SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ "
    "SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS",
    1,
)

FLAGS: dict[str, dict[int, str]] = {
    "prot": {0: "PROT_NONE", 1: "PROT_READ", 2: "PROT_WRITE", 4: "PROT_EXEC"},
    "mmap.freebsd": {
        1: "MAP_SHARED", 2: "MAP_PRIVATE", 0x10: "MAP_FIXED", 0x200: "MAP_HASSEMAPHORE", 0x400: "MAP_STACK",
        0x800: "MAP_NOSYNC", 0x1000: "MAP_ANON", 0x2000: "MAP_GUARD", 0x4000: "MAP_EXCL", 0x20000: "MAP_NOCORE",
        0x40000: "MAP_PREFAULT_READ", 0x80000: "MAP_32BIT",
    },
    "mmap.linux": {
        1: "MAP_SHARED", 2: "MAP_PRIVATE", 0x10: "MAP_FIXED", 0x20: "MAP_ANONYMOUS", 0x40: "MAP_32BIT",
        0x100: "MAP_GROWSDOWN", 0x800: "MAP_DENYWRITE", 0x1000: "MAP_EXECUTABLE", 0x2000: "MAP_LOCKED",
        0x4000: "MAP_NORESERVE", 0x8000: "MAP_POPULATE", 0x10000: "MAP_NONBLOCK", 0x20000: "MAP_STACK",
        0x40000: "MAP_HUGETLB", 0x100000: "MAP_FIXED_NOREPLACE",
    },
    "open.freebsd": {
        -1: "O_RDONLY,O_WRONLY,O_RDWR,O_ACCMODE", 4: "O_NONBLOCK", 8: "O_APPEND", 0x10: "O_SHLOCK", 0x20: "O_EXLOCK",
        0x80: "O_SYNC", 0x100: "O_NOFOLLOW", 0x200: "O_CREAT", 0x400: "O_TRUNC", 0x800: "O_EXCL", 0x8000: "O_NOCTTY",
        0x10000: "O_DIRECT", 0x20000: "O_DIRECTORY", 0x40000: "O_EXEC", 0x100000: "O_CLOEXEC",
    },
    "open.linux": {
        -1: "O_RDONLY,O_WRONLY,O_RDWR,O_ACCMODE", 0o100: "O_CREAT", 0o200: "O_EXCL", 0o400: "O_NOCTTY",
        0o1000: "O_TRUNC", 0o2000: "O_APPEND", 0o4000: "O_NONBLOCK", 0o40000: "O_DIRECT", 0o100000: "O_LARGEFILE",
        0o200000: "O_DIRECTORY", 0o400000: "O_NOFOLLOW", 0o1000000: "O_NOATIME", 0o2000000: "O_CLOEXEC",
        0o10000000: "O_PATH",
    },
    "at.freebsd": {0: "0", 0x100: "AT_EACCESS", 0x200: "AT_SYMLINK_NOFOLLOW", 0x400: "AT_SYMLINK_FOLLOW",
                   0x800: "AT_REMOVEDIR"},
    "at.linux": {0: "0", 0x100: "AT_SYMLINK_NOFOLLOW", 0x200: "AT_REMOVEDIR", 0x400: "AT_SYMLINK_FOLLOW",
                 0x800: "AT_NO_AUTOMOUNT", 0x1000: "AT_EMPTY_PATH"},
    "access": {0: "F_OK", 1: "X_OK", 2: "W_OK", 4: "R_OK"},
    "msync.freebsd": {0: "MS_SYNC", 1: "MS_ASYNC", 2: "MS_INVALIDATE"},
    "msync.linux": {1: "MS_ASYNC", 2: "MS_INVALIDATE", 4: "MS_SYNC"},
    "mlockall": {1: "MCL_CURRENT", 2: "MCL_FUTURE"},
    "mremap": {0: "0", 1: "MREMAP_MAYMOVE", 2: "MREMAP_FIXED", 4: "MREMAP_DONTUNMAP"},
    "sa_flags.freebsd": {0: "0", 1: "SA_ONSTACK", 2: "SA_RESTART", 4: "SA_RESETHAND", 8: "SA_NOCLDSTOP",
                         0x10: "SA_NODEFER", 0x20: "SA_NOCLDWAIT", 0x40: "SA_SIGINFO"},
    "sa_flags.linux": {0: "0", 1: "SA_NOCLDSTOP", 2: "SA_NOCLDWAIT", 4: "SA_SIGINFO", 0x4000000: "SA_RESTORER",
                       0x8000000: "SA_ONSTACK", 0x10000000: "SA_RESTART", 0x40000000: "SA_NODEFER",
                       0x80000000: "SA_RESETHAND"},
}  # fmt: skip

CHOICES: dict[str, dict[int, str]] = {
    "signo.freebsd": SIG_NAMES,
    "signo.linux": _LINUX_SIGNALS,
    "whence": {0: "SEEK_SET", 1: "SEEK_CUR", 2: "SEEK_END", 3: "SEEK_DATA", 4: "SEEK_HOLE"},
    "inherit": {0: "INHERIT_SHARE", 1: "INHERIT_COPY", 2: "INHERIT_NONE", 3: "INHERIT_ZERO"},
    "madvise.freebsd": _numbered(
        "MADV_NORMAL MADV_RANDOM MADV_SEQUENTIAL MADV_WILLNEED MADV_DONTNEED MADV_FREE MADV_NOSYNC "
        "MADV_AUTOSYNC MADV_NOCORE MADV_CORE MADV_PROTECT"
    ),
    "madvise.linux": {
        0: "MADV_NORMAL", 1: "MADV_RANDOM", 2: "MADV_SEQUENTIAL", 3: "MADV_WILLNEED", 4: "MADV_DONTNEED",
        8: "MADV_FREE", 9: "MADV_REMOVE", 10: "MADV_DONTFORK", 11: "MADV_DOFORK",
        14: "MADV_HUGEPAGE", 15: "MADV_NOHUGEPAGE", 16: "MADV_DONTDUMP", 17: "MADV_DODUMP",
    },
    "resource.freebsd": _numbered(
        "RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_MEMLOCK RLIMIT_NPROC "
        "RLIMIT_NOFILE RLIMIT_SBSIZE RLIMIT_VMEM RLIMIT_NPTS RLIMIT_SWAP RLIMIT_KQUEUES RLIMIT_UMTXP"
    ),
    "resource.linux": _numbered(
        "RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE "
        "RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO "
        "RLIMIT_RTTIME"
    ),
    "clock.freebsd": {
        0: "CLOCK_REALTIME", 1: "CLOCK_VIRTUAL", 2: "CLOCK_PROF", 4: "CLOCK_MONOTONIC", 5: "CLOCK_UPTIME",
        7: "CLOCK_UPTIME_PRECISE", 8: "CLOCK_UPTIME_FAST", 9: "CLOCK_REALTIME_PRECISE", 10: "CLOCK_REALTIME_FAST",
        11: "CLOCK_MONOTONIC_PRECISE", 12: "CLOCK_MONOTONIC_FAST", 13: "CLOCK_SECOND", 14: "CLOCK_THREAD_CPUTIME_ID",
        15: "CLOCK_PROCESS_CPUTIME_ID",
    },
    "clock.linux": {
        0: "CLOCK_REALTIME", 1: "CLOCK_MONOTONIC", 2: "CLOCK_PROCESS_CPUTIME_ID", 3: "CLOCK_THREAD_CPUTIME_ID",
        4: "CLOCK_MONOTONIC_RAW", 5: "CLOCK_REALTIME_COARSE", 6: "CLOCK_MONOTONIC_COARSE", 7: "CLOCK_BOOTTIME",
    },
    "sighow.freebsd": {1: "SIG_BLOCK", 2: "SIG_UNBLOCK", 3: "SIG_SETMASK"},
    "sighow.linux": {0: "SIG_BLOCK", 1: "SIG_UNBLOCK", 2: "SIG_SETMASK"},
    "fcntl.freebsd": {
        0: "F_DUPFD", 1: "F_GETFD", 2: "F_SETFD", 3: "F_GETFL", 4: "F_SETFL", 5: "F_GETOWN", 6: "F_SETOWN",
        11: "F_GETLK", 12: "F_SETLK", 13: "F_SETLKW", 17: "F_DUPFD_CLOEXEC", 18: "F_DUP2FD_CLOEXEC",
    },
    "fcntl.linux": {
        0: "F_DUPFD", 1: "F_GETFD", 2: "F_SETFD", 3: "F_GETFL", 4: "F_SETFL", 5: "F_GETLK", 6: "F_SETLK", 7: "F_SETLKW",
        1030: "F_DUPFD_CLOEXEC",
    },
    "arch_prctl": {0x1001: "ARCH_SET_GS", 0x1002: "ARCH_SET_FS", 0x1003: "ARCH_GET_FS", 0x1004: "ARCH_GET_GS"},
    "sysarch": {128: "AMD64_GET_FSBASE", 129: "AMD64_SET_FSBASE", 130: "AMD64_GET_GSBASE", 131: "AMD64_SET_GSBASE"},
}  # fmt: skip
