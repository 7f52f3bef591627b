"""How FreeBSD/amd64 lays out what file calls give and take.

FreeBSD: sys/sys/stat.h, dirent.h, mount.h, fcntl.h, select.h, and the freebsd11_* structures of the
calls that programs up to FreeBSD 11 make.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.kern.vnode import VTTOIF

if TYPE_CHECKING:
    from kernel_model.kern.kern_flock import LockRequest
    from kernel_model.kern.vnode import Dirent, Statfs, Vattr

NSEC = 1_000_000_000
STAT = struct.Struct("<QQQHhIIiQ8qqqiIQ80x")
STAT11 = struct.Struct("<IIHHIII6qqqiIIi2q")
STATFS = struct.Struct("<IIQQQQQqQqQQQQ80xII2i80x16s1024s1024s")
STATFS11 = struct.Struct("<IIQQQQQqQqQQQQ80xII2i80x16s88s88s")
STATFS_VERSION = 0x20140518
STATFS11_VERSION = 0x20030518
FLOCK = struct.Struct("<qqihhi4x")
OFLOCK = struct.Struct("<qqihh")
POLLFD = struct.Struct("<ihh")
UINT32_MAX = 0xFFFFFFFF


def _times(vap: Vattr, *names: str) -> tuple[int, ...]:
    flat: list[int] = []
    for name in names:
        flat += divmod(getattr(vap, name), NSEC)
    return tuple(flat)


def _i32(value: int) -> int:
    return ((value & UINT32_MAX) ^ 0x80000000) - 0x80000000


def pack_stat(vap: Vattr) -> bytes:
    """struct stat of FreeBSD 12 and later."""
    return STAT.pack(
        vap.va_fsid, vap.va_fileid, vap.va_nlink, VTTOIF[vap.va_type] | vap.va_mode, 0, vap.va_uid, vap.va_gid, 0,
        vap.va_rdev, *_times(vap, "va_atime", "va_mtime", "va_ctime", "va_birthtime"),
        vap.va_size, vap.va_bytes >> 9, vap.va_blocksize, vap.va_flags, vap.va_gen,
    )  # fmt: skip


def pack_stat11(vap: Vattr) -> bytes:
    """struct freebsd11_stat; what does not fit is cut, as with vfs.ino64_trunc_error=0."""
    return STAT11.pack(
        vap.va_fsid & UINT32_MAX, vap.va_fileid & UINT32_MAX, VTTOIF[vap.va_type] | vap.va_mode,
        min(vap.va_nlink, 0xFFFF), vap.va_uid, vap.va_gid, vap.va_rdev & UINT32_MAX,
        *_times(vap, "va_atime", "va_mtime", "va_ctime"), vap.va_size, vap.va_bytes >> 9,
        vap.va_blocksize, vap.va_flags, vap.va_gen & UINT32_MAX, 0, *_times(vap, "va_birthtime"),
    )  # fmt: skip


def _statfs(layout: struct.Struct, version: int, info: Statfs, width: int) -> bytes:
    return layout.pack(
        version, 0, info.f_flags, info.f_bsize, info.f_bsize, info.f_blocks, info.f_bfree, info.f_bavail,
        info.f_files, info.f_ffree, 0, 0, 0, 0, info.f_namemax, 0, _i32(info.f_fsid), _i32(info.f_fsid >> 32),
        info.f_fstypename[:15], info.f_mntfromname[: width - 1], info.f_mntonname[: width - 1],
    )  # fmt: skip


def pack_statfs(info: Statfs) -> bytes:
    """struct statfs of FreeBSD 12 and later."""
    return _statfs(STATFS, STATFS_VERSION, info, 1024)


def pack_statfs11(info: Statfs) -> bytes:
    """struct freebsd11_statfs."""
    return _statfs(STATFS11, STATFS11_VERSION, info, 88)


def pack_dirent(entry: Dirent, next_offset: int) -> bytes:
    """struct dirent of FreeBSD 12 and later, padded to eight bytes."""
    name = entry.d_name
    reclen = (24 + len(name) + 8) & ~7
    head = struct.pack("<QqHBBHH", entry.d_fileno, next_offset, reclen, entry.d_type, 0, len(name), 0)
    return (head + name).ljust(reclen, b"\0")


def pack_dirent11(entry: Dirent, next_offset: int) -> bytes:
    """struct freebsd11_dirent, padded to four bytes; *next_offset* has no place in it."""
    name = entry.d_name
    reclen = (8 + len(name) + 4) & ~3
    head = struct.pack("<IHBB", entry.d_fileno & UINT32_MAX, reclen, entry.d_type, len(name))
    return (head + name).ljust(reclen, b"\0")


def unpack_flock(data: bytes) -> LockRequest:
    """(l_type, l_whence, l_start, l_len) of a struct flock, or of FreeBSD 7's without l_sysid."""
    layout = FLOCK if len(data) == FLOCK.size else OFLOCK
    start, length, _, l_type, whence = layout.unpack(data)[:5]
    return l_type, whence, start, length


def pack_flock(l_type: int, whence: int, start: int, length: int, pid: int) -> bytes:
    """struct flock."""
    return FLOCK.pack(start, length, pid, l_type, whence, 0)
