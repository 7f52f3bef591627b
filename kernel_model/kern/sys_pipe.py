"""Pipes and FIFOs.

FreeBSD: sys/kern/sys_pipe.c, sys/fs/fifofs/fifo_vnops.c.

        end 0                              end 1
    reads  inbox 0  <------------------  writes
    writes ------------------> inbox 1   reads         (on FreeBSD a pipe goes both ways)

An end holds the buffer it reads from; what it writes goes into its peer's.

Differs: a buffer holds 64 KiB from the start (FreeBSD begins with 16 and grows), and a large write is never handed
over page by page from the writer's memory; a FIFO connects programs of this machine only, never those of the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.kern_descrip import (
    DTYPE_FIFO,
    DTYPE_PIPE,
    FMASK,
    FREAD,
    FWRITE,
    O_CLOEXEC,
    O_DIRECT,
    O_NONBLOCK,
    File,
)
from kernel_model.kern.kern_synch import sleep_forever
from kernel_model.kern.pipe import Inbox
from kernel_model.kern.vnode import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, VFIFO, Vattr
from kernel_model.vm.vm_kern import PipeBuffer
from kernel_model.vm.vm_param import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel_model.kern.proc import Thread
    from kernel_model.kern.vnode import Vnode

PIPE_SIZE = 65536
PIPE_BUF = 512


@dataclass(slots=True, eq=False)
class Pipe:
    """One end: struct pipe, and the operations on a file that is one: pipeops."""

    inbox: Inbox
    outbox: Inbox
    pipe_ino: int
    when: int
    both_ways: bool = True
    """False for Linux's pipes, which go from the second end to the first."""
    named: Vnode | None = None

    def fo_read(self, td: Thread, fp: File, bufs: Sequence[memoryview], offset: int) -> int:
        """What is there; the end of the file when no writer is left."""
        data = self.inbox.data
        if not data:
            if self.inbox.writers == 0:
                return 0
            if fp.f_flag & O_NONBLOCK:
                raise SyscallError(E.EAGAIN)
            sleep_forever(td, "piperd")
        total = 0
        for buf in bufs:
            got = data.take(buf)
            total += got
            if got < len(buf):
                break
        kassert(total <= sum(map(len, bufs)), "pipe: %d bytes read", total)
        if total == 0 and data and any(bufs):
            raise SyscallError(E.ENOMEM)
        return total

    def fo_write(self, td: Thread, fp: File, bufs: Sequence[memoryview], offset: int) -> int:
        """As much as there is room for; up to PIPE_BUF bytes all or nothing."""
        box = self.outbox
        if box.readers == 0:
            raise SyscallError(E.EPIPE)
        count = sum(map(len, bufs))
        room = box.data.size - len(box.data)
        if room == 0 or (count <= td.td_proc.p_sysent.files.pipe_buf and room < count):
            if fp.f_flag & O_NONBLOCK:
                raise SyscallError(E.EAGAIN)
            sleep_forever(td, "pipewr")
        put = 0
        for buf in bufs:
            stored = box.data.put(buf)
            put += stored
            if stored < min(len(buf), room):
                break
            room -= stored
        kassert(put <= count, "pipe: %d of %d bytes written", put, count)
        if put == 0 and count:
            raise SyscallError(E.ENOMEM)
        if put < count and not fp.f_flag & O_NONBLOCK:
            sleep_forever(td, "pipewr")
        return put

    def fo_stat(self, fp: File) -> Vattr:
        """Size is what waits to be read."""
        if self.named is not None:
            return self.named.getattr()
        waiting = len(self.inbox.data)
        return Vattr(
            VFIFO, 0o600, va_nlink=1, va_fileid=self.pipe_ino, va_fsid=0xD, va_size=waiting,
            va_atime=self.when, va_mtime=self.when, va_ctime=self.when, va_blocksize=PAGE_SIZE,
        )  # fmt: skip

    def fo_poll(self, fp: File, events: int) -> int:
        """Readable with data or at the end; writable with PIPE_BUF bytes of room or nobody to read."""
        ready = 0
        inbox, outbox = self.inbox, self.outbox
        if fp.f_flag & FREAD:
            if inbox.data or inbox.writers == 0:
                ready |= events & (POLLIN | POLLRDNORM)
            if inbox.writers == 0:
                ready |= POLLHUP
        if fp.f_flag & FWRITE and (outbox.readers == 0 or outbox.data.size - len(outbox.data) >= PIPE_BUF):
            ready |= events & POLLOUT
        if fp.f_flag & FWRITE and outbox.readers == 0:
            ready |= POLLHUP if self.both_ways else POLLERR
        return ready

    def fo_poll_host_fd(self, fp: File) -> int:
        """Nothing of the host is behind a pipe."""
        return -1

    def fo_ioctl(self, td: Thread, fp: File, command: str, argument: bytes) -> bytes:
        """FIONREAD."""
        if command == "FIONREAD":
            return (len(self.inbox.data) if fp.f_flag & FREAD else 0).to_bytes(4, "little")
        raise SyscallError(E.ENOTTY)

    def fo_truncate(self, td: Thread, fp: File, length: int) -> None:
        """A pipe has no length."""
        raise SyscallError(E.EINVAL)

    def fo_close(self, fp: File) -> None:
        """One reader and one writer fewer."""
        kassert(self.named is None or self.inbox is self.outbox, "fifo %r with two buffers", self.named)
        self.inbox.closed(read=bool(fp.f_flag & FREAD), write=False)
        self.outbox.closed(read=False, write=bool(fp.f_flag & FWRITE))
        if self.named is not None:
            self.named.v_decr_usecount(write=False)

    def fo_seekable(self, fp: File) -> bool:
        """Never."""
        return False

    def fo_name(self, fp: File) -> bytes:
        """As Linux shows it; a FIFO has a path."""
        if self.named is not None:
            return self.named.v_name
        return b"pipe:[%d]" % self.pipe_ino


