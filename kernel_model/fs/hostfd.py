"""Descriptors of the host that the machine hands to its first process: terminals, pipes, files, buffers.

Model only.  The guest never opens one of these by itself; the machine gives them as standard input, output and
error.  Reading and writing go straight to the host's descriptor.

Differs: a descriptor is never switched to non-blocking on the host, since the host's programs share it; for a
guest's O_NONBLOCK its readiness is asked first.
"""

from __future__ import annotations

import fcntl
import os
import select
import termios
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.host.files import host_error, vattr_of
from kernel_model.kern.vnode import (
    IFTOVT,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
    S_IFMT,
    VCHR,
    VFIFO,
    VREG,
    Mount,
    Vattr,
    VattrSet,
    Vnode,
)
from kernel_model.vm.vm_param import PAGE_MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOSTFD_MOUNT: Final = Mount(b"hostfd", b"host", b"")
MEBIBYTE: Final = 1 << 20
TERMIOS_SIZE: Final = 36
"""Bytes of the Linux kernel's struct termios, which is also how ioctl() here speaks of terminals."""

_TERMINAL: Final = {
    "TIOCGETA": (termios.TCGETS, TERMIOS_SIZE),
    "TIOCSETA": (termios.TCSETS, 0),
    "TIOCSETAW": (termios.TCSETSW, 0),
    "TIOCSETAF": (termios.TCSETSF, 0),
    "TIOCGWINSZ": (termios.TIOCGWINSZ, 8),
    "TIOCSWINSZ": (termios.TIOCSWINSZ, 0),
    "TIOCOUTQ": (termios.TIOCOUTQ, 4),
}
"""Terminal requests that are passed on: host request and the bytes of its answer."""


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class HostFdVnode(Vnode):
    """A file that the host opened.  The descriptor stays the host's: it is not closed here."""

    fd: int
    append: bool = False
    saved_termios: bytes = b""
    """The terminal's modes before the guest first changed them."""

    def getattr(self) -> Vattr:
        """fstat(2) on the host."""
        vap = vattr_of(os.fstat(self.fd))
        if self.v_type in (VCHR, VFIFO):
            vap.va_size = 0
        return vap

    def writable(self) -> bool:
        """By how the host opened it."""
        return True

    def seekable(self) -> bool:
        """Only a regular file."""
        return self.v_type == VREG

    def v_preadv(self, bufs: Sequence[memoryview], offset: int) -> int:
        """Read; a terminal or pipe gives what is there, waiting for the first byte."""
        try:
            if self.v_type == VREG:
                return os.preadv(self.fd, bufs, offset)
            return os.readv(self.fd, bufs)
        except OSError as error:
            raise host_error(error) from None

    def v_pwritev(self, bufs: Sequence[memoryview | bytes], offset: int) -> int:
        """Write; a pipe whose reader has gone is EPIPE."""
        try:
            if self.v_type == VREG and not self.append:
                return os.pwritev(self.fd, bufs, offset)
            return os.writev(self.fd, bufs)
        except OSError as error:
            raise host_error(error) from None

    def v_pread_into(self, buf: memoryview, offset: int) -> int:
        """For the pager, when a regular file is mapped."""
        return self.v_preadv((buf,), offset)

    def v_pwrite(self, data: memoryview | bytes, offset: int) -> int:
        """For the pager, when a regular file is mapped."""
        return self.v_pwritev((data,), offset)

    def read_limit(self, offset: int, count: int) -> int:
        """What is left of a file; what waits in a pipe or terminal cannot be known without waiting."""
        if self.v_type == VREG:
            return min(count, max(0, self.v_size() - offset))
        return min(count, 65536)

    def setattr(self, change: VattrSet) -> None:
        """Only the size of a regular file can be changed."""
        if change.va_size is None or self.v_type != VREG:
            raise SyscallError(E.EPERM)
        try:
            os.ftruncate(self.fd, change.va_size)
        except OSError as error:
            raise host_error(error) from None

    def moved(self, offset: int) -> None:
        """Keep the host's offset where the guest's is: the shell that started us goes on from there."""
        os.lseek(self.fd, offset, os.SEEK_SET)

    def poll(self, events: int) -> int:
        """Ask the host without waiting."""
        if self.v_type == VREG:
            return events & (POLLIN | POLLOUT | POLLRDNORM)
        poller = select.poll()
        wanted = events | (POLLIN if events & POLLRDNORM else 0)
        poller.register(self.fd, wanted & ~POLLRDNORM)
        ready = poller.poll(0)
        got = ready[0][1] if ready else 0
        if events & POLLRDNORM and got & POLLIN:
            got |= POLLRDNORM
        return got & (events | 0x18)

    def poll_host_fd(self) -> int:
        """Waiting is possible on everything but a regular file."""
        return -1 if self.v_type == VREG else self.fd

    def fsync(self, *, data_only: bool) -> None:
        """fsync(2) on the host; EINVAL for what has no store."""
        try:
            (os.fdatasync if data_only else os.fsync)(self.fd)
        except OSError as error:
            raise host_error(error) from None

    def ioctl(self, command: str, argument: bytes) -> bytes:
        """Terminal requests, with the Linux kernel's structures; FIONREAD on anything."""
        try:
            if command == "FIONREAD":
                return fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4))
            if command not in _TERMINAL or not os.isatty(self.fd):
                raise SyscallError(E.ENOTTY)
            request, size = _TERMINAL[command]
            if size:
                return fcntl.ioctl(self.fd, request, bytes(size))
            if command.startswith("TIOCSETA") and not self.saved_termios:
                self.saved_termios = fcntl.ioctl(self.fd, termios.TCGETS, bytes(TERMIOS_SIZE))
            fcntl.ioctl(self.fd, request, argument)
            return b""
        except OSError as error:
            raise host_error(error) from None

    def restore(self) -> None:
        """Give the terminal back the modes it had before the guest changed them."""
        if self.saved_termios:
            fcntl.ioctl(self.fd, termios.TCSETSW, self.saved_termios)
            self.saved_termios = b""

    def link_text(self) -> bytes:
        """As Linux shows it."""
        if self.v_type == VFIFO:
            return b"pipe:[%d]" % os.fstat(self.fd).st_ino
        if self.v_type == VCHR and os.isatty(self.fd):
            return b"/dev/tty"
        try:
            return os.readlink(b"/proc/self/fd/%d" % self.fd)
        except OSError:
            return b"host:[%d]" % self.fd


