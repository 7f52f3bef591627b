"""Linux's calls that read and change the attributes of files.

Model only: flags from linux/fcntl.h and linux/stat.h.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.abi.linux64 import structs_file as st
from kernel_model.errors import SyscallError
from kernel_model.kern import vfs_attr
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.vfs_lookup import AT_FDCWD, namei, path_arg

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread
    from kernel_model.kern.vnode import Vattr, Vnode

AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = 0x200
AT_REMOVEDIR = 0x200
AT_SYMLINK_FOLLOW = 0x400
AT_NO_AUTOMOUNT = 0x800
AT_EMPTY_PATH = 0x1000
AT_STATX_SYNC_TYPE = 0x6000
UTIME_NOW = 0x3FFFFFFF
UTIME_OMIT = 0x3FFFFFFE


def known_flags(flags: int, known: int) -> None:
    """Refuse bits that a call does not know."""
    if flags & ~known:
        raise SyscallError(E.EINVAL)


def vnode_at(td: Thread, dirfd: int, path: int, flags: int) -> Vnode:
    """The vnode of a call with AT_EMPTY_PATH and AT_SYMLINK_NOFOLLOW."""
    name = path_arg(td, path)
    if not name and flags & AT_EMPTY_PATH:
        if dirfd == AT_FDCWD:
            return td.td_proc.p_fd.fd_cdir
        return td.td_proc.p_fd.getvnode(dirfd)
    return namei(td, name, follow=not flags & AT_SYMLINK_NOFOLLOW, dirfd=dirfd)


def sys_stat(td: Thread, path: int, buf: int) -> int:
    """stat(2)."""
    copyout(td, buf, st.pack_stat(vfs_attr.kern_statat(td, AT_FDCWD, path_arg(td, path))))
    return 0


def sys_lstat(td: Thread, path: int, buf: int) -> int:
    """lstat(2)."""
    copyout(td, buf, st.pack_stat(vfs_attr.kern_statat(td, AT_FDCWD, path_arg(td, path), follow=False)))
    return 0


def sys_fstat(td: Thread, fd: int, buf: int) -> int:
    """fstat(2)."""
    copyout(td, buf, st.pack_stat(vfs_attr.kern_fstat(td, fd)))
    return 0


def _vattr_at(td: Thread, dirfd: int, path: int, flags: int) -> Vattr:
    name = path_arg(td, path)
    if not name and flags & AT_EMPTY_PATH:
        if dirfd == AT_FDCWD:
            return td.td_proc.p_fd.fd_cdir.getattr()
        return vfs_attr.kern_fstat(td, dirfd)
    return vfs_attr.kern_statat(td, dirfd, name, follow=not flags & AT_SYMLINK_NOFOLLOW)


def sys_newfstatat(td: Thread, dirfd: int, path: int, buf: int, flags: int) -> int:
    """newfstatat(2)."""
    known_flags(flags, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)
    copyout(td, buf, st.pack_stat(_vattr_at(td, dirfd, path, flags)))
    return 0


def sys_statx(td: Thread, dirfd: int, path: int, flags: int, mask: int, buf: int) -> int:
    """statx(2)."""
    known_flags(flags, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)
    if mask & 0x80000000 or flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE:
        raise SyscallError(E.EINVAL)
    name = path_arg(td, path)
    vp: Vnode | None
    if name or not flags & AT_EMPTY_PATH:
        vp = namei(td, name, follow=not flags & AT_SYMLINK_NOFOLLOW, dirfd=dirfd)
    else:
        vp = td.td_proc.p_fd.fd_cdir if dirfd == AT_FDCWD else td.td_proc.p_fd.fget(dirfd).f_vnode
    vap = vfs_attr.kern_fstat(td, dirfd) if vp is None else vp.getattr()
    if mask & st.STATX_BTIME and vp is not None:
        vap.va_birthtime = vp.birthtime()
    copyout(td, buf, st.pack_statx(vap))
    return 0


def sys_statfs(td: Thread, path: int, buf: int) -> int:
    """statfs(2)."""
    copyout(td, buf, st.pack_statfs(vfs_attr.kern_statfs(td, path_arg(td, path))))
    return 0


def sys_fstatfs(td: Thread, fd: int, buf: int) -> int:
    """fstatfs(2)."""
    copyout(td, buf, st.pack_statfs(vfs_attr.kern_fstatfs(td, fd)))
    return 0


def sys_faccessat(td: Thread, dirfd: int, path: int, amode: int) -> int:
    """faccessat(2), the call without flags."""
    return sys_faccessat2(td, dirfd, path, amode, 0)


def sys_faccessat2(td: Thread, dirfd: int, path: int, amode: int, flags: int) -> int:
    """faccessat2(2)."""
    known_flags(flags, AT_SYMLINK_NOFOLLOW | AT_EACCESS | AT_EMPTY_PATH)
    if amode & ~7:
        raise SyscallError(E.EINVAL)
    vp = vnode_at(td, dirfd, path, flags)
    vfs_attr.vnode_access(td, vp, amode, effective=bool(flags & AT_EACCESS))
    return 0


def sys_fchmodat(td: Thread, dirfd: int, path: int, mode: int) -> int:
    """fchmodat(2)."""
    vfs_attr.setfmode(td, vnode_at(td, dirfd, path, 0), mode)
    return 0


def sys_fchownat(td: Thread, dirfd: int, path: int, uid: int, gid: int, flags: int) -> int:
    """fchownat(2)."""
    known_flags(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)
    vfs_attr.setfown(td, vnode_at(td, dirfd, path, flags), uid, gid)
    return 0


def sys_utime(td: Thread, path: int, times: int) -> int:
    """utime(2): whole seconds."""
    if times == 0:
        when = vfs_attr.NOW
    else:
        atime, mtime = struct.unpack("<qq", copyin(td, times, 16))
        when = (atime * vfs_attr.NSEC, mtime * vfs_attr.NSEC, False)
    return vfs_attr.set_times(td, namei(td, path_arg(td, path)), when)


def sys_futimesat(td: Thread, dirfd: int, path: int, times: int) -> int:
    """futimesat(2)."""
    when = vfs_attr.read_timevals(td, times)
    if path == 0:
        return vfs_attr.set_times(td, vfs_attr.file_vnode_at(td, dirfd), when)
    return vfs_attr.set_times(td, namei(td, path_arg(td, path), dirfd=dirfd), when)


def sys_utimensat(td: Thread, dirfd: int, path: int, times: int, flags: int) -> int:
    """utimensat(2); a null path means the descriptor itself."""
    known_flags(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)
    when = vfs_attr.read_timespecs(td, times, UTIME_NOW, UTIME_OMIT)
    if path == 0:
        if flags:
            raise SyscallError(E.EINVAL)
        return vfs_attr.set_times(td, vfs_attr.file_vnode_at(td, dirfd), when)
    return vfs_attr.set_times(td, vnode_at(td, dirfd, path, flags), when)
