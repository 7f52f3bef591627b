"""Files of the host, by descriptors of ours.

Model only.  The boundary: a call here takes a descriptor of ours, or a directory descriptor and **one name without a
slash**, and never follows a link; only ``open_root``, ``realpath`` and ``getcwd`` know whole paths, and only the
machine's owner names those.  ``/proc/self/fd/N`` leads to exactly the file of descriptor N.  Errors are SyscallError.
"""

from __future__ import annotations

import os
import struct
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from kernel_model.errors import kassert
from kernel_model.host.errors import host_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HostStat: TypeAlias = os.stat_result
HostStatvfs: TypeAlias = os.statvfs_result

_ROOT_FLAGS: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PATH_FLAGS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FLAGS: Final = os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
_DIR_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_EMPTY_PATH: Final = 0x1000
_STATX_BTIME: Final = 0x800

close = os.close
"""close(2) of a descriptor that this room opened; bound here because finalizers need it when modules are gone."""


class HostFs(NamedTuple):
    """A file system mounted on the host."""

    fstype: str
    source: str


def _magic(fd: int) -> str:
    """A path of the host that leads to exactly the file of *fd*."""
    return f"/proc/self/fd/{fd}"


def _one(name: bytes) -> bytes:
    """*name*, which must be one name in a directory: the boundary itself."""
    kassert(name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name, "host: %r is no name", name)
    return name


# -- the host's own places ------------------------------------------------------------------------------


def realpath(path: str | os.PathLike[str]) -> str:
    """*path* without links, as the machine's owner meant it."""
    return os.path.realpath(path)


def getcwd() -> str | None:
    """The host's working directory without links; None when it is gone."""
    try:
        return os.path.realpath(os.getcwd())
    except OSError:
        return None


def umask() -> int:
    """The umask that this process was started with."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def mounts() -> Iterator[tuple[int, HostFs]]:
    """Every file system mounted on the host, by device number; nothing where that cannot be read."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            lines = table.readlines()
    except OSError:
        return
    for line in lines:
        fields, _, tail = line.partition(" - ")
        major, _, minor = fields.split()[2].partition(":")
        fstype, source = tail.split()[:2]
        yield os.makedev(int(major), int(minor)), HostFs(fstype, source)


# -- opening ----------------------------------------------------------------------------------------------


def open_root(path: bytes) -> int:
    """A descriptor of the directory *path*, good for look-ups only."""
    try:
        return os.open(path, _ROOT_FLAGS)
    except OSError as error:
        raise host_error(error) from None


def open_path(dirfd: int, name: bytes) -> int:
    """A descriptor that only says which file *name* is: a device, FIFO or socket is not opened by it."""
    try:
        return os.open(_one(name), _PATH_FLAGS, dir_fd=dirfd)
    except OSError as error:
        raise host_error(error) from None


def open_reader(fd: int) -> int:
    """A new descriptor of the same regular file, for reading."""
    try:
        return os.open(_magic(fd), os.O_RDONLY | _OPEN_FLAGS)
    except OSError as error:
        raise host_error(error) from None


def open_writer(fd: int) -> int:
    """A new descriptor of the same regular file, for writing."""
    try:
        return os.open(_magic(fd), os.O_WRONLY | _OPEN_FLAGS)
    except OSError as error:
        raise host_error(error) from None


# -- data --------------------------------------------------------------------------------------------------


def preadv(fd: int, bufs: Sequence[memoryview], offset: int) -> int:
    """preadv(2)."""
    try:
        return os.preadv(fd, bufs, offset)
    except OSError as error:
        raise host_error(error) from None


def pwritev(fd: int, bufs: Sequence[memoryview | bytes], offset: int) -> int:
    """pwritev(2)."""
    try:
        return os.pwritev(fd, bufs, offset)
    except OSError as error:
        raise host_error(error) from None


def readv(fd: int, bufs: Sequence[memoryview]) -> int:
    """readv(2): a terminal or pipe gives what is there, waiting for the first byte."""
    try:
        return os.readv(fd, bufs)
    except OSError as error:
        raise host_error(error) from None


def writev(fd: int, bufs: Sequence[memoryview | bytes]) -> int:
    """writev(2): a pipe whose reader has gone is EPIPE."""
    try:
        return os.writev(fd, bufs)
    except OSError as error:
        raise host_error(error) from None


def truncate(fd: int, length: int) -> None:
    """ftruncate(2)."""
    kassert(length >= 0, "host: truncate to %d", length)
    try:
        os.ftruncate(fd, length)
    except OSError as error:
        raise host_error(error) from None


def allocate(fd: int, offset: int, length: int) -> None:
    """posix_fallocate(3)."""
    kassert(offset >= 0 and length > 0, "host: allocate [%#x, +%#x)", offset, length)
    try:
        os.posix_fallocate(fd, offset, length)
    except OSError as error:
        raise host_error(error) from None


def sync(fd: int, *, data_only: bool) -> None:
    """fsync(2) or fdatasync(2); EINVAL for what has no store."""
    try:
        (os.fdatasync if data_only else os.fsync)(fd)
    except OSError as error:
        raise host_error(error) from None


def next_data(fd: int, offset: int, end: int) -> int:
    """Where the next stored byte from *offset* on is, at most *end*."""
    return _seek(fd, offset, os.SEEK_DATA, end)


def next_hole(fd: int, offset: int, end: int) -> int:
    """Where the next hole from *offset* on begins, at most *end*."""
    return _seek(fd, offset, os.SEEK_HOLE, end)


def _seek(fd: int, offset: int, whence: int, end: int) -> int:
    if offset >= end:
        return end
    try:
        return min(os.lseek(fd, offset, whence), end)
    except OSError:
        return end  # ENXIO: behind the last byte is nothing but a hole


