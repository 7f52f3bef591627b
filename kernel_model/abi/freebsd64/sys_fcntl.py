"""FreeBSD's fcntl(2).

FreeBSD: sys_fcntl() and kern_fcntl(), sys/kern/kern_descrip.c; sys/sys/fcntl.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.abi.freebsd64 import structs_file as st
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_descrip import FCNTLFLAGS, O_ACCMODE, O_EXEC, File, getmaxfd
from kernel_model.kern.kern_flock import F_RDLCK, F_UNLCK, F_WRLCK, SEEK_SET, getlk, setlk

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

(
    F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETOWN, F_SETOWN, F_OGETLK, F_OSETLK, F_OSETLKW, F_DUP2FD, F_GETLK,
    F_SETLK, F_SETLKW, _, F_READAHEAD, F_RDAHEAD, F_DUPFD_CLOEXEC, F_DUP2FD_CLOEXEC,
) = range(19)  # fmt: skip
FD_CLOEXEC = 1
_LOCKS = (F_GETLK, F_SETLK, F_SETLKW, F_OGETLK, F_OSETLK, F_OSETLKW)


def sys_fcntl(td: Thread, fd: int, cmd: int, arg: int) -> int:
    """fcntl(2)."""
    fdesc = td.td_proc.p_fd
    number = ((arg & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
    if cmd in (F_DUPFD, F_DUPFD_CLOEXEC):
        if not 0 <= number < getmaxfd(td.td_proc):
            raise SyscallError(E.EINVAL if fd >= 0 else E.EBADF)
        return fdesc.dup(td, fd, number, cloexec=cmd == F_DUPFD_CLOEXEC)
    if cmd in (F_DUP2FD, F_DUP2FD_CLOEXEC):
        return fdesc.dup2(td, fd, number, cloexec=cmd == F_DUP2FD_CLOEXEC)
    fp = fdesc.fget(fd)
    if cmd == F_GETFD:
        return int(fd in fdesc.fd_cloexec)
    if cmd == F_SETFD:
        (fdesc.fd_cloexec.add if arg & FD_CLOEXEC else fdesc.fd_cloexec.discard)(fd)
        return 0
    if cmd in _LOCKS:
        return _fcntl_lock(td, fd, cmd, arg)
    return _fcntl_file(fp, cmd, arg, number)


def _fcntl_file(fp: File, cmd: int, arg: int, number: int) -> int:
    """What concerns the open file and not the descriptor."""
    if cmd == F_GETFL:
        return fp.f_flag if fp.f_flag & O_EXEC else fp.f_flag - 1
    if cmd == F_SETFL:
        fp.f_flag = fp.f_flag & ~FCNTLFLAGS | (arg & ~O_ACCMODE) & FCNTLFLAGS
        return 0
    if cmd == F_GETOWN:
        return fp.f_owner
    if cmd == F_SETOWN:
        fp.f_owner = number
        return 0
    if cmd in (F_READAHEAD, F_RDAHEAD):
        if fp.f_vnode is None:
            raise SyscallError(E.EBADF)
        return 0
    raise SyscallError(E.EINVAL)


def _fcntl_lock(td: Thread, fd: int, cmd: int, arg: int) -> int:
    old = cmd in (F_OGETLK, F_OSETLK, F_OSETLKW)
    size = st.OFLOCK.size if old else st.FLOCK.size
    request = st.unpack_flock(copyin(td, arg, size))
    if cmd in (F_GETLK, F_OGETLK):
        blocker = getlk(td, fd, request)
        if blocker is None:
            answer = st.pack_flock(F_UNLCK, request[1], request[2], request[3], 0)
        else:
            length = 0 if blocker.end < 0 else blocker.end - blocker.start
            kind = F_WRLCK if blocker.exclusive else F_RDLCK
            answer = st.pack_flock(kind, SEEK_SET, blocker.start, length, blocker.pid)
        copyout(td, arg, answer[:size])
        return 0
    setlk(td, fd, request, wait=cmd in (F_SETLKW, F_OSETLKW))
    return 0
