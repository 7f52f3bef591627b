"""File system calls whose arguments are the same in both ABIs.

FreeBSD: the sys_* functions of sys/kern/vfs_syscalls.c and sys/kern/kern_descrip.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.kern import vfs_syscalls as vfs
from kernel_model.kern.copyin import copyin, copyinstr, copyout
from kernel_model.kern.vfs_lookup import AT_FDCWD, namei
from kernel_model.vm.vnode_pager import vfs_msync

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread
    from kernel_model.kern.vnode import Vnode

NSEC = 1_000_000_000
Times = tuple["int | None", "int | None", bool]
"""(access time, modification time, both are "now") for setutimes()."""
NOW: Times = (0, 0, True)


def path_arg(td: Thread, va: int) -> bytes:
    """Copy in a path; ENAMETOOLONG beyond the ABI's PATH_MAX."""
    return copyinstr(td, va, td.td_proc.p_sysent.paths.path_max)


def file_vnode_at(td: Thread, fd: int) -> Vnode:
    """The vnode of descriptor *fd*, for calls on attributes; EBADF, EINVAL, or EBADF with O_PATH."""
    fp = td.td_proc.p_fd.fget_path(fd)
    if fp.f_vnode is None:
        raise SyscallError(E.EINVAL)
    return fp.f_vnode


# -- descriptors ---------------------------------------------------------------------------------


def sys_close(td: Thread, fd: int) -> int:
    """close(2)."""
    td.td_proc.p_fd.close(fd, td.td_proc)
    return 0


def sys_dup(td: Thread, fd: int) -> int:
    """dup(2)."""
    return td.td_proc.p_fd.dup(td, fd)


def sys_dup2(td: Thread, old: int, new: int) -> int:
    """dup2(2)."""
    return td.td_proc.p_fd.dup2(td, old, new)


def sys_lseek(td: Thread, fd: int, offset: int, whence: int) -> int:
    """lseek(2)."""
    return vfs.kern_lseek(td, fd, offset, whence)


def sys_fsync(td: Thread, fd: int) -> int:
    """fsync(2)."""
    vfs.kern_fsync(td, fd, data_only=False)
    return 0


def sys_sync(td: Thread) -> int:
    """sync(2): what the syncer does every half minute (vfs_subr); pages of MAP_NOSYNC mappings stay dirty."""
    vfs_msync(td.td_proc.kernel.vm)
    return 0


def sys_fdatasync(td: Thread, fd: int) -> int:
    """fdatasync(2)."""
    vfs.kern_fsync(td, fd, data_only=True)
    return 0


def sys_umask(td: Thread, mask: int) -> int:
    """umask(2): the old mask."""
    fdesc = td.td_proc.p_fd
    old = fdesc.fd_cmask
    fdesc.fd_cmask = mask & 0o777
    return old


def sys_ftruncate(td: Thread, fd: int, length: int) -> int:
    """ftruncate(2)."""
    vfs.kern_ftruncate(td, fd, length)
    return 0


# -- directories and names ---------------------------------------------------------------------------------


def sys_chdir(td: Thread, path: int) -> int:
    """chdir(2)."""
    vfs.kern_chdir(td, path_arg(td, path))
    return 0


def sys_fchdir(td: Thread, fd: int) -> int:
    """fchdir(2)."""
    vfs.kern_fchdir(td, fd)
    return 0


def sys_chroot(td: Thread, path: int) -> int:
    """chroot(2)."""
    vfs.kern_chroot(td, path_arg(td, path))
    return 0


def sys_mkdir(td: Thread, path: int, mode: int) -> int:
    """mkdir(2)."""
    return sys_mkdirat(td, AT_FDCWD, path, mode)


def sys_mkdirat(td: Thread, dirfd: int, path: int, mode: int) -> int:
    """mkdirat(2)."""
    vfs.kern_mkdirat(td, dirfd, path_arg(td, path), mode)
    return 0


def sys_rmdir(td: Thread, path: int) -> int:
    """rmdir(2)."""
    vfs.kern_rmdirat(td, AT_FDCWD, path_arg(td, path))
    return 0


def sys_unlink(td: Thread, path: int) -> int:
    """unlink(2)."""
    vfs.kern_unlinkat(td, AT_FDCWD, path_arg(td, path))
    return 0


def sys_rename(td: Thread, old: int, new: int) -> int:
    """rename(2)."""
    return sys_renameat(td, AT_FDCWD, old, AT_FDCWD, new)


def sys_renameat(td: Thread, olddirfd: int, old: int, newdirfd: int, new: int) -> int:
    """renameat(2)."""
    vfs.kern_renameat(td, olddirfd, path_arg(td, old), newdirfd, path_arg(td, new))
    return 0


