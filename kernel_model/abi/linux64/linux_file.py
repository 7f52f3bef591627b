"""Linux's file system calls on x86-64.

Model only: numbers from asm/unistd_64.h, flags from asm-generic/fcntl.h and linux/fcntl.h; FreeBSD's own view of
them is sys/compat/linux/linux_file.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.abi.linux64 import linux_stats as attr
from kernel_model.abi.linux64 import structs_file as st
from kernel_model.abi.linux64.linux_fcntl import (
    LINUX_O_CLOEXEC,
    LINUX_O_CREAT,
    LINUX_O_DIRECT,
    LINUX_O_DIRECTORY,
    LINUX_O_NOFOLLOW,
    LINUX_O_NONBLOCK,
    LINUX_O_PATH,
    LINUX_O_TMPFILE,
    LINUX_O_TRUNC,
    LINUX_O_WRONLY,
    flags_in,
    sys_fcntl,
)
from kernel_model.abi.linux64.linux_ioctl import sys_ioctl
from kernel_model.abi.linux64.linux_signal import read_mask
from kernel_model.abi.linux64.linux_stats import (
    AT_EMPTY_PATH,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    known_flags,
    vnode_at,
)
from kernel_model.errors import SyscallError
from kernel_model.kern import sys_generic as io
from kernel_model.kern import vfs_attr
from kernel_model.kern import vfs_syscalls as vfs
from kernel_model.kern.copyin import copyin, copyinstr, copyout
from kernel_model.kern.kern_copyfile import MAXPHYS_COPY, copy_between, copy_file_range, read_offset, write_offset
from kernel_model.kern.kern_descrip import (
    DTYPE_FIFO,
    DTYPE_PIPE,
    FREAD,
    FWRITE,
    O_APPEND,
    O_CREAT,
    O_EXCL,
    O_WRONLY,
)
from kernel_model.kern.kern_flock import sys_flock
from kernel_model.kern.kern_sig import set_mask_of_call
from kernel_model.kern.sys_pipe import kern_pipe
from kernel_model.kern.sys_poll import kern_select, poll_user, sys_poll, timeout_of
from kernel_model.kern.sysent import Support, Sysent
from kernel_model.kern.uipc_shm import install_memory, new_memory
from kernel_model.kern.vfs_lookup import AT_FDCWD, path_arg
from kernel_model.kern.vnode import S_IFIFO, S_IFMT, S_IFREG, VDIR

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.proc import Thread
    from kernel_model.kern.sysent import Handler
    from kernel_model.kern.vnode import Dirent

LINUX_O_PATH_FLAGS = LINUX_O_PATH | LINUX_O_DIRECTORY | LINUX_O_NOFOLLOW | LINUX_O_CLOEXEC
"""What is looked at with O_PATH."""
LINUX_O_CREATE_DIRECTORY = LINUX_O_CREAT | LINUX_O_DIRECTORY
S_IALLUGO = 0o7777
CLOSE_RANGE_UNSHARE = 0x2
CLOSE_RANGE_CLOEXEC = 0x4
MFD_CLOEXEC = 0x1
MFD_ALLOW_SEALING = 0x2
MFD_NAME_MAX = 250
"""Bytes of a memfd's name with its NUL: NAME_MAX without "memfd:"."""
POSIX_FADV_NORMAL = 0
POSIX_FADV_NOREUSE = 5


# -- opening ---------------------------------------------------------------------------------


def sys_openat(td: Thread, dirfd: int, path: int, flags: int, mode: int) -> int:
    """openat(2)."""
    name = path_arg(td, path)
    if flags & LINUX_O_TMPFILE:
        raise SyscallError(E.EOPNOTSUPP)
    if flags & LINUX_O_PATH:
        flags &= LINUX_O_PATH_FLAGS
    if flags & LINUX_O_CREATE_DIRECTORY == LINUX_O_CREATE_DIRECTORY:
        raise SyscallError(E.EINVAL)
    return vfs.kern_openat(td, dirfd, name, flags_in(flags), mode & S_IALLUGO)


