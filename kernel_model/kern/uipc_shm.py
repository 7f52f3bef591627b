"""Shared memory objects: shm_open(2), memfd_create(2).

FreeBSD: sys/kern/uipc_shm.c.
Differs: the contents are in an unnamed file of the host and are paged like any file, instead of being charged to
swap, but all of them together take no more than the machine's swap space; the object's type is a regular file in
every respect; seals are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.host import files as host
from kernel_model.host.memory import memfd
from kernel_model.host.streams import stream_path
from kernel_model.kern.kern_descrip import (
    DTYPE_VNODE,
    FREAD,
    FWRITE,
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_EXCL,
    O_RDONLY,
    O_RDWR,
    O_TRUNC,
    File,
)
from kernel_model.kern.vfs_vnops import VNOPS, vn_truncate
from kernel_model.kern.vnode import VREAD, VREG, VWRITE, Mount, Vattr, VattrSet, Vnode
from kernel_model.vm.vm_param import PAGE_MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kernel_model.kern.proc import Thread

SHM_ANON = 1
"""The pointer that asks shm_open(2) for an object without a name."""


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


def new_memory(td: Thread, name: bytes, mode: int) -> ShmVnode:
    """An empty object owned by the caller."""
    cred = td.td_proc.p_ucred
    kernel = td.td_proc.kernel
    store = kernel.shm_store
    if not isinstance(store, ShmStore):
        store = kernel.shm_store = ShmStore(kernel.vm.swap_total)
    fd = memfd(name or b"shm")
    store.fds.add(fd)
    return ShmVnode(
        v_type=VREG, v_mount=SHM_MOUNT, v_name=name, fd=fd, store=store,
        mode=mode & ~td.td_proc.p_fd.fd_cmask & 0o777, uid=cred.cr_uid, gid=cred.cr_gid,
    )  # fmt: skip


def install_memory(td: Thread, vp: Vnode, fflag: int, *, cloexec: bool) -> int:
    """A new descriptor of *vp*."""
    fp = File(VNOPS, DTYPE_VNODE, fflag, vp)
    fd = td.td_proc.p_fd.install(td, fp, cloexec=cloexec)
    vp.v_incr_usecount(write=bool(fflag & FWRITE))
    return fd


def kern_shm_open(td: Thread, name: bytes | None, flags: int, mode: int) -> int:
    """shm_open(2); *name* is None for SHM_ANON.

    FreeBSD: kern_shm_open().
    """
    accmode = flags & O_ACCMODE
    if accmode not in (O_RDONLY, O_RDWR) or flags & ~(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC):
        raise SyscallError(E.EINVAL)
    fflag = FREAD | (FWRITE if accmode == O_RDWR else 0)
    cloexec = True
    if name is None:
        if accmode == O_RDONLY:
            raise SyscallError(E.EINVAL)
        return install_memory(td, new_memory(td, b"anon", mode), fflag, cloexec=cloexec)
    if not name.startswith(b"/"):
        raise SyscallError(E.EINVAL)
    objects = td.td_proc.kernel.shm_dictionary
    vp = objects.get(name)
    if vp is None:
        if not flags & O_CREAT:
            raise SyscallError(E.ENOENT)
        vp = objects[name] = new_memory(td, name, mode)
    else:
        if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL:
            raise SyscallError(E.EEXIST)
        vp.access(VREAD | (VWRITE if fflag & FWRITE else 0), td.td_proc.p_ucred)
        if flags & (O_ACCMODE | O_TRUNC) == O_RDWR | O_TRUNC:
            vn_truncate(vp, 0)
    return install_memory(td, vp, fflag, cloexec=cloexec)


def kern_shm_unlink(td: Thread, name: bytes) -> None:
    """shm_unlink(2)."""
    objects = td.td_proc.kernel.shm_dictionary
    vp = objects.get(name)
    if vp is None:
        raise SyscallError(E.ENOENT)
    vp.access(VWRITE, td.td_proc.p_ucred)
    del objects[name]
