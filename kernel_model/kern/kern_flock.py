"""flock(2) and the record locks of fcntl(2), on top of kern_lockf.

FreeBSD: sys_flock() and kern_fcntl(), sys/kern/kern_descrip.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.kern_descrip import DTYPE_VNODE, FREAD, FWRITE, OFF_MAX, File, file_vnode
from kernel_model.kern.kern_lockf import TO_END, lf_clearlock, lf_getblock, lf_setlock
from kernel_model.kern.kern_synch import sleep_forever
from kernel_model.kern.vnode import Flock

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

LOCK_SH = 1
LOCK_EX = 2
LOCK_NB = 4
LOCK_UN = 8

F_RDLCK = 1
F_UNLCK = 2
F_WRLCK = 3

SEEK_SET = 0
SEEK_CUR = 1
SEEK_END = 2

LockRequest = tuple[int, int, int, int]
"""(l_type, l_whence, l_start, l_len) of a struct flock, in FreeBSD's numbers."""


def flock_file(td: Thread, fp: File, *, exclusive: bool, wait: bool) -> None:
    """Lock a whole open file for its ``File``; EAGAIN when another one holds it and *wait* is False."""
    kassert(fp.f_count > 0, "flock of a file that nobody holds")
    wanted = Flock(fp, 0, TO_END, exclusive)
    if lf_setlock(file_vnode(fp), wanted) is not None:
        if wait:
            sleep_forever(td, "lockf")
        raise SyscallError(E.EAGAIN)


def sys_flock(td: Thread, fd: int, how: int) -> int:
    """flock(2)."""
    fp = td.td_proc.p_fd.fget_path(fd)
    if fp.f_type != DTYPE_VNODE:
        raise SyscallError(E.EOPNOTSUPP)
    if how & LOCK_UN:
        lf_clearlock(file_vnode(fp), fp, 0, TO_END)
    elif how & (LOCK_SH | LOCK_EX):
        flock_file(td, fp, exclusive=bool(how & LOCK_EX), wait=not how & LOCK_NB)
    else:
        raise SyscallError(td.td_proc.p_sysent.files.flock_no_operation)
    return 0


def lock_range(fp: File, request: LockRequest) -> tuple[int, int]:
    """The bytes ``[start, end)`` that a struct flock means.  FreeBSD: lf_advlockasync()."""
    _, whence, start, length = request
    if whence == SEEK_CUR:
        start += fp.f_offset
    elif whence == SEEK_END:
        start += file_vnode(fp).v_size()
    elif whence != SEEK_SET:
        raise SyscallError(E.EINVAL)
    if start > OFF_MAX:
        raise SyscallError(E.EOVERFLOW)
    if length < 0:
        start, end = start + length, start
    else:
        end = start + length if length else TO_END
    if start < 0:
        raise SyscallError(E.EINVAL)
    if end > OFF_MAX + 1:
        raise SyscallError(E.EOVERFLOW)
    kassert(end == TO_END or start < end, "flock: [%d, %d)", start, end)
    return start, end


def setlk(td: Thread, fd: int, request: LockRequest, *, wait: bool) -> None:
    """F_SETLK and F_SETLKW."""
    fp = _lockable(td, fd)
    l_type = request[0]
    needs = {F_RDLCK: FREAD, F_WRLCK: FWRITE, F_UNLCK: 0}.get(l_type)
    if needs is None:
        raise SyscallError(E.EINVAL)
    if needs and not fp.f_flag & needs:
        raise SyscallError(E.EBADF)
    start, end = lock_range(fp, request)
    proc = td.td_proc
    vp = file_vnode(fp)
    if l_type == F_UNLCK:
        lf_clearlock(vp, proc, start, end)
        return
    wanted = Flock(proc, start, end, l_type == F_WRLCK, proc.p_pid)
    if lf_setlock(vp, wanted) is not None:
        if wait:
            sleep_forever(td, "lockf")
        raise SyscallError(E.EAGAIN)


def getlk(td: Thread, fd: int, request: LockRequest) -> Flock | None:
    """F_GETLK: the lock that would be in the way, or None."""
    fp = _lockable(td, fd)
    if request[0] not in (F_RDLCK, F_WRLCK, F_UNLCK):
        raise SyscallError(E.EINVAL)
    start, end = lock_range(fp, request)
    proc = td.td_proc
    wanted = Flock(proc, start, end, request[0] == F_WRLCK, proc.p_pid)
    return lf_getblock(file_vnode(fp), wanted)


def _lockable(td: Thread, fd: int) -> File:
    fp = td.td_proc.p_fd.fget_path(fd)
    if fp.f_type != DTYPE_VNODE:
        raise SyscallError(E.EBADF)
    return fp