def kern_pipe(td: Thread, flags: int) -> tuple[int, int]:
    """pipe2(2): two new descriptors; both ways on FreeBSD, from the second to the first on Linux."""
    fdesc = td.td_proc.p_fd
    kernel = td.td_proc.kernel
    kernel.lastpipe += 1
    first, second = Inbox(PipeBuffer(kernel.vm, PIPE_SIZE)), Inbox(PipeBuffer(kernel.vm, PIPE_SIZE))
    if not first.data.alloc():
        raise SyscallError(E.ENOMEM)
    when = kernel.clock.nanotime()
    status = flags & (O_NONBLOCK | O_DIRECT)
    both_ways = td.td_proc.p_sysent.files.pipe_both_ways
    both = FREAD | FWRITE
    number = kernel.lastpipe
    ends = Pipe(first, second, number, when, both_ways), Pipe(second, first, number, when, both_ways)
    reader = File(ends[0], DTYPE_PIPE, status | (both if both_ways else FREAD))
    writer = File(ends[1], DTYPE_PIPE, status | (both if both_ways else FWRITE))
    cloexec = bool(flags & O_CLOEXEC)
    try:
        rfd = fdesc.install(td, reader, cloexec=cloexec)
    except SyscallError:
        first.data.free()
        raise
    try:
        wfd = fdesc.install(td, writer, cloexec=cloexec)
    except SyscallError:
        fdesc.close(rfd)
        raise
    return rfd, wfd


def fifo_open(td: Thread, vp: Vnode, fmode: int) -> File:
    """Open a FIFO by name.

    Raises: ENXIO for a writer with O_NONBLOCK and no reader.  Without O_NONBLOCK the missing other side can
    never come.  FreeBSD: fifo_open().
    """
    kassert(vp.v_type == VFIFO, "fifo_open of %r", vp)
    if vp.v_fifo is None or vp.v_usecount == 0:
        vp.v_fifo = Inbox(PipeBuffer(td.td_proc.kernel.vm, PIPE_SIZE), readers=0, writers=0)
    box = vp.v_fifo
    if fmode & (FREAD | FWRITE) != FREAD | FWRITE:
        if fmode & FWRITE and box.readers == 0:
            if fmode & O_NONBLOCK:
                raise SyscallError(E.ENXIO)
            sleep_forever(td, "fifoow")
        if fmode & FREAD and box.writers == 0 and not fmode & O_NONBLOCK:
            sleep_forever(td, "fifoor")
    box.opened(read=bool(fmode & FREAD), write=bool(fmode & FWRITE))
    vp.v_incr_usecount(write=False)
    return File(Pipe(box, box, 0, 0, named=vp), DTYPE_FIFO, fmode & FMASK)
