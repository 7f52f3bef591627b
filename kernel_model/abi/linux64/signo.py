"""Signal numbers, codes and masks at the border of the Linux ABI.

FreeBSD: bsd_to_linux_signal(), linux_to_bsd_sigset(), sys/compat/linux/linux.c.
The kernel itself only knows FreeBSD's numbers.
Differs: SIGSTKFLT and SIGPWR, which FreeBSD lacks, use two numbers behind the real-time signals.
"""

from __future__ import annotations

from functools import lru_cache

from kernel_model.kern.signo import (
    FPE_INTDIV,
    FPE_INTOVF,
    SI_KERNEL,
    SI_LWP,
    SI_QUEUE,
    SI_TIMER,
    SI_USER,
    SIGFPE,
    SIGIO,
    SIGPROP_KILL,
    sigprop,
)

LINUX_NSIG = 65
_EXTRA_STKFLT = 98
_EXTRA_PWR = 99

TO_BSD: tuple[int, ...] = (
    0, 1, 2, 3, 4, 5, 6, 10, 8, 9, 30, 11, 31, 13, 14, 15, _EXTRA_STKFLT, 20, 19, 17, 18, 21, 22, 16, 24, 25,
    26, 27, 28, 23, _EXTRA_PWR, 12, *range(65, 98),
)  # fmt: skip
"""Linux number to FreeBSD's, index 0 unused."""
TO_LINUX: dict[int, int] = {bsd: linux for linux, bsd in enumerate(TO_BSD) if linux}

LINUX_SI_CODES = {SI_USER: 0, SI_KERNEL: 0x80, SI_QUEUE: -1, SI_TIMER: -2, SI_LWP: -6}
_BSD_SI_CODES = {linux: bsd for bsd, linux in LINUX_SI_CODES.items()}


def linux_sigprop(signo: int) -> int:
    """What *signo* does by default: SIGIO kills, which FreeBSD ignores.  Linux: include/linux/signal.h."""
    return SIGPROP_KILL if signo == SIGIO else sigprop(signo)


def to_linux(signo: int) -> int:
    """FreeBSD number to Linux number; 0 for one that Linux lacks."""
    return TO_LINUX.get(signo, 0)


def code_to_linux(signo: int, code: int) -> int:
    """si_code as Linux stores it."""
    if code in LINUX_SI_CODES:
        return LINUX_SI_CODES[code]
    if signo == SIGFPE and code in (FPE_INTDIV, FPE_INTOVF):
        return FPE_INTDIV + FPE_INTOVF - code
    return code


def code_to_bsd(code: int) -> int:
    """si_code of a signal that a program queues itself."""
    return _BSD_SI_CODES.get(code, code)


@lru_cache(maxsize=512)
def mask_to_bsd(mask: int) -> int:
    """A Linux signal mask in FreeBSD's numbers."""
    result = 0
    for linux in range(1, LINUX_NSIG):
        if mask >> linux - 1 & 1:
            result |= 1 << TO_BSD[linux] - 1
    return result


@lru_cache(maxsize=512)
def mask_to_linux(mask: int) -> int:
    """A FreeBSD signal mask in Linux's numbers."""
    result = 0
    for linux in range(1, LINUX_NSIG):
        if mask >> TO_BSD[linux] - 1 & 1:
            result |= 1 << linux - 1
    return result
