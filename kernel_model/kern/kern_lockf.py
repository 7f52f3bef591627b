"""Advisory record locks: fcntl(F_SETLK) and flock(2).

FreeBSD: sys/kern/kern_lockf.c.
Differs: locks are kept on our vnode and are not seen by programs of the host.  A lock is one ``Flock``; a
POSIX lock's owner is its process, an flock(2) lock's owner is its open file, and both kinds of owner exclude
each other as on FreeBSD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.kern.vnode import Flock

if TYPE_CHECKING:
    from kernel_model.kern.vnode import Vnode

TO_END = -1
"""``end`` of a lock that reaches to the end of the file, wherever that will be."""
_INFINITY = 1 << 63


def _end(lock: Flock) -> int:
    return _INFINITY if lock.end == TO_END else lock.end


def lf_getblock(vp: Vnode, wanted: Flock) -> Flock | None:
    """The first lock of another owner that conflicts with *wanted*; None when it could be granted."""
    for lock in vp.v_lockf:
        if lock.owner is wanted.owner:
            continue
        overlap = lock.start < _end(wanted) and wanted.start < _end(lock)
        if overlap and (lock.exclusive or wanted.exclusive):
            return lock
    return None


def lf_setlock(vp: Vnode, wanted: Flock) -> Flock | None:
    """Grant *wanted* and return None, or return the lock in the way.

    The owner's own locks in the range are replaced, as a downgrade or upgrade.
    """
    blocker = lf_getblock(vp, wanted)
    if blocker is not None:
        return blocker
    lf_clearlock(vp, wanted.owner, wanted.start, wanted.end)
    vp.v_lockf.append(wanted)
    vp.v_lockf.sort(key=lambda lock: lock.start)
    lf_check(vp)
    return None


def lf_clearlock(vp: Vnode, owner: object, start: int, end: int) -> None:
    """Unlock ``[start, end)`` for *owner*, splitting what reaches beyond."""
    stop = _INFINITY if end == TO_END else end
    kept: list[Flock] = []
    for lock in vp.v_lockf:
        if lock.owner is not owner or _end(lock) <= start or stop <= lock.start:
            kept.append(lock)
            continue
        if lock.start < start:
            kept.append(Flock(owner, lock.start, start, lock.exclusive, lock.pid))
        if stop < _end(lock):
            kept.append(Flock(owner, stop, lock.end, lock.exclusive, lock.pid))
    vp.v_lockf[:] = kept
    lf_check(vp)


def lf_check(vp: Vnode) -> None:
    """What must hold of the locks of a file: no lock is empty, an owner's do not overlap, others' only when shared."""
    reach: dict[int, int] = {}
    exclusive = 0
    everybody = 0
    for lock in sorted(vp.v_lockf, key=lambda lock: lock.start):
        kassert(0 <= lock.start < _end(lock), "lockf: [%d, %d)", lock.start, lock.end)
        kassert(reach.get(id(lock.owner), 0) <= lock.start, "lockf: locks of one owner overlap at %d", lock.start)
        kassert(exclusive <= lock.start, "lockf: an exclusive lock is shared at %d", lock.start)
        kassert(not lock.exclusive or everybody <= lock.start, "lockf: a shared lock is excluded at %d", lock.start)
        reach[id(lock.owner)] = everybody_end = _end(lock)
        everybody = max(everybody, everybody_end)
        exclusive = max(exclusive, everybody_end) if lock.exclusive else exclusive


def lf_release(vp: Vnode, owner: object) -> None:
    """*owner* has closed a descriptor of the file: its locks go."""
    if vp.v_lockf:
        vp.v_lockf[:] = [lock for lock in vp.v_lockf if lock.owner is not owner]
