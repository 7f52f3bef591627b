"""Descriptors of the host that the machine hands to its first process: terminals, pipes, files, buffers.

Model only.  The guest never opens one of these by itself; the machine gives them as standard input, output and
error.  Reading and writing go straight to the host's descriptor.

Differs: a descriptor is never switched to non-blocking on the host, since the host's programs share it; for a
guest's O_NONBLOCK its readiness is asked first.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.fs.hostfs import vattr_of
from kernel_model.host import files as host
from kernel_model.host.poll import ready_events
from kernel_model.host.streams import (
    is_regular,
    is_terminal,
    same_open_file,
    set_stream_offset,
    stream_ioctl,
    stream_mode,
    stream_offset,
    stream_path,
)
from kernel_model.kern.kern_descrip import DTYPE_VNODE, FREAD, FWRITE, O_APPEND, File
from kernel_model.kern.vfs_vnops import VNOPS
from kernel_model.kern.vnode import (
    IFTOVT,
    POLLERR,
    POLLHUP,
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

if TYPE_CHECKING:
    from collections.abc import Sequence

HOSTFD_MOUNT: Final = Mount(b"hostfd", b"host", b"")

Stream = int | bytes | bytearray | None
"""A host descriptor; bytes to be read; a buffer to be written to; None: the descriptor is closed."""


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class HostFdVnode(Vnode):
    """A file that the host opened.  The descriptor stays the host's: it is not closed here."""

    fd: int
    append: bool = False
    saved_termios: bytes = b""
    """The terminal's modes before the guest first changed them."""

    def getattr(self) -> Vattr:
        """fstat(2) on the host."""
        vap = vattr_of(host.fstat(self.fd))
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
        if self.v_type == VREG:
            return host.preadv(self.fd, bufs, offset)
        return host.readv(self.fd, bufs)

    def v_pwritev(self, bufs: Sequence[memoryview | bytes], offset: int) -> int:
        """Write; a pipe whose reader has gone is EPIPE."""
        if self.v_type == VREG and not self.append:
            return host.pwritev(self.fd, bufs, offset)
        return host.writev(self.fd, bufs)

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
        host.truncate(self.fd, change.va_size)

    def moved(self, offset: int) -> None:
        """Keep the host's offset where the guest's is: the shell that started us goes on from there."""
        kassert(self.v_type == VREG, "hostfd: %r has no offset", self)
        set_stream_offset(self.fd, offset)

    def poll(self, events: int) -> int:
        """Ask the host without waiting."""
        if self.v_type == VREG:
            return events & (POLLIN | POLLOUT | POLLRDNORM)
        wanted = events | (POLLIN if events & POLLRDNORM else 0)
        got = ready_events(self.fd, wanted & ~POLLRDNORM)
        if events & POLLRDNORM and got & POLLIN:
            got |= POLLRDNORM
        return got & (events | POLLERR | POLLHUP)

    def poll_host_fd(self) -> int:
        """Waiting is possible on everything but a regular file."""
        return -1 if self.v_type == VREG else self.fd

    def fsync(self, *, data_only: bool) -> None:
        """fsync(2) on the host; EINVAL for what has no store."""
        host.sync(self.fd, data_only=data_only)

    def ioctl(self, command: str, argument: bytes) -> bytes:
        """Terminal requests, with the Linux kernel's structures; FIONREAD on anything."""
        if command != "FIONREAD" and not is_terminal(self.fd):
            raise SyscallError(E.ENOTTY)
        if command.startswith("TIOCSETA") and not self.saved_termios:
            self.saved_termios = stream_ioctl(self.fd, "TIOCGETA", b"") or b""
        answer = stream_ioctl(self.fd, command, argument)
        if answer is None:
            raise SyscallError(E.ENOTTY)
        return answer

    def restore(self) -> None:
        """Give the terminal back the modes it had before the guest changed them."""
        if self.saved_termios:
            with suppress(SyscallError):  # the terminal may have gone meanwhile
                stream_ioctl(self.fd, "TIOCSETAW", self.saved_termios)
            self.saved_termios = b""

    def link_text(self) -> bytes:
        """As Linux shows it."""
        if self.v_type == VFIFO:
            return b"pipe:[%d]" % host.fstat(self.fd).st_ino
        if self.v_type == VCHR and is_terminal(self.fd):
            return b"/dev/tty"
        return stream_path(self.fd) or b"host:[%d]" % self.fd


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
            kassert(self.at <= len(self.data), "hostfd: read beyond the buffer")
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
    vtype = IFTOVT.get(host.fstat(fd).st_mode & S_IFMT, VCHR)
    return HostFdVnode(v_type=vtype, v_mount=HOSTFD_MOUNT, fd=fd, append=stream_mode(fd).append)


def buffer_vnode(data: bytes = b"", out: bytearray | None = None) -> BufferVnode:
    """A standard stream for tests: *data* is what can be read, *out* takes what is written."""
    sink = bytearray() if out is None else out
    return BufferVnode(v_type=VFIFO, v_mount=HOSTFD_MOUNT, data=data, out=sink)


# -- standard input, output and error: FreeBSD's init gets /dev/console --------------------------------------


def stdio_file(stream: int | bytes | bytearray) -> File:
    """The open file for one standard stream."""
    vp: HostFdVnode | BufferVnode
    if isinstance(stream, int):
        vp = hostfd_vnode(stream)
        how = stream_mode(stream)
        mode = (FREAD if how.reads else 0) | (FWRITE if how.writes else 0) | (O_APPEND if how.append else 0)
        fp = File(VNOPS, DTYPE_VNODE, mode, vp)
        if vp.v_type == VREG:
            fp.f_offset = stream_offset(stream)
            fp.f_moved = vp.moved
    elif isinstance(stream, bytes):
        vp = buffer_vnode(stream)
        fp = File(VNOPS, DTYPE_VNODE, FREAD, vp)
    else:
        vp = buffer_vnode(out=stream)
        fp = File(VNOPS, DTYPE_VNODE, FWRITE, vp)
    vp.v_incr_usecount(write=bool(fp.f_flag & FWRITE))
    return fp


def stdio_files(*streams: Stream) -> dict[int, File]:
    """Descriptor table entries for *streams*, numbered from 0; what shares an offset on the host shares it here."""
    table: dict[int, File] = {}
    for number, stream in enumerate(streams):
        if stream is None:
            continue
        fp = _known_file(stream, streams[:number], table) or stdio_file(stream)
        fp.f_count += 1
        kassert(fp.f_vnode is not None and fp.f_vnode.v_usecount == 1, "stdio: %d is no open file", number)
        table[number] = fp
    return table


def _known_file(stream: Stream, before: tuple[Stream, ...], table: dict[int, File]) -> File | None:
    """The entry of an earlier stream that is the same open file of the host."""
    if not isinstance(stream, int) or not is_regular(stream):
        return None
    for number, other in enumerate(before):
        if isinstance(other, int) and same_open_file(other, stream):
            return table[number]
    return None
