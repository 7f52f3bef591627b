"""struct termios of FreeBSD out of the Linux kernel's, which the host's terminal speaks, and back.

FreeBSD: sys/sys/_termios.h.
Differs: CRTSCTS, ONOEOT, TAB3, ALTWERASE, EXTPROC, NOKERNINFO and VERASE2 are not passed on.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TERMIOS = struct.Struct("<4I20s2I")

_IFLAG = (
    (0x1, 0x1), (0x2, 0x2), (0x4, 0x4), (0x8, 0x8), (0x10, 0x10), (0x20, 0x20), (0x40, 0x40), (0x80, 0x80),
    (0x100, 0x100), (0x200, 0x400), (0x400, 0x1000), (0x800, 0x800), (0x2000, 0x2000),
)  # fmt: skip
"""c_iflag (FreeBSD, Linux): IGNBRK BRKINT IGNPAR PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IXON IXOFF IXANY IMAXBEL."""
_OFLAG = ((0x1, 0x1), (0x2, 0x4), (0x10, 0x8), (0x20, 0x10), (0x40, 0x20))
"""c_oflag bits: OPOST ONLCR OCRNL ONOCR ONLRET."""
_CFLAG = ((0x400, 0x40), (0x800, 0x80), (0x1000, 0x100), (0x2000, 0x200), (0x4000, 0x400), (0x8000, 0x800))
"""c_cflag bits: CSTOPB CREAD PARENB PARODD HUPCL CLOCAL."""
_LFLAG = (
    (0x1, 0x800), (0x2, 0x10), (0x4, 0x20), (0x8, 0x8), (0x10, 0x40), (0x20, 0x400), (0x40, 0x200), (0x80, 0x1),
    (0x100, 0x2), (0x400, 0x8000), (0x400000, 0x100), (0x800000, 0x1000), (0x20000000, 0x4000), (0x80000000, 0x80),
)  # fmt: skip
"""c_lflag bits: ECHOKE ECHOE ECHOK ECHO ECHONL ECHOPRT ECHOCTL ISIG ICANON IEXTEN TOSTOP FLUSHO PENDIN NOFLSH."""
_CC = {0: 4, 1: 11, 2: 16, 3: 2, 4: 14, 5: 3, 6: 12, 8: 0, 9: 1, 10: 10, 12: 8, 13: 9, 14: 15, 15: 13, 16: 6, 17: 5}
"""Control characters, FreeBSD's index to Linux's.  VDSUSP (11) and VSTATUS (18) have no equal."""
_FREEBSD_ONLY_CC = {11: 25, 18: 20}
_CSIZE, _LINUX_CSIZE, _CBAUD = 0x300, 0x30, 0x100F
_SPEEDS = (0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400)
_FAST = (57600, 115200, 230400, 460800)


def _swap(value: int, table: Sequence[tuple[int, int]], *, to_linux: bool) -> int:
    out = 0
    for freebsd, linux in table:
        have, give = (freebsd, linux) if to_linux else (linux, freebsd)
        if value & have:
            out |= give
    return out


def termios_from_linux(data: bytes) -> bytes:
    """struct termios for a FreeBSD program out of the Linux kernel's."""
    iflag, oflag, cflag, lflag = struct.unpack("<4I", data[:16])
    linux_cc = data[17:36]
    cc = bytearray(b"\xff" * 20)
    for freebsd, linux in _CC.items():
        cc[freebsd] = linux_cc[linux] or (0 if freebsd in (16, 17) else 0xFF)
    for freebsd, value in _FREEBSD_ONLY_CC.items():
        cc[freebsd] = value
    code = cflag & _CBAUD
    speed = _SPEEDS[code] if code < 16 else _FAST[min((code & 15) - 1, 3)]
    flags = _swap(cflag, _CFLAG, to_linux=False) | (cflag & _LINUX_CSIZE) << 4
    return TERMIOS.pack(
        _swap(iflag, _IFLAG, to_linux=False), _swap(oflag, _OFLAG, to_linux=False), flags,
        _swap(lflag, _LFLAG, to_linux=False), bytes(cc), speed, speed,
    )  # fmt: skip


def termios_to_linux(data: bytes) -> bytes:
    """The Linux kernel's struct termios out of a FreeBSD program's."""
    iflag, oflag, cflag, lflag, cc, _, speed = TERMIOS.unpack(data)
    linux_cc = bytearray(19)
    for freebsd, linux in _CC.items():
        linux_cc[linux] = 0 if cc[freebsd] == 0xFF else cc[freebsd]
    if speed in _SPEEDS:
        code = _SPEEDS.index(speed)
    else:
        code = 0x1001 + _FAST.index(speed) if speed in _FAST else 15
    flags = _swap(cflag, _CFLAG, to_linux=True) | (cflag & _CSIZE) >> 4 | code
    head = struct.pack(
        "<4IB", _swap(iflag, _IFLAG, to_linux=True), _swap(oflag, _OFLAG, to_linux=True), flags,
        _swap(lflag, _LFLAG, to_linux=True), 0,
    )  # fmt: skip
    return head + bytes(linux_cc)
