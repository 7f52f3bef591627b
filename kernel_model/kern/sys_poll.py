"""poll(2) and select(2).

FreeBSD: kern_poll(), kern_select(), sys/kern/sys_generic.c.

What can become ready is behind a descriptor of the host (a terminal, a pipe from another program); only on those
is it possible to wait.  Everything else changes by what this process does itself, so that it cannot change while
it waits: then only the time-out can end the wait.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.host.poll import SLICE, Waiter
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_clock import itimers_due, next_itimer
from kernel_model.kern.kern_descrip import MAXFILESPERPROC, O_PATH
from kernel_model.kern.kern_sig import interrupted
from kernel_model.kern.kern_synch import sleep_forever, sleep_until
from kernel_model.kern.kern_time import read_timespec, read_timeval
from kernel_model.kern.vnode import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.proc import Thread

NSEC = 1_000_000_000
POLLFD = struct.Struct("<ihh")
FD_SETSIZE = 1024

Wanted = list[tuple[int, int]]
"""(descriptor, events)."""


def pollscan(td: Thread, wanted: Wanted) -> list[int]:
    """What is ready now, in the order of *wanted*.  FreeBSD: pollscan()."""
    files = td.td_proc.p_fd.fd_files
    ready = []
    for fd, events in wanted:
        fp = files.get(fd)
        if fd < 0:
            ready.append(0)
        elif fp is None or fp.f_flag & O_PATH:
            ready.append(POLLNVAL)
        else:
            got = fp.f_ops.fo_poll(fp, events)
            ready.append(got & ~POLLOUT if got & POLLHUP else got)
    return ready


def host_waiters(td: Thread, wanted: Wanted) -> dict[int, int]:
    """Descriptors of the host that can change something, with the events to wait for."""
    files = td.td_proc.p_fd.fd_files
    waiters: dict[int, int] = {}
    for fd, events in wanted:
        fp = files.get(fd)
        host = -1 if fp is None else fp.f_ops.fo_poll_host_fd(fp)
        if host >= 0:
            waiters[host] = waiters.get(host, 0) | events
    return waiters


def seltdwait(td: Thread, waiters: dict[int, int], due: int | None = None) -> bool:
    """Wait until a host descriptor of *waiters* (descriptor to events) is ready, or nanouptime reaches *due*.

    Returns whether one is ready.  Raises: EINTR or ERESTART, when a signal ends the wait.
    FreeBSD: seltdwait().  Differs: the host is asked in slices, so that a signal or a timer of the process can end it.
    """
    waiter = Waiter({fd: events & (POLLIN | POLLPRI | POLLOUT) for fd, events in waiters.items()})
    proc = td.td_proc
    clock = proc.kernel.clock
    while True:
        if waiter.ready():
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
        if waiter.wait(span):
            return True
        if proc.kernel.seed is not None:
            clock.sleep(span)


def kern_poll(td: Thread, wanted: Wanted, timeout: int | None) -> list[int]:
    """Wait at most *timeout* nanoseconds (None: for ever) until something is ready.

    Raises EINTR when a signal ends the wait.
    """
    return wait_until(td, wanted, timeout, lambda: pollscan(td, wanted))


def wait_until(
    td: Thread, wanted: Wanted, timeout: int | None, scan: Callable[[], list[int]]
) -> list[int]:
    """Scan, wait for the host or the clock, scan again.  FreeBSD: the loop of kern_poll(), seltdwait()."""
    clock = td.td_proc.kernel.clock
    due = None if timeout is None else clock.nanouptime() + timeout
    while True:
        ready = scan()
        kassert(due is None or timeout is not None, "poll: due at %r", due)
        if any(ready) or timeout == 0:
            return ready
        if due is not None and clock.nanouptime() >= due:
            return ready
        try:
            _wait(td, host_waiters(td, wanted), due)
        except SyscallError as error:
            raise SyscallError(E.EINTR if error.errno == E.ERESTART else error.errno) from None


def _wait(td: Thread, waiters: dict[int, int], due: int | None) -> None:
    """Until something may be ready, or *due*; raises the errno of a signal."""
    if waiters:
        _ = seltdwait(td, waiters, due)
    elif due is None:
        sleep_forever(td, "select")
    else:
        error = sleep_until(td, due)
        if error:
            raise SyscallError(error)


# -- poll ---------------------------------------------------------------------------------


def poll_user(td: Thread, fds: int, nfds: int, timeout: int | None) -> int:
    """The part of poll(2) and ppoll(2) after the time-out: how many are ready."""
    if nfds > max(MAXFILESPERPROC, FD_SETSIZE):
        raise SyscallError(E.EINVAL)
    data = copyin(td, fds, nfds * POLLFD.size)
    asked = list(POLLFD.iter_unpack(data))
    ready = kern_poll(td, [(fd, events & 0xFFFF) for fd, events, _ in asked], timeout)
    out = b"".join(
        POLLFD.pack(fd, events, got) for (fd, events, _), got in zip(asked, ready, strict=True)
    )
    if out:
        copyout(td, fds, out)
    return sum(1 for got in ready if got)


def sys_poll(td: Thread, fds: int, nfds: int, timeout: int) -> int:
    """poll(2); a negative time-out is for ever."""
    return poll_user(td, fds, nfds, None if timeout < 0 else timeout * 1_000_000)


def timeout_of(td: Thread, va: int, unit: int) -> int | None:
    """Nanoseconds of the struct timespec (*unit* 1) or timeval (*unit* 1000) at *va*; None when *va* is 0."""
    if va == 0:
        return None
    return read_timespec(td, va) if unit == 1 else read_timeval(td, va)


# -- select ---------------------------------------------------------------------------------

_SETS = ((POLLIN, POLLIN | POLLHUP | POLLERR), (POLLOUT, POLLOUT | POLLERR), (POLLPRI, POLLPRI))
"""For the read, write and exception sets: what is asked, and what counts as ready."""


def kern_select(td: Thread, nd: int, sets: tuple[int, int, int], timeout: int | None) -> int:
    """select(2) after its time-out: the three bit sets at the addresses *sets* are read and replaced."""
    if nd < 0:
        raise SyscallError(E.EINVAL)
    highest = max(td.td_proc.p_fd.fd_files, default=-1)
    size = (nd + 63) // 64 * 8
    asked = [int.from_bytes(copyin(td, va, size), "little") & (1 << nd) - 1 if va else 0 for va in sets]
    if (asked[0] | asked[1] | asked[2]) >> (highest + 1):
        raise SyscallError(E.EBADF)
    wanted = _select_events(asked, min(nd, highest + 1))
    found = [0, 0, 0]

    def scan() -> list[int]:
        found[:] = [0, 0, 0]
        return [_select_mark(found, wanted, pollscan(td, wanted))]

    count = wait_until(td, wanted, timeout, scan)[0]
    for va, bits in zip(sets, found, strict=True):
        if va and size:
            copyout(td, va, bits.to_bytes(size, "little"))
    kassert(count == sum(bits.bit_count() for bits in found), "select: %d bits", count)
    return count


def _select_events(asked: list[int], limit: int) -> Wanted:
    """What to poll for, out of the three bit sets."""
    wanted: Wanted = []
    for fd in range(limit):
        events = sum(row[0] for bits, row in zip(asked, _SETS, strict=True) if bits >> fd & 1)
        if events:
            wanted.append((fd, events))
    return wanted


def _select_mark(found: list[int], wanted: Wanted, ready: list[int]) -> int:
    """Put what is ready into the three bit sets and count it."""
    count = 0
    for (fd, events), got in zip(wanted, ready, strict=True):
        if got & POLLNVAL:
            raise SyscallError(E.EBADF)
        if got & POLLHUP and events & POLLOUT:
            got |= POLLOUT
        for index, (bit, counts) in enumerate(_SETS):
            if events & bit and got & counts:
                found[index] |= 1 << fd
                count += 1
    return count
