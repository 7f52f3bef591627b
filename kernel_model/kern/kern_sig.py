"""Signals: their numbers and the records a process keeps about them.

FreeBSD: kern_sig.c, sys/sys/signal.h, sys/sys/signalvar.h.  Numbers and masks are always FreeBSD's; the Linux
ABI translates at its border (abi/linux64/signo.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

NSIG = 129
"""One more than the highest signal number."""


@dataclass(slots=True, eq=False)
class StackT:
    """An alternate signal stack: stack_t."""

    ss_sp: int = 0
    ss_size: int = 0
    ss_flags: int = 4
    """SS_DISABLE until sigaltstack(2)."""


@dataclass(slots=True, eq=False)
class SigAction:
    """What a signal does: struct sigaction, with Linux's restorer."""

    sa_handler: int = 0
    """SIG_DFL 0, SIG_IGN 1, or the handler's address."""
    sa_flags: int = 0
    sa_mask: int = 0
    sa_restorer: int = 0


@dataclass(slots=True, eq=False)
class KSigInfo:
    """A signal on its way: ksiginfo_t with siginfo_t inside."""

    ksi_signo: int
    ksi_code: int = 0
    ksi_errno: int = 0
    ksi_pid: int = 0
    ksi_uid: int = 0
    ksi_status: int = 0
    ksi_addr: int = 0
    ksi_value: int = 0
    ksi_trapno: int = 0
    """T_* of a trap, else 0."""
    ksi_err: int = 0
    """Model only here: the error code the processor pushed, tf_err."""


def _all_default() -> list[SigAction]:
    return [SigAction() for _ in range(NSIG)]


@dataclass(slots=True, eq=False)
class SigActs:
    """The actions of a process: struct sigacts.  ``ps_sigact[signo]``."""

    ps_sigact: list[SigAction] = field(default_factory=_all_default)

    def copy(self) -> SigActs:
        """What a child starts with."""
        return SigActs(
            [SigAction(a.sa_handler, a.sa_flags, a.sa_mask, a.sa_restorer) for a in self.ps_sigact]
        )