def sys_open(td: Thread, path: int, flags: int, mode: int) -> int:
    """open(2)."""
    return sys_openat(td, AT_FDCWD, path, flags, mode)


def sys_creat(td: Thread, path: int, mode: int) -> int:
    """creat(2)."""
    return sys_openat(td, AT_FDCWD, path, LINUX_O_CREAT | LINUX_O_WRONLY | LINUX_O_TRUNC, mode)


def sys_close_range(td: Thread, low: int, high: int, flags: int) -> int:
    """close_range(2), also with CLOSE_RANGE_CLOEXEC."""
    known_flags(flags, CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE)
    if high < low:
        raise SyscallError(E.EINVAL)
    fdesc = td.td_proc.p_fd
    if flags & CLOSE_RANGE_CLOEXEC:
        fdesc.fd_cloexec.update(fd for fd in fdesc.fd_files if low <= fd <= high)
    else:
        fdesc.close_range(low, high, td.td_proc)
    return 0


def sys_dup3(td: Thread, old: int, new: int, flags: int) -> int:
    """dup3(2)."""
    known_flags(flags, LINUX_O_CLOEXEC)
    if old == new:
        raise SyscallError(E.EINVAL)
    return td.td_proc.p_fd.dup2(td, old, new, cloexec=bool(flags & LINUX_O_CLOEXEC))


def sys_pipe2(td: Thread, fildes: int, flags: int) -> int:
    """pipe2(2)."""
    known_flags(flags, LINUX_O_CLOEXEC | LINUX_O_NONBLOCK | LINUX_O_DIRECT)
    fds = kern_pipe(td, flags_in(flags))
    try:
        copyout(td, fildes, struct.pack("<ii", *fds))
    except SyscallError:
        for fd in fds:
            td.td_proc.p_fd.close(fd)
        raise
    return 0


def sys_pipe(td: Thread, fildes: int) -> int:
    """pipe(2)."""
    return sys_pipe2(td, fildes, 0)


def sys_memfd_create(td: Thread, name: int, flags: int) -> int:
    """memfd_create(2); with MFD_ALLOW_SEALING sealing is still refused later."""
    known_flags(flags, MFD_CLOEXEC | MFD_ALLOW_SEALING)
    label = copyinstr(td, name, MFD_NAME_MAX)
    vp = new_memory(td, b"/memfd:" + label, 0o777)
    return install_memory(td, vp, FREAD | FWRITE, cloexec=bool(flags & MFD_CLOEXEC))


# -- directories and names ---------------------------------------------------------------------------------


def _dir_call(pack: Callable[[Dirent, int], bytes]) -> Handler:
    def sys_getdents(td: Thread, fd: int, buf: int, count: int) -> int:
        data, _ = vfs.kern_getdirentries(td, fd, count, pack)
        if data:
            copyout(td, buf, data)
        return len(data)

    return sys_getdents


def sys_getcwd(td: Thread, buf: int, size: int) -> int:
    """getcwd(2): the length with its NUL."""
    path = vfs.kern_getcwd(td) + b"\0"
    if len(path) > size:
        raise SyscallError(E.ERANGE)
    copyout(td, buf, path)
    return len(path)


def sys_link(td: Thread, old: int, new: int) -> int:
    """link(2): a link to a symbolic link is one to the link itself."""
    vfs.kern_linkat(td, AT_FDCWD, path_arg(td, old), AT_FDCWD, path_arg(td, new), follow=False)
    return 0


def sys_linkat(td: Thread, olddirfd: int, old: int, newdirfd: int, new: int, flags: int) -> int:
    """linkat(2)."""
    known_flags(flags, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)
    nofollow = 0 if flags & AT_SYMLINK_FOLLOW else AT_SYMLINK_NOFOLLOW
    vp = vnode_at(td, olddirfd, old, flags & AT_EMPTY_PATH | nofollow)
    vfs.link_vnode(td, vp, newdirfd, path_arg(td, new))
    return 0