# -- attributes ----------------------------------------------------------------------------------------------


def fstat(fd: int) -> HostStat:
    """fstat(2)."""
    try:
        return os.fstat(fd)
    except OSError as error:
        raise host_error(error) from None


def stat_at(dirfd: int, name: bytes) -> HostStat:
    """fstatat(2) of the name itself, were it a link."""
    try:
        return os.stat(_one(name), dir_fd=dirfd, follow_symlinks=False)
    except OSError as error:
        raise host_error(error) from None


def statvfs(fd: int) -> HostStatvfs:
    """fstatvfs(2)."""
    try:
        return os.fstatvfs(fd)
    except OSError as error:
        raise host_error(error) from None


def birthtime(fd: int) -> int:
    """When the file was made, nanoseconds; -1 where the host does not say.

    Python's os.stat() does not ask for it, so the C library's statx(2) is called.
    """
    import ctypes

    statx = getattr(ctypes.CDLL(None), "statx", None)
    buffer = ctypes.create_string_buffer(256)
    if statx is None or statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, buffer) != 0:
        return -1
    mask = struct.unpack_from("<I", buffer)[0]
    seconds, part = struct.unpack_from("<qI", buffer, 80)
    return int(seconds * 1_000_000_000 + part) if mask & _STATX_BTIME else -1


def may(fd: int, *, read: bool, write: bool, execute: bool) -> bool:
    """access(2): whether the host lets its own user do all this."""
    wanted = (os.R_OK if read else 0) | (os.W_OK if write else 0) | (os.X_OK if execute else 0)
    return os.access(_magic(fd), wanted)


def chown(fd: int, uid: int, gid: int) -> None:
    """chown(2); -1 leaves an id alone."""
    try:
        os.chown(_magic(fd), uid, gid)
    except OSError as error:
        raise host_error(error) from None


def chmod(fd: int, mode: int) -> None:
    """chmod(2)."""
    try:
        os.chmod(_magic(fd), mode)
    except OSError as error:
        raise host_error(error) from None


def utimes(fd: int, times: tuple[int, int] | None) -> None:
    """utimensat(2): access and modification time in nanoseconds; None for now, by the host's file system."""
    try:
        if times is None:
            os.utime(_magic(fd))
        else:
            os.utime(_magic(fd), ns=times)
    except OSError as error:
        raise host_error(error) from None


# -- directories and links --------------------------------------------------------------------------------------


def readlink(fd: int) -> bytes:
    """readlink(2) of the link that an ``open_path`` descriptor stands for."""
    try:
        return os.readlink(b"", dir_fd=fd)
    except OSError as error:
        raise host_error(error) from None


def listdir(dirfd: int) -> list[tuple[int, int, bytes]]:
    """Every name but the dots: (inode number, type bits of st_mode or 0, name)."""
    try:
        fd = os.open(b".", _DIR_FLAGS, dir_fd=dirfd)
        try:
            with os.scandir(fd) as entries:
                return [(entry.inode(), _type_bits(entry), os.fsencode(entry.name)) for entry in entries]
        finally:
            os.close(fd)
    except OSError as error:
        raise host_error(error) from None


def _type_bits(entry: os.DirEntry[str]) -> int:
    """The type; asks for attributes only for what is neither file, directory nor link."""
    if entry.is_file(follow_symlinks=False):
        return S_IFREG
    if entry.is_dir(follow_symlinks=False):
        return S_IFDIR
    if entry.is_symlink():
        return S_IFLNK
    try:
        return S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return 0


def create(dirfd: int, name: bytes, mode: int) -> None:
    """Make a regular file; its permissions are *mode*, whatever the umask."""
    try:
        fd = os.open(_one(name), _NEW_FLAGS, 0o600, dir_fd=dirfd)
        try:
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
    except OSError as error:
        raise host_error(error) from None


def mkdir(dirfd: int, name: bytes) -> None:
    """Make a directory, at first the owner's alone."""
    try:
        os.mkdir(_one(name), 0o700, dir_fd=dirfd)
    except OSError as error:
        raise host_error(error) from None


def mkfifo(dirfd: int, name: bytes) -> None:
    """Make a FIFO, at first the owner's alone; nobody here opens it on the host."""
    try:
        os.mkfifo(_one(name), 0o600, dir_fd=dirfd)
    except OSError as error:
        raise host_error(error) from None


def symlink(dirfd: int, name: bytes, target: bytes) -> None:
    """Make a symbolic link; its text is never interpreted by the host on our behalf."""
    try:
        os.symlink(target, _one(name), dir_fd=dirfd)
    except OSError as error:
        raise host_error(error) from None


def link(fd: int, dirfd: int, name: bytes) -> None:
    """Make another name for the file of *fd*."""
    try:
        os.link(_magic(fd), _one(name), dst_dir_fd=dirfd, follow_symlinks=True)
    except OSError as error:
        raise host_error(error) from None


def unlink(dirfd: int, name: bytes) -> None:
    """unlinkat(2)."""
    try:
        os.unlink(_one(name), dir_fd=dirfd)
    except OSError as error:
        raise host_error(error) from None


def rmdir(dirfd: int, name: bytes) -> None:
    """unlinkat(2) with AT_REMOVEDIR."""
    try:
        os.rmdir(_one(name), dir_fd=dirfd)
    except OSError as error:
        raise host_error(error) from None


def rename(dirfd: int, name: bytes, todirfd: int, toname: bytes) -> None:
    """renameat(2)."""
    try:
        os.rename(_one(name), _one(toname), src_dir_fd=dirfd, dst_dir_fd=todirfd)
    except OSError as error:
        raise host_error(error) from None
