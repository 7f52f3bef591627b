"""File system calls on the attributes of files: stat, access, chmod, chown, utimes, truncate.

FreeBSD: sys/kern/vfs_syscalls.c: its kern_* and sys_* functions, setfmode(), setfown(), setutimes(), getutimes();
kern_fstat(), sys/kern/kern_descrip.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.copyin import copyin
from kernel_model.kern.file import file_ops
from kernel_model.kern.kern_descrip import FWRITE, OFF_MAX, file_vnode
from kernel_model.kern.vfs_lookup import AT_FDCWD, namei, path_arg
from kernel_model.kern.vfs_vnops import vn_rlimit_fsize, vn_truncate
from kernel_model.kern.vnode import VDIR, VEXEC, VREAD, VREG, VWRITE, VattrSet
from kernel_model.ucred import Ucred

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread
    from kernel_model.kern.vnode import Statfs, Vattr, Vnode

R_OK = 4
W_OK = 2
X_OK = 1
VNOVAL = 0xFFFFFFFF
"""A user or group id that chown(2) leaves alone."""

NSEC = 1_000_000_000
Times = tuple["int | None", "int | None", bool]
"""(access time, modification time, both are "now") for setutimes()."""
NOW: Times = (0, 0, True)


# -- looking ---------------------------------------------------------------------------------


def file_vnode_at(td: Thread, fd: int) -> Vnode:
    """The vnode of descriptor *fd*, for calls on attributes; EBADF, EINVAL, or EBADF with O_PATH."""
    fp = td.td_proc.p_fd.fget_path(fd)
    if fp.f_vnode is None:
        raise SyscallError(E.EINVAL)
    return fp.f_vnode


def kern_statat(td: Thread, dirfd: int, path: bytes, *, follow: bool = True) -> Vattr:
    """fstatat(2)."""
    return namei(td, path, follow=follow, dirfd=dirfd).getattr()


def kern_fstat(td: Thread, fd: int) -> Vattr:
    """fstat(2)."""
    fp = td.td_proc.p_fd.fget(fd)
    return fp.f_ops.fo_stat(fp)


def kern_statfs(td: Thread, path: bytes) -> Statfs:
    """statfs(2)."""
    vp = namei(td, path)
    return vp.v_mount.statfs(vp)


def kern_fstatfs(td: Thread, fd: int) -> Statfs:
    """fstatfs(2)."""
    vp = td.td_proc.p_fd.getvnode(fd)
    return vp.v_mount.statfs(vp)


def kern_accessat(
    td: Thread, dirfd: int, path: bytes, amode: int, *, effective: bool = False, follow: bool = True
) -> None:
    """faccessat(2): by the real ids, or the effective ones."""
    if amode & ~(R_OK | W_OK | X_OK):
        raise SyscallError(E.EINVAL)
    vnode_access(td, namei(td, path, follow=follow, dirfd=dirfd), amode, effective=effective)


def vnode_access(td: Thread, vp: Vnode, amode: int, *, effective: bool = False) -> None:
    """access(2) on a vnode that was found."""
    cred = td.td_proc.p_ucred
    if not effective and (cred.cr_ruid, cred.cr_rgid) != (cred.cr_uid, cred.cr_gid):
        cred = Ucred(cr_uid=cred.cr_ruid, cr_gid=cred.cr_rgid, cr_groups=cred.cr_groups)
    wanted = VREAD if amode & R_OK else 0
    wanted |= VWRITE if amode & W_OK else 0
    wanted |= VEXEC if amode & X_OK else 0
    if wanted:
        vp.access(wanted, cred)


def sys_access(td: Thread, path: int, amode: int) -> int:
    """access(2)."""
    kern_accessat(td, AT_FDCWD, path_arg(td, path), amode)
    return 0


# -- changing ---------------------------------------------------------------------------------


def _must_own(td: Thread, vp: Vnode) -> None:
    cred = td.td_proc.p_ucred
    if cred.cr_uid not in (0, vp.getattr().va_uid):
        raise SyscallError(E.EPERM)


def setfmode(td: Thread, vp: Vnode, mode: int) -> None:
    """chmod(2) on a vnode.  FreeBSD: setfmode()."""
    if not vp.writable():
        raise SyscallError(E.EROFS)
    _must_own(td, vp)
    vp.setattr(VattrSet(va_mode=mode & 0o7777))


def sys_chmod(td: Thread, path: int, mode: int) -> int:
    """chmod(2)."""
    setfmode(td, namei(td, path_arg(td, path)), mode)
    return 0


def sys_fchmod(td: Thread, fd: int, mode: int) -> int:
    """fchmod(2)."""
    setfmode(td, file_vnode_at(td, fd), mode)
    return 0


def setfown(td: Thread, vp: Vnode, uid: int, gid: int) -> None:
    """chown(2) on a vnode; VNOVAL leaves an id alone.  FreeBSD: setfown()."""
    if not vp.writable():
        raise SyscallError(E.EROFS)
    cred = td.td_proc.p_ucred
    vap = vp.getattr()
    new_uid = None if uid == VNOVAL else uid
    new_gid = None if gid == VNOVAL else gid
    if cred.cr_uid != 0:
        foreign = new_gid is not None and new_gid not in (cred.cr_gid, *cred.cr_groups)
        if cred.cr_uid != vap.va_uid or new_uid not in (None, vap.va_uid) or foreign:
            raise SyscallError(E.EPERM)
    if new_uid is not None or new_gid is not None:
        vp.setattr(VattrSet(va_uid=new_uid, va_gid=new_gid))


def sys_chown(td: Thread, path: int, uid: int, gid: int) -> int:
    """chown(2)."""
    setfown(td, namei(td, path_arg(td, path)), uid, gid)
    return 0


def sys_lchown(td: Thread, path: int, uid: int, gid: int) -> int:
    """lchown(2)."""
    setfown(td, namei(td, path_arg(td, path), follow=False), uid, gid)
    return 0


def sys_fchown(td: Thread, fd: int, uid: int, gid: int) -> int:
    """fchown(2)."""
    setfown(td, file_vnode_at(td, fd), uid, gid)
    return 0


# -- times ---------------------------------------------------------------------------------


def setutimes(td: Thread, vp: Vnode, atime: int | None, mtime: int | None, *, now: bool) -> None:
    """Set times in nanoseconds, None leaving one alone.  FreeBSD: setutimes()."""
    if not vp.writable():
        raise SyscallError(E.EROFS)
    kassert(not now or (atime is not None and mtime is not None), "utimes: now, but not both")
    if atime is None and mtime is None:
        return
    cred = td.td_proc.p_ucred
    if cred.cr_uid not in (0, vp.getattr().va_uid):
        if not now:
            raise SyscallError(E.EPERM)
        vp.access(VWRITE, cred)
    vp.setattr(VattrSet(va_atime=atime, va_mtime=mtime, now=now))


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
    setutimes(td, vp, atime, mtime, now=now)
    return 0


def sys_utimes(td: Thread, path: int, times: int) -> int:
    """utimes(2)."""
    when = read_timevals(td, times)
    return set_times(td, namei(td, path_arg(td, path)), when)


# -- size ---------------------------------------------------------------------------------


def kern_truncate(td: Thread, path: bytes, length: int) -> None:
    """truncate(2)."""
    if length < 0:
        raise SyscallError(E.EINVAL)
    vp = namei(td, path)
    if vp.v_type == VDIR:
        raise SyscallError(E.EISDIR)
    if vp.v_type != VREG:
        raise SyscallError(E.EINVAL)
    vp.access(VWRITE, td.td_proc.p_ucred)
    if vp.v_textcount:
        raise SyscallError(E.ETXTBSY)
    _check_growth(td, vp, length)
    vn_truncate(vp, length)


def sys_truncate(td: Thread, path: int, length: int) -> int:
    """truncate(2)."""
    kern_truncate(td, path_arg(td, path), length)
    return 0


def kern_ftruncate(td: Thread, fd: int, length: int) -> None:
    """ftruncate(2)."""
    fp = td.td_proc.p_fd.fget_path(fd)
    if length < 0 or not fp.f_flag & FWRITE:
        raise SyscallError(E.EINVAL)
    if fp.f_vnode is not None:
        _check_growth(td, fp.f_vnode, length)
    file_ops(fp).fo_truncate(td, fp, length)


def sys_ftruncate(td: Thread, fd: int, length: int) -> int:
    """ftruncate(2)."""
    kern_ftruncate(td, fd, length)
    return 0


def _check_growth(td: Thread, vp: Vnode, length: int) -> None:
    """RLIMIT_FSIZE, where the ABI holds truncation to it too."""
    if td.td_proc.p_sysent.files.truncate_obeys_fsize and vp.v_type == VREG:
        size = vp.v_size()
        if length > size and vn_rlimit_fsize(td, vp, size, length - size) < length - size:
            vn_rlimit_fsize(td, vp, length, 1)


def kern_allocate(td: Thread, fd: int, offset: int, length: int) -> None:
    """posix_fallocate(2)."""
    if offset < 0 or length <= 0:
        raise SyscallError(E.EINVAL)
    if offset + length > OFF_MAX:
        raise SyscallError(E.EFBIG)
    fp = td.td_proc.p_fd.fget(fd, FWRITE)
    if fp.f_vnode is None:
        raise SyscallError(E.ESPIPE)
    vp = file_vnode(fp)
    if vp.v_type != VREG:
        raise SyscallError(E.ENODEV)
    if vn_rlimit_fsize(td, vp, offset, length) < length:
        vn_rlimit_fsize(td, vp, offset + length, 1)
    vp.allocate(offset, length)
