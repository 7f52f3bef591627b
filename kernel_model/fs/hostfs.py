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
from kernel_model.errors import kassert
from kernel_model.fs.hostfs_vnode import FileId, HostVnode
from kernel_model.host.files import PSEUDO_FSTYPES, HostFs, host_error, mounts
from kernel_model.kern.vnode import IFTOVT, MNT_LOCAL, MNT_NOSUID, MNT_RDONLY, S_IFMT, VDIR, Mount, Statfs

if TYPE_CHECKING:
    from kernel_model.kern.vnode import Vnode

PATH_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
KEPT_DIRECTORIES = 64
"""Directories kept alive after their last use, for the next look-up."""
LINUX_MAGIC = {
    "btrfs": 0x9123683E, "ext2": 0xEF53, "ext3": 0xEF53, "ext4": 0xEF53, "overlay": 0x794C7630,
    "tmpfs": 0x01021994, "xfs": 0x58465342, "zfs": 0x2FC12FC1,
}  # fmt: skip


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
            self.filesystems.update(mounts())
            known = self.filesystems.setdefault(dev, HostFs("unknown", "none"))
        return known

    def allow_writes(self, vp: Vnode) -> None:
        """Let everything below the directory *vp* be written: the working directory of the machine."""
        if isinstance(vp, HostVnode) and vp.v_mount is self:
            self.writable_ids.add(vp.host_id)
            vp.allow_write = True

    def statfs(self, vp: Vnode) -> Statfs:
        """The host's numbers for the file system that holds *vp*."""
        kassert(isinstance(vp, HostVnode), "statfs of a strange vnode")
        host = os.fstatvfs(vp.host_fd) if isinstance(vp, HostVnode) else os.statvfs("/")
        below = self.host_fs(vp.getattr().va_fsid)
        return Statfs(
            f_fstypename=below.fstype.encode(),
            f_mntfromname=below.source.encode(errors="surrogateescape"),
            f_mntonname=self.mnt_onname,
            f_linux_magic=LINUX_MAGIC.get(below.fstype, 0xEF53),
            f_bsize=host.f_frsize,
            f_blocks=host.f_blocks,
            f_bfree=host.f_bfree,
            f_bavail=host.f_bavail,
            f_files=host.f_files,
            f_ffree=host.f_ffree,
            f_flags=self.mnt_flag | (0 if vp.writable() else MNT_RDONLY),
            f_fsid=host.f_fsid,
            f_namemax=host.f_namemax,
        )

    def root(self, path: str | bytes) -> HostVnode:
        """Open the host directory *path* as the root vnode.  Raises what the host says."""
        try:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise host_error(error) from None
        st = os.fstat(fd)
        vp = HostVnode(v_type=VDIR, v_mount=self, host_fd=fd, host_id=(st.st_dev, st.st_ino))
        vp.allow_write = self.rw
        vp.note(st)
        self.vnodes[vp.host_id] = vp
        return vp

    def vget(self, dvp: HostVnode, name: bytes) -> HostVnode:
        """The vnode of *name* in *dvp*, the one that exists if it does.  FreeBSD: VFS_VGET(9)."""
        try:
            st = os.stat(name, dir_fd=dvp.host_fd, follow_symlinks=False)
            vp = self.vnodes.get((st.st_dev, st.st_ino))
            if vp is None:
                fd = self._open_path(dvp, name)
                st = os.fstat(fd)
                vp = self._vnode(fd, st, dvp)
        except OSError as error:
            raise host_error(error) from None
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
            return os.open(name, PATH_FLAGS, dir_fd=dvp.host_fd)
        except OSError as error:
            if host_error(error).errno != E.ENFILE:
                raise
        self.kept.clear()
        return os.open(name, PATH_FLAGS, dir_fd=dvp.host_fd)

    def _vnode(self, fd: int, st: os.stat_result, dvp: HostVnode) -> HostVnode:
        """Find or make the vnode of *fd*, which is taken over."""
        host_id = (st.st_dev, st.st_ino)
        known = self.vnodes.get(host_id)
        if known is not None:
            os.close(fd)
            return known
        vtype = IFTOVT.get(st.st_mode & S_IFMT, 0)
        hidden = dvp.hidden or (st.st_dev != dvp.host_id[0] and self.host_fs(st.st_dev).fstype in PSEUDO_FSTYPES)
        vp = HostVnode(v_type=vtype, v_mount=self, host_fd=fd, host_id=host_id, hidden=hidden)
        self.vnodes[host_id] = vp
        return vp

    def _keep(self, vp: HostVnode) -> None:
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
