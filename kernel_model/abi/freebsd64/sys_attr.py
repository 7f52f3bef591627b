"""FreeBSD's calls that read and change the attributes of files.

FreeBSD: sys/kern/vfs_syscalls.c; the freebsd11_* calls are those under COMPAT_FREEBSD11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.abi.freebsd64 import structs_file as st
from kernel_model.errors import SyscallError
from kernel_model.kern import vfs_attr
from kernel_model.kern.copyin import copyout
from kernel_model.kern.vfs_lookup import AT_FDCWD, namei, path_arg

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.proc import Thread
    from kernel_model.kern.sysent import Handler
    from kernel_model.kern.vnode import Statfs, Vattr, Vnode

AT_EACCESS = 0x100
AT_SYMLINK_NOFOLLOW = 0x200
UTIME_NOW = -1
UTIME_OMIT = -2


def at_flags(flags: int, known: int) -> None:
    """Refuse AT_* bits that a call does not know."""
    if flags & ~known:
        raise SyscallError(E.EINVAL)


def _stat_calls(pack: Callable[[Vattr], bytes]) -> tuple[Handler, Handler, Handler, Handler]:
    """stat, fstat, lstat and fstatat with one layout of struct stat."""

    def sys_stat(td: Thread, path: int, buf: int) -> int:
        copyout(td, buf, pack(vfs_attr.kern_statat(td, AT_FDCWD, path_arg(td, path))))
        return 0

    def sys_fstat(td: Thread, fd: int, buf: int) -> int:
        copyout(td, buf, pack(vfs_attr.kern_fstat(td, fd)))
        return 0

    def sys_lstat(td: Thread, path: int, buf: int) -> int:
        copyout(td, buf, pack(vfs_attr.kern_statat(td, AT_FDCWD, path_arg(td, path), follow=False)))
        return 0

    def sys_fstatat(td: Thread, dirfd: int, path: int, buf: int, flag: int) -> int:
        at_flags(flag, AT_SYMLINK_NOFOLLOW)
        follow = not flag & AT_SYMLINK_NOFOLLOW
        copyout(td, buf, pack(vfs_attr.kern_statat(td, dirfd, path_arg(td, path), follow=follow)))
        return 0

    return sys_stat, sys_fstat, sys_lstat, sys_fstatat


SYS_STAT11, SYS_FSTAT11, SYS_LSTAT11, SYS_FSTATAT11 = _stat_calls(st.pack_stat11)
_, SYS_FSTAT, _, SYS_FSTATAT = _stat_calls(st.pack_stat)


def _statfs_calls(pack: Callable[[Statfs], bytes], size: int) -> tuple[Handler, Handler, Handler]:
    """statfs, fstatfs and getfsstat with one layout of struct statfs."""

    def sys_statfs(td: Thread, path: int, buf: int) -> int:
        copyout(td, buf, pack(vfs_attr.kern_statfs(td, path_arg(td, path))))
        return 0

    def sys_fstatfs(td: Thread, fd: int, buf: int) -> int:
        copyout(td, buf, pack(vfs_attr.kern_fstatfs(td, fd)))
        return 0

    def sys_getfsstat(td: Thread, buf: int, bufsize: int, mode: int) -> int:
        roots = mounted(td)
        if buf:
            count = min(len(roots), bufsize // size)
            copyout(td, buf, b"".join(pack(vp.v_mount.statfs(vp)) for vp in roots[:count]))
            return count
        return len(roots)

    return sys_statfs, sys_fstatfs, sys_getfsstat


SYS_STATFS11, SYS_FSTATFS11, SYS_GETFSSTAT11 = _statfs_calls(st.pack_statfs11, st.STATFS11.size)
SYS_STATFS, SYS_FSTATFS, SYS_GETFSSTAT = _statfs_calls(st.pack_statfs, st.STATFS.size)


def mounted(td: Thread) -> list[Vnode]:
    """The roots of the mounted file systems that the process can reach at the top of its tree."""
    root = td.td_proc.p_fd.fd_rdir
    return [root, *root.v_covers.values()]


def sys_eaccess(td: Thread, path: int, amode: int) -> int:
    """eaccess(2)."""
    vfs_attr.kern_accessat(td, AT_FDCWD, path_arg(td, path), amode, effective=True)
    return 0


def sys_faccessat(td: Thread, dirfd: int, path: int, amode: int, flag: int) -> int:
    """faccessat(2)."""
    at_flags(flag, AT_EACCESS)
    vfs_attr.kern_accessat(td, dirfd, path_arg(td, path), amode, effective=bool(flag & AT_EACCESS))
    return 0


def sys_fchmodat(td: Thread, dirfd: int, path: int, mode: int, flag: int) -> int:
    """fchmodat(2)."""
    at_flags(flag, AT_SYMLINK_NOFOLLOW)
    follow = not flag & AT_SYMLINK_NOFOLLOW
    vfs_attr.setfmode(td, namei(td, path_arg(td, path), follow=follow, dirfd=dirfd), mode)
    return 0


def sys_lchmod(td: Thread, path: int, mode: int) -> int:
    """lchmod(2)."""
    return sys_fchmodat(td, AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW)


def sys_fchownat(td: Thread, dirfd: int, path: int, uid: int, gid: int, flag: int) -> int:
    """fchownat(2)."""
    at_flags(flag, AT_SYMLINK_NOFOLLOW)
    follow = not flag & AT_SYMLINK_NOFOLLOW
    vfs_attr.setfown(td, namei(td, path_arg(td, path), follow=follow, dirfd=dirfd), uid, gid)
    return 0


def sys_chflags(td: Thread, path: int, flags: int) -> int:
    """chflags(2): the host's file systems have no such flags; clearing all is granted."""
    vp = namei(td, path_arg(td, path))
    if not vp.writable():
        raise SyscallError(E.EROFS)
    if flags:
        raise SyscallError(E.EOPNOTSUPP)
    return 0


