"""One file of a host directory tree; the boundary is described in hostfs.

Model only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.host.files import host_birthtime, host_error, vattr_of
from kernel_model.kern.vnode import (
    IFTOVT,
    S_IFMT,
    S_ISGID,
    S_ISUID,
    VDIR,
    VEXEC,
    VFIFO,
    VLNK,
    VREAD,
    VREG,
    VSOCK,
    VTTODT,
    VWRITE,
    Dirent,
    Vattr,
    VattrSet,
    Vnode,
    vaccess,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kernel_model.fs.hostfs import HostMount
    from kernel_model.ucred import Ucred

OPEN_FLAGS = os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
RENAME_NOREPLACE = 1

FileId = tuple[int, int]
"""Device and inode number on the host."""


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class HostVnode(Vnode):
    """One file of the host."""

    v_mount: HostMount
    host_fd: int
    """O_PATH descriptor, later one for reading: what identifies the file."""
    host_id: FileId
    hidden: bool = False
    """Part of a file system of PSEUDO_FSTYPES: an empty directory, or a file that cannot be opened."""
    allow_write: bool = False
    readable: bool = False
    """``host_fd`` can be read."""
    write_fd: int = -1
    mode: int = 0
    uid: int = 0
    gid: int = 0
    """Ownership and permissions as of the last look-up or getattr()."""

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """The last holder has gone: so do the descriptors."""
        for fd in (self.host_fd, self.write_fd):
            if fd >= 0:
                close(fd)
        self.host_fd = self.write_fd = -1

    # -- attributes --------------------------------------------------------------------------------

    def note(self, st: os.stat_result) -> None:
        """Remember what permission checks need."""
        self.mode = st.st_mode & 0o7777
        self.uid = st.st_uid
        self.gid = st.st_gid

    def getattr(self) -> Vattr:
        """fstat(2) on the host."""
        st = os.fstat(self.host_fd)
        self.note(st)
        vap = vattr_of(st)
        if self.hidden:
            vap.va_mode &= 0o555
        return vap

    def birthtime(self) -> int:
        """statx(2) on the host."""
        return host_birthtime(self.host_fd)

    def v_size(self) -> int:
        """Size by the host."""
        return os.fstat(self.host_fd).st_size

    def writable(self) -> bool:
        """Only below a writable directory."""
        return self.allow_write and not self.hidden

    def access(self, acc_mode: int, cred: Ucred) -> None:
        """Permission bits for *cred*, read-only parts, then what the host lets us do at all."""
        if acc_mode & VWRITE and self.v_type in (VREG, VDIR, VLNK) and not self.writable():
            raise SyscallError(E.EROFS)
        vaccess(Vattr(self.v_type, self.mode, va_uid=self.uid, va_gid=self.gid), acc_mode, cred)
        if acc_mode & (VREAD | VWRITE) and self.v_type in (VREG, VDIR):
            wanted = (os.R_OK if acc_mode & VREAD else 0) | (os.W_OK if acc_mode & VWRITE else 0)
            wanted |= os.X_OK if acc_mode & VEXEC else 0
            if not os.access(self.magic(), wanted):
                raise SyscallError(E.EACCES)

    def setattr(self, change: VattrSet) -> None:
        """Pass the change on to the host."""
        self.must_be_writable()
        if change.va_mode is not None:
            if self.v_type == VLNK:
                raise SyscallError(E.EOPNOTSUPP)
            if self.v_type != VDIR and change.va_mode & (S_ISUID | S_ISGID):
                raise SyscallError(E.EPERM)
        try:
            if change.va_size is not None:
                os.ftruncate(self._writer(), change.va_size)
            if change.va_uid is not None or change.va_gid is not None:
                uid = -1 if change.va_uid is None else change.va_uid
                gid = -1 if change.va_gid is None else change.va_gid
                os.chown(self.magic(), uid, gid)
            if change.va_mode is not None:
                os.chmod(self.magic(), change.va_mode)
            if change.va_atime is not None or change.va_mtime is not None:
                self._set_times(change)
            self.note(os.fstat(self.host_fd))
        except OSError as error:
            raise host_error(error) from None

    def _set_times(self, change: VattrSet) -> None:
        if change.now:
            os.utime(self.magic())
            return
        st = os.fstat(self.host_fd)
        atime = st.st_atime_ns if change.va_atime is None else change.va_atime
        mtime = st.st_mtime_ns if change.va_mtime is None else change.va_mtime
        os.utime(self.magic(), ns=(atime, mtime))

    # -- data -----------------------------------------------------------------------------------------

    def open(self, *, write: bool) -> None:
        """Get the host's descriptor, so that what it refuses is refused now."""
        if self.v_type == VDIR or self.v_type == VLNK:
            return
        if self.v_type != VREG or self.hidden:
            raise SyscallError(E.EOPNOTSUPP if self.v_type in (VSOCK, VFIFO) else E.ENXIO)
        try:
            if write:
                self.must_be_writable()
                self._writer()
        except OSError as error:
            raise host_error(error) from None

    def close(self) -> None:
        """Let go of the descriptor for writing once nobody can write."""
        if self.v_usecount == 0 and self.v_object is None and self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def read_limit(self, offset: int, count: int) -> int:
        """What is left before the end of the file."""
        return min(count, max(0, self.v_size() - offset)) if self.v_type == VREG else count

    def v_pread_into(self, buf: memoryview, offset: int) -> int:
        """preadv(2) on the host."""
        return self.v_preadv((buf,), offset)

    def v_preadv(self, bufs: Sequence[memoryview], offset: int) -> int:
        """preadv(2) on the host."""
        if self.v_type != VREG:
            raise SyscallError(E.EISDIR if self.v_type == VDIR else E.EINVAL)
        try:
            return os.preadv(self._reader(), bufs, offset)
        except OSError as error:
            raise host_error(error) from None

    def v_pwrite(self, data: memoryview | bytes, offset: int) -> int:
        """pwritev(2) on the host."""
        return self.v_pwritev((data,), offset)

    def v_pwritev(self, bufs: Sequence[memoryview | bytes], offset: int) -> int:
        """pwritev(2) on the host."""
        self.must_be_writable()
        try:
            return os.pwritev(self._writer(), bufs, offset)
        except OSError as error:
            raise host_error(error) from None

    def fsync(self, *, data_only: bool) -> None:
        """fsync(2) on the host, where something was written."""
        if self.write_fd < 0:
            return
        try:
            (os.fdatasync if data_only else os.fsync)(self.write_fd)
        except OSError as error:
            raise host_error(error) from None

    def allocate(self, offset: int, length: int) -> None:
        """posix_fallocate(3) on the host."""
        self.must_be_writable()
        try:
            os.posix_fallocate(self._writer(), offset, length)
        except OSError as error:
            raise host_error(error) from None

    # -- names ------------------------------------------------------------------------------------------

    def lookup(self, name: bytes) -> Vnode:
        """One name, never through a link."""
        if self.v_type != VDIR:
            raise SyscallError(E.ENOTDIR)
        if self.hidden:
            raise SyscallError(E.ENOENT)
        return self.v_mount.vget(self, name)

    def readlink(self) -> bytes:
        """readlink(2) on the descriptor of the link itself."""
        if self.v_type != VLNK:
            raise SyscallError(E.EINVAL)
        if self.hidden:
            raise SyscallError(E.EACCES)
        try:
            return os.readlink(b"", dir_fd=self.host_fd)
        except OSError as error:
            raise host_error(error) from None

    def readdir(self) -> list[Dirent]:
        """All names with their inode numbers, and the names mounted over."""
        if self.v_type != VDIR:
            raise SyscallError(E.ENOTDIR)
        parent = self.v_dd if isinstance(self.v_dd, HostVnode) else self
        listing = [
            Dirent(self.host_id[1], VTTODT[VDIR], b"."),
            Dirent(parent.host_id[1], VTTODT[VDIR], b".."),
        ]
        found: set[bytes] = set()
        if not self.hidden:
            try:
                listing += self._scan(found)
            except OSError as error:
                raise host_error(error) from None
        listing += [
            Dirent(vp.getattr().va_fileid, VTTODT[vp.v_type], name)
            for name, vp in self.v_covers.items()
            if name not in found
        ]
        return listing

    def _scan(self, found: set[bytes]) -> list[Dirent]:
        fd = os.open(b".", DIR_FLAGS, dir_fd=self.host_fd)
        try:
            with os.scandir(fd) as entries:
                listing = []
                for entry in entries:
                    name = os.fsencode(entry.name)
                    found.add(name)
                    listing.append(Dirent(entry.inode(), _d_type(entry), name))
                return listing
        finally:
            os.close(fd)

    # -- changes --------------------------------------------------------------------------------------------

    def create(self, name: bytes, mode: int) -> Vnode:
        """Make a regular file; its permissions are *mode*, whatever the host's umask."""
        self.must_be_writable()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, 0o600, dir_fd=self.host_fd)
            try:
                os.fchmod(fd, mode & 0o1777)
            finally:
                os.close(fd)
        except OSError as error:
            raise host_error(error) from None
        return self.v_mount.vget(self, name)

    def mkdir(self, name: bytes, mode: int) -> Vnode:
        """Make a directory; its permissions are *mode*."""
        self.must_be_writable()
        try:
            os.mkdir(name, 0o700, dir_fd=self.host_fd)
        except OSError as error:
            raise host_error(error) from None
        vp = self.v_mount.vget(self, name)
        vp.setattr(VattrSet(va_mode=mode & 0o1777 | vp.mode & S_ISGID))
        return vp

    def mknod(self, name: bytes, vtype: int, mode: int) -> Vnode:
        """Make a FIFO, which our own programs open through sys_pipe; nothing else can be made."""
        self.must_be_writable()
        if vtype != VFIFO:
            raise SyscallError(E.EPERM)
        try:
            os.mkfifo(name, 0o600, dir_fd=self.host_fd)
        except OSError as error:
            raise host_error(error) from None
        vp = self.v_mount.vget(self, name)
        vp.setattr(VattrSet(va_mode=mode & 0o777))
        return vp

    def symlink(self, name: bytes, target: bytes) -> Vnode:
        """Make a symbolic link; its text is never interpreted by the host on our behalf."""
        self.must_be_writable()
        try:
            os.symlink(target, name, dir_fd=self.host_fd)
        except OSError as error:
            raise host_error(error) from None
        return self.v_mount.vget(self, name)

    def link(self, name: bytes, vp: Vnode) -> None:
        """Make another name for *vp*, which must itself be writable, lest the name open a way to write it."""
        self.must_be_writable()
        if not isinstance(vp, HostVnode) or not vp.writable():
            raise SyscallError(E.EXDEV)
        try:
            os.link(vp.magic(), name, dst_dir_fd=self.host_fd, follow_symlinks=True)
        except OSError as error:
            raise host_error(error) from None

    def remove(self, name: bytes, vp: Vnode) -> None:
        """unlink(2) on the host."""
        self.must_be_writable()
        try:
            os.unlink(name, dir_fd=self.host_fd)
        except OSError as error:
            raise host_error(error) from None

    def rmdir(self, name: bytes, vp: Vnode) -> None:
        """rmdir(2) on the host."""
        self.must_be_writable()
        try:
            os.rmdir(name, dir_fd=self.host_fd)
        except OSError as error:
            raise host_error(error) from None
        if isinstance(vp, HostVnode):
            self.v_mount.kept.pop(vp.host_id, None)

    def rename(self, name: bytes, todir: Vnode, toname: bytes, flags: int = 0) -> None:
        """rename(2) on the host; the vnode learns its new place."""
        if not isinstance(todir, HostVnode):
            raise SyscallError(E.EXDEV)
        self.must_be_writable()
        todir.must_be_writable()
        if flags & ~RENAME_NOREPLACE:
            raise SyscallError(E.EINVAL)
        vp = self.v_mount.vget(self, name)
        try:
            os.rename(name, toname, src_dir_fd=self.host_fd, dst_dir_fd=todir.host_fd)
        except OSError as error:
            raise host_error(error) from None
        vp.v_dd = todir
        vp.v_name = toname

    # -- inside -----------------------------------------------------------------------------------------------

    def must_be_writable(self) -> None:
        """EROFS unless it is."""
        if not self.writable():
            raise SyscallError(E.EROFS)

    def magic(self) -> str:
        """A path of the host that leads to exactly this file, by our own descriptor."""
        return f"/proc/self/fd/{self.host_fd}"

    def _reader(self) -> int:
        """The descriptor for reading.  Requires: a regular file.  Raises OSError."""
        if not self.readable:
            if self.v_type != VREG or self.hidden:
                raise SyscallError(E.ENXIO)
            fd = os.open(self.magic(), os.O_RDONLY | OPEN_FLAGS)
            os.close(self.host_fd)
            self.host_fd = fd
            self.readable = True
        return self.host_fd

    def _writer(self) -> int:
        """The descriptor for writing.  Requires: a regular file.  Raises OSError."""
        if self.write_fd < 0:
            if self.v_type != VREG:
                raise SyscallError(E.ENXIO)
            self.write_fd = os.open(self.magic(), os.O_WRONLY | OPEN_FLAGS)
        return self.write_fd


def _d_type(entry: os.DirEntry[str]) -> int:
    """DT_* of a directory entry; asks for attributes only for what is neither file, directory nor link."""
    if entry.is_file(follow_symlinks=False):
        return VTTODT[VREG]
    if entry.is_dir(follow_symlinks=False):
        return VTTODT[VDIR]
    if entry.is_symlink():
        return VTTODT[VLNK]
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError:
        return 0
    return VTTODT[IFTOVT.get(mode & S_IFMT, 0)]