def sys_unlinkat(td: Thread, dirfd: int, path: int, flags: int) -> int:
    """unlinkat(2)."""
    known_flags(flags, AT_REMOVEDIR)
    remove = vfs.kern_rmdirat if flags & AT_REMOVEDIR else vfs.kern_unlinkat
    remove(td, dirfd, path_arg(td, path))
    return 0


def sys_renameat2(td: Thread, olddirfd: int, old: int, newdirfd: int, new: int, flags: int) -> int:
    """renameat2(2) with RENAME_NOREPLACE."""
    known_flags(flags, vfs.RENAME_NOREPLACE)
    vfs.kern_renameat(td, olddirfd, path_arg(td, old), newdirfd, path_arg(td, new), flags)
    return 0


def sys_mknodat(td: Thread, dirfd: int, path: int, mode: int, dev: int) -> int:
    """mknodat(2): a regular file or a FIFO."""
    kind = mode & S_IFMT
    if kind == S_IFIFO:
        vfs.kern_mkfifoat(td, dirfd, path_arg(td, path), mode)
    elif kind in (0, S_IFREG):
        fd = vfs.kern_openat(td, dirfd, path_arg(td, path), O_WRONLY | O_CREAT | O_EXCL, mode & S_IALLUGO)
        td.td_proc.p_fd.close(fd)
    else:
        raise SyscallError(E.EPERM)
    return 0


def sys_mknod(td: Thread, path: int, mode: int, dev: int) -> int:
    """mknod(2)."""
    return sys_mknodat(td, AT_FDCWD, path, mode, dev)


# -- waiting ---------------------------------------------------------------------------------


def sys_select(td: Thread, nd: int, in_: int, ou: int, ex: int, tv: int) -> int:
    """select(2); the time that was left is stored."""
    timeout = timeout_of(td, tv, 1000)
    return _timed(td, tv, timeout, 1000, lambda: kern_select(td, nd, (in_, ou, ex), timeout))


def sys_pselect6(td: Thread, nd: int, in_: int, ou: int, ex: int, ts: int, sig: int) -> int:
    """pselect6(2); *sig* points to a struct of the mask's address and size."""
    timeout = timeout_of(td, ts, 1)
    if sig:
        mask, size = struct.unpack("<QQ", copyin(td, sig, 16))
        if mask:
            set_mask_of_call(td, read_mask(td, mask, size))
    return _timed(td, ts, timeout, 1, lambda: kern_select(td, nd, (in_, ou, ex), timeout))


def sys_ppoll(td: Thread, fds: int, nfds: int, ts: int, mask: int, size: int) -> int:
    """ppoll(2); the time that was left is stored."""
    timeout = timeout_of(td, ts, 1)
    if mask:
        set_mask_of_call(td, read_mask(td, mask, size))
    return _timed(td, ts, timeout, 1, lambda: poll_user(td, fds, nfds, timeout))