def sys_symlink(td: Thread, target: int, path: int) -> int:
    """symlink(2)."""
    return sys_symlinkat(td, target, AT_FDCWD, path)


def sys_symlinkat(td: Thread, target: int, dirfd: int, path: int) -> int:
    """symlinkat(2)."""
    vfs.kern_symlinkat(td, path_arg(td, target), dirfd, path_arg(td, path))
    return 0


def sys_readlink(td: Thread, path: int, buf: int, count: int) -> int:
    """readlink(2)."""
    return sys_readlinkat(td, AT_FDCWD, path, buf, count)


def sys_readlinkat(td: Thread, dirfd: int, path: int, buf: int, count: int) -> int:
    """readlinkat(2): as much of the target as fits, without a NUL."""
    rules = td.td_proc.p_sysent.paths
    if rules.readlink_needs_room and not 0 < count < 1 << 63:
        raise SyscallError(E.EINVAL)
    name = path_arg(td, path)
    if rules.readlink_of_descriptor and not name and dirfd != AT_FDCWD:
        target = td.td_proc.p_fd.getvnode(dirfd).readlink()
    else:
        target = vfs.kern_readlinkat(td, dirfd, name)
    target = target[:count]
    if target:
        copyout(td, buf, target)
    return len(target)


def sys_truncate(td: Thread, path: int, length: int) -> int:
    """truncate(2)."""
    vfs.kern_truncate(td, path_arg(td, path), length)
    return 0


def sys_mkfifo(td: Thread, path: int, mode: int) -> int:
    """mkfifo(2)."""
    vfs.kern_mkfifoat(td, AT_FDCWD, path_arg(td, path), mode)
    return 0


# -- attributes ---------------------------------------------------------------------------------


def sys_access(td: Thread, path: int, amode: int) -> int:
    """access(2)."""
    vfs.kern_accessat(td, AT_FDCWD, path_arg(td, path), amode)
    return 0


def sys_chmod(td: Thread, path: int, mode: int) -> int:
    """chmod(2)."""
    vfs.setfmode(td, namei(td, path_arg(td, path)), mode)
    return 0


def sys_fchmod(td: Thread, fd: int, mode: int) -> int:
    """fchmod(2)."""
    vfs.setfmode(td, file_vnode_at(td, fd), mode)
    return 0


def sys_chown(td: Thread, path: int, uid: int, gid: int) -> int:
    """chown(2)."""
    vfs.setfown(td, namei(td, path_arg(td, path)), uid, gid)
    return 0


def sys_lchown(td: Thread, path: int, uid: int, gid: int) -> int:
    """lchown(2)."""
    vfs.setfown(td, namei(td, path_arg(td, path), follow=False), uid, gid)
    return 0


def sys_fchown(td: Thread, fd: int, uid: int, gid: int) -> int:
    """fchown(2)."""
    vfs.setfown(td, file_vnode_at(td, fd), uid, gid)
    return 0


# -- times ---------------------------------------------------------------------------------


def read_timevals(td: Thread, va: int) -> Times:
    """The two struct timeval of utimes(2); a null pointer means now."""
    if va == 0:
        return NOW
    words = [int.from_bytes(copyin(td, va + 8 * i, 8), "little", signed=True) for i in range(4)]
    if not (0 <= words[1] < 1_000_000 and 0 <= words[3] < 1_000_000):
        raise SyscallError(E.EINVAL)
    return words[0] * NSEC + words[1] * 1000, words[2] * NSEC + words[3] * 1000, False


def read_timespecs(td: Thread, va: int, utime_now: int, utime_omit: int) -> Times:
    """The two struct timespec of utimensat(2); the marks for "now" and "leave alone" are the ABI's."""
    if va == 0:
        return NOW
    data = copyin(td, va, 32)
    pairs = [
        tuple(int.from_bytes(data[at + i : at + i + 8], "little", signed=True) for i in (0, 8))
        for at in (0, 16)
    ]
    if all(nsec == utime_now for _, nsec in pairs):
        return NOW
    times: list[int | None] = []
    for sec, nsec in pairs:
        if nsec == utime_omit:
            times.append(None)
        elif nsec == utime_now:
            times.append(td.td_proc.kernel.clock.nanotime())
        elif 0 <= nsec < NSEC:
            times.append(sec * NSEC + nsec)
        else:
            raise SyscallError(E.EINVAL)
    return times[0], times[1], False


def set_times(td: Thread, vp: Vnode, times: Times) -> int:
    """Finish one of the utimes family."""
    atime, mtime, now = times
    vfs.setutimes(td, vp, atime, mtime, now=now)
    return 0


def sys_utimes(td: Thread, path: int, times: int) -> int:
    """utimes(2)."""
    when = read_timevals(td, times)
    return set_times(td, namei(td, path_arg(td, path)), when)
