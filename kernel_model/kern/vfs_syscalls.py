"""File system calls by path and by descriptor, without any ABI's structures.

FreeBSD: sys/kern/vfs_syscalls.c (the kern_* functions there).

Paths have been copied in; flags are FreeBSD's; results are Python values that the ABI modules lay out.  Where
the ABIs differ, the process's SysentVec says how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.kern.file import file_ops
from kernel_model.kern.kern_descrip import FWRITE, O_CLOEXEC, OFF_MAX, fdrop, file_vnode
from kernel_model.kern.vfs_lookup import Namei, namei, namei_last, vn_fullpath
from kernel_model.kern.vfs_vnops import vn_open, vn_rlimit_fsize, vn_truncate
from kernel_model.kern.vnode import (
    S_ISVTX,
    VDIR,
    VEXEC,
    VFIFO,
    VLNK,
    VREAD,
    VREG,
    VWRITE,
    Dirent,
    VattrSet,
)
from kernel_model.ucred import Ucred
from kernel_model.vm.vnode_pager import vnode_pager_flush

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.kern_descrip import File
    from kernel_model.kern.proc import Thread
    from kernel_model.kern.vnode import Statfs, Vattr, Vnode

R_OK = 4
W_OK = 2
X_OK = 1

SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE = range(5)
RENAME_NOREPLACE = 1


# -- opening and looking ---------------------------------------------------------------------------------


def kern_openat(td: Thread, dirfd: int, path: bytes, flags: int, mode: int) -> int:
    """openat(2): a new descriptor."""
    fdesc = td.td_proc.p_fd
    if td.td_proc.p_sysent.files.open_takes_descriptor_first:
        fdesc.fdalloc(td)
    fp = vn_open(td, path, flags, mode, dirfd)
    fp.f_count += 1
    try:
        return fdesc.install(td, fp, cloexec=bool(flags & O_CLOEXEC))
    finally:
        drop_new(fp)


def drop_new(fp: File) -> None:
    """Give up the reference that kept a new file alive while it was installed."""
    fdrop(fp)


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


def kern_readlinkat(td: Thread, dirfd: int, path: bytes) -> bytes:
    """readlinkat(2): the whole target."""
    vp = namei(td, path, follow=False, dirfd=dirfd)
    if vp.v_type != VLNK:
        raise SyscallError(E.EINVAL)
    return vp.readlink()


# -- directories ---------------------------------------------------------------------------------


def change_dir(td: Thread, vp: Vnode) -> None:
    """Make *vp* the working directory."""
    if vp.v_type != VDIR:
        raise SyscallError(E.ENOTDIR)
    vp.access(VEXEC, td.td_proc.p_ucred)
    td.td_proc.p_fd.fd_cdir = vp


def kern_chdir(td: Thread, path: bytes) -> None:
    """chdir(2)."""
    change_dir(td, namei(td, path))


def kern_fchdir(td: Thread, fd: int) -> None:
    """fchdir(2)."""
    change_dir(td, td.td_proc.p_fd.getvnode_at(fd))


def kern_chroot(td: Thread, path: bytes) -> None:
    """chroot(2), for user 0."""
    vp = namei(td, path)
    if td.td_proc.p_ucred.cr_uid != 0:
        raise SyscallError(E.EPERM)
    if vp.v_type != VDIR:
        raise SyscallError(E.ENOTDIR)
    td.td_proc.p_fd.fd_rdir = vp


def kern_getcwd(td: Thread) -> bytes:
    """Path of the working directory; ENOENT when it was removed or is outside the root."""
    fdesc = td.td_proc.p_fd
    return vn_fullpath(fdesc.fd_cdir, fdesc.fd_rdir)


def kern_getdirentries(
    td: Thread, fd: int, count: int, pack: Callable[[Dirent, int], bytes]
) -> tuple[bytes, int]:
    """The next entries of a directory, at most *count* bytes of them, and the offset they began at.

    Model only: an offset is an index into the names as they were when offset 0 was read.
    """
    fp = td.td_proc.p_fd.fget_path(fd)
    vp = fp.f_vnode
    if vp is None or vp.v_type != VDIR:
        raise SyscallError(td.td_proc.p_sysent.paths.getdirentries_no_directory)
    base = fp.f_offset
    if base == 0 or fp.f_dirents is None:
        fp.f_dirents = vp.readdir()
    parts: list[bytes] = []
    used = 0
    index = base
    while index < len(fp.f_dirents):
        packed = pack(fp.f_dirents[index], index + 1)
        if used + len(packed) > count:
            if not parts:
                raise SyscallError(E.EINVAL)
            break
        parts.append(packed)
        used += len(packed)
        index += 1
    fp.f_offset = index
    return b"".join(parts), base


def kern_lseek(td: Thread, fd: int, offset: int, whence: int) -> int:
    """lseek(2): the new offset."""
    fp = td.td_proc.p_fd.fget_path(fd)
    if not fp.f_ops.fo_seekable(fp):
        raise SyscallError(E.ESPIPE)
    if whence == SEEK_CUR:
        offset += fp.f_offset
    elif whence == SEEK_END:
        offset += fp.f_ops.fo_stat(fp).va_size
    elif whence in (SEEK_DATA, SEEK_HOLE):
        size = fp.f_ops.fo_stat(fp).va_size
        if not 0 <= offset < size:
            raise SyscallError(E.ENXIO)
        offset = offset if whence == SEEK_DATA else size
    elif whence != SEEK_SET:
        raise SyscallError(E.EINVAL)
    if offset < 0:
        raise SyscallError(E.EINVAL)
    if offset > OFF_MAX:
        raise SyscallError(E.EOVERFLOW)
    fp.f_offset = offset
    if fp.f_moved is not None:
        fp.f_moved(offset)
    return offset


# -- making and removing names ---------------------------------------------------------------------------------


def _new_name(td: Thread, dirfd: int, path: bytes, *, directory: bool = False) -> Namei:
    """Where a new name goes: EEXIST when there is one, ENOENT for ``x/`` unless it will be a directory."""
    found = namei_last(td, path, follow=False, dirfd=dirfd)
    if found.ni_vp is not None:
        raise SyscallError(E.EEXIST)
    if found.trailing_slash and not directory:
        raise SyscallError(E.ENOENT)
    found.ni_dvp.access(VWRITE, td.td_proc.p_ucred)
    return found


def _old_name(td: Thread, dirfd: int, path: bytes) -> tuple[Namei, Vnode]:
    """A name that shall go: ENOENT, EINVAL for dots, EBUSY for roots, EACCES, EPERM by the sticky bit."""
    found = namei_last(td, path, follow=False, dirfd=dirfd)
    vp = found.ni_vp
    if vp is None:
        raise SyscallError(E.ENOENT)
    if found.trailing_slash and vp.v_type != VDIR:
        raise SyscallError(E.ENOTDIR)
    if not found.cn_name or found.ni_dvp.v_covers.get(found.cn_name) is vp:
        raise SyscallError(E.EBUSY)
    return found, vp


def _may_delete(td: Thread, dvp: Vnode, vp: Vnode) -> None:
    cred = td.td_proc.p_ucred
    dvp.access(VWRITE | VEXEC, cred)
    if cred.cr_uid != 0:
        parent = dvp.getattr()
        if parent.va_mode & S_ISVTX and cred.cr_uid not in (parent.va_uid, vp.getattr().va_uid):
            raise SyscallError(E.EPERM)


def kern_mkdirat(td: Thread, dirfd: int, path: bytes, mode: int) -> None:
    """mkdirat(2)."""
    found = _new_name(td, dirfd, path, directory=True)
    found.ni_dvp.mkdir(found.cn_name, mode & ~td.td_proc.p_fd.fd_cmask & 0o1777)


def kern_mkfifoat(td: Thread, dirfd: int, path: bytes, mode: int) -> None:
    """mkfifoat(2)."""
    found = _new_name(td, dirfd, path)
    found.ni_dvp.mknod(found.cn_name, VFIFO, mode & ~td.td_proc.p_fd.fd_cmask & 0o777)


def kern_symlinkat(td: Thread, target: bytes, dirfd: int, path: bytes) -> None:
    """symlinkat(2)."""
    if not target and not td.td_proc.p_sysent.paths.empty_symlink:
        raise SyscallError(E.ENOENT)
    found = _new_name(td, dirfd, path)
    found.ni_dvp.symlink(found.cn_name, target)


def kern_linkat(
    td: Thread, olddirfd: int, old: bytes, newdirfd: int, new: bytes, *, follow: bool
) -> None:
    """linkat(2)."""
    link_vnode(td, namei(td, old, follow=follow, dirfd=olddirfd), newdirfd, new)


def link_vnode(td: Thread, vp: Vnode, newdirfd: int, new: bytes) -> None:
    """Give *vp* another name."""
    if vp.v_type == VDIR and td.td_proc.p_sysent.paths.link_refuses_directory_first:
        raise SyscallError(E.EPERM)
    found = _new_name(td, newdirfd, new)
    if vp.v_type == VDIR:
        raise SyscallError(E.EPERM)
    if found.ni_dvp.v_mount is not vp.v_mount:
        raise SyscallError(E.EXDEV)
    found.ni_dvp.link(found.cn_name, vp)


def kern_unlinkat(td: Thread, dirfd: int, path: bytes) -> None:
    """unlinkat(2) of what is no directory."""
    found, vp = _old_name(td, dirfd, path)
    if vp.v_type == VDIR:
        raise SyscallError(td.td_proc.p_sysent.paths.unlink_directory)
    _may_delete(td, found.ni_dvp, vp)
    found.ni_dvp.remove(found.cn_name, vp)


def kern_rmdirat(td: Thread, dirfd: int, path: bytes) -> None:
    """rmdir(2), unlinkat(2) with AT_REMOVEDIR."""
    found, vp = _old_name(td, dirfd, path)
    if vp.v_type != VDIR:
        raise SyscallError(E.ENOTDIR)
    if found.cn_name == b".":
        raise SyscallError(E.EINVAL)
    if found.cn_name == b"..":
        raise SyscallError(td.td_proc.p_sysent.paths.rmdir_dotdot)
    if vp.v_covers:
        raise SyscallError(E.EBUSY)
    _may_delete(td, found.ni_dvp, vp)
    found.ni_dvp.rmdir(found.cn_name, vp)


def kern_renameat(
    td: Thread, olddirfd: int, old: bytes, newdirfd: int, new: bytes, flags: int = 0
) -> None:
    """renameat(2), renameat2(2) of Linux."""
    source = namei_last(td, old, follow=False, dirfd=olddirfd)
    target = namei_last(td, new, follow=False, dirfd=newdirfd)
    _check_last(td, source, target, flags)
    fvp, tvp = source.ni_vp, target.ni_vp
    if fvp is None:
        raise SyscallError(E.ENOENT)
    if tvp is not None and flags & RENAME_NOREPLACE:
        raise SyscallError(E.EEXIST)
    if fvp.v_type != VDIR and (source.trailing_slash or target.trailing_slash):
        raise SyscallError(E.ENOTDIR)
    if source.ni_dvp.v_mount is not target.ni_dvp.v_mount:
        raise SyscallError(E.EXDEV)
    if fvp.v_type == VDIR and _is_below(target.ni_dvp, fvp):
        raise SyscallError(E.EINVAL)
    if tvp is not None and tvp.v_type == VDIR and _is_below(source.ni_dvp, tvp):
        raise SyscallError(E.ENOTEMPTY)
    if tvp is fvp:
        return
    _may_delete(td, source.ni_dvp, fvp)
    target.ni_dvp.access(VWRITE | VEXEC, td.td_proc.p_ucred)
    if tvp is not None:
        _may_delete(td, target.ni_dvp, tvp)
        if fvp.v_type == VDIR and tvp.v_type != VDIR:
            raise SyscallError(E.ENOTDIR)
        if fvp.v_type != VDIR and tvp.v_type == VDIR:
            raise SyscallError(E.EISDIR)
    source.ni_dvp.rename(source.cn_name, target.ni_dvp, target.cn_name, flags)


def _check_last(td: Thread, source: Namei, target: Namei, flags: int) -> None:
    """The last components of a rename: no dots, no roots of file systems."""
    for found in (source, target):
        if found.cn_name in (b"", b".", b".."):
            if found is target and flags & RENAME_NOREPLACE:
                raise SyscallError(E.EEXIST)
            raise SyscallError(td.td_proc.p_sysent.paths.rename_dot if found.cn_name else E.EBUSY)
        if found.ni_dvp.v_covers.get(found.cn_name) is not None:
            raise SyscallError(E.EBUSY)


def _is_below(vp: Vnode, directory: Vnode) -> bool:
    """Whether *vp* is *directory* or inside it, by the parents of the last look-ups."""
    here: Vnode | None = vp
    while here is not None:
        if here is directory:
            return True
        here = here.v_dd
    return False


# -- attributes ---------------------------------------------------------------------------------


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


def setfown(td: Thread, vp: Vnode, uid: int, gid: int) -> None:
    """chown(2) on a vnode; 0xFFFFFFFF leaves an id alone.  FreeBSD: setfown()."""
    if not vp.writable():
        raise SyscallError(E.EROFS)
    cred = td.td_proc.p_ucred
    vap = vp.getattr()
    new_uid = None if uid == 0xFFFFFFFF else uid
    new_gid = None if gid == 0xFFFFFFFF else gid
    if cred.cr_uid != 0:
        foreign = new_gid is not None and new_gid not in (cred.cr_gid, *cred.cr_groups)
        if cred.cr_uid != vap.va_uid or new_uid not in (None, vap.va_uid) or foreign:
            raise SyscallError(E.EPERM)
    if new_uid is not None or new_gid is not None:
        vp.setattr(VattrSet(va_uid=new_uid, va_gid=new_gid))


def setutimes(td: Thread, vp: Vnode, atime: int | None, mtime: int | None, *, now: bool) -> None:
    """Set times in nanoseconds, None leaving one alone.  FreeBSD: setutimes()."""
    if not vp.writable():
        raise SyscallError(E.EROFS)
    if atime is None and mtime is None:
        return
    cred = td.td_proc.p_ucred
    if cred.cr_uid not in (0, vp.getattr().va_uid):
        if not now:
            raise SyscallError(E.EPERM)
        vp.access(VWRITE, cred)
    vp.setattr(VattrSet(va_atime=atime, va_mtime=mtime, now=now))


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


def kern_ftruncate(td: Thread, fd: int, length: int) -> None:
    """ftruncate(2)."""
    fp = td.td_proc.p_fd.fget_path(fd)
    if length < 0 or not fp.f_flag & FWRITE:
        raise SyscallError(E.EINVAL)
    if fp.f_vnode is not None:
        _check_growth(td, fp.f_vnode, length)
    file_ops(fp).fo_truncate(td, fp, length)


def _check_growth(td: Thread, vp: Vnode, length: int) -> None:
    """RLIMIT_FSIZE, where the ABI holds truncation to it too."""
    if td.td_proc.p_sysent.files.truncate_obeys_fsize and vp.v_type == VREG:
        size = vp.v_size()
        if length > size and vn_rlimit_fsize(td, vp, size, length - size) < length - size:
            vn_rlimit_fsize(td, vp, length, 1)


def kern_fsync(td: Thread, fd: int, *, data_only: bool) -> None:
    """fsync(2), fdatasync(2); dirty mapped pages go first."""
    fp = td.td_proc.p_fd.fget_path(fd)
    if fp.f_vnode is None:
        raise SyscallError(E.EINVAL)
    sync_pages(fp.f_vnode)
    fp.f_vnode.fsync(data_only=data_only)


def sync_pages(vp: Vnode) -> None:
    """Write the dirty mapped pages of *vp* to its store.  FreeBSD: vm_object_page_clean() in VOP_FSYNC."""
    vnode_pager_flush(vp, 0, 0)


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

