"""Waiting for the host: a terminal that is typed on, a pipe that another program fills.

Model only.  The host is asked in slices, so that a signal or a timer of the process can end the wait.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from kernel_model.errors import SyscallError
from kernel_model.kern.kern_clock import itimers_due, next_itimer
from kernel_model.kern.kern_sig import interrupted
from kernel_model.kern.vnode import POLLIN, POLLOUT, POLLPRI

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

SLICE = 200_000_000
"""Longest wait on the host without a look at signals, nanoseconds."""
MILLISECOND = 1_000_000


def wait_host(td: Thread, waiters: dict[int, int], due: int | None = None) -> bool:
    """Wait until a host descriptor of *waiters* (descriptor to events) is ready, or nanouptime reaches *due*.

    Returns whether one is ready.  Raises: EINTR or ERESTART, when a signal ends the wait.
    """
    poller = select.poll()
    for fd, events in waiters.items():
        poller.register(fd, events & (POLLIN | POLLPRI | POLLOUT))
    proc = td.td_proc
    clock = proc.kernel.clock
    while True:
        if poller.poll(0):
            return True
        itimers_due(proc)
        error = interrupted(td)
        if error:
            raise SyscallError(error)
        now = clock.nanouptime()
        if due is not None and now >= due:
            return False
        ends = [when - now for when in (due, next_itimer(proc)) if when is not None]
        span = max(0, min([SLICE, *ends]))
        if poller.poll(span // MILLISECOND + 1):
            return True
        if proc.kernel.seed is not None:
            clock.sleep(span)
