"""Vnodes: what every file system offers to the rest of the kernel.

FreeBSD: sys/sys/vnode.h, sys/kern/vnode_if.src, sys/kern/vfs_default.c.

A ``Vnode`` is one file while anything holds it: two look-ups of one file give the same object, so that
``v_object``, locks and open counts are shared.  The methods of the base class are ``default_vnodeops``:
each refuses with the errno FreeBSD's default gives.  A file system overrides what it can do.

Names and link targets are ``bytes`` without NUL or slash; offsets and sizes are bytes; times are
nanoseconds since the epoch.  Errors are ``SyscallError`` with FreeBSD's numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel_model.kern.pipe import Inbox
    from kernel_model.ucred import Ucred
    from kernel_model.vm.vm_object import VmObject

VNON: Final = 0
VREG: Final = 1
VDIR: Final = 2
VBLK: Final = 3
VCHR: Final = 4
VLNK: Final = 5
VSOCK: Final = 6
VFIFO: Final = 7
VBAD: Final = 8

VTYPE_NAMES: Final = ("VNON", "VREG", "VDIR", "VBLK", "VCHR", "VLNK", "VSOCK", "VFIFO", "VBAD")

S_IFMT: Final = 0o170000
S_IFIFO: Final = 0o010000
S_IFCHR: Final = 0o020000
S_IFDIR: Final = 0o040000
S_IFBLK: Final = 0o060000
S_IFREG: Final = 0o100000
S_IFLNK: Final = 0o120000
S_IFSOCK: Final = 0o140000
S_ISUID: Final = 0o4000
S_ISGID: Final = 0o2000
S_ISVTX: Final = 0o1000
ALLPERMS: Final = 0o7777

VTTOIF: Final = (0, S_IFREG, S_IFDIR, S_IFBLK, S_IFCHR, S_IFLNK, S_IFSOCK, S_IFIFO, 0)
"""Vnode type to the type bits of st_mode."""
IFTOVT: Final = {bits: vtype for vtype, bits in enumerate(VTTOIF) if bits}
"""Type bits of st_mode to vnode type."""
VTTODT: Final = (0, 8, 4, 6, 2, 10, 12, 1, 0)
"""Vnode type to d_type (DT_REG, DT_DIR, ...); the numbers are the same in both ABIs."""

VEXEC: Final = 0o100
VWRITE: Final = 0o200
VREAD: Final = 0o400
"""Kinds of access, as the owner's permission bits (sys/vnode.h)."""

MNT_RDONLY: Final = 0x1
MNT_NOEXEC: Final = 0x4
MNT_NOSUID: Final = 0x8
MNT_LOCAL: Final = 0x1000

POLLIN: Final = 0x0001
POLLPRI: Final = 0x0002
POLLOUT: Final = 0x0004
POLLERR: Final = 0x0008
POLLHUP: Final = 0x0010
POLLNVAL: Final = 0x0020
POLLRDNORM: Final = 0x0040
"""Poll events: the numbers shared by FreeBSD and Linux."""

NAME_MAX: Final = 255
PATH_MAX: Final = 1024
"""Longest path including its NUL on FreeBSD (MAXPATHLEN); Linux's is 4096."""


@dataclass(slots=True)
class Vattr:
    """Attributes of a file: struct vattr."""

    va_type: int
    va_mode: int
    """Permission bits with set-id and sticky, no type bits."""
    va_nlink: int = 1
    va_uid: int = 0
    va_gid: int = 0
    va_fsid: int = 0
    va_fileid: int = 0
    va_size: int = 0
    va_blocksize: int = 4096
    va_atime: int = 0
    va_mtime: int = 0
    va_ctime: int = 0
    va_birthtime: int = 0
    va_flags: int = 0
    va_rdev: int = 0
    va_bytes: int = 0
    """Bytes of storage held."""
    va_gen: int = 0

    @property
    def st_mode(self) -> int:
        """Type and permission bits together."""
        return VTTOIF[self.va_type] | self.va_mode


@dataclass(slots=True)
class VattrSet:
    """What ``setattr`` shall change; None leaves a field alone (VNOVAL)."""

    va_mode: int | None = None
    va_uid: int | None = None
    va_gid: int | None = None
    va_size: int | None = None
    va_atime: int | None = None
    va_mtime: int | None = None
    now: bool = False
    """Times are "now" by the file system's own clock, which needs only write permission."""


