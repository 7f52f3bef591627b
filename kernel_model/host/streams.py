"""The host's open descriptors that the machine hands to its program: terminals, pipes, files.

Model only.  They stay the host's: nothing here opens or closes one, or makes it non-blocking, since the host's programs
share them.
"""

from __future__ import annotations

import fcntl
import os
import stat
import termios
from typing import Final, NamedTuple

from kernel_model.errors import kassert
from kernel_model.host.errors import host_error

TERMIOS_SIZE: Final = 36
"""Bytes of the Linux kernel's struct termios, which is also how ioctl() here speaks of terminals."""

_TERMINAL: Final = {
    "TIOCGETA": (termios.TCGETS, TERMIOS_SIZE),
    "TIOCSETA": (termios.TCSETS, 0),
    "TIOCSETAW": (termios.TCSETSW, 0),
    "TIOCSETAF": (termios.TCSETSF, 0),
    "TIOCGWINSZ": (termios.TIOCGWINSZ, 8),
    "TIOCSWINSZ": (termios.TIOCSWINSZ, 0),
    "TIOCOUTQ": (termios.TIOCOUTQ, 4),
    "FIONREAD": (termios.FIONREAD, 4),
}
"""Requests that are passed on: the host's number and the bytes of its answer."""


class StreamMode(NamedTuple):
    """How the host opened a descriptor."""

    reads: bool
    writes: bool
    append: bool


def stream_mode(fd: int) -> StreamMode:
    """fcntl(F_GETFL) on the host; EBADF for a descriptor that is closed."""
    try:
        how = fcntl.fcntl(fd, fcntl.F_GETFL)
    except OSError as error:
        raise host_error(error) from None
    access = how & os.O_ACCMODE
    return StreamMode(access != os.O_WRONLY, access != os.O_RDONLY, bool(how & os.O_APPEND))


def stream_offset(fd: int) -> int:
    """Where the host stands in a regular file."""
    try:
        return os.lseek(fd, 0, os.SEEK_CUR)
    except OSError as error:
        raise host_error(error) from None


def set_stream_offset(fd: int, offset: int) -> None:
    """Move the host: the shell that started us goes on from there."""
    try:
        os.lseek(fd, offset, os.SEEK_SET)
    except OSError as error:
        raise host_error(error) from None


def same_open_file(first: int, second: int) -> bool:
    """Whether two descriptors of regular files share one offset, as after dup(2): moving one moves the other."""
    if first == second:
        return True
    if os.fstat(first)[:3] != os.fstat(second)[:3]:
        return False
    where = os.lseek(first, 0, os.SEEK_CUR)
    try:
        return os.lseek(first, where + 1, os.SEEK_SET) == os.lseek(second, 0, os.SEEK_CUR)
    finally:
        os.lseek(first, where, os.SEEK_SET)


def is_regular(fd: int) -> bool:
    """Whether it is a file with an offset."""
    return stat.S_ISREG(os.fstat(fd).st_mode)


def is_terminal(fd: int) -> bool:
    """isatty(3)."""
    return os.isatty(fd)


def stream_ioctl(fd: int, command: str, argument: bytes) -> bytes | None:
    """A request under FreeBSD's name with the Linux kernel's structures: the answer, None when it is not passed on."""
    if command not in _TERMINAL:
        return None
    request, size = _TERMINAL[command]
    try:
        if size:
            answer = fcntl.ioctl(fd, request, bytes(size))
            kassert(len(answer) == size, "%s: %d bytes", command, len(answer))
            return answer
        fcntl.ioctl(fd, request, argument)
    except OSError as error:
        raise host_error(error) from None
    return b""


def stream_path(fd: int) -> bytes:
    """The path of what a descriptor is open on; empty where the host does not say."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % fd)
    except OSError:
        return b""
