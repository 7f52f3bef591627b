"""A directory of the host as the guest's root.

Model only: the nearest FreeBSD relative is nullfs.

The boundary.  The only host calls made here take a directory descriptor of ours and **one name without a
slash**, with O_NOFOLLOW; a name is never ``.`` or ``..``; a link's text is only ever read, and goes back to
namei(), which interprets it inside the guest's root; the parent of a directory is the vnode it was found in,
not the host's ``..``.  Descriptors are O_PATH until the file is known to be regular, so a device, FIFO or
socket of the host is never opened.  File systems that are doors into the host's kernel (``PSEUDO_FSTYPES``)
look like empty directories.  Everything is read-only except below the directories given as writable.

Identity.  A vnode keeps its descriptor, so its (device, inode) pair cannot be given to another file, and one
pair is one vnode while anybody holds it.

Differs: set-id bits are not honoured and cannot be set on files; birth time is the older of mtime and ctime, except
for statx(2); an append is a size query and a write, which programs of the host could come between.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert, some
from kernel_model.host import files as host
from kernel_model.kern.vnode import (
    ALLPERMS,
    IFTOVT,
    MNT_LOCAL,
    MNT_NOSUID,
    MNT_RDONLY,
    S_IFMT,
    S_ISGID,
    S_ISUID,
    VDIR,
    VEXEC,
    VFIFO,
    VLNK,
    VNON,
    VREAD,
    VREG,
    VSOCK,
    VTTODT,
    VWRITE,
    Dirent,
    Mount,
    Statfs,
    Vattr,
    VattrSet,
    Vnode,
    vaccess,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kernel_model.host.files import HostFs, HostStat
    from kernel_model.ucred import Ucred

KEPT_DIRECTORIES = 64
"""Directories kept alive after their last use, for the next look-up."""
PSEUDO_FSTYPES = frozenset((
    "autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs",
    "efivarfs", "functionfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "nfsd", "proc", "pstore", "resctrl",
    "rpc_pipefs", "securityfs", "selinuxfs", "smackfs", "sysfs", "tracefs",
))  # fmt: skip
"""Kinds of host file systems whose files are doors into the host's kernel."""
LINUX_MAGIC = {
    "btrfs": 0x9123683E, "ext2": 0xEF53, "ext3": 0xEF53, "ext4": 0xEF53, "overlay": 0x794C7630,
    "tmpfs": 0x01021994, "xfs": 0x58465342, "zfs": 0x2FC12FC1,
}  # fmt: skip
RENAME_NOREPLACE = 1

FileId = tuple[int, int]
"""Device and inode number on the host."""


