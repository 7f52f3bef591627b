"""Devices: null, zero, full, random, the terminal, and the caller's own descriptors.

FreeBSD: sys/fs/devfs, sys/dev/null/null.c, sys/dev/random, sys/fs/fdescfs.
Differs: /dev/fd is a directory of devfs; a descriptor that is a regular file is opened anew for a Linux program
(its own offset) and duplicated for a FreeBSD one, as each system does.  Nothing of the host's /dev is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert, some
from kernel_model.fs.pseudofs import PseudoDir, PseudoLink, PseudoMount, PseudoNode, pseudo_mount
from kernel_model.kern.vnode import VCHR, Vattr, Vnode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kernel_model.kern.proc import Kernel

DEVFS_FSID = 0x1F
LINUX_DEVFS_MAGIC = 0x01021994
ZEROES = bytes(65536)


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class DevVnode(PseudoNode):
    """A character device."""

    v_type: int = VCHR
    mode: int = 0o666
    rdev: int = 0
    fill: Callable[[memoryview], int]
    """Read: fills a piece of the buffer, returns the bytes."""
    full: bool = False
    """Every write is ENOSPC."""
    anonymous: bool = False

    def getattr(self) -> Vattr:
        """With the device number."""
        vap = PseudoNode.getattr(self)
        vap.va_rdev = self.rdev
        return vap

    def v_preadv(self, bufs: Sequence[memoryview], offset: int) -> int:
        """Each piece in turn; a short one is the end."""
        total = 0
        for buf in bufs:
            got = self.fill(buf)
            kassert(0 <= got <= len(buf), "devfs: %d of %d bytes", got, len(buf))
            total += got
            if got < len(buf):
                break
        return total

    def v_pwritev(self, bufs: Sequence[memoryview | bytes], offset: int) -> int:
        """All data goes nowhere."""
        if self.full:
            raise SyscallError(E.ENOSPC)
        return sum(map(len, bufs))

    def v_pread_into(self, buf: memoryview, offset: int) -> int:
        """One piece."""
        return self.fill(buf)

    def v_pwrite(self, data: memoryview | bytes, offset: int) -> int:
        """One piece."""
        return self.v_pwritev((data,), offset)

    def maps_anonymous(self) -> bool:
        """/dev/zero."""
        return self.anonymous

    def seekable(self) -> bool:
        """Linux and FreeBSD let these seek; the offset has no meaning."""
        return True


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class FdVnode(PseudoNode):
    """/dev/fd/N: descriptor N of whoever opens it.  FreeBSD: fdopen in sys/kern/kern_descrip.c."""

    v_type: int = VCHR
    mode: int = 0o666
    number: int

    def dupfd(self, fmode: int) -> tuple[int, int]:
        """The descriptor, if it is open for *fmode*."""
        return self.number, fmode


@dataclass(slots=True, eq=False, kw_only=True, repr=False)
class TtyVnode(PseudoNode):
    """/dev/tty: the first terminal among the caller's standard streams."""

    v_type: int = VCHR
    mode: int = 0o666

    def dupfd(self, fmode: int) -> tuple[int, int]:
        """The descriptor of that terminal, whatever it is open for; ENXIO when there is none."""
        files = some(self.v_mount.kernel.curthread, "current thread").td_proc.p_fd.fd_files
        for fd in (0, 1, 2):
            fp = files.get(fd)
            if fp is not None and fp.f_vnode is not None and fp.f_vnode.link_text() == b"/dev/tty":
                return fd, 0
        raise SyscallError(E.ENXIO)


def _zero(buf: memoryview) -> int:
    for start in range(0, len(buf), len(ZEROES)):
        piece = buf[start : start + len(ZEROES)]
        piece[:] = ZEROES[: len(piece)]
    return len(buf)


def _nothing(buf: memoryview) -> int:
    return 0


def devfs_mount(kernel: Kernel) -> PseudoDir:
    """Make a devfs; ``mount_at(root, b"dev", ...)`` puts it in place."""
    mount = pseudo_mount(kernel, b"devfs", b"/dev", LINUX_DEVFS_MAGIC, DEVFS_FSID)
    root = PseudoDir(v_mount=mount, mode=0o755)

    def random(buf: memoryview) -> int:
        buf[:] = kernel.random_bytes(len(buf))
        return len(buf)

    devices: tuple[tuple[bytes, int, Callable[[memoryview], int]], ...] = (
        (b"null", 0x103, _nothing),
        (b"zero", 0x105, _zero),
        (b"full", 0x107, _zero),
        (b"random", 0x108, random),
        (b"urandom", 0x109, random),
    )
    for name, rdev, fill in devices:
        vp = DevVnode(v_mount=mount, rdev=rdev, fill=fill, full=name == b"full", anonymous=name == b"zero")
        root.add(name, vp)
    root.add(b"tty", TtyVnode(v_mount=mount))
    root.add(b"fd", _fd_dir(kernel, mount))
    for number, name in enumerate((b"stdin", b"stdout", b"stderr")):
        text = b"fd/%d" % number
        root.add(name, PseudoLink(v_mount=mount, text=partial(bytes, text)))
    return root


def _fd_dir(kernel: Kernel, mount: PseudoMount) -> PseudoDir:
    known: dict[int, Vnode] = {}

    def find(name: bytes) -> Vnode | None:
        td = kernel.curthread
        if td is None or not name.isdigit() or int(name) not in td.td_proc.p_fd.fd_files:
            return None
        number = int(name)
        if number not in known:
            known[number] = FdVnode(v_mount=mount, number=number)
        return known[number]

    def names() -> Iterable[bytes]:
        td = kernel.curthread
        return [] if td is None else [b"%d" % fd for fd in td.td_proc.p_fd.descriptors()]

    return PseudoDir(v_mount=mount, find=find, extra=names)
