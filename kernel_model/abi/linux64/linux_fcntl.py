"""Linux's fcntl(2) and its open flags.

Model only: asm-generic/fcntl.h, linux/fcntl.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.abi.linux64 import structs_file as st
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_descrip import (
    DTYPE_FIFO,
    DTYPE_PIPE,
    DTYPE_VNODE,
    FREAD,
    FWRITE,
    O_APPEND,
    O_ASYNC,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECT,
    O_DIRECTORY,
    O_EXCL,
    O_FSYNC,
    O_NOCTTY,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_PATH,
    O_TRUNC,
    File,
    getmaxfd,
)
from kernel_model.kern.kern_flock import SEEK_SET, getlk, setlk
from kernel_model.kern.sys_pipe import PIPE_SIZE

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

LINUX_O_WRONLY = 0x1
LINUX_O_ACCMODE = 0x3
LINUX_O_CREAT = 0x40
LINUX_O_EXCL = 0x80
LINUX_O_NOCTTY = 0x100
LINUX_O_TRUNC = 0x200
LINUX_O_APPEND = 0x400
LINUX_O_NONBLOCK = 0x800
LINUX_O_DSYNC = 0x1000
LINUX_O_ASYNC = 0x2000
LINUX_O_DIRECT = 0x4000
LINUX_O_LARGEFILE = 0x8000
LINUX_O_DIRECTORY = 0x10000
LINUX_O_NOFOLLOW = 0x20000
LINUX_O_CLOEXEC = 0x80000
LINUX_O_PATH = 0x200000
LINUX_O_TMPFILE = 0x400000
"""The bit that O_TMPFILE has beside O_DIRECTORY."""
_FLAGS = (
    (LINUX_O_CREAT, O_CREAT), (LINUX_O_EXCL, O_EXCL), (LINUX_O_NOCTTY, O_NOCTTY), (LINUX_O_TRUNC, O_TRUNC),
    (LINUX_O_APPEND, O_APPEND), (LINUX_O_NONBLOCK, O_NONBLOCK), (LINUX_O_DSYNC, O_FSYNC), (LINUX_O_ASYNC, O_ASYNC),
    (LINUX_O_DIRECT, O_DIRECT), (LINUX_O_DIRECTORY, O_DIRECTORY), (LINUX_O_NOFOLLOW, O_NOFOLLOW),
    (LINUX_O_CLOEXEC, O_CLOEXEC), (LINUX_O_PATH, O_PATH),
)  # fmt: skip
"""Linux's open flags and FreeBSD's.  O_LARGEFILE, O_NOATIME and the second half of O_SYNC have no meaning here."""
_STATUS = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT

F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_SETOWN, F_GETOWN = range(10)
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
FD_CLOEXEC = 1
F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS = 1030, 1031, 1032, 1033, 1034


def flags_in(flags: int) -> int:
    """Linux's open flags as FreeBSD's."""
    return flags & LINUX_O_ACCMODE | sum(freebsd for linux, freebsd in _FLAGS if flags & linux)


def flags_out(fp: File) -> int:
    """What F_GETFL tells of *fp*."""
    if fp.f_flag & O_PATH:
        return LINUX_O_PATH
    access = (fp.f_flag & (FREAD | FWRITE)) - 1
    large = LINUX_O_LARGEFILE if fp.f_type == DTYPE_VNODE else 0
    return access | large | sum(linux for linux, freebsd in _FLAGS if fp.f_flag & freebsd & ~O_CREAT)


def sys_fcntl(td: Thread, fd: int, cmd: int, arg: int) -> int:
    """fcntl(2)."""
    fdesc = td.td_proc.p_fd
    fp = fdesc.fget(fd)
    if cmd in (F_DUPFD, F_DUPFD_CLOEXEC):
        if arg >= getmaxfd(td.td_proc):
            raise SyscallError(E.EINVAL)
        return fdesc.dup(td, fd, arg, cloexec=cmd == F_DUPFD_CLOEXEC)
    if cmd == F_GETFD:
        return int(fd in fdesc.fd_cloexec)
    if cmd == F_SETFD:
        (fdesc.fd_cloexec.add if arg & FD_CLOEXEC else fdesc.fd_cloexec.discard)(fd)
        return 0
    if cmd == F_GETFL:
        return flags_out(fp)
    if fp.f_flag & O_PATH:
        raise SyscallError(E.EBADF)
    if cmd in (F_GETLK, F_SETLK, F_SETLKW):
        return _fcntl_lock(td, fd, cmd, arg)
    return _fcntl_file(fp, cmd, arg)


def _fcntl_file(fp: File, cmd: int, arg: int) -> int:
    """What concerns the open file and not the descriptor."""
    if cmd == F_SETFL:
        fp.f_flag = fp.f_flag & ~_STATUS | flags_in(arg) & _STATUS
        return 0
    if cmd == F_GETOWN:
        return fp.f_owner
    if cmd == F_SETOWN:
        fp.f_owner = ((arg & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
        return 0
    if cmd in (F_GETPIPE_SZ, F_SETPIPE_SZ):
        if fp.f_type not in (DTYPE_PIPE, DTYPE_FIFO):
            raise SyscallError(E.EBADF)
        return PIPE_SIZE
    raise SyscallError(E.EINVAL)


def _fcntl_lock(td: Thread, fd: int, cmd: int, arg: int) -> int:
    data = copyin(td, arg, st.FLOCK.size)
    request = st.unpack_flock(data)
    if cmd != F_GETLK:
        setlk(td, fd, request, wait=cmd == F_SETLKW)
        return 0
    blocker = getlk(td, fd, request)
    if blocker is None:
        answer = st.pack_flock(st.L_UNLCK, request[1], request[2], request[3], st.FLOCK.unpack(data)[4])
    else:
        kind = st.L_WRLCK if blocker.exclusive else st.L_RDLCK
        length = 0 if blocker.end < 0 else blocker.end - blocker.start
        answer = st.pack_flock(kind, SEEK_SET, blocker.start, length, blocker.pid)
    copyout(td, arg, answer)
    return 0
