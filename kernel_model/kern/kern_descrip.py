"""Open files and the descriptor table of a process.

FreeBSD: sys/kern/kern_descrip.c, sys/sys/file.h, sys/sys/filedesc.h, sys/sys/fcntl.h.

A descriptor is a small number in a ``FileDesc``; several of them, in several processes, can share one
``File``, and with it the offset and the status flags.  What a file can do is its ``FileOps``.

Flags are FreeBSD's; the Linux calls translate theirs.  Differs: no capability rights, no per-descriptor
ioctl lists; the table is a dict, so that a program that dup2()s to 1,000,000 costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert, some
from kernel_model.kern.kern_lockf import lf_release
from kernel_model.kern.vnode import VDIR
from kernel_model.rlimit import RLIMIT_NOFILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.resourcevar import Plimit
    from kernel_model.kern.vnode import Dirent, Vattr, Vnode

O_RDONLY = 0x0
O_WRONLY = 0x1
O_RDWR = 0x2
O_ACCMODE = 0x3
O_NONBLOCK = 0x4
O_APPEND = 0x8
O_SHLOCK = 0x10
O_EXLOCK = 0x20
O_ASYNC = 0x40
O_FSYNC = 0x80
O_NOFOLLOW = 0x100
O_CREAT = 0x200
O_TRUNC = 0x400
O_EXCL = 0x800
O_NOCTTY = 0x8000
O_DIRECT = 0x10000
O_DIRECTORY = 0x20000
O_EXEC = 0x40000
O_CLOEXEC = 0x100000
O_PATH = 0x400000
"""Only a place in the tree, not readable: FreeBSD 13's number, Linux's call."""

FREAD = 0x1
FWRITE = 0x2
FEXEC = O_EXEC
FAPPEND = O_APPEND
FNONBLOCK = O_NONBLOCK
FRDAHEAD = O_CREAT
FMASK = FREAD | FWRITE | O_APPEND | O_ASYNC | O_FSYNC | O_NONBLOCK | O_DIRECT | FEXEC | O_PATH
FCNTLFLAGS = O_APPEND | O_ASYNC | O_FSYNC | O_NONBLOCK | FRDAHEAD | O_DIRECT

DTYPE_VNODE = 1
DTYPE_SOCKET = 2
DTYPE_PIPE = 3
DTYPE_FIFO = 4
DTYPE_KQUEUE = 5
DTYPE_SHM = 8

MAXFILESPERPROC = 58_000
"""kern.maxfilesperproc of a machine with 2 GiB: an upper bound whatever RLIMIT_NOFILE says."""
OFF_MAX = (1 << 63) - 1


class FileOps(Protocol):
    """What can be done with an open file without a thread to do it for: half of struct fileops.

    The other half, which may sleep, is ``file.FileIoOps``: a File stands below the threads that use it.
    """

    def fo_stat(self, fp: File) -> Vattr:
        """The attributes: stat(2)."""
        ...

    def fo_poll(self, fp: File, events: int) -> int:
        """Which of the POLL* *events* are true now."""
        ...

    def fo_poll_host_fd(self, fp: File) -> int:
        """A host descriptor that becomes ready when the answer of fo_poll changes; -1 for none."""
        ...

    def fo_close(self, fp: File) -> None:
        """The last reference is gone."""
        ...

    def fo_seekable(self, fp: File) -> bool:
        """Whether the file has an offset."""
        ...

    def fo_name(self, fp: File) -> bytes:
        """What /proc/self/fd shows for it."""
        ...


@dataclass(slots=True, eq=False)
class File:
    """One open file: struct file."""

    f_ops: FileOps
    f_type: int
    f_flag: int
    f_vnode: Vnode | None = None
    f_count: int = 0
    """Descriptors, and calls in progress, that refer to it."""
    f_offset: int = 0
    f_dirents: list[Dirent] | None = None
    """A directory's names as they were when reading began at offset 0."""
    f_moved: Callable[[int], None] | None = None
    """Told of each new offset, for a file whose offset is shared with programs of the host."""
    f_owner: int = 0
    """Whom F_SETOWN named."""


def fdrop(fp: File) -> None:
    """Give up one reference; the last one closes.  FreeBSD: fdrop(9)."""
    kassert(fp.f_count > 0, "fdrop: no reference")
    fp.f_count -= 1
    if fp.f_count == 0:
        if fp.f_vnode is not None:
            lf_release(fp.f_vnode, fp)
        fp.f_ops.fo_close(fp)


class LimitedProc(Protocol):
    """A process, as far as its descriptor table asks: how many there may be."""

    @property
    def p_limit(self) -> Plimit:
        """Its resource limits."""
        ...


class LimitedThread(Protocol):
    """A thread of such a process."""

    @property
    def td_proc(self) -> LimitedProc:
        """Its process."""
        ...


def getmaxfd(proc: LimitedProc) -> int:
    """One more than the highest descriptor *proc* may get.  FreeBSD: getmaxfd()."""
    return min(proc.p_limit.lim_cur(RLIMIT_NOFILE), MAXFILESPERPROC)