class Dirent(NamedTuple):
    """One name in a directory: struct dirent without its packing."""

    d_fileno: int
    d_type: int
    """DT_* number."""
    d_name: bytes


@dataclass(slots=True)
class Statfs:
    """What statfs(2) tells of a mounted file system: struct statfs without its packing."""

    f_fstypename: bytes
    f_mntfromname: bytes
    f_mntonname: bytes
    f_linux_magic: int
    f_bsize: int = 4096
    f_blocks: int = 0
    f_bfree: int = 0
    f_bavail: int = 0
    f_files: int = 0
    f_ffree: int = 0
    f_flags: int = 0
    f_fsid: int = 0
    f_namemax: int = NAME_MAX


@dataclass(slots=True, eq=False)
class Mount:
    """One mounted file system: struct mount.

    ``mnt_rdonly`` is per mount; hostfs also decides per file (``Vnode.writable``).
    """

    mnt_fstype: bytes
    mnt_fromname: bytes
    mnt_onname: bytes
    mnt_flag: int = 0
    mnt_linux_magic: int = 0

    def statfs(self, vp: Vnode) -> Statfs:
        """Tell the size and flags of the file system that holds *vp*.  FreeBSD: VFS_STATFS(9)."""
        return Statfs(
            f_fstypename=self.mnt_fstype,
            f_mntfromname=self.mnt_fromname,
            f_mntonname=self.mnt_onname,
            f_linux_magic=self.mnt_linux_magic,
            f_flags=self.mnt_flag,
            f_fsid=vp.getattr().va_fsid,
        )


@dataclass(slots=True, eq=False)
class Flock:
    """One advisory record lock held on a file: struct lockf.  ``end`` is exclusive, -1 means to the end."""

    owner: object
    start: int
    end: int
    exclusive: bool
    pid: int = -1


