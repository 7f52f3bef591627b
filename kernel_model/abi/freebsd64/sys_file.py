"""FreeBSD's file system calls.

FreeBSD: sys/kern/syscalls.master, sys/kern/vfs_syscalls.c, sys/kern/kern_descrip.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.abi.freebsd64 import structs_file as st
from kernel_model.abi.freebsd64 import sys_attr as attr
from kernel_model.abi.freebsd64.signal import read_set
from kernel_model.abi.freebsd64.sys_attr import at_flags
from kernel_model.abi.freebsd64.sys_fcntl import sys_fcntl
from kernel_model.abi.freebsd64.sys_ioctl import sys_ioctl
from kernel_model.errors import SyscallError
from kernel_model.kern import sys_generic as io
from kernel_model.kern import vfs_attr
from kernel_model.kern import vfs_syscalls as vfs
from kernel_model.kern.copyin import copyout
from kernel_model.kern.kern_copyfile import copy_file_range
from kernel_model.kern.kern_descrip import (
    FREAD,
    FWRITE,
    O_CLOEXEC,
    O_NONBLOCK,
    getmaxfd,
)
from kernel_model.kern.kern_flock import sys_flock
from kernel_model.kern.kern_sig import set_mask_of_call
from kernel_model.kern.sys_pipe import PIPE_BUF, kern_pipe
from kernel_model.kern.sys_poll import kern_select, poll_user, sys_poll, timeout_of
from kernel_model.kern.sysent import Support, Sysent
from kernel_model.kern.uipc_shm import SHM_ANON, kern_shm_open, kern_shm_unlink
from kernel_model.kern.vfs_lookup import AT_FDCWD, namei, path_arg, vn_fullpath
from kernel_model.kern.vnode import NAME_MAX, PATH_MAX, S_IFIFO, S_IFMT, VCHR, VDIR, VLNK, VREG

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.proc import Thread
    from kernel_model.kern.sysent import Handler
    from kernel_model.kern.vnode import Dirent, Vnode

AT_SYMLINK_FOLLOW = 0x400
AT_REMOVEDIR = 0x800
SHM_ALLOW_SEALING = 0x1
SHM_GROW_ON_WRITE = 0x2
POSIX_FADV_NORMAL = 0
POSIX_FADV_NOREUSE = 5
OPEN_FLAGS = 0x3FFFFF
"""open(2)'s flags up to O_VERIFY, FreeBSD 12's last; O_PATH and later ones are dropped."""


# -- opening ---------------------------------------------------------------------------------


def sys_open(td: Thread, path: int, flags: int, mode: int) -> int:
    """open(2)."""
    return sys_openat(td, AT_FDCWD, path, flags, mode)


def sys_openat(td: Thread, dirfd: int, path: int, flags: int, mode: int) -> int:
    """openat(2)."""
    return vfs.kern_openat(td, dirfd, path_arg(td, path), flags & OPEN_FLAGS, mode)


def sys_closefrom(td: Thread, low: int) -> int:
    """closefrom(2)."""
    td.td_proc.p_fd.close_range(max(low, 0), 1 << 62, td.td_proc)
    return 0


def sys_close_range(td: Thread, low: int, high: int, flags: int) -> int:
    """close_range(2) of FreeBSD 13."""
    if flags or high < low:
        raise SyscallError(E.EINVAL)
    td.td_proc.p_fd.close_range(low, high, td.td_proc)
    return 0


def sys_getdtablesize(td: Thread) -> int:
    """getdtablesize(2)."""
    return min(getmaxfd(td.td_proc), 0x7FFFFFFF)


def sys_pipe2(td: Thread, fildes: int, flags: int) -> int:
    """pipe2(2)."""
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        raise SyscallError(E.EINVAL)
    fds = kern_pipe(td, flags)
    try:
        copyout(td, fildes, struct.pack("<ii", *fds))
    except SyscallError:
        for fd in fds:
            td.td_proc.p_fd.close(fd)
        raise
    return 0


def sys_freebsd10_pipe(td: Thread) -> tuple[int, int]:
    """The pipe(2) of FreeBSD 10 and before: two return values."""
    return kern_pipe(td, 0)


def sys_shm_open(td: Thread, path: int, flags: int, mode: int) -> int:
    """shm_open(2)."""
    name = None if path == SHM_ANON else path_arg(td, path)
    return kern_shm_open(td, name, flags, mode)


def sys_shm_unlink(td: Thread, path: int) -> int:
    """shm_unlink(2)."""
    kern_shm_unlink(td, path_arg(td, path))
    return 0


def sys_shm_open2(td: Thread, path: int, flags: int, mode: int, shmflags: int, name: int) -> int:
    """shm_open2(2) of FreeBSD 13, under memfd_create(3); seals are not kept."""
    if shmflags & ~(SHM_ALLOW_SEALING | SHM_GROW_ON_WRITE):
        raise SyscallError(E.EINVAL)
    return sys_shm_open(td, path, flags, mode)


# -- directories ---------------------------------------------------------------------------------


def _dir_call(pack: Callable[[Dirent, int], bytes], width: int) -> Handler:
    """getdirentries with one layout of struct dirent; *width* is that of the offset it stores."""

    def sys_getdirentries(td: Thread, fd: int, buf: int, count: int, basep: int) -> int:
        if count > io.IOSIZE_MAX:
            raise SyscallError(E.EINVAL)
        _ = td.td_proc.p_fd.fget(fd, FREAD)
        data, base = vfs.kern_getdirentries(td, fd, count, pack)
        if data:
            copyout(td, buf, data)
        if basep:
            copyout(td, basep, base.to_bytes(8, "little")[:width])
        return len(data)

    return sys_getdirentries


_GETDIRENTRIES11 = _dir_call(st.pack_dirent11, 8)
_GETDIRENTRIES = _dir_call(st.pack_dirent, 8)


def sys_getdents11(td: Thread, fd: int, buf: int, count: int) -> int:
    """The getdents(2) of FreeBSD 11 and before."""
    result = _GETDIRENTRIES11(td, fd, buf, count, 0)
    return result if isinstance(result, int) else result[0]


def sys_getcwd(td: Thread, buf: int, buflen: int) -> int:
    """__getcwd(2)."""
    if buflen < 2:
        raise SyscallError(E.EINVAL)
    path = vfs.kern_getcwd(td) + b"\0"
    if len(path) > buflen:
        raise SyscallError(E.ERANGE)
    copyout(td, buf, path)
    return 0


def sys_realpathat(td: Thread, dirfd: int, path: int, buf: int, size: int, flags: int) -> int:
    """__realpathat(2) of FreeBSD 13."""
    at_flags(flags, 0)
    text = vn_fullpath(namei(td, path_arg(td, path), dirfd=dirfd), td.td_proc.p_fd.fd_rdir) + b"\0"
    if len(text) > size:
        raise SyscallError(E.ENOMEM)
    copyout(td, buf, text)
    return 0


# -- names ---------------------------------------------------------------------------------


def sys_link(td: Thread, old: int, new: int) -> int:
    """link(2)."""
    vfs.kern_linkat(td, AT_FDCWD, path_arg(td, old), AT_FDCWD, path_arg(td, new), follow=True)
    return 0


def sys_linkat(td: Thread, olddirfd: int, old: int, newdirfd: int, new: int, flag: int) -> int:
    """linkat(2)."""
    at_flags(flag, AT_SYMLINK_FOLLOW)
    follow = bool(flag & AT_SYMLINK_FOLLOW)
    vfs.kern_linkat(td, olddirfd, path_arg(td, old), newdirfd, path_arg(td, new), follow=follow)
    return 0


def sys_unlinkat(td: Thread, dirfd: int, path: int, flag: int) -> int:
    """unlinkat(2)."""
    at_flags(flag, AT_REMOVEDIR)
    remove = vfs.kern_rmdirat if flag & AT_REMOVEDIR else vfs.kern_unlinkat
    remove(td, dirfd, path_arg(td, path))
    return 0


def sys_mkfifoat(td: Thread, dirfd: int, path: int, mode: int) -> int:
    """mkfifoat(2)."""
    vfs.kern_mkfifoat(td, dirfd, path_arg(td, path), mode)
    return 0


def sys_mknodat(td: Thread, dirfd: int, path: int, mode: int, dev: int) -> int:
    """mknodat(2): only a FIFO can be made."""
    if mode & S_IFMT != S_IFIFO:
        raise SyscallError(E.EPERM)
    return sys_mkfifoat(td, dirfd, path, mode)


def sys_mknod11(td: Thread, path: int, mode: int, dev: int) -> int:
    """The mknod(2) of FreeBSD 11 and before."""
    return sys_mknodat(td, AT_FDCWD, path, mode, dev)


# -- pathconf ---------------------------------------------------------------------------------

_PC_LINK_MAX = 1
_PC_MAX_CANON = 2
_PC_MAX_INPUT = 3
_PC_NAME_MAX = 4
_PC_PATH_MAX = 5
_PC_PIPE_BUF = 6
_PC_CHOWN_RESTRICTED = 7
_PC_NO_TRUNC = 8
_PC_VDISABLE = 9
_PC_FILESIZEBITS = 16
_PC_MIN_HOLE_SIZE = 21
_PC_ACL_EXTENDED = 59
_PC_CAP_PRESENT = 61
_PC_MAC_PRESENT = 63
_PC_ACL_NFS4 = 64
_PATHCONF = {
    _PC_LINK_MAX: 32767, _PC_NAME_MAX: NAME_MAX, _PC_PATH_MAX: PATH_MAX, _PC_PIPE_BUF: PIPE_BUF,
    _PC_CHOWN_RESTRICTED: 1, _PC_NO_TRUNC: 1, _PC_FILESIZEBITS: 64, _PC_ACL_EXTENDED: 0, _PC_CAP_PRESENT: 0,
    _PC_MAC_PRESENT: 0, _PC_ACL_NFS4: 0, _PC_MIN_HOLE_SIZE: 512,
}  # fmt: skip
_PATHCONF_FILE = (_PC_LINK_MAX, _PC_NAME_MAX, _PC_PATH_MAX)
"""Asked only of files, directories and links."""
_PATHCONF_TTY = {_PC_MAX_CANON: 255, _PC_MAX_INPUT: 255, _PC_VDISABLE: 255}


def vnode_pathconf(vp: Vnode, name: int) -> int:
    """The configurable value *name* of *vp*; EINVAL when it has none."""
    table = _PATHCONF_TTY if vp.v_type == VCHR and name in _PATHCONF_TTY else _PATHCONF
    if name not in table or (name in _PATHCONF_FILE and vp.v_type not in (VDIR, VLNK, VREG)):
        raise SyscallError(E.EINVAL)
    return table[name]


def sys_pathconf(td: Thread, path: int, name: int) -> int:
    """pathconf(2)."""
    return vnode_pathconf(namei(td, path_arg(td, path)), name)


def sys_lpathconf(td: Thread, path: int, name: int) -> int:
    """lpathconf(2)."""
    return vnode_pathconf(namei(td, path_arg(td, path), follow=False), name)


def sys_fpathconf(td: Thread, fd: int, name: int) -> int:
    """fpathconf(2)."""
    fp = td.td_proc.p_fd.fget(fd)
    if fp.f_vnode is not None:
        return vnode_pathconf(fp.f_vnode, name)
    if name == _PC_PIPE_BUF:
        return PIPE_BUF
    raise SyscallError(E.EINVAL)


# -- waiting and bulk ---------------------------------------------------------------------------------


def sys_select(td: Thread, nd: int, in_: int, ou: int, ex: int, tv: int) -> int:
    """select(2)."""
    return kern_select(td, nd, (in_, ou, ex), timeout_of(td, tv, 1000))


def sys_pselect(td: Thread, nd: int, in_: int, ou: int, ex: int, ts: int, sm: int) -> int:
    """pselect(2)."""
    timeout = timeout_of(td, ts, 1)
    if sm:
        set_mask_of_call(td, read_set(td, sm))
    return kern_select(td, nd, (in_, ou, ex), timeout)


def sys_ppoll(td: Thread, fds: int, nfds: int, ts: int, set_: int) -> int:
    """ppoll(2)."""
    timeout = timeout_of(td, ts, 1)
    if set_:
        set_mask_of_call(td, read_set(td, set_))
    return poll_user(td, fds, nfds, timeout)


def sys_posix_fallocate(td: Thread, fd: int, offset: int, length: int) -> int:
    """posix_fallocate(2): the error is the return value."""
    try:
        vfs_attr.kern_allocate(td, fd, offset, length)
    except SyscallError as error:
        return error.errno
    return 0


def sys_posix_fadvise(td: Thread, fd: int, offset: int, length: int, advice: int) -> int:
    """posix_fadvise(2): checked, and of no effect; the error is the return value."""
    fp = td.td_proc.p_fd.fd_files.get(fd)
    if fp is None:
        return E.EBADF
    if not fp.f_ops.fo_seekable(fp):
        return E.ESPIPE
    if not POSIX_FADV_NORMAL <= advice <= POSIX_FADV_NOREUSE or offset < 0 or length < 0:
        return E.EINVAL
    return 0


def sys_copy_file_range(
    td: Thread, infd: int, inoffp: int, outfd: int, outoffp: int, count: int, flags: int
) -> int:
    """copy_file_range(2) of FreeBSD 13."""
    if flags:
        raise SyscallError(E.EINVAL)
    fdesc = td.td_proc.p_fd
    source, target = fdesc.fget(infd, FREAD), fdesc.fget(outfd, FWRITE)
    return copy_file_range(td, source, inoffp, target, outoffp, count)


FULL, PARTIAL, STUB = Support.FULL, Support.PARTIAL, Support.STUB

FILES_SYSCALLS: dict[int, Sysent] = {
    3: Sysent("read", "fbu", FULL, io.sys_read),
    4: Sysent("write", "fbu", FULL, io.sys_write),
    5: Sysent("open", "sxo", FULL, sys_open),
    6: Sysent("close", "f", FULL, vfs.sys_close),
    9: Sysent("link", "ss", FULL, sys_link),
    10: Sysent("unlink", "s", FULL, vfs.sys_unlink),
    12: Sysent("chdir", "s", FULL, vfs.sys_chdir),
    13: Sysent("fchdir", "f", FULL, vfs.sys_fchdir),
    14: Sysent("freebsd11_mknod", "sod", PARTIAL, sys_mknod11, "only FIFOs"),
    15: Sysent("chmod", "so", PARTIAL, vfs_attr.sys_chmod, "no set-id bits on files"),
    16: Sysent("chown", "snn", FULL, vfs_attr.sys_chown),
    33: Sysent("access", "sx", FULL, vfs_attr.sys_access),
    34: Sysent("chflags", "sq", STUB, attr.sys_chflags, "no file flags"),
    35: Sysent("fchflags", "fq", STUB, attr.sys_fchflags, "no file flags"),
    36: Sysent("sync", "", FULL, vfs.sys_sync),
    41: Sysent("dup", "f", FULL, vfs.sys_dup),
    42: Sysent("freebsd10_pipe", "", FULL, sys_freebsd10_pipe),
    54: Sysent("ioctl", "fqp", PARTIAL, sys_ioctl, "terminals and FIO*"),
    57: Sysent("symlink", "ss", FULL, vfs.sys_symlink),
    58: Sysent("readlink", "sbu", FULL, vfs.sys_readlink),
    60: Sysent("umask", "o", FULL, vfs.sys_umask),
    61: Sysent("chroot", "s", FULL, vfs.sys_chroot),
    89: Sysent("getdtablesize", "", FULL, sys_getdtablesize),
    90: Sysent("dup2", "ff", FULL, vfs.sys_dup2),
    92: Sysent("fcntl", "fdq", FULL, sys_fcntl),
    93: Sysent("select", "dpppp", FULL, sys_select),
    95: Sysent("fsync", "f", FULL, vfs.sys_fsync),
    120: Sysent("readv", "fpn", FULL, io.sys_readv),
    121: Sysent("writev", "fpn", FULL, io.sys_writev),
    123: Sysent("fchown", "fnn", FULL, vfs_attr.sys_fchown),
    124: Sysent("fchmod", "fo", PARTIAL, vfs_attr.sys_fchmod, "no set-id bits on files"),
    128: Sysent("rename", "ss", FULL, vfs.sys_rename),
    131: Sysent("flock", "fx", FULL, sys_flock),
    132: Sysent("mkfifo", "so", FULL, vfs.sys_mkfifo),
    136: Sysent("mkdir", "so", FULL, vfs.sys_mkdir),
    137: Sysent("rmdir", "s", FULL, vfs.sys_rmdir),
    138: Sysent("utimes", "sp", FULL, vfs_attr.sys_utimes),
    188: Sysent("freebsd11_stat", "sp", FULL, attr.SYS_STAT11),
    189: Sysent("freebsd11_fstat", "fp", FULL, attr.SYS_FSTAT11),
    190: Sysent("freebsd11_lstat", "sp", FULL, attr.SYS_LSTAT11),
    191: Sysent("pathconf", "sd", FULL, sys_pathconf),
    192: Sysent("fpathconf", "fd", FULL, sys_fpathconf),
    196: Sysent("freebsd11_getdirentries", "fbnp", FULL, _GETDIRENTRIES11),
    206: Sysent("futimes", "fp", FULL, attr.sys_futimes),
    209: Sysent("poll", "pnd", FULL, sys_poll),
    254: Sysent("lchown", "snn", FULL, vfs_attr.sys_lchown),
    272: Sysent("freebsd11_getdents", "fbu", FULL, sys_getdents11),
    274: Sysent("lchmod", "so", FULL, attr.sys_lchmod),
    276: Sysent("lutimes", "sp", FULL, attr.sys_lutimes),
    289: Sysent("preadv", "fpnl", FULL, io.sys_preadv),
    290: Sysent("pwritev", "fpnl", FULL, io.sys_pwritev),
    326: Sysent("__getcwd", "bu", FULL, sys_getcwd),
    376: Sysent("eaccess", "sx", FULL, attr.sys_eaccess),
    391: Sysent("lchflags", "sq", STUB, attr.sys_chflags, "no file flags"),
    395: Sysent("freebsd11_getfsstat", "bld", FULL, attr.SYS_GETFSSTAT11),
    396: Sysent("freebsd11_statfs", "sp", FULL, attr.SYS_STATFS11),
    397: Sysent("freebsd11_fstatfs", "fp", FULL, attr.SYS_FSTATFS11),
    475: Sysent("pread", "fbul", FULL, io.sys_pread),
    476: Sysent("pwrite", "fbul", FULL, io.sys_pwrite),
    478: Sysent("lseek", "fld", FULL, vfs.sys_lseek),
    479: Sysent("truncate", "sl", FULL, vfs_attr.sys_truncate),
    480: Sysent("ftruncate", "fl", FULL, vfs_attr.sys_ftruncate),
    482: Sysent("shm_open", "pxo", FULL, sys_shm_open),
    483: Sysent("shm_unlink", "s", FULL, sys_shm_unlink),
    489: Sysent("faccessat", "fsxx", FULL, attr.sys_faccessat),
    490: Sysent("fchmodat", "fsox", PARTIAL, attr.sys_fchmodat, "no set-id bits on files"),
    491: Sysent("fchownat", "fsnnx", FULL, attr.sys_fchownat),
    493: Sysent("freebsd11_fstatat", "fspx", FULL, attr.SYS_FSTATAT11),
    494: Sysent("futimesat", "fsp", FULL, attr.sys_futimesat),
    495: Sysent("linkat", "fsfsx", FULL, sys_linkat),
    496: Sysent("mkdirat", "fso", FULL, vfs.sys_mkdirat),
    497: Sysent("mkfifoat", "fso", FULL, sys_mkfifoat),
    498: Sysent("freebsd11_mknodat", "fsod", PARTIAL, sys_mknodat, "only FIFOs"),
    499: Sysent("openat", "fsxo", FULL, sys_openat),
    500: Sysent("readlinkat", "fsbu", FULL, vfs.sys_readlinkat),
    501: Sysent("renameat", "fsfs", FULL, vfs.sys_renameat),
    502: Sysent("symlinkat", "sfs", FULL, vfs.sys_symlinkat),
    503: Sysent("unlinkat", "fsx", FULL, sys_unlinkat),
    509: Sysent("closefrom", "d", FULL, sys_closefrom),
    513: Sysent("lpathconf", "sd", FULL, sys_lpathconf),
    522: Sysent("pselect", "dppppp", FULL, sys_pselect),
    530: Sysent("posix_fallocate", "fll", FULL, sys_posix_fallocate),
    531: Sysent("posix_fadvise", "flld", STUB, sys_posix_fadvise, "checked, without effect"),
    542: Sysent("pipe2", "px", FULL, sys_pipe2),
    545: Sysent("ppoll", "pnpp", FULL, sys_ppoll),
    546: Sysent("futimens", "fp", FULL, attr.sys_futimens),
    547: Sysent("utimensat", "fspx", FULL, attr.sys_utimensat),
    550: Sysent("fdatasync", "f", FULL, vfs.sys_fdatasync),
    551: Sysent("fstat", "fp", FULL, attr.SYS_FSTAT),
    552: Sysent("fstatat", "fspx", FULL, attr.SYS_FSTATAT),
    554: Sysent("getdirentries", "fbup", FULL, _GETDIRENTRIES),
    555: Sysent("statfs", "sp", FULL, attr.SYS_STATFS),
    556: Sysent("fstatfs", "fp", FULL, attr.SYS_FSTATFS),
    557: Sysent("getfsstat", "bld", FULL, attr.SYS_GETFSSTAT),
    559: Sysent("mknodat", "fsoq", PARTIAL, sys_mknodat, "only FIFOs"),
    569: Sysent("copy_file_range", "fpfpux", FULL, sys_copy_file_range),
    571: Sysent("shm_open2", "pxoxs", PARTIAL, sys_shm_open2, "no seals"),
    574: Sysent("__realpathat", "fsbux", FULL, sys_realpathat),
    575: Sysent("close_range", "nnd", FULL, sys_close_range),
}
"""FreeBSD's numbers of the calls in this module and in the kern modules it names."""
