"""What the file systems that stand on the host share: errors, kinds of mounts, attributes.

Model only: FreeBSD has no host below it.
"""

from __future__ import annotations

import errno as host_errno
import os
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno as E
from kernel_model.errors import SyscallError
from kernel_model.fs.vnode import ALLPERMS, IFTOVT, S_IFMT, VNON, Vattr

if TYPE_CHECKING:
    from collections.abc import Iterator

PSEUDO_FSTYPES: Final = frozenset((
    "autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs",
    "efivarfs", "functionfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "nfsd", "proc", "pstore", "resctrl",
    "rpc_pipefs", "securityfs", "selinuxfs", "smackfs", "sysfs", "tracefs",
))  # fmt: skip
"""Kinds of host file systems whose files are doors into the host's kernel."""

_RENAMED: Final = {"EMFILE": E.ENFILE, "ELOOP": E.ELOOP}
"""Host errors that mean something else to the guest: our descriptors are the system's, not the process's."""

FROM_HOST: Final = {
    number: _RENAMED.get(name, getattr(E, name, E.EIO)) for number, name in host_errno.errorcode.items()
}


def host_error(error: OSError) -> SyscallError:
    """The guest's error for a host's: ``raise host_error(error) from None``."""
    return SyscallError(FROM_HOST.get(error.errno or 0, E.EIO))


def mounts() -> Iterator[tuple[int, str]]:
    """Device number and type of every file system mounted on the host; nothing where that cannot be read."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            lines = table.readlines()
    except OSError:
        return
    for line in lines:
        fields, _, tail = line.partition(" - ")
        major, _, minor = fields.split()[2].partition(":")
        yield os.makedev(int(major), int(minor)), tail.split()[0]


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
