"""File system calls on names, directories and offsets, without any ABI's structures.

FreeBSD: sys/kern/vfs_syscalls.c; those on attributes are in vfs_attr.

kern_*: paths have been copied in; flags are FreeBSD's; results are Python values that the ABI modules lay out.  Where
the ABIs differ, the process's SysentVec says how.  sys_*: calls whose arguments are the same in both ABIs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.copyin import copyout
from kernel_model.kern.kern_descrip import O_CLOEXEC, OFF_MAX, fdrop
from kernel_model.kern.vfs_lookup import AT_FDCWD, Namei, namei, namei_last, path_arg, vn_fullpath
from kernel_model.kern.vfs_vnops import vn_open
from kernel_model.kern.vnode import (
    S_ISVTX,
    VDIR,
    VEXEC,
    VFIFO,
    VLNK,
    VWRITE,
    Dirent,
)
from kernel_model.vm.vnode_pager import vfs_msync, vnode_pager_flush

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.proc import Thread
    from kernel_model.kern.vnode import Vnode

SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE = range(5)
RENAME_NOREPLACE = 1


# -- opening ---------------------------------------------------------------------------------


def kern_openat(td: Thread, dirfd: int, path: bytes, flags: int, mode: int) -> int:
    """openat(2): a new descriptor."""
    fdesc = td.td_proc.p_fd
    if td.td_proc.p_sysent.files.open_takes_descriptor_first:
        fdesc.fdalloc(td)
    fp = vn_open(td, path, flags, mode, dirfd)
    kassert(fp.f_count == 0 or fp in fdesc.fd_files.values(), "open: %d references", fp.f_count)
    fp.f_count += 1
    try:
        return fdesc.install(td, fp, cloexec=bool(flags & O_CLOEXEC))
    finally:
        fdrop(fp)  # what kept the new file alive while it was installed


# -- descriptors: sys/kern/kern_descrip.c --------------------------------------------------------


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


def sys_chdir(td: Thread, path: int) -> int:
    """chdir(2)."""
    kern_chdir(td, path_arg(td, path))
    return 0


def kern_fchdir(td: Thread, fd: int) -> None:
    """fchdir(2)."""
    change_dir(td, td.td_proc.p_fd.getvnode_at(fd))


def sys_fchdir(td: Thread, fd: int) -> int:
    """fchdir(2)."""
    kern_fchdir(td, fd)
    return 0


def kern_chroot(td: Thread, path: bytes) -> None:
    """chroot(2), for user 0."""
    vp = namei(td, path)
    if td.td_proc.p_ucred.cr_uid != 0:
        raise SyscallError(E.EPERM)
    if vp.v_type != VDIR:
        raise SyscallError(E.ENOTDIR)
    td.td_proc.p_fd.fd_rdir = vp


def sys_chroot(td: Thread, path: int) -> int:
    """chroot(2)."""
    kern_chroot(td, path_arg(td, path))
    return 0


def kern_getcwd(td: Thread) -> bytes:
    """Path of the working directory; ENOENT when it was removed or is outside the root."""
    fdesc = td.td_proc.p_fd
    kassert(fdesc.fd_cdir.v_type == VDIR, "cwd %r", fdesc.fd_cdir)
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
    kassert(used <= count, "getdirentries: %d of %d bytes", used, count)
    kassert(index >= base, "getdirentries: from %d back to %d", base, index)
    fp.f_offset = index
    return b"".join(parts), base


def sys_umask(td: Thread, mask: int) -> int:
    """umask(2): the old mask."""
    fdesc = td.td_proc.p_fd
    old = fdesc.fd_cmask
    fdesc.fd_cmask = mask & 0o777
    return old


# -- offsets and stores ---------------------------------------------------------------------------------


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


def sys_lseek(td: Thread, fd: int, offset: int, whence: int) -> int:
    """lseek(2)."""
    return kern_lseek(td, fd, offset, whence)


def kern_fsync(td: Thread, fd: int, *, data_only: bool) -> None:
    """fsync(2), fdatasync(2); dirty mapped pages go first."""
    fp = td.td_proc.p_fd.fget_path(fd)
    if fp.f_vnode is None:
        raise SyscallError(E.EINVAL)
    sync_pages(fp.f_vnode)
    fp.f_vnode.fsync(data_only=data_only)


def sys_fsync(td: Thread, fd: int) -> int:
    """fsync(2)."""
    kern_fsync(td, fd, data_only=False)
    return 0


def sys_fdatasync(td: Thread, fd: int) -> int:
    """fdatasync(2)."""
    kern_fsync(td, fd, data_only=True)
    return 0


def sync_pages(vp: Vnode) -> None:
    """Write the dirty mapped pages of *vp* to its store.  FreeBSD: vm_object_page_clean() in VOP_FSYNC."""
    vnode_pager_flush(vp, 0, 0)


def sys_sync(td: Thread) -> int:
    """sync(2): what the syncer does every half minute (vfs_subr); pages of MAP_NOSYNC mappings stay dirty."""
    vfs_msync(td.td_proc.kernel.vm)
    return 0


# -- making names ---------------------------------------------------------------------------------


def _new_name(td: Thread, dirfd: int, path: bytes, *, directory: bool = False) -> Namei:
    """Where a new name goes: EEXIST when there is one, ENOENT for ``x/`` unless it will be a directory."""
    found = namei_last(td, path, follow=False, dirfd=dirfd)
    if found.ni_vp is not None:
        raise SyscallError(E.EEXIST)
    if found.trailing_slash and not directory:
        raise SyscallError(E.ENOENT)
    found.ni_dvp.access(VWRITE, td.td_proc.p_ucred)
    kassert(found.cn_name not in (b"", b".", b".."), "new name %r", found.cn_name)
    return found


def kern_mkdirat(td: Thread, dirfd: int, path: bytes, mode: int) -> None:
    """mkdirat(2)."""
    found = _new_name(td, dirfd, path, directory=True)
    found.ni_dvp.mkdir(found.cn_name, mode & ~td.td_proc.p_fd.fd_cmask & 0o1777)


def sys_mkdir(td: Thread, path: int, mode: int) -> int:
    """mkdir(2)."""
    return sys_mkdirat(td, AT_FDCWD, path, mode)


def sys_mkdirat(td: Thread, dirfd: int, path: int, mode: int) -> int:
    """mkdirat(2)."""
    kern_mkdirat(td, dirfd, path_arg(td, path), mode)
    return 0


def kern_mkfifoat(td: Thread, dirfd: int, path: bytes, mode: int) -> None:
    """mkfifoat(2)."""
    found = _new_name(td, dirfd, path)
    found.ni_dvp.mknod(found.cn_name, VFIFO, mode & ~td.td_proc.p_fd.fd_cmask & 0o777)


def sys_mkfifo(td: Thread, path: int, mode: int) -> int:
    """mkfifo(2)."""
    kern_mkfifoat(td, AT_FDCWD, path_arg(td, path), mode)
    return 0


def kern_symlinkat(td: Thread, target: bytes, dirfd: int, path: bytes) -> None:
    """symlinkat(2)."""
    if not target and not td.td_proc.p_sysent.paths.empty_symlink:
        raise SyscallError(E.ENOENT)
    found = _new_name(td, dirfd, path)
    found.ni_dvp.symlink(found.cn_name, target)


def sys_symlink(td: Thread, target: int, path: int) -> int:
    """symlink(2)."""
    return sys_symlinkat(td, target, AT_FDCWD, path)


def sys_symlinkat(td: Thread, target: int, dirfd: int, path: int) -> int:
    """symlinkat(2)."""
    kern_symlinkat(td, path_arg(td, target), dirfd, path_arg(td, path))
    return 0


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


# -- removing and changing names ---------------------------------------------------------------------------------


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
    kassert(dvp.v_type == VDIR, "delete in %r", dvp)
    cred = td.td_proc.p_ucred
    dvp.access(VWRITE | VEXEC, cred)
    if cred.cr_uid != 0:
        parent = dvp.getattr()
        if parent.va_mode & S_ISVTX and cred.cr_uid not in (parent.va_uid, vp.getattr().va_uid):
            raise SyscallError(E.EPERM)


def kern_unlinkat(td: Thread, dirfd: int, path: bytes) -> None:
    """unlinkat(2) of what is no directory."""
    found, vp = _old_name(td, dirfd, path)
    if vp.v_type == VDIR:
        raise SyscallError(td.td_proc.p_sysent.paths.unlink_directory)
    _may_delete(td, found.ni_dvp, vp)
    found.ni_dvp.remove(found.cn_name, vp)


def sys_unlink(td: Thread, path: int) -> int:
    """unlink(2)."""
    kern_unlinkat(td, AT_FDCWD, path_arg(td, path))
    return 0


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


def sys_rmdir(td: Thread, path: int) -> int:
    """rmdir(2)."""
    kern_rmdirat(td, AT_FDCWD, path_arg(td, path))
    return 0


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


def sys_rename(td: Thread, old: int, new: int) -> int:
    """rename(2)."""
    return sys_renameat(td, AT_FDCWD, old, AT_FDCWD, new)


def sys_renameat(td: Thread, olddirfd: int, old: int, newdirfd: int, new: int) -> int:
    """renameat(2)."""
    kern_renameat(td, olddirfd, path_arg(td, old), newdirfd, path_arg(td, new))
    return 0


# -- reading links ---------------------------------------------------------------------------------


def kern_readlinkat(td: Thread, dirfd: int, path: bytes) -> bytes:
    """readlinkat(2): the whole target."""
    vp = namei(td, path, follow=False, dirfd=dirfd)
    if vp.v_type != VLNK:
        raise SyscallError(E.EINVAL)
    return vp.readlink()


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
        target = kern_readlinkat(td, dirfd, name)
    target = target[:count]
    if target:
        copyout(td, buf, target)
    return len(target)