def vattr_of(st: HostStat) -> Vattr:
    """Attributes of a host file."""
    return Vattr(
        va_type=IFTOVT.get(st.st_mode & S_IFMT, VNON),
        va_mode=st.st_mode & ALLPERMS,
        va_nlink=st.st_nlink,
        va_uid=st.st_uid,
        va_gid=st.st_gid,
        va_fsid=st.st_dev,
        va_fileid=st.st_ino,
        va_size=st.st_size,
        va_blocksize=st.st_blksize,
        va_atime=st.st_atime_ns,
        va_mtime=st.st_mtime_ns,
        va_ctime=st.st_ctime_ns,
        va_birthtime=min(st.st_mtime_ns, st.st_ctime_ns),
        va_rdev=st.st_rdev,
        va_bytes=st.st_blocks * 512,
    )


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

    def __del__(self, close: Callable[[int], None] = host.close) -> None:
        """The last holder has gone: so do the descriptors."""
        for fd in (self.host_fd, self.write_fd):
            if fd >= 0:
                close(fd)
        self.host_fd = self.write_fd = -1

    # -- attributes --------------------------------------------------------------------------------

    def note(self, st: HostStat) -> None:
        """Remember what permission checks need."""
        self.mode = st.st_mode & 0o7777
        self.uid = st.st_uid
        self.gid = st.st_gid

    def getattr(self) -> Vattr:
        """fstat(2) on the host."""
        st = host.fstat(self.host_fd)
        self.note(st)
        vap = vattr_of(st)
        if self.hidden:
            vap.va_mode &= 0o555
        return vap

    def birthtime(self) -> int:
        """statx(2) on the host."""
        return host.birthtime(self.host_fd)

    def v_size(self) -> int:
        """Size by the host."""
        return host.fstat(self.host_fd).st_size

    def writable(self) -> bool:
        """Only below a writable directory."""
        return self.allow_write and not self.hidden

    def access(self, acc_mode: int, cred: Ucred) -> None:
        """Permission bits for *cred*, read-only parts, then what the host lets us do at all."""
        if acc_mode & VWRITE and self.v_type in (VREG, VDIR, VLNK) and not self.writable():
            raise SyscallError(E.EROFS)
        vaccess(Vattr(self.v_type, self.mode, va_uid=self.uid, va_gid=self.gid), acc_mode, cred)
        if acc_mode & (VREAD | VWRITE) and self.v_type in (VREG, VDIR):
            read, write, execute = bool(acc_mode & VREAD), bool(acc_mode & VWRITE), bool(acc_mode & VEXEC)
            if not host.may(self.host_fd, read=read, write=write, execute=execute):
                raise SyscallError(E.EACCES)

    def setattr(self, change: VattrSet) -> None:
        """Pass the change on to the host."""
        self.must_be_writable()
        if change.va_mode is not None:
            if self.v_type == VLNK:
                raise SyscallError(E.EOPNOTSUPP)
            if self.v_type != VDIR and change.va_mode & (S_ISUID | S_ISGID):
                raise SyscallError(E.EPERM)
        if change.va_size is not None:
            host.truncate(self._writer(), change.va_size)
        if change.va_uid is not None or change.va_gid is not None:
            uid = -1 if change.va_uid is None else change.va_uid
            gid = -1 if change.va_gid is None else change.va_gid
            host.chown(self.host_fd, uid, gid)
        if change.va_mode is not None:
            host.chmod(self.host_fd, change.va_mode)
        if change.va_atime is not None or change.va_mtime is not None:
            self._set_times(change)
        self.note(host.fstat(self.host_fd))

    def _set_times(self, change: VattrSet) -> None:
        if change.now:
            host.utimes(self.host_fd, None)
            return
        st = host.fstat(self.host_fd)
        atime = st.st_atime_ns if change.va_atime is None else change.va_atime
        mtime = st.st_mtime_ns if change.va_mtime is None else change.va_mtime
        host.utimes(self.host_fd, (atime, mtime))

    # -- data -----------------------------------------------------------------------------------------

    def open(self, *, write: bool) -> None:
        """Get the host's descriptor, so that what it refuses is refused now."""
        if self.v_type == VDIR or self.v_type == VLNK:
            return
        if self.v_type != VREG or self.hidden:
            raise SyscallError(E.EOPNOTSUPP if self.v_type in (VSOCK, VFIFO) else E.ENXIO)
        if write:
            self.must_be_writable()
            self._writer()

    def close(self) -> None:
        """Let go of the descriptor for writing once nobody can write."""
        if self.v_usecount == 0 and self.v_object is None and self.write_fd >= 0:
            host.close(self.write_fd)
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
        return host.preadv(self.host_fd if self.readable else self._reader(), bufs, offset)

    def v_pwrite(self, data: memoryview | bytes, offset: int) -> int:
        """pwritev(2) on the host."""
        return self.v_pwritev((data,), offset)

    def v_pwritev(self, bufs: Sequence[memoryview | bytes], offset: int) -> int:
        """pwritev(2) on the host."""
        self.must_be_writable()
        return host.pwritev(self.write_fd if self.write_fd >= 0 else self._writer(), bufs, offset)

    def fsync(self, *, data_only: bool) -> None:
        """fsync(2) on the host, where something was written."""
        if self.write_fd < 0:
            return
        host.sync(self.write_fd, data_only=data_only)

    def allocate(self, offset: int, length: int) -> None:
        """posix_fallocate(3) on the host."""
        self.must_be_writable()
        host.allocate(self._writer(), offset, length)

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
        return host.readlink(self.host_fd)

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
            for fileno, bits, name in host.listdir(self.host_fd):
                found.add(name)
                listing.append(Dirent(fileno, VTTODT[IFTOVT.get(bits, VNON)], name))
        listing += [
            Dirent(vp.getattr().va_fileid, VTTODT[vp.v_type], name)
            for name, vp in self.v_covers.items()
            if name not in found
        ]
        return listing

    # -- changes --------------------------------------------------------------------------------------------

    def create(self, name: bytes, mode: int) -> Vnode:
        """Make a regular file; its permissions are *mode*, whatever the host's umask."""
        self.must_be_writable()
        host.create(self.host_fd, name, mode & 0o1777)
        return self.v_mount.vget(self, name)

    def mkdir(self, name: bytes, mode: int) -> Vnode:
        """Make a directory; its permissions are *mode*."""
        self.must_be_writable()
        host.mkdir(self.host_fd, name)
        vp = self.v_mount.vget(self, name)
        vp.setattr(VattrSet(va_mode=mode & 0o1777 | vp.mode & S_ISGID))
        return vp

    def mknod(self, name: bytes, vtype: int, mode: int) -> Vnode:
        """Make a FIFO, which our own programs open through sys_pipe; nothing else can be made."""
        self.must_be_writable()
        if vtype != VFIFO:
            raise SyscallError(E.EPERM)
        host.mkfifo(self.host_fd, name)
        vp = self.v_mount.vget(self, name)
        vp.setattr(VattrSet(va_mode=mode & 0o777))
        return vp

    def symlink(self, name: bytes, target: bytes) -> Vnode:
        """Make a symbolic link; its text is never interpreted by the host on our behalf."""
        self.must_be_writable()
        host.symlink(self.host_fd, name, target)
        return self.v_mount.vget(self, name)

    def link(self, name: bytes, vp: Vnode) -> None:
        """Make another name for *vp*, which must itself be writable, lest the name open a way to write it."""
        self.must_be_writable()
        if not isinstance(vp, HostVnode) or not vp.writable():
            raise SyscallError(E.EXDEV)
        host.link(vp.host_fd, self.host_fd, name)

    def remove(self, name: bytes, vp: Vnode) -> None:
        """unlink(2) on the host."""
        self.must_be_writable()
        host.unlink(self.host_fd, name)

    def rmdir(self, name: bytes, vp: Vnode) -> None:
        """rmdir(2) on the host."""
        self.must_be_writable()
        host.rmdir(self.host_fd, name)
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
        kassert(todir.v_mount is self.v_mount, "rename of %r into another mount", vp)
        host.rename(self.host_fd, name, todir.host_fd, toname)
        vp.v_dd = todir
        vp.v_name = toname

    # -- inside -----------------------------------------------------------------------------------------------

    def must_be_writable(self) -> None:
        """EROFS unless it is."""
        if not self.writable():
            raise SyscallError(E.EROFS)

    def _reader(self) -> int:
        """Turn the descriptor into one for reading.  Requires: a regular file that was not read yet."""
        if self.v_type != VREG or self.hidden:
            raise SyscallError(E.ENXIO)
        fd = host.open_reader(self.host_fd)
        host.close(self.host_fd)
        self.host_fd = fd
        self.readable = True
        return fd

    def _writer(self) -> int:
        """The descriptor for writing.  Requires: a regular file."""
        if self.write_fd < 0:
            if self.v_type != VREG:
                raise SyscallError(E.ENXIO)
            kassert(self.writable(), "hostfs: a writer of %r", self)
            self.write_fd = host.open_writer(self.host_fd)
        return self.write_fd


