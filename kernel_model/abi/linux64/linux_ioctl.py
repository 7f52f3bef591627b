"""Linux's ioctl numbers.

Model only: asm-generic/ioctls.h; the host's terminal already speaks this layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_ioctl import kern_ioctl, unknown_ioctl

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

IOCTLS: dict[int, tuple[str, int, int]] = {
    0x5401: ("TIOCGETA", 0, 36),
    0x5402: ("TIOCSETA", 36, 0),
    0x5403: ("TIOCSETAW", 36, 0),
    0x5404: ("TIOCSETAF", 36, 0),
    0x5409: ("TIOCDRAIN", 0, 0),
    0x540B: ("TIOCFLUSH", 0, 0),
    0x540E: ("TIOCSCTTY", 0, 0),
    0x540F: ("TIOCGPGRP", 0, 4),
    0x5410: ("TIOCSPGRP", 4, 0),
    0x5411: ("TIOCOUTQ", 0, 4),
    0x5413: ("TIOCGWINSZ", 0, 8),
    0x5414: ("TIOCSWINSZ", 8, 0),
    0x541B: ("FIONREAD", 0, 4),
    0x5421: ("FIONBIO", 4, 0),
    0x5422: ("TIOCNOTTY", 0, 0),
    0x5429: ("TIOCGSID", 0, 4),
    0x5450: ("FIONCLEX", 0, 0),
    0x5451: ("FIOCLEX", 0, 0),
    0x5452: ("FIOASYNC", 4, 0),
}
"""Number to FreeBSD's name, bytes in, bytes out."""


def sys_ioctl(td: Thread, fd: int, command: int, data: int) -> int:
    """ioctl(2)."""
    row = IOCTLS.get(command)
    if row is None:
        unknown_ioctl(td, fd, command)
        return 0
    name, size_in, size_out = row
    answer = kern_ioctl(td, fd, name, copyin(td, data, size_in) if size_in else b"")
    if size_out:
        copyout(td, data, answer[:size_out])
    return 0
