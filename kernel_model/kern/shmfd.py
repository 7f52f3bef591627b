"""The memory of shared memory objects, and how much of it one machine may hold.

FreeBSD: struct shmfd, sys/sys/mman.h; shm_stat() and its relatives, sys/kern/uipc_shm.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.host import files as host
from kernel_model.host.streams import stream_path
from kernel_model.kern.vnode import ALLPERMS, VREG, Mount, Vattr, VattrSet, Vnode
from kernel_model.vm.vm_param import PAGE_MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHM_MOUNT: Final = Mount(b"hostfd", b"host", b"")
MEBIBYTE: Final = 1 << 20


class ShmStore:
    """How much of the host's memory all unnamed files of one machine take together, and may take.

    Model only: FreeBSD reserves swap for them.
    """

    __slots__ = ("fds", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.fds: set[int] = set()

    def used(self) -> int:
        """Bytes that the host has stored."""
        return sum(host.fstat(fd).st_blocks for fd in self.fds) * 512

    def reserve(self, fd: int, start: int, end: int) -> None:
        """Ask for the bytes ``[start, end)`` of one file: ENOSPC when its holes there are more than is left."""
        kassert(fd in self.fds and start <= end, "shm: [%#x, %#x) of no object", start, end)
        start &= ~PAGE_MASK
        end = (end + PAGE_MASK) & ~PAGE_MASK
        left = self.limit - self.used()
        if end - start <= left:
            return
        while start < end:
            data = host.next_data(fd, start, end)
            left -= data - start
            if left < 0:
                raise SyscallError(E.ENOSPC)
            start = host.next_hole(fd, data, end)


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class ShmVnode(Vnode):
    """An unnamed file of our own, as shm_open(SHM_ANON) and memfd_create(2) give it: struct shmfd."""

    fd: int
    store: ShmStore
    mode: int = 0o600
    uid: int = 0
    gid: int = 0

    def __del__(self, close: Callable[[int], None] = host.close) -> None:
        """Nobody holds it any more."""
        self.store.fds.discard(self.fd)
        close(self.fd)

    def getattr(self) -> Vattr:
        """The host's sizes and times, but the owner and permissions are the guest's.  FreeBSD: shm_stat()."""
        st = host.fstat(self.fd)
        return Vattr(
            VREG, self.mode, va_nlink=st.st_nlink, va_uid=self.uid, va_gid=self.gid, va_fsid=st.st_dev,
            va_fileid=st.st_ino, va_size=st.st_size, va_blocksize=st.st_blksize, va_atime=st.st_atime_ns,
            va_mtime=st.st_mtime_ns, va_ctime=st.st_ctime_ns, va_birthtime=min(st.st_mtime_ns, st.st_ctime_ns),
            va_rdev=st.st_rdev, va_bytes=st.st_blocks * 512,
        )  # fmt: skip

    def setattr(self, change: VattrSet) -> None:
        """Size, permissions and owner."""
        kassert(change.va_mode is None or not change.va_mode & ~ALLPERMS, "shm: mode %r", change.va_mode)
        if change.va_size is not None:
            host.truncate(self.fd, change.va_size)
        self.mode = self.mode if change.va_mode is None else change.va_mode
        self.uid = self.uid if change.va_uid is None else change.va_uid
        self.gid = self.gid if change.va_gid is None else change.va_gid

    def writable(self) -> bool:
        """Always."""
        return True

    def v_preadv(self, bufs: Sequence[memoryview], offset: int) -> int:
        """preadv(2) on the host."""
        return host.preadv(self.fd, bufs, offset)

    def v_pwritev(self, bufs: Sequence[memoryview | bytes], offset: int) -> int:
        """Write; ENOSPC when the machine's unnamed files take all they may."""
        self.store.reserve(self.fd, offset, offset + sum(map(len, bufs)))
        return host.pwritev(self.fd, bufs, offset)

    def v_pread_into(self, buf: memoryview, offset: int) -> int:
        """For the pager."""
        return self.v_preadv((buf,), offset)

    def v_pwrite(self, data: memoryview | bytes, offset: int) -> int:
        """For the pager."""
        return self.v_pwritev((data,), offset)

    def read_limit(self, offset: int, count: int) -> int:
        """What is left before the end."""
        return min(count, max(0, self.v_size() - offset))

    def fsync(self, *, data_only: bool) -> None:
        """fsync(2) on the host."""
        host.sync(self.fd, data_only=data_only)

    def allocate(self, offset: int, length: int) -> None:
        """posix_fallocate(3), by writing zeroes: what the host only allocates would still look like a hole."""
        end = offset + length
        self.store.reserve(self.fd, offset, end)
        if host.fstat(self.fd).st_size < end:
            host.truncate(self.fd, end)
        while (offset := host.next_hole(self.fd, offset, end)) < end:
            hole = host.next_data(self.fd, offset, end)
            host.pwritev(self.fd, (bytes(min(hole - offset, MEBIBYTE)),), offset)

    def link_text(self) -> bytes:
        """The name it was made under, as Linux shows it."""
        return stream_path(self.fd) or b"host:[%d]" % self.fd
