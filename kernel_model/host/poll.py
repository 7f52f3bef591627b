"""Waiting for the host: a terminal that is typed on, a pipe that another program fills.

Model only.  Events are POLLIN, POLLPRI and POLLOUT, whose numbers FreeBSD, Linux and the host share.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from kernel_model.errors import kassert

if TYPE_CHECKING:
    from collections.abc import Mapping

SLICE = 200_000_000
"""Longest wait on the host without a look at signals, nanoseconds."""
_MILLISECOND = 1_000_000


def ready_events(fd: int, events: int) -> int:
    """Those of *events* that are true of *fd* now, with POLLERR and POLLHUP."""
    poller = select.poll()
    poller.register(fd, events)
    ready = poller.poll(0)
    return ready[0][1] if ready else 0


class Waiter:
    """Some descriptors of the host, each with the events that are waited for."""

    __slots__ = ("_poller",)

    def __init__(self, wanted: Mapping[int, int]) -> None:
        kassert(wanted, "poll: nothing to wait for")
        self._poller = select.poll()
        for fd, events in wanted.items():
            self._poller.register(fd, events)

    def ready(self) -> bool:
        """Whether something has happened already."""
        return bool(self._poller.poll(0))

    def wait(self, nanoseconds: int) -> bool:
        """Wait at most about that long, and at most one slice: whether something happened."""
        kassert(nanoseconds >= 0, "poll: %d ns", nanoseconds)
        return bool(self._poller.poll(min(nanoseconds, SLICE) // _MILLISECOND + 1))
