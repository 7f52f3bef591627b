"""What a process and a thread keep about signals.

FreeBSD: sys/sys/signalvar.h, sys/sys/_sigset.h.  Masks are ints, bit ``signo - 1``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kernel_model.errors import kassert
from kernel_model.kern.signo import (
    NSIG,
    SIG_DFL,
    SIG_IGN,
    SIGCONT,
    SIGPROP_IGNORE,
    SS_DISABLE,
    SS_ONSTACK,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True, eq=False)
class StackT:
    """An alternate signal stack: stack_t.  SS_DISABLE is FreeBSD's TDP_ALTSTACK, inverted."""

    ss_sp: int = 0
    ss_size: int = 0
    ss_flags: int = SS_DISABLE

    @property
    def enabled(self) -> bool:
        """sigaltstack(2) has set one."""
        return not self.ss_flags & SS_DISABLE

    def holds(self, sp: int) -> bool:
        """Whether a thread with stack pointer *sp* runs on it.  FreeBSD: sigonstack()."""
        return self.enabled and 0 <= sp - self.ss_sp < self.ss_size

    def flags_at(self, sp: int) -> int:
        """ss_flags as told to a program whose stack pointer is *sp*."""
        if not self.enabled:
            return SS_DISABLE
        return SS_ONSTACK if self.holds(sp) else 0


@dataclass(slots=True, eq=False)
class SigAction:
    """What a signal does: struct sigaction, with Linux's restorer."""

    sa_handler: int = SIG_DFL
    """SIG_DFL 0, SIG_IGN 1, or the handler's address."""
    sa_flags: int = 0
    """SA_* in FreeBSD's numbers."""
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
    """Model only here: the error code that the processor pushed, tf_err."""
    ksi_trap: bool = False
    """Raised by the instruction at rip: KSI_TRAP."""
    ksi_fault: int = 0
    """Model only: number of the recorded fault that raised it."""


class TrapSignal(NamedTuple):
    """The signal that an exception or a refused access becomes: what trap() calls signo and ucode."""

    signo: int
    code: int
    why: str


def _all_default() -> list[SigAction]:
    return [SigAction() for _ in range(NSIG)]


@dataclass(slots=True, eq=False)
class SigActs:
    """The actions of a process: struct sigacts.  ``ps_sigact[signo]``."""

    ps_sigact: list[SigAction] = field(default_factory=_all_default)

    def copy(self) -> SigActs:
        """What a child starts with."""
        return SigActs([SigAction(a.sa_handler, a.sa_flags, a.sa_mask, a.sa_restorer) for a in self.ps_sigact])

    def ignores(self, signo: int, sigprop: Callable[[int], int]) -> bool:
        """Whether *signo*, whose default is the ABI's *sigprop*, is dropped when it is sent: ps_sigignore."""
        kassert(0 < signo < NSIG, "signal %d", signo)
        handler = self.ps_sigact[signo].sa_handler
        if handler == SIG_DFL:
            return bool(sigprop(signo) & SIGPROP_IGNORE) and signo != SIGCONT
        return handler == SIG_IGN and signo != SIGCONT

    def catches(self, signo: int) -> bool:
        """Whether a handler is there: ps_sigcatch."""
        return self.ps_sigact[signo].sa_handler not in (SIG_DFL, SIG_IGN)

    def reset_for_exec(self) -> None:
        """Caught signals get their default action, ignored ones stay.  FreeBSD: execsigs()."""
        for signo in range(1, NSIG):
            if self.catches(signo):
                self.ps_sigact[signo] = SigAction()
