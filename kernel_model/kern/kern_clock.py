"""The clock ticks: which interval timers of a process have run out.

FreeBSD: sys/kern/kern_clock.c.
Differs: there is no interrupt; who runs the machine, and who sleeps, looks at the clock and calls ``itimers_due``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.kern.kern_sig import psignal
from kernel_model.kern.signalvar import KSigInfo
from kernel_model.kern.signo import SI_KERNEL, SIGALRM, SIGPROF, SIGVTALRM

if TYPE_CHECKING:
    from kernel_model.kern.proc import Proc

ITIMER_REAL = 0
ITIMER_VIRTUAL = 1
ITIMER_PROF = 2
_ITIMER_SIGNAL = {ITIMER_REAL: SIGALRM, ITIMER_VIRTUAL: SIGVTALRM, ITIMER_PROF: SIGPROF}


def itimer_now(proc: Proc, which: int) -> int:
    """The time on the clock of timer *which*: real time, or what the process has used."""
    kassert(which in _ITIMER_SIGNAL, "itimer %d", which)
    clock = proc.kernel.clock
    return clock.nanouptime() if which == ITIMER_REAL else clock.cputime()


def itimers_due(proc: Proc) -> bool:
    """Send the signals of timers that have run out; says whether one had.  The machine calls it at each slice.

    FreeBSD: hardclock_cpu(); realitexpire(), itimerdecr(), sys/kern/kern_time.c.
    """
    fired = False
    for which, timer in list(proc.p_itimers.items()):
        now = itimer_now(proc, which)
        if now < timer.it_due:
            continue
        fired = True
        if timer.it_interval:
            kassert(timer.it_interval > 0, "itimers_due: interval %d", timer.it_interval)
            missed = (now - timer.it_due) // timer.it_interval
            timer.it_due += (missed + 1) * timer.it_interval
        else:
            del proc.p_itimers[which]
        psignal(proc, KSigInfo(_ITIMER_SIGNAL[which], SI_KERNEL))
    return fired


def next_itimer(proc: Proc) -> int | None:
    """When the real-time timer runs out, in nanouptime; None when it is not set."""
    timer = proc.p_itimers.get(ITIMER_REAL)
    return None if timer is None else timer.it_due
