"""FreeBSD's ioctl numbers.

FreeBSD: sys/sys/ttycom.h, sys/sys/filio.h, sys/sys/ioccom.h: a number says how many bytes go in and out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.freebsd64.termios import termios_from_linux, termios_to_linux
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_ioctl import kern_ioctl, unknown_ioctl

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

IOC_OUT = 0x40000000
IOC_IN = 0x80000000
IOCPARM_MASK = 0x1FFF

IOCTLS: dict[int, str] = {
    0x402C7413: "TIOCGETA", 0x802C7414: "TIOCSETA", 0x802C7415: "TIOCSETAW", 0x802C7416: "TIOCSETAF",
    0x40087468: "TIOCGWINSZ", 0x80087467: "TIOCSWINSZ", 0x40047477: "TIOCGPGRP", 0x80047476: "TIOCSPGRP",
    0x40047463: "TIOCGSID", 0x20007461: "TIOCSCTTY", 0x20007471: "TIOCNOTTY", 0x40047473: "TIOCOUTQ",
    0x2000745E: "TIOCDRAIN", 0x80047410: "TIOCFLUSH", 0x4004667F: "FIONREAD", 0x8004667E: "FIONBIO",
    0x8004667D: "FIOASYNC", 0x20006601: "FIOCLEX", 0x20006602: "FIONCLEX",
}  # fmt: skip


def sys_ioctl(td: Thread, fd: int, command: int, data: int) -> int:
    """ioctl(2)."""
    command &= 0xFFFFFFFF
    name = IOCTLS.get(command)
    if name is None:
        unknown_ioctl(td, fd, command)
        return 0
    size = command >> 16 & IOCPARM_MASK
    argument = copyin(td, data, size) if command & IOC_IN else b""
    if name.startswith("TIOCSETA"):
        argument = termios_to_linux(argument)
    answer = kern_ioctl(td, fd, name, argument)
    if command & IOC_OUT:
        copyout(td, data, termios_from_linux(answer) if name == "TIOCGETA" else answer[:size])
    return 0