def _timed(td: Thread, va: int, timeout: int | None, unit: int, wait: Callable[[], int]) -> int:
    """Run *wait* and store what is left of its time-out at *va*."""
    if timeout is None:
        return wait()
    clock = td.td_proc.kernel.clock
    began = clock.nanouptime()
    count = wait()
    left = max(0, timeout - (clock.nanouptime() - began)) if timeout else 0
    copyout(td, va, struct.pack("<qq", left // vfs_attr.NSEC, left % vfs_attr.NSEC // unit))
    return count


# -- bulk ---------------------------------------------------------------------------------


def sys_sendfile(td: Thread, out: int, in_: int, offp: int, count: int) -> int:
    """sendfile(2)."""
    fdesc = td.td_proc.p_fd
    source, target = fdesc.fget(in_, FREAD), fdesc.fget(out, FWRITE)
    if not source.f_ops.fo_seekable(source) or (source.f_vnode and source.f_vnode.v_type == VDIR):
        raise SyscallError(E.EINVAL)
    if target.f_flag & O_APPEND:
        raise SyscallError(E.EINVAL)
    start = read_offset(td, source, offp)
    done = copy_between(td, source, start, target, target.f_offset, min(count, MAXPHYS_COPY))
    write_offset(td, source, offp, start + done)
    write_offset(td, target, 0, target.f_offset + done)
    return done


def sys_copy_file_range(
    td: Thread, infd: int, inoffp: int, outfd: int, outoffp: int, count: int, flags: int
) -> int:
    """copy_file_range(2)."""
    known_flags(flags, 0)
    fdesc = td.td_proc.p_fd
    source, target = fdesc.fget(infd, FREAD), fdesc.fget(outfd, FWRITE)
    if target.f_flag & O_APPEND:
        raise SyscallError(E.EBADF)
    return copy_file_range(td, source, inoffp, target, outoffp, count)


def sys_fadvise64(td: Thread, fd: int, offset: int, length: int, advice: int) -> int:
    """fadvise64(2): checked, and of no effect."""
    fp = td.td_proc.p_fd.fget_path(fd)
    if fp.f_type in (DTYPE_PIPE, DTYPE_FIFO):
        raise SyscallError(E.ESPIPE)
    if not POSIX_FADV_NORMAL <= advice <= POSIX_FADV_NOREUSE or length < 0:
        raise SyscallError(E.EINVAL)
    return 0


def sys_readahead(td: Thread, fd: int, offset: int, count: int) -> int:
    """readahead(2): of no effect."""
    _ = td.td_proc.p_fd.fget(fd, FREAD)
    return 0


def sys_fallocate(td: Thread, fd: int, mode: int, offset: int, length: int) -> int:
    """fallocate(2) without a mode."""
    _ = td.td_proc.p_fd.fget(fd, FWRITE)
    if offset < 0 or length <= 0:
        raise SyscallError(E.EINVAL)
    if mode:
        raise SyscallError(E.EOPNOTSUPP)
    vfs_attr.kern_allocate(td, fd, offset, length)
    return 0


def sys_syncfs(td: Thread, fd: int) -> int:
    """syncfs(2): the host decides when."""
    _ = td.td_proc.p_fd.fget_path(fd)
    return 0


def sys_sync_file_range(td: Thread, fd: int, offset: int, count: int, flags: int) -> int:
    """sync_file_range(2): more than asked."""
    return vfs.sys_fdatasync(td, fd)


def sys_preadv2(td: Thread, fd: int, iov: int, count: int, low: int, high: int, flags: int) -> int:
    """preadv2(2) without flags; offset -1 is the file's own."""
    return _v2(io.sys_readv, io.sys_preadv, td, fd, iov, count, low, flags)


def sys_pwritev2(td: Thread, fd: int, iov: int, count: int, low: int, high: int, flags: int) -> int:
    """pwritev2(2) without flags; offset -1 is the file's own."""
    return _v2(io.sys_writev, io.sys_pwritev, td, fd, iov, count, low, flags)


def _v2(
    plain: Callable[..., int], positioned: Callable[..., int],
    td: Thread, fd: int, iov: int, count: int, offset: int, flags: int,
) -> int:  # fmt: skip
    if flags:
        raise SyscallError(E.EOPNOTSUPP)
    return plain(td, fd, iov, count) if offset == -1 else positioned(td, fd, iov, count, offset)


def sys_preadv(td: Thread, fd: int, iov: int, count: int, low: int, high: int) -> int:
    """preadv(2)."""
    return io.sys_preadv(td, fd, iov, count, low)


def sys_pwritev(td: Thread, fd: int, iov: int, count: int, low: int, high: int) -> int:
    """pwritev(2)."""
    return io.sys_pwritev(td, fd, iov, count, low)


def _no_xattr(td: Thread, *args: int) -> int:
    """Extended attributes: none are kept."""
    raise SyscallError(E.EOPNOTSUPP)


FULL, PARTIAL, STUB = Support.FULL, Support.PARTIAL, Support.STUB
_XATTR = "EOPNOTSUPP: none are kept"

FILES_SYSCALLS: dict[int, Sysent] = {
    0: Sysent("read", "fbu", FULL, io.sys_read),
    1: Sysent("write", "fbu", FULL, io.sys_write),
    2: Sysent("open", "sxo", PARTIAL, sys_open, "no O_TMPFILE"),
    3: Sysent("close", "f", FULL, vfs.sys_close),
    4: Sysent("stat", "sp", FULL, attr.sys_stat),
    5: Sysent("fstat", "fp", FULL, attr.sys_fstat),
    6: Sysent("lstat", "sp", FULL, attr.sys_lstat),
    7: Sysent("poll", "pnd", FULL, sys_poll),
    8: Sysent("lseek", "fld", FULL, vfs.sys_lseek),
    16: Sysent("ioctl", "fxp", PARTIAL, sys_ioctl, "terminals and FIO*"),
    17: Sysent("pread64", "fbul", FULL, io.sys_pread),
    18: Sysent("pwrite64", "fbul", FULL, io.sys_pwrite),
    19: Sysent("readv", "fpu", FULL, io.sys_readv),
    20: Sysent("writev", "fpu", FULL, io.sys_writev),
    21: Sysent("access", "sx", FULL, vfs_attr.sys_access),
    22: Sysent("pipe", "p", FULL, sys_pipe),
    23: Sysent("select", "dpppp", FULL, sys_select),
    32: Sysent("dup", "f", FULL, vfs.sys_dup),
    33: Sysent("dup2", "ff", FULL, vfs.sys_dup2),
    40: Sysent("sendfile", "ffpu", FULL, sys_sendfile),
    72: Sysent("fcntl", "fdq", PARTIAL, sys_fcntl, "no OFD locks, leases, seals"),
    73: Sysent("flock", "fx", FULL, sys_flock),
    74: Sysent("fsync", "f", FULL, vfs.sys_fsync),
    75: Sysent("fdatasync", "f", FULL, vfs.sys_fdatasync),
    76: Sysent("truncate", "sl", FULL, vfs_attr.sys_truncate),
    77: Sysent("ftruncate", "fl", FULL, vfs_attr.sys_ftruncate),
    78: Sysent("getdents", "fbn", FULL, _dir_call(st.pack_dirent)),
    79: Sysent("getcwd", "bu", FULL, sys_getcwd),
    80: Sysent("chdir", "s", FULL, vfs.sys_chdir),
    81: Sysent("fchdir", "f", FULL, vfs.sys_fchdir),
    82: Sysent("rename", "ss", FULL, vfs.sys_rename),
    83: Sysent("mkdir", "so", FULL, vfs.sys_mkdir),
    84: Sysent("rmdir", "s", FULL, vfs.sys_rmdir),
    85: Sysent("creat", "so", FULL, sys_creat),
    86: Sysent("link", "ss", FULL, sys_link),
    87: Sysent("unlink", "s", FULL, vfs.sys_unlink),
    88: Sysent("symlink", "ss", FULL, vfs.sys_symlink),
    89: Sysent("readlink", "sbd", FULL, vfs.sys_readlink),
    90: Sysent("chmod", "so", PARTIAL, vfs_attr.sys_chmod, "no set-id bits on files"),
    91: Sysent("fchmod", "fo", PARTIAL, vfs_attr.sys_fchmod, "no set-id bits on files"),
    92: Sysent("chown", "snn", FULL, vfs_attr.sys_chown),
    93: Sysent("fchown", "fnn", FULL, vfs_attr.sys_fchown),
    94: Sysent("lchown", "snn", FULL, vfs_attr.sys_lchown),
    95: Sysent("umask", "o", FULL, vfs.sys_umask),
    132: Sysent("utime", "sp", FULL, attr.sys_utime),
    133: Sysent("mknod", "son", PARTIAL, sys_mknod, "files and FIFOs"),
    137: Sysent("statfs", "sp", FULL, attr.sys_statfs),
    138: Sysent("fstatfs", "fp", FULL, attr.sys_fstatfs),
    161: Sysent("chroot", "s", FULL, vfs.sys_chroot),
    162: Sysent("sync", "", FULL, vfs.sys_sync),
    187: Sysent("readahead", "flu", STUB, sys_readahead, "no effect"),
    217: Sysent("getdents64", "fbn", FULL, _dir_call(st.pack_dirent64)),
    221: Sysent("fadvise64", "flld", STUB, sys_fadvise64, "checked, without effect"),
    235: Sysent("utimes", "sp", FULL, vfs_attr.sys_utimes),
    257: Sysent("openat", "fsxo", PARTIAL, sys_openat, "no O_TMPFILE"),
    258: Sysent("mkdirat", "fso", FULL, vfs.sys_mkdirat),
    259: Sysent("mknodat", "fson", PARTIAL, sys_mknodat, "files and FIFOs"),
    260: Sysent("fchownat", "fsnnx", FULL, attr.sys_fchownat),
    261: Sysent("futimesat", "fsp", FULL, attr.sys_futimesat),
    262: Sysent("newfstatat", "fspx", FULL, attr.sys_newfstatat),
    263: Sysent("unlinkat", "fsx", FULL, sys_unlinkat),
    264: Sysent("renameat", "fsfs", FULL, vfs.sys_renameat),
    265: Sysent("linkat", "fsfsx", FULL, sys_linkat),
    266: Sysent("symlinkat", "sfs", FULL, vfs.sys_symlinkat),
    267: Sysent("readlinkat", "fsbd", FULL, vfs.sys_readlinkat),
    268: Sysent("fchmodat", "fso", PARTIAL, attr.sys_fchmodat, "no set-id bits on files"),
    269: Sysent("faccessat", "fsx", FULL, attr.sys_faccessat),
    270: Sysent("pselect6", "dppppp", FULL, sys_pselect6),
    271: Sysent("ppoll", "pnppu", FULL, sys_ppoll),
    277: Sysent("sync_file_range", "fllx", STUB, sys_sync_file_range, "syncs the whole file"),
    280: Sysent("utimensat", "fspx", FULL, attr.sys_utimensat),
    285: Sysent("fallocate", "fxll", PARTIAL, sys_fallocate, "mode 0 only"),
    292: Sysent("dup3", "ffx", FULL, sys_dup3),
    293: Sysent("pipe2", "px", FULL, sys_pipe2),
    295: Sysent("preadv", "fpuld", FULL, sys_preadv),
    296: Sysent("pwritev", "fpuld", FULL, sys_pwritev),
    306: Sysent("syncfs", "f", STUB, sys_syncfs, "the host decides when"),
    316: Sysent("renameat2", "fsfsx", PARTIAL, sys_renameat2, "RENAME_NOREPLACE only"),
    319: Sysent("memfd_create", "sx", PARTIAL, sys_memfd_create, "no seals"),
    326: Sysent("copy_file_range", "fpfpux", FULL, sys_copy_file_range),
    327: Sysent("preadv2", "fpuldx", PARTIAL, sys_preadv2, "no flags"),
    328: Sysent("pwritev2", "fpuldx", PARTIAL, sys_pwritev2, "no flags"),
    332: Sysent("statx", "fsxxp", FULL, attr.sys_statx),
    436: Sysent("close_range", "nnx", FULL, sys_close_range),
    439: Sysent("faccessat2", "fsxx", FULL, attr.sys_faccessat2),
    **{
        188 + index: Sysent(name, letters, STUB, _no_xattr, _XATTR)
        for index, (name, letters) in enumerate((
            ("setxattr", "ssbux"), ("lsetxattr", "ssbux"), ("fsetxattr", "fsbux"), ("getxattr", "ssbu"),
            ("lgetxattr", "ssbu"), ("fgetxattr", "fsbu"), ("listxattr", "sbu"), ("llistxattr", "sbu"),
            ("flistxattr", "fbu"), ("removexattr", "ss"), ("lremovexattr", "ss"), ("fremovexattr", "fs"),
        ))
    },
}  # fmt: skip
"""Linux's numbers of the calls in this module and in the kern modules it names."""