@dataclass(eq=False, slots=True, weakref_slot=True, repr=False)
class Vnode:
    """One file of one file system: struct vnode with ``default_vnodeops``.

    Model only: the operations are methods of a subclass instead of a vop_vector, and there are no vnode
    locks, because nothing else runs while the kernel works.
    """

    v_type: int
    v_mount: Mount
    v_object: VmObject | None = None
    """The VM object through which the file is mapped; one per vnode, owned by the vnode pager."""
    v_usecount: int = 0
    """Open files on this vnode."""
    v_writecount: int = 0
    """Open files, and shared writable mappings, that may write; a running text has v_textcount instead."""
    v_textcount: int = 0
    """Processes that execute this file: a write is ETXTBSY while it is not 0."""
    v_dd: Vnode | None = None
    """Parent directory by the last look-up; None only for the root of all."""
    v_name: bytes = b""
    """Name in ``v_dd`` by the last look-up."""
    v_covers: dict[bytes, Vnode] = field(default_factory=dict)
    """Roots of file systems mounted on names in this directory."""
    v_lockf: list[Flock] = field(default_factory=list)
    v_fifo: Inbox | None = None
    """The buffer of a FIFO that is open."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {VTYPE_NAMES[self.v_type]} {self.v_name!r}>"

    # -- counts ----------------------------------------------------------------------------------

    def v_incr_usecount(self, *, write: bool) -> None:
        """One more open file, which may *write*.  FreeBSD: v_incr_usecount(), VOP_ADD_WRITECOUNT()."""
        kassert(self.v_usecount >= 0 and self.v_writecount >= 0, "vnode %r: counts below 0", self)
        self.v_usecount += 1
        self.v_writecount += write

    def set_text(self) -> None:
        """One more process executes this file.  FreeBSD: VOP_SET_TEXT(9)."""
        kassert(self.v_writecount == 0 or self.v_textcount > 0, "vnode %r: executed while it is written", self)
        self.v_textcount += 1

    def unset_text(self) -> None:
        """One process less.  FreeBSD: VOP_UNSET_TEXT(9)."""
        kassert(self.v_textcount > 0, "vnode %r: nobody executes it", self)
        self.v_textcount -= 1

    def v_decr_usecount(self, *, write: bool) -> None:
        """One open file less.  FreeBSD: v_decr_usecount(), VOP_ADD_WRITECOUNT()."""
        kassert(self.v_usecount > 0, "vnode %r: use count below 0", self)
        kassert(self.v_writecount >= write, "vnode %r: write count below 0", self)
        self.v_usecount -= 1
        self.v_writecount -= write

    # -- identity and attributes ----------------------------------------------------------------

    def getattr(self) -> Vattr:
        """Attributes of the file as they are now.  FreeBSD: VOP_GETATTR(9)."""
        raise SyscallError(E.EOPNOTSUPP)

    def birthtime(self) -> int:
        """When the file was made, more exactly than ``getattr`` may know; -1 when nobody does."""
        return self.getattr().va_birthtime

    def setattr(self, change: VattrSet) -> None:
        """Change what *change* names.  Permission has been checked.  FreeBSD: VOP_SETATTR(9)."""
        raise SyscallError(E.EROFS)

    def access(self, acc_mode: int, cred: Ucred) -> None:
        """Refuse with EACCES or EROFS unless *cred* may VREAD, VWRITE, VEXEC.  FreeBSD: VOP_ACCESS(9)."""
        if acc_mode & VWRITE and self.v_type in (VREG, VDIR, VLNK) and not self.writable():
            raise SyscallError(E.EROFS)
        vaccess(self.getattr(), acc_mode, cred)

    def writable(self) -> bool:
        """Whether the file system lets this file be changed at all."""
        return not self.v_mount.mnt_flag & MNT_RDONLY

    # -- data ------------------------------------------------------------------------------------

    def open(self, *, write: bool) -> None:
        """Make ready for reading, or for reading and writing.

        FreeBSD: VOP_OPEN(9).  Raises ENXIO for what cannot be opened.
        """

    def dupfd(self, fmode: int) -> tuple[int, int] | None:
        """The current thread's descriptor that is opened instead of this vnode, and for what it must be open.

        /dev/fd/0 is descriptor 0; None: the vnode itself is opened.
        FreeBSD: td_dupfd, which fdesc_open() and fdopen() set; dupfdopen() goes on from there.
        """
        return None

    def link_text(self) -> bytes:
        """What /proc/self/fd shows when the file has no path: ``pipe:[7]``; empty when it has one."""
        return b""

    def close(self) -> None:
        """An open file on this vnode has gone; ``v_usecount`` is already lower.  FreeBSD: VOP_CLOSE(9)."""

    def v_size(self) -> int:
        """Bytes of the file now."""
        return self.getattr().va_size

    def v_pread_into(self, buf: memoryview, offset: int) -> int:
        """Fill *buf* from *offset*; returns the bytes read, 0 at the end of the file.

        Reads the store behind the vnode and does not look at ``v_object``: this is what the vnode pager
        calls.  read(2) goes through vn_read(), which sees resident pages first.
        """
        raise SyscallError(E.EISDIR if self.v_type == VDIR else E.EINVAL)

    def v_pwrite(self, data: memoryview | bytes, offset: int) -> int:
        """Write *data* at *offset* in the store; returns the bytes written."""
        raise SyscallError(E.EISDIR if self.v_type == VDIR else E.EBADF)

    def v_preadv(self, bufs: Sequence[memoryview], offset: int) -> int:
        """Fill *bufs* in order from *offset*; may return less than asked."""
        total = 0
        for buf in bufs:
            got = self.v_pread_into(buf, offset + total)
            total += got
            if got < len(buf):
                break
        return total

    def v_pwritev(self, bufs: Sequence[memoryview], offset: int) -> int:
        """Write *bufs* in order at *offset*; may return less than asked."""
        total = 0
        for buf in bufs:
            put = self.v_pwrite(buf, offset + total)
            total += put
            if put < len(buf):
                break
        return total

    def read_limit(self, offset: int, count: int) -> int:
        """How many of *count* bytes at *offset* there can be: pages of a buffer beyond them stay untouched."""
        return count

    def seekable(self) -> bool:
        """Whether file offsets mean anything here; a terminal or a pipe says no (ESPIPE)."""
        return self.v_type in (VREG, VDIR, VLNK, VBLK)

    def fsync(self, *, data_only: bool) -> None:
        """Bring written data to the store.  FreeBSD: VOP_FSYNC(9)."""

    def allocate(self, offset: int, length: int) -> None:
        """Reserve storage.  FreeBSD: VOP_ALLOCATE(9)."""
        raise SyscallError(E.EINVAL)

    def ioctl(self, command: str, argument: bytes) -> bytes:
        """Answer a device request named as in FreeBSD (``"TIOCGWINSZ"``).  FreeBSD: VOP_IOCTL(9)."""
        raise SyscallError(E.ENOTTY)

    def maps_anonymous(self) -> bool:
        """Whether mmap(2) of it gives fresh zero pages: /dev/zero only.  FreeBSD: D_MMAP_ANON."""
        return False

    def poll(self, events: int) -> int:
        """Those of *events* that are true now, with POLLHUP and POLLERR.  FreeBSD: VOP_POLL(9)."""
        return events & (POLLIN | POLLOUT | POLLRDNORM)

    def poll_host_fd(self) -> int:
        """A descriptor of the host on which to wait until ``poll`` may change; -1: there is none."""
        return -1

    # -- directories and links -------------------------------------------------------------------

    def lookup(self, name: bytes) -> Vnode:
        """The file called *name* in this directory; never ``.`` or ``..``.

        FreeBSD: VOP_LOOKUP(9).  Raises ENOENT, ENOTDIR.
        """
        raise SyscallError(E.ENOENT if self.v_type == VDIR else E.ENOTDIR)

    def readdir(self) -> list[Dirent]:
        """All entries now, ``.`` and ``..`` first.  FreeBSD: VOP_READDIR(9)."""
        raise SyscallError(E.ENOTDIR)

    def readlink(self) -> bytes:
        """Target of a symbolic link.  FreeBSD: VOP_READLINK(9)."""
        raise SyscallError(E.EINVAL)

    def follow_to(self) -> Vnode | None:
        """The vnode that a magic link (``/proc/self/exe``) stands for; None for an ordinary link."""
        return None

    def create(self, name: bytes, mode: int) -> Vnode:
        """Make the regular file *name*, which is not there yet.  FreeBSD: VOP_CREATE(9)."""
        raise SyscallError(E.EROFS)

    def mkdir(self, name: bytes, mode: int) -> Vnode:
        """Make the directory *name*.  FreeBSD: VOP_MKDIR(9)."""
        raise SyscallError(E.EROFS)

    def mknod(self, name: bytes, vtype: int, mode: int) -> Vnode:
        """Make the FIFO *name*.  FreeBSD: VOP_MKNOD(9)."""
        raise SyscallError(E.EROFS)

    def remove(self, name: bytes, vp: Vnode) -> None:
        """Unlink *name*, which is *vp* and no directory.  FreeBSD: VOP_REMOVE(9)."""
        raise SyscallError(E.EROFS)

    def rmdir(self, name: bytes, vp: Vnode) -> None:
        """Remove the empty directory *name*, which is *vp*.  FreeBSD: VOP_RMDIR(9)."""
        raise SyscallError(E.EROFS)

    def rename(self, name: bytes, todir: Vnode, toname: bytes, flags: int = 0) -> None:
        """Rename *name* to *toname* in *todir*, on the same mount; *flags* are RENAME_*.

        FreeBSD: VOP_RENAME(9).
        """
        raise SyscallError(E.EROFS)

    def link(self, name: bytes, vp: Vnode) -> None:
        """Make *name* another link to *vp*, on the same mount.  FreeBSD: VOP_LINK(9)."""
        raise SyscallError(E.EROFS)

    def symlink(self, name: bytes, target: bytes) -> Vnode:
        """Make the symbolic link *name*.  FreeBSD: VOP_SYMLINK(9)."""
        raise SyscallError(E.EROFS)


def vaccess(vap: Vattr, acc_mode: int, cred: Ucred) -> None:
    """Check permission bits as FreeBSD does; raises EACCES.

    FreeBSD: vaccess(), sys/kern/vfs_subr.c.
    Differs: no ACLs, no privileges but user 0.
    """
    if cred.cr_uid == vap.va_uid:
        granted = vap.va_mode & 0o700
    elif vap.va_gid == cred.cr_gid or vap.va_gid in cred.cr_groups:
        granted = (vap.va_mode & 0o070) << 3
    else:
        granted = (vap.va_mode & 0o007) << 6
    if acc_mode & ~granted == 0:
        return
    if cred.cr_uid == 0:
        runnable = vap.va_type == VDIR or vap.va_mode & 0o111
        if not acc_mode & VEXEC or runnable:
            return
    raise SyscallError(E.EACCES)
