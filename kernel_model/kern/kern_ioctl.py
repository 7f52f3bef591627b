"""ioctl(2) by name: what any file answers, what terminals answer, and ENOTTY.

FreeBSD: kern_ioctl(), sys/kern/sys_generic.c; tty_ioctl(), sys/kern/tty.c.

The ABI modules turn numbers into names and lay out what crosses the border.
Differs: job control: the terminal's foreground group is always the caller's; nothing is ever stopped.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.file import file_ops
from kernel_model.kern.kern_descrip import FREAD, FWRITE, O_ASYNC, O_NONBLOCK
from kernel_model.kern.vnode import VCHR
from kernel_model.ktrace import Unsupported
from kernel_model.text import printable_bytes

if TYPE_CHECKING:
    from kernel_model.kern.kern_descrip import File
    from kernel_model.kern.proc import Thread


def kern_ioctl(td: Thread, fd: int, name: str, argument: bytes) -> bytes:
    """Serve the request *name* on *fd*; returns what to copy out.  Raises EBADF, ENOTTY, EINVAL."""
    fdesc = td.td_proc.p_fd
    fp = fdesc.fget_path(fd)
    if not fp.f_flag & (FREAD | FWRITE):
        raise SyscallError(E.EBADF)
    if name == "FIOCLEX":
        fdesc.fd_cloexec.add(fd)
        return b""
    if name == "FIONCLEX":
        fdesc.fd_cloexec.discard(fd)
        return b""
    if name in ("FIONBIO", "FIOASYNC"):
        kassert(len(argument) == 4, "%s: %d bytes", name, len(argument))
        bit = O_NONBLOCK if name == "FIONBIO" else O_ASYNC
        on = struct.unpack("<i", argument)[0]
        fp.f_flag = fp.f_flag | bit if on else fp.f_flag & ~bit
        return b""
    if name in ("TIOCGPGRP", "TIOCSPGRP", "TIOCGSID", "TIOCSCTTY", "TIOCNOTTY", "TIOCDRAIN", "TIOCFLUSH"):
        return _job_control(td, fp, name)
    return file_ops(fp).fo_ioctl(td, fp, name, argument)


def is_terminal(td: Thread, fp: File) -> bool:
    """Whether *fp* is a terminal: it answers TIOCGETA."""
    if fp.f_vnode is None or fp.f_vnode.v_type != VCHR:
        return False
    try:
        file_ops(fp).fo_ioctl(td, fp, "TIOCGETA", b"")
    except SyscallError:
        return False
    return True


def _job_control(td: Thread, fp: File, name: str) -> bytes:
    if not is_terminal(td, fp):
        raise SyscallError(E.ENOTTY)
    proc = td.td_proc
    if name == "TIOCGPGRP":
        return struct.pack("<i", proc.p_pgid)
    if name == "TIOCGSID":
        return struct.pack("<i", proc.p_sid)
    return b""


def unknown_ioctl(td: Thread, fd: int, command: int) -> None:
    """A request that no table here knows: EBADF or ENOTTY, and an event."""
    fp = td.td_proc.p_fd.fget_path(fd)
    kt = td.td_proc.kernel.ktrace
    if kt.unsupported is not None:
        name = f"{command:#x} on {printable_bytes(fp.f_ops.fo_name(fp))}"
        kt.emit(Unsupported("ioctl", name, command, "ENOTTY", pid=td.td_proc.p_pid))
    raise SyscallError(E.ENOTTY)
