"""What the file systems that stand on the host share: errors, kinds of mounts, attributes.

Model only: FreeBSD has no host below it.
"""

from __future__ import annotations

import errno as host_errno
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.kern.vnode import ALLPERMS, IFTOVT, S_IFMT, VNON, Vattr

if TYPE_CHECKING:
    from collections.abc import Iterator

PSEUDO_FSTYPES: Final = frozenset((
    "autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs",
    "efivarfs", "functionfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "nfsd", "proc", "pstore", "resctrl",
    "rpc_pipefs", "securityfs", "selinuxfs", "smackfs", "sysfs", "tracefs",
))  # fmt: skip
"""Kinds of host file systems whose files are doors into the host's kernel."""

_AT_EMPTY_PATH: Final = 0x1000
_STATX_BTIME: Final = 0x800

_RENAMED: Final = {"EMFILE": E.ENFILE, "ELOOP": E.ELOOP}
"""Host errors that mean something else to the guest: our descriptors are the system's, not the process's."""

FROM_HOST: Final = {
    number: _RENAMED.get(name, getattr(E, name, E.EIO)) for number, name in host_errno.errorcode.items()
}


def host_error(error: OSError) -> SyscallError:
    """The guest's error for a host's: ``raise host_error(error) from None``."""
    return SyscallError(FROM_HOST.get(error.errno or 0, E.EIO))


@dataclass(frozen=True, slots=True)
class HostFs:
    """A file system mounted on the host."""

    fstype: str
    source: str


def mounts() -> Iterator[tuple[int, HostFs]]:
    """Every file system mounted on the host, by device number; nothing where that cannot be read."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            lines = table.readlines()
    except OSError:
        return
    for line in lines:
        fields, _, tail = line.partition(" - ")
        major, _, minor = fields.split()[2].partition(":")
        fstype, source = tail.split()[:2]
        yield os.makedev(int(major), int(minor)), HostFs(fstype, source)


def host_birthtime(fd: int) -> int:
    """When the file of the O_PATH descriptor *fd* was made, nanoseconds; -1 where the host does not say.

    Python's os.stat() does not ask for it, so the C library's statx(2) is called.
    """
    import ctypes

    statx = getattr(ctypes.CDLL(None), "statx", None)
    buffer = ctypes.create_string_buffer(256)
    if statx is None or statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, buffer) != 0:
        return -1
    mask = struct.unpack_from("<I", buffer)[0]
    seconds, part = struct.unpack_from("<qI", buffer, 80)
    return int(seconds * 1_000_000_000 + part) if mask & _STATX_BTIME else -1


def host_umask() -> int:
    """The umask that this process was started with."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def vattr_of(st: os.stat_result) -> Vattr:
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
