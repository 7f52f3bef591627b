"""What the arguments of well-known system calls are, beyond their letters.

Model only.  One word per argument: the name of a set of flags or choices in ``flagnames`` or of a structure in
``decode``; empty for what the letter says already.  ``&`` marks what the call writes, ``out`` a buffer
it fills.
"""

from __future__ import annotations

Shape = tuple[str, ...]


def _shape(text: str) -> Shape:
    return tuple("" if word == "." else word for word in text.split())


SHAPES: dict[str, Shape] = {
    # memory
    "mmap": _shape(". . prot mmap . ."),
    "freebsd6_mmap": _shape(". . prot mmap . . ."),
    "mprotect": _shape(". . prot"),
    "madvise": _shape(". . madvise"),
    "msync": _shape(". . msync"),
    "minherit": _shape(". . inherit"),
    "mremap": _shape(". . . mremap ."),
    "mlockall": _shape("mlockall"),
    # files
    "open": _shape(". open ."),
    "openat": _shape(". . open ."),
    "read": _shape(". out ."),
    "pread": _shape(". out . ."),
    "pread64": _shape(". out . ."),
    "readlink": _shape(". out ."),
    "readlinkat": _shape(". . out ."),
    "getcwd": _shape("out ."),
    "__getcwd": _shape("out ."),
    "getrandom": _shape("out . ."),
    "getentropy": _shape("out ."),
    "readv": _shape(". &iovec ."),
    "writev": _shape(". iovec ."),
    "lseek": _shape(". . whence"),
    "fstat": _shape(". &stat"),
    "stat": _shape(". &stat"),
    "lstat": _shape(". &stat"),
    "fstatat": _shape(". . &stat at"),
    "newfstatat": _shape(". . &stat at"),
    "freebsd11_fstat": _shape(". &stat11"),
    "freebsd11_stat": _shape(". &stat11"),
    "freebsd11_lstat": _shape(". &stat11"),
    "freebsd11_fstatat": _shape(". . &stat11 at"),
    "access": _shape(". access"),
    "faccessat": _shape(". . access at"),
    "faccessat2": _shape(". . access at"),
    "fcntl": _shape(". fcntl ."),
    "pipe": _shape("&ints"),
    "pipe2": _shape("&ints open"),
    "poll": _shape("&pollfd . ."),
    "unlinkat": _shape(". . at"),
    # processes and limits
    "getrlimit": _shape("resource &rlimit"),
    "setrlimit": _shape("resource rlimit"),
    "prlimit64": _shape(". resource rlimit &rlimit"),
    "execve": _shape(". argv envp"),
    "arch_prctl": _shape("arch_prctl ."),
    "sysarch": _shape("sysarch ."),
    "__sysctl": _shape("mib . . . . ."),
    # time
    "clock_gettime": _shape("clock &timespec"),
    "clock_getres": _shape("clock &timespec"),
    "nanosleep": _shape("timespec &timespec"),
    "clock_nanosleep": _shape("clock . timespec &timespec"),
    "gettimeofday": _shape("&timeval ."),
    # signals
    "sigaction": _shape("signo sigaction &sigaction"),
    "rt_sigaction": _shape("signo sigaction &sigaction ."),
    "sigprocmask": _shape("sighow sigset &sigset"),
    "rt_sigprocmask": _shape("sighow sigset &sigset ."),
    "sigpending": _shape("&sigset"),
    "sigsuspend": _shape("sigset"),
    "rt_sigsuspend": _shape("sigset ."),
    "sigaltstack": _shape("stack &stack"),
    "kill": _shape(". signo"),
    "tkill": _shape(". signo"),
    "tgkill": _shape(". . signo"),
    "thr_kill": _shape(". signo"),
}