@dataclass(slots=True, eq=False)
class FileDesc:
    """The descriptors, directories and file creation mask of a process: struct filedesc."""

    fd_cdir: Vnode
    fd_rdir: Vnode
    fd_cmask: int = 0o022
    fd_files: dict[int, File] = field(default_factory=dict)
    fd_cloexec: set[int] = field(default_factory=set)
    fd_freefile: int = 0
    """No descriptor below this one is free."""

    # -- finding -----------------------------------------------------------------------------------

    def fget(self, fd: int, flags: int = 0) -> File:
        """The open file of *fd*, which must be open for *flags* (FREAD or FWRITE); EBADF otherwise."""
        fp = self.fd_files.get(fd)
        if fp is None or (flags and not fp.f_flag & flags):
            raise SyscallError(E.EBADF)
        return fp

    def fget_path(self, fd: int) -> File:
        """Like fget(), refusing a file opened with O_PATH."""
        fp = self.fget(fd)
        if fp.f_flag & O_PATH:
            raise SyscallError(E.EBADF)
        return fp

    def getvnode(self, fd: int) -> Vnode:
        """The vnode behind *fd*; EBADF when closed, EINVAL when it is no vnode.  FreeBSD: getvnode()."""
        fp = self.fget(fd)
        if fp.f_vnode is None:
            raise SyscallError(E.EINVAL)
        return fp.f_vnode

    def getvnode_at(self, fd: int) -> Vnode:
        """The directory behind *fd*, where a look-up starts; EBADF or ENOTDIR."""
        fp = self.fget(fd)
        if fp.f_vnode is None or fp.f_vnode.v_type != VDIR:
            raise SyscallError(E.ENOTDIR)
        return fp.f_vnode

    def descriptors(self) -> list[int]:
        """The open descriptors in order."""
        return sorted(self.fd_files)

    # -- opening and closing -------------------------------------------------------------------------

    def fdalloc(self, td: LimitedThread, minfd: int = 0) -> int:
        """The lowest free descriptor from *minfd* on; EMFILE at RLIMIT_NOFILE.  FreeBSD: fdalloc()."""
        kassert(minfd >= 0, "fdalloc: from %d on", minfd)
        fd = max(minfd, self.fd_freefile)
        files = self.fd_files
        while fd in files:
            fd += 1
        if minfd <= self.fd_freefile:
            self.fd_freefile = fd
        if fd >= getmaxfd(td.td_proc):
            raise SyscallError(E.EMFILE)
        return fd

    def install(self, td: LimitedThread, fp: File, *, cloexec: bool = False, minfd: int = 0) -> int:
        """Give *fp* the lowest free descriptor from *minfd* on and return it.  FreeBSD: finstall()."""
        fd = self.fdalloc(td, minfd)
        self._set(fd, fp, cloexec=cloexec)
        return fd

    def _set(self, fd: int, fp: File, *, cloexec: bool) -> None:
        kassert(fd >= 0 and fd not in self.fd_files, "finstall: descriptor %d is taken", fd)
        fp.f_count += 1
        self.fd_files[fd] = fp
        if cloexec:
            self.fd_cloexec.add(fd)
        else:
            self.fd_cloexec.discard(fd)

    def close(self, fd: int, owner: object = None) -> None:
        """Close *fd*; *owner* (the process) loses its record locks on the file.  FreeBSD: kern_close()."""
        fp = self.fd_files.pop(fd, None)
        if fp is None:
            raise SyscallError(E.EBADF)
        self.fd_cloexec.discard(fd)
        self.fd_freefile = min(self.fd_freefile, fd)
        if owner is not None and fp.f_vnode is not None:
            lf_release(fp.f_vnode, owner)
        fdrop(fp)

    def dup(self, td: LimitedThread, old: int, minfd: int = 0, *, cloexec: bool = False) -> int:
        """dup(2) and F_DUPFD: *old* again at the lowest free number from *minfd* on."""
        return self.install(td, self.fget(old), cloexec=cloexec, minfd=minfd)

    def dup2(self, td: LimitedThread, old: int, new: int, *, cloexec: bool = False) -> int:
        """dup2(2): *old* again at *new*, which is closed first.  FreeBSD: kern_dup() with FDDUP_FIXED."""
        if old < 0 or not 0 <= new < getmaxfd(td.td_proc):
            raise SyscallError(E.EBADF)
        fp = self.fget(old)
        if old == new:
            if cloexec:
                self.fd_cloexec.add(new)
            return new
        fp.f_count += 1
        if new in self.fd_files:
            self.close(new, td.td_proc)
        fp.f_count -= 1
        self._set(new, fp, cloexec=cloexec)
        return new

    # -- whole tables ----------------------------------------------------------------------------------

    def copy(self) -> FileDesc:
        """The table of a forked child: the same files, shared offsets.  FreeBSD: fdcopy()."""
        kassert(self.fd_cloexec <= self.fd_files.keys(), "fdcopy: %r is not open", self.fd_cloexec)
        for fp in self.fd_files.values():
            kassert(fp.f_count > 0, "fdcopy: a file without references")
            fp.f_count += 1
        return FileDesc(
            self.fd_cdir, self.fd_rdir, self.fd_cmask,
            dict(self.fd_files), set(self.fd_cloexec), self.fd_freefile,
        )  # fmt: skip

    def close_on_exec(self, owner: object = None) -> None:
        """Close what is marked close-on-exec.  FreeBSD: fdcloseexec()."""
        for fd in sorted(self.fd_cloexec):
            self.close(fd, owner)
        kassert(not self.fd_cloexec, "fdcloseexec: %r are open", self.fd_cloexec)

    def close_range(self, low: int, high: int, owner: object = None) -> None:
        """Close every open descriptor in ``[low, high]``.  FreeBSD: kern_close_range()."""
        for fd in self.descriptors():
            if low <= fd <= high:
                self.close(fd, owner)

    def free(self, owner: object = None) -> None:
        """The process exits: close all.  FreeBSD: fdescfree()."""
        self.close_range(0, OFF_MAX, owner)
        kassert(not self.fd_files and not self.fd_cloexec, "fdescfree: %r are open", self.fd_files.keys())
        kassert(self.fd_freefile == 0, "fdescfree: first free descriptor %d", self.fd_freefile)


def file_vnode(fp: File) -> Vnode:
    """The vnode of a DTYPE_VNODE file."""
    return some(fp.f_vnode, "vnode of an open file")