def sys_fchflags(td: Thread, fd: int, flags: int) -> int:
    """fchflags(2)."""
    _ = vfs_attr.file_vnode_at(td, fd)
    if flags:
        raise SyscallError(E.EOPNOTSUPP)
    return 0


def sys_futimes(td: Thread, fd: int, times: int) -> int:
    """futimes(2)."""
    when = vfs_attr.read_timevals(td, times)
    return vfs_attr.set_times(td, vfs_attr.file_vnode_at(td, fd), when)


def sys_lutimes(td: Thread, path: int, times: int) -> int:
    """lutimes(2)."""
    when = vfs_attr.read_timevals(td, times)
    return vfs_attr.set_times(td, namei(td, path_arg(td, path), follow=False), when)


def sys_futimesat(td: Thread, dirfd: int, path: int, times: int) -> int:
    """futimesat(2)."""
    when = vfs_attr.read_timevals(td, times)
    return vfs_attr.set_times(td, namei(td, path_arg(td, path), dirfd=dirfd), when)


def sys_futimens(td: Thread, fd: int, times: int) -> int:
    """futimens(2)."""
    when = vfs_attr.read_timespecs(td, times, UTIME_NOW, UTIME_OMIT)
    return vfs_attr.set_times(td, vfs_attr.file_vnode_at(td, fd), when)


def sys_utimensat(td: Thread, dirfd: int, path: int, times: int, flag: int) -> int:
    """utimensat(2)."""
    at_flags(flag, AT_SYMLINK_NOFOLLOW)
    when = vfs_attr.read_timespecs(td, times, UTIME_NOW, UTIME_OMIT)
    follow = not flag & AT_SYMLINK_NOFOLLOW
    return vfs_attr.set_times(td, namei(td, path_arg(td, path), follow=follow, dirfd=dirfd), when)
