"""How Linux/x86-64 lays out what file calls give and take.

Model only: the facts are those of asm/stat.h, linux/stat.h, asm-generic/statfs.h, linux/dirent.h, asm-generic/fcntl.h
in the kernel's exported headers; tests compare them with the C compiler's.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from kernel_model.kern.kern_flock import F_RDLCK, F_UNLCK, F_WRLCK
from kernel_model.kern.vnode import VTTOIF

if TYPE_CHECKING:
    from kernel_model.kern.kern_flock import LockRequest
    from kernel_model.kern.vnode import Dirent, Statfs, Vattr

NSEC = 1_000_000_000
STAT = struct.Struct("<3Q4I4q6Q24x")
STATX = struct.Struct("<IIQ3IH2x4Q" + "qI4x" * 4 + "4I" + "QII12Q")
STATFS = struct.Struct("<7q2i7q")
FLOCK = struct.Struct("<hh4xqqi4x")
DIRENT64_HEAD = struct.Struct("<QqHB")
DIRENT_HEAD = struct.Struct("<QQH")
POLLFD = struct.Struct("<ihh")

STATX_BASIC_STATS = 0x7FF
STATX_BTIME = 0x800
STATX_MNT_ID = 0x1000

ST_RDONLY = 0x1
ST_NOSUID = 0x2
ST_VALID = 0x20

L_RDLCK, L_WRLCK, L_UNLCK = 0, 1, 2
_LOCK_IN = {L_RDLCK: F_RDLCK, L_WRLCK: F_WRLCK, L_UNLCK: F_UNLCK}
LOCK_OUT = {bsd: linux for linux, bsd in _LOCK_IN.items()}
"""FreeBSD's F_RDLCK, F_WRLCK, F_UNLCK to Linux's numbers."""


def _time(nanoseconds: int) -> tuple[int, int]:
    return divmod(nanoseconds, NSEC)


def pack_stat(vap: Vattr) -> bytes:
    """struct stat."""
    return STAT.pack(
        vap.va_fsid, vap.va_fileid, vap.va_nlink, VTTOIF[vap.va_type] | vap.va_mode, vap.va_uid, vap.va_gid, 0,
        vap.va_rdev, vap.va_size, vap.va_blocksize, vap.va_bytes >> 9,
        *(word & (1 << 64) - 1 for when in (vap.va_atime, vap.va_mtime, vap.va_ctime) for word in _time(when)),
    )  # fmt: skip


def pack_statx(vap: Vattr) -> bytes:
    """struct statx with the basic fields and the birth time."""
    mask = STATX_BASIC_STATS | (STATX_BTIME if vap.va_birthtime >= 0 else 0)
    when = (vap.va_atime, vap.va_birthtime, vap.va_ctime, vap.va_mtime)
    return STATX.pack(
        mask, vap.va_blocksize, 0, vap.va_nlink, vap.va_uid, vap.va_gid, VTTOIF[vap.va_type] | vap.va_mode,
        vap.va_fileid, vap.va_size, vap.va_bytes >> 9, 0, *(word for one in when for word in _time(one)),
        os.major(vap.va_rdev), os.minor(vap.va_rdev), os.major(vap.va_fsid), os.minor(vap.va_fsid),
        0, 0, 0, *(0,) * 12,
    )  # fmt: skip


def _i32(value: int) -> int:
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def pack_statfs(info: Statfs) -> bytes:
    """struct statfs."""
    flags = ST_VALID | (ST_RDONLY if info.f_flags & 0x1 else 0) | (ST_NOSUID if info.f_flags & 0x8 else 0)
    return STATFS.pack(
        info.f_linux_magic, info.f_bsize, info.f_blocks, info.f_bfree, info.f_bavail, info.f_files, info.f_ffree,
        _i32(info.f_fsid), _i32(info.f_fsid >> 32), info.f_namemax, info.f_bsize, flags, 0, 0, 0, 0,
    )  # fmt: skip


def pack_dirent64(entry: Dirent, next_offset: int) -> bytes:
    """struct linux_dirent64, padded to eight bytes."""
    name = entry.d_name
    reclen = (DIRENT64_HEAD.size + len(name) + 8) & ~7
    head = DIRENT64_HEAD.pack(entry.d_fileno, next_offset, reclen, entry.d_type)
    return (head + name).ljust(reclen, b"\0")


def pack_dirent(entry: Dirent, next_offset: int) -> bytes:
    """struct linux_dirent of the first getdents(2): the type is the last byte."""
    name = entry.d_name
    reclen = (DIRENT_HEAD.size + len(name) + 2 + 7) & ~7
    head = DIRENT_HEAD.pack(entry.d_fileno, next_offset, reclen)
    return (head + name).ljust(reclen - 1, b"\0") + bytes((entry.d_type,))


def unpack_flock(data: bytes) -> LockRequest:
    """(l_type, l_whence, l_start, l_len) with FreeBSD's l_type; an unknown one becomes 0."""
    l_type, whence, start, length, _ = FLOCK.unpack(data)
    return _LOCK_IN.get(l_type, 0), whence, start, length


def pack_flock(l_type: int, whence: int, start: int, length: int, pid: int) -> bytes:
    """struct flock; *l_type* is Linux's."""
    return FLOCK.pack(l_type, whence, start, length, pid)
