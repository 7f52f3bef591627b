"""The host's files that people name, and those that a guest ran: opened once, and never by a link that a guest made.

Model only.  What emu writes is an ``Output``, opened before the program runs and kept: the program may put a link, a
FIFO or another file in its place and changes nothing by it.  What emu reads late is a ``Source``: a descriptor or a
vnode, not a name.  No FIFO, socket or device is ever opened, so nothing here waits.
"""

from __future__ import annotations

import io
import os
from stat import S_ISCHR, S_ISLNK, S_ISREG
from typing import TYPE_CHECKING, Any, Protocol

from kernel_model.errors import SyscallError, UsageError
from kernel_model.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.vnode import Vnode

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_STEP = _LOOK | os.O_DIRECTORY
_OPEN = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NULL = os.makedev(1, 3)


class Output:
    """A file that emu writes for its user: a regular one, or /dev/null, and no link."""

    __slots__ = ("_folder", "_made", "_name", "fd", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open or make *path* and leave its content alone; UsageError when it cannot be written."""
        self.path = os.fspath(path)
        self.fd = self._folder = -1
        self._made = False
        folder, self._name = os.path.split(self.path)
        try:
            self._folder = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.fd = self._open()
        except OSError as error:
            raise self.refused(error) from None

    def _open(self) -> int:
        try:
            there = os.open(self._name, _LOOK, dir_fd=self._folder)
        except FileNotFoundError:
            self._made = True
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | _OPEN
            return os.open(self._name, flags, 0o666, dir_fd=self._folder)
        try:
            st = os.fstat(there)
            if S_ISLNK(st.st_mode):
                raise UsageError(f"cannot write {printable(self.path)}: it is a symbolic link; name the file itself")
            if not S_ISREG(st.st_mode) and not (S_ISCHR(st.st_mode) and st.st_rdev == _NULL):
                raise UsageError(f"cannot write {printable(self.path)}: not a regular file")
            return os.open(f"/proc/self/fd/{there}", os.O_WRONLY | _OPEN)
        finally:
            os.close(there)

    def refused(self, error: OSError) -> UsageError:
        """What the host said, for the person who named the file."""
        return UsageError(f"cannot write {printable(self.path)}: {error.strerror}")

    def write(self, data: bytes) -> None:
        """Make *data* all that the file holds; UsageError when the host takes no more."""
        try:
            if S_ISREG(os.fstat(self.fd).st_mode):
                os.ftruncate(self.fd, 0)
            at = 0
            while at < len(data):
                at += os.pwrite(self.fd, data[at:], at)
        except OSError as error:
            raise self.refused(error) from None
        self._made = False

    def discard(self) -> None:
        """Nothing was written: a file that was made for this goes again, if it is still there."""
        if not self._made:
            return
        self._made = False
        try:
            now, mine = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False), os.fstat(self.fd)
            if (now.st_dev, now.st_ino, mine.st_size) == (mine.st_dev, mine.st_ino, 0):
                os.unlink(self._name, dir_fd=self._folder)
        except FileNotFoundError:
            return

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """The last holder has gone: so do the descriptors."""
        for fd in (self.fd, self._folder):
            if fd >= 0:
                close(fd)


class Source(Protocol):
    """One file to read: the file itself, whatever its name leads to now."""

    size: int

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to *count* bytes at *offset*, fewer at the end; OSError when the host does not give them."""
        ...


class Stream(io.RawIOBase):
    """A source as a stream of Python's."""

    def __init__(self, source: Source) -> None:
        """Begin at the first byte."""
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Any place from the beginning on."""
        self._at = max(0, offset + (0, self._at, self._source.size)[whence])
        return self._at

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - what io calls a writable buffer
        """Fill *buffer*, or as much of it as there is."""
        data = self._source.read_at(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class HostFile:
    """A regular file of the host, open for reading."""

    __slots__ = ("fd", "size")

    def __init__(self, looked: int) -> None:
        """The file of *looked*, a descriptor good for looking only, which is closed; OSError for what is no file."""
        self.fd = -1
        try:
            st = os.fstat(looked)
            if not S_ISREG(st.st_mode):
                raise OSError(0, "not a regular file")
            self.fd = os.open(f"/proc/self/fd/{looked}", os.O_RDONLY | _OPEN)
            self.size = st.st_size
        finally:
            os.close(looked)

    def read_at(self, offset: int, count: int) -> bytes:
        """pread(2)."""
        return os.pread(self.fd, count, offset)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """The last holder has gone: so does the descriptor."""
        if self.fd >= 0:
            close(self.fd)


class VnodeFile:
    """A file that a guest has mapped: the vnode holds it open."""

    __slots__ = ("size", "vp")

    def __init__(self, vp: Vnode) -> None:
        """The file of *vp*."""
        self.vp = vp
        try:
            self.size = vp.v_size()
        except SyscallError as error:
            raise OSError(error.errno, "cannot be read") from None

    def read_at(self, offset: int, count: int) -> bytes:
        """The store behind the vnode."""
        buffer = bytearray(count)
        try:
            return bytes(buffer[: self.vp.v_pread_into(memoryview(buffer), offset)])
        except SyscallError as error:
            raise OSError(error.errno, "cannot be read") from None


def open_file(path: str | os.PathLike[str]) -> HostFile:
    """The regular file that a person calls *path*; OSError when there is none."""
    return HostFile(os.open(path, os.O_PATH | os.O_CLOEXEC))


def open_beneath(root: str, path: str) -> HostFile:
    """The regular file that a guest whose ``/`` is *root* called *path*; OSError when there is none.

    Records name files without links, so a link in *path* was put there since: it is not followed.
    """
    names = [name for name in path.split("/") if name and name != "."]
    if not names or ".." in names:
        raise OSError(0, "no file")
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in names[:-1]:
        try:
            deeper = os.open(name, _STEP, dir_fd=folder)
        finally:
            os.close(folder)
        folder = deeper
    try:
        return HostFile(os.open(names[-1], _LOOK, dir_fd=folder))
    finally:
        os.close(folder)
