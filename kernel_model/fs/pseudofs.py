"""Files that exist only in the kernel: the common part of devfs and procfs.

FreeBSD: sys/fs/pseudofs.

A node's contents are made by a function when it is read from its start.  Nothing here can be changed by a
guest; what a device does with data is in devfs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.vnode import (
    MNT_RDONLY,
    VDIR,
    VLNK,
    VREG,
    VTTODT,
    Dirent,
    Mount,
    Vattr,
    Vnode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kernel_model.kern.proc import Kernel

ROOT_FILENO = 1


@dataclass(slots=True, eq=False)
class PseudoMount(Mount):
    """A mounted pseudo file system."""

    kernel: Kernel = field(kw_only=True)
    fsid: int = 0
    when: int = 0
    """Time of every file: when it was mounted."""
    last_fileno: int = ROOT_FILENO - 1

    def new_fileno(self) -> int:
        """The next inode number."""
        self.last_fileno += 1
        return self.last_fileno


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class PseudoNode(Vnode):
    """What all nodes have."""

    v_mount: PseudoMount
    mode: int
    fileid: int = 0
    uid: int = 0
    gid: int = 0

    def __post_init__(self) -> None:
        if self.fileid == 0:
            self.fileid = self.v_mount.new_fileno()

    def getattr(self) -> Vattr:
        """Made up, but the same each time."""
        mount = self.v_mount
        return Vattr(
            self.v_type, self.mode, va_uid=self.uid, va_gid=self.gid, va_fsid=mount.fsid, va_fileid=self.fileid,
            va_atime=mount.when, va_mtime=mount.when, va_ctime=mount.when, va_birthtime=mount.when,
            va_nlink=2 if self.v_type == VDIR else 1,
        )  # fmt: skip


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class PseudoDir(PseudoNode):
    """A directory: fixed children, and a function for those that come and go."""

    v_type: int = VDIR
    mode: int = 0o555
    children: dict[bytes, Vnode] = field(default_factory=dict)
    find: Callable[[bytes], Vnode | None] | None = None
    extra: Callable[[], Iterable[bytes]] | None = None
    """Names that ``find`` knows."""

    def add(self, name: bytes, vp: Vnode) -> None:
        """Put *vp* into the directory."""
        kassert(name not in self.children and b"/" not in name, "pseudofs: a second %r", name)
        kassert(vp.v_dd is None, "pseudofs: %r has a place already", vp)
        vp.v_dd = self
        vp.v_name = name
        self.children[name] = vp

    def lookup(self, name: bytes) -> Vnode:
        """A fixed child, or one that is found."""
        vp = self.children.get(name)
        if vp is None and self.find is not None:
            vp = self.find(name)
            if vp is not None:
                kassert(vp.v_dd in (None, self), "pseudofs: %r is in two directories", vp)
                vp.v_dd = self
                vp.v_name = name
        if vp is None:
            raise SyscallError(E.ENOENT)
        return vp

    def readdir(self) -> list[Dirent]:
        """Fixed children first."""
        parent = self.v_dd or self
        names = list(self.children)
        if self.extra is not None:
            names += [name for name in self.extra() if name not in self.children]
        listing = [
            Dirent(self.fileid, VTTODT[VDIR], b"."),
            Dirent(parent.getattr().va_fileid, VTTODT[VDIR], b".."),
        ]
        for name in names:
            try:
                vp = self.lookup(name)
            except SyscallError:
                continue
            fileid = vp.fileid if isinstance(vp, PseudoNode) else vp.getattr().va_fileid
            listing.append(Dirent(fileid, VTTODT[vp.v_type], name))
        return listing


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class PseudoFile(PseudoNode):
    """A regular file whose text is made when it is read from its start; its size is told as 0, as Linux does."""

    v_type: int = VREG
    mode: int = 0o444
    text: Callable[[], bytes]
    made: bytes = b""

    def v_preadv(self, bufs: Sequence[memoryview], offset: int) -> int:
        """Fill from the text."""
        kassert(offset >= 0, "pseudofs: read at %d", offset)
        if offset == 0:
            self.made = self.text()
        total = 0
        for buf in bufs:
            piece = self.made[offset + total : offset + total + len(buf)]
            buf[: len(piece)] = piece
            total += len(piece)
        return total

    def v_pread_into(self, buf: memoryview, offset: int) -> int:
        """Fill from the text."""
        return self.v_preadv((buf,), offset)


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class PseudoLink(PseudoNode):
    """A symbolic link; *follow* makes it a magic one, which leads to a vnode and not to its text."""

    v_type: int = VLNK
    mode: int = 0o777
    text: Callable[[], bytes]
    follow: Callable[[], Vnode | None] | None = None

    def readlink(self) -> bytes:
        """Its text now; ENOENT when there is none."""
        target = self.text()
        if not target:
            raise SyscallError(E.ENOENT)
        return target

    def follow_to(self) -> Vnode | None:
        """Where a magic link leads."""
        return None if self.follow is None else self.follow()


def pseudo_mount(kernel: Kernel, fstype: bytes, where: bytes, magic: int, fsid: int) -> PseudoMount:
    """A mount for a pseudo file system at the path *where*."""
    flags = MNT_RDONLY if fstype != b"devfs" else 0
    return PseudoMount(
        fstype, fstype, where, flags, magic, kernel=kernel, fsid=fsid, when=kernel.clock.nanotime()
    )


def mount_at(root: Vnode, name: bytes, vp: Vnode) -> None:
    """Mount the file system whose root is *vp* on *name* in the directory *root*."""
    kassert(root.v_type == VDIR and vp.v_type == VDIR, "mount of %r on %r", vp, root)
    kassert(name not in root.v_covers and vp.v_dd is None, "mount: %r is taken", name)
    vp.v_dd = root
    vp.v_name = name
    root.v_covers[name] = vp