@dataclass(slots=True, eq=False)
class HostMount(Mount):
    """A host directory tree that is mounted: its vnodes and what may be written."""

    rw: bool = False
    """Whether everything may be written; otherwise only what is below the directories of allow_writes()."""
    vnodes: WeakValueDictionary[FileId, HostVnode] = field(default_factory=WeakValueDictionary)
    kept: OrderedDict[FileId, HostVnode] = field(default_factory=OrderedDict)
    filesystems: dict[int, HostFs] = field(default_factory=dict)
    writable_ids: set[FileId] = field(default_factory=set)

    def host_fs(self, dev: int) -> HostFs:
        """The host file system with device number *dev*."""
        known = self.filesystems.get(dev)
        if known is None:
            self.filesystems.update(host.mounts())
            known = self.filesystems.setdefault(dev, host.HostFs("unknown", "none"))
        return known

    def allow_writes(self, vp: Vnode) -> None:
        """Let everything below the directory *vp* be written: the working directory of the machine."""
        if isinstance(vp, HostVnode) and vp.v_mount is self:
            kassert(vp.v_type == VDIR, "hostfs: writes below %r", vp)
            self.writable_ids.add(vp.host_id)
            vp.allow_write = True

    def statfs(self, vp: Vnode) -> Statfs:
        """The host's numbers for the file system that holds *vp*."""
        sbp = host.statvfs(some(vp if isinstance(vp, HostVnode) else None, "statfs of a strange vnode").host_fd)
        below = self.host_fs(vp.getattr().va_fsid)
        return Statfs(
            f_fstypename=below.fstype.encode(),
            f_mntfromname=below.source.encode(errors="surrogateescape"),
            f_mntonname=self.mnt_onname,
            f_linux_magic=LINUX_MAGIC.get(below.fstype, 0xEF53),
            f_bsize=sbp.f_frsize,
            f_blocks=sbp.f_blocks,
            f_bfree=sbp.f_bfree,
            f_bavail=sbp.f_bavail,
            f_files=sbp.f_files,
            f_ffree=sbp.f_ffree,
            f_flags=self.mnt_flag | (0 if vp.writable() else MNT_RDONLY),
            f_fsid=sbp.f_fsid,
            f_namemax=sbp.f_namemax,
        )

    def root(self, path: bytes) -> HostVnode:
        """Open the host directory *path* as the root vnode.  Raises what the host says."""
        fd = host.open_root(path)
        st = host.fstat(fd)
        vp = HostVnode(v_type=VDIR, v_mount=self, host_fd=fd, host_id=(st.st_dev, st.st_ino))
        vp.allow_write = self.rw
        vp.note(st)
        self.vnodes[vp.host_id] = vp
        return vp

    def vget(self, dvp: HostVnode, name: bytes) -> HostVnode:
        """The vnode of *name* in *dvp*, the one that exists if it does.  FreeBSD: VFS_VGET(9)."""
        st = host.stat_at(dvp.host_fd, name)
        vp = self.vnodes.get((st.st_dev, st.st_ino))
        if vp is None:
            fd = self._open_path(dvp, name)
            st = host.fstat(fd)
            vp = self._vnode(fd, st, dvp)
        vp.note(st)
        vp.v_dd = dvp
        vp.v_name = name
        if dvp.allow_write or vp.host_id in self.writable_ids:
            vp.allow_write = True
        if vp.v_type == VDIR:
            self._keep(vp)
        return vp

    def _open_path(self, dvp: HostVnode, name: bytes) -> int:
        try:
            return host.open_path(dvp.host_fd, name)
        except SyscallError as error:
            if error.errno != E.ENFILE:
                raise
        self.kept.clear()
        return host.open_path(dvp.host_fd, name)

    def _vnode(self, fd: int, st: HostStat, dvp: HostVnode) -> HostVnode:
        """Find or make the vnode of *fd*, which is taken over."""
        kassert(dvp.v_type == VDIR, "vget in %r", dvp)
        host_id = (st.st_dev, st.st_ino)
        known = self.vnodes.get(host_id)
        if known is not None:
            host.close(fd)
            return known
        vtype = IFTOVT.get(st.st_mode & S_IFMT, 0)
        hidden = dvp.hidden or (st.st_dev != dvp.host_id[0] and self.host_fs(st.st_dev).fstype in PSEUDO_FSTYPES)
        vp = HostVnode(v_type=vtype, v_mount=self, host_fd=fd, host_id=host_id, hidden=hidden)
        self.vnodes[host_id] = vp
        return vp

    def _keep(self, vp: HostVnode) -> None:
        kassert(self.vnodes.get(vp.host_id) is vp, "hostfs: %r is not the vnode of its file", vp)
        kept = self.kept
        kept[vp.host_id] = vp
        kept.move_to_end(vp.host_id)
        if len(kept) > KEPT_DIRECTORIES:
            kept.popitem(last=False)


def hostfs_mount(path: str | bytes, *, rw: bool = False) -> HostVnode:
    """Make the host directory *path* a root.

    Everything is read-only until ``vp.v_mount.allow_writes(directory)``, unless *rw*.
    """
    name = os.fsencode(path)
    flags = MNT_LOCAL | MNT_NOSUID
    mount = HostMount(mnt_fstype=b"hostfs", mnt_fromname=name, mnt_onname=b"/", mnt_flag=flags, rw=rw)
    return mount.root(name)