class MemStore:
    """How much of the host's memory all unnamed files of one machine take together, and may take.

    Model only: FreeBSD reserves swap for them.
    """

    __slots__ = ("fds", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.fds: set[int] = set()

    def used(self) -> int:
        """Bytes that the host has stored."""
        return sum(os.fstat(fd).st_blocks for fd in self.fds) * 512

    def reserve(self, fd: int, start: int, end: int) -> None:
        """Ask for the bytes ``[start, end)`` of one file: ENOSPC when its holes there are more than is left."""
        start &= ~PAGE_MASK
        end = (end + PAGE_MASK) & ~PAGE_MASK
        left = self.limit - self.used()
        if end - start <= left:
            return
        while start < end:
            data = _seek(fd, start, os.SEEK_DATA, end)
            left -= min(data, end) - start
            if left < 0:
                raise SyscallError(E.ENOSPC)
            start = _seek(fd, data, os.SEEK_HOLE, end)


def _seek(fd: int, offset: int, whence: int, end: int) -> int:
    """The next data or hole from *offset*, at most *end*."""
    if offset >= end:
        return end
    try:
        return min(os.lseek(fd, offset, whence), end)
    except OSError:
        return end  # ENXIO: behind the last byte is nothing but a hole


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class MemVnode(HostFdVnode):
    """An unnamed file of our own: shm_open(SHM_ANON), memfd_create(2)."""

    store: MemStore
    mode: int = 0o600
    uid: int = 0
    gid: int = 0

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """Nobody holds it any more."""
        self.store.fds.discard(self.fd)
        close(self.fd)

    def v_pwritev(self, bufs: Sequence[memoryview | bytes], offset: int) -> int:
        """Write; ENOSPC when the machine's unnamed files take all they may."""
        self.store.reserve(self.fd, offset, offset + sum(map(len, bufs)))
        return HostFdVnode.v_pwritev(self, bufs, offset)

    def getattr(self) -> Vattr:
        """The host's, but the owner and permissions are the guest's."""
        vap = vattr_of(os.fstat(self.fd))
        vap.va_mode, vap.va_uid, vap.va_gid = self.mode, self.uid, self.gid
        return vap

    def setattr(self, change: VattrSet) -> None:
        """Size, permissions and owner."""
        if change.va_size is not None:
            HostFdVnode.setattr(self, VattrSet(va_size=change.va_size))
        self.mode = self.mode if change.va_mode is None else change.va_mode
        self.uid = self.uid if change.va_uid is None else change.va_uid
        self.gid = self.gid if change.va_gid is None else change.va_gid

    def allocate(self, offset: int, length: int) -> None:
        """posix_fallocate(3), by writing zeroes: what the host only allocates would still look like a hole."""
        end = offset + length
        self.store.reserve(self.fd, offset, end)
        try:
            if os.fstat(self.fd).st_size < end:
                os.ftruncate(self.fd, end)
            while (offset := _seek(self.fd, offset, os.SEEK_HOLE, end)) < end:
                hole = _seek(self.fd, offset, os.SEEK_DATA, end)
                os.pwrite(self.fd, bytes(min(hole - offset, MEBIBYTE)), offset)
        except OSError as error:
            raise host_error(error) from None


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class BufferVnode(Vnode):
    """A pipe whose other end is a buffer of the test that runs the machine."""

    data: bytes = b""
    at: int = 0
    out: bytearray = field(default_factory=bytearray)

    def getattr(self) -> Vattr:
        """A pipe's."""
        return Vattr(VFIFO, 0o600, va_fileid=id(self) & 0xFFFFFFFF)

    def writable(self) -> bool:
        """Always."""
        return True

    def v_preadv(self, bufs: Sequence[memoryview], offset: int) -> int:
        """The next bytes, then the end of the file."""
        total = 0
        for buf in bufs:
            piece = self.data[self.at : self.at + len(buf)]
            buf[: len(piece)] = piece
            self.at += len(piece)
            total += len(piece)
        return total

    def v_pwritev(self, bufs: Sequence[memoryview | bytes], offset: int) -> int:
        """Collect."""
        for buf in bufs:
            self.out += buf
        return sum(map(len, bufs))

    def link_text(self) -> bytes:
        """As Linux shows a pipe."""
        return b"pipe:[%d]" % (id(self) & 0xFFFFFFFF)


def hostfd_vnode(fd: int) -> HostFdVnode:
    """Make the vnode of the host's open descriptor *fd*.  Raises EBADF when it is closed."""
    try:
        st = os.fstat(fd)
        append = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND)
    except OSError as error:
        raise host_error(error) from None
    vtype = IFTOVT.get(st.st_mode & S_IFMT, VCHR)
    return HostFdVnode(v_type=vtype, v_mount=HOSTFD_MOUNT, fd=fd, append=append)


def mem_vnode(store: MemStore, name: bytes, mode: int, uid: int, gid: int) -> MemVnode:
    """Make an empty unnamed file in *store*; *name* is what /proc shows."""
    try:
        fd = os.memfd_create(os.fsdecode(name) or "shm", os.MFD_CLOEXEC)
    except OSError as error:
        raise host_error(error) from None
    store.fds.add(fd)
    return MemVnode(
        v_type=VREG, v_mount=HOSTFD_MOUNT, fd=fd, store=store, mode=mode, uid=uid, gid=gid, v_name=name
    )


def buffer_vnode(data: bytes = b"", out: bytearray | None = None) -> BufferVnode:
    """A standard stream for tests: *data* is what can be read, *out* takes what is written."""
    sink = bytearray() if out is None else out
    return BufferVnode(v_type=VFIFO, v_mount=HOSTFD_MOUNT, data=data, out=sink)
