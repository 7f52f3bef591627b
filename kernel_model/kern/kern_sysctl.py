"""sysctl(3): looking a name or number up, reading, writing.

FreeBSD: sys/kern/kern_sysctl.c; kern.proc.* are of sys/kern/kern_proc.c and kern_descrip.c.
Differs: no kinfo_proc and no kinfo_file: those names answer ENOENT and say so.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.errno import EINVAL, ENOENT, ENOMEM, ENOTDIR, EPERM, ESRCH
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyout, fuword64
from kernel_model.kern.kern_mib import Oid, encode, tree
from kernel_model.kern.vfs_lookup import vn_fullpath
from kernel_model.ktrace import Unsupported
from kernel_model.text import printable

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

CTL_MAXNAME = 24
MAXPATHLEN = 1024
_TYPE_OF_FORMAT = {"A": 3, "S": 5, "I": 2, "IU": 6, "L": 7, "LU": 8, "Q": 4, "QU": 9}
CTLFLAG_RD = 0x80000000
CTLFLAG_WR = 0x40000000

KERN_PROC_ARGS = 7
KERN_PROC_SV_NAME = 9
KERN_PROC_PATHNAME = 12
KERN_PROC_RLIMIT = 37
KERN_PROC_PS_STRINGS = 38
KERN_PROC_UMASK = 39
KERN_PROC_OSREL = 40
KERN_PROC_SIGTRAMP = 41
KERN_PROC_CWD = 42
_PROC_NAMES = {
    "args": KERN_PROC_ARGS, "sv_name": KERN_PROC_SV_NAME, "pathname": KERN_PROC_PATHNAME,
    "rlimit": KERN_PROC_RLIMIT, "ps_strings": KERN_PROC_PS_STRINGS, "umask": KERN_PROC_UMASK,
    "osrel": KERN_PROC_OSREL, "sigtramp": KERN_PROC_SIGTRAMP, "cwd": KERN_PROC_CWD, "pid": 1, "proc": 8,
    "vmmap": 32, "filedesc": 33, "groups": 34, "env": 35, "auxv": 36,
}  # fmt: skip


def sys___sysctl(
    td: Thread, name: int, namelen: int, old: int, oldlenp: int, new: int, newlen: int
) -> int:
    """__sysctl(2): by number."""
    if not 2 <= namelen <= CTL_MAXNAME:
        raise SyscallError(EINVAL)
    mib = struct.unpack(f"<{namelen}i", copyin(td, name, 4 * namelen))
    answer = kernel_sysctl(td, mib, new, newlen)
    return _answer(td, answer, old, oldlenp)


def sys___sysctlbyname(
    td: Thread, name: int, namelen: int, old: int, oldlenp: int, new: int, newlen: int
) -> int:
    """__sysctlbyname(2), from 12.2 on: by name."""
    if namelen > MAXPATHLEN:
        raise SyscallError(EINVAL)
    mib = name2oid(copyin(td, name, namelen).rstrip(b"\0").decode("latin-1"))
    answer = kernel_sysctl(td, mib, new, newlen)
    return _answer(td, answer, old, oldlenp)


def _answer(td: Thread, answer: bytes, old: int, oldlenp: int) -> int:
    """Copy what fits; ENOMEM when it is not all.  FreeBSD: userland_sysctl()."""
    if not oldlenp:
        if old:
            copyout(td, old, answer)
        return 0
    room = fuword64(td, oldlenp)
    if not old:
        copyout(td, oldlenp, len(answer).to_bytes(8, "little"))
        return 0
    part = answer[:room]
    copyout(td, old, part)
    copyout(td, oldlenp, len(part).to_bytes(8, "little"))
    if len(part) < len(answer) and not _may_be_cut(answer):
        raise SyscallError(ENOMEM)
    return 0


def _may_be_cut(answer: bytes) -> bool:
    """kern.arandom gives as many bytes as are asked for."""
    return isinstance(answer, _Random)


class _Random(bytes):
    """Random bytes: any number of them is a whole answer."""


def kernel_sysctl(td: Thread, mib: tuple[int, ...], new: int, newlen: int) -> bytes:
    """Read *mib*, and write it when *new* points to something.  Raises ENOENT, EPERM, EINVAL, ENOTDIR."""
    if mib[0] == 0:
        return _sysctl_internal(td, mib, new, newlen)
    if mib[:2] == (1, 14):
        return _kern_proc(td, mib)
    _, by_number, numbers = tree()
    oid = by_number.get(mib)
    if oid is None:
        if mib in numbers.values():
            raise SyscallError(ENOTDIR)
        _missing(td, ".".join(str(part) for part in mib))
        raise SyscallError(ENOENT)
    answer = encode(oid, oid.get(td))
    if oid.name == "kern.arandom":
        answer = _Random(answer)
    if new:
        _write(td, oid, new, newlen)
    return answer


def _write(td: Thread, oid: Oid, new: int, newlen: int) -> None:
    if oid.set is None or td.td_proc.p_ucred.cr_uid != 0:
        raise SyscallError(EPERM)
    if oid.fmt == "A":
        if oid.name == "kern.hostname":
            td.td_proc.kernel.hostname = copyin(td, new, min(newlen, 255)).split(b"\0")[0].decode("latin-1")
        return
    size = len(encode(oid, 0))
    if newlen != size:
        raise SyscallError(EINVAL)
    oid.set(td, int.from_bytes(copyin(td, new, size), "little", signed=oid.fmt in "ILQ"))


def _missing(td: Thread, name: str) -> None:
    kt = td.td_proc.kernel.ktrace
    if kt.unsupported is not None:
        kt.emit(Unsupported("sysctl", printable(name), pid=td.td_proc.p_pid))


# -- names and numbers --------------------------------------------------------------------------------------


def name2oid(name: str) -> tuple[int, ...]:
    """The number of *name*; ENOENT.  FreeBSD: name2oid()."""
    numbers = tree()[2]
    parts = name.rstrip(".").split(".")
    if parts[:2] == ["kern", "proc"] and len(parts) > 2 and parts[2] in _PROC_NAMES:
        tail = tuple(int(part) for part in parts[3:] if part.lstrip("-").isdigit())
        return (1, 14, _PROC_NAMES[parts[2]], *tail)
    known = numbers.get(".".join(parts))
    if known is None:
        raise SyscallError(ENOENT)
    return known


def _name_of(mib: tuple[int, ...]) -> str:
    for name, number in tree()[2].items():
        if number == mib:
            return name
    raise SyscallError(ENOENT)


def _sysctl_internal(td: Thread, mib: tuple[int, ...], new: int, newlen: int) -> bytes:
    """{0,1} name, {0,2} next, {0,3} name to number, {0,4} format, {0,5} description."""
    if mib == (0, 3):
        name = copyin(td, new, min(newlen, MAXPATHLEN)).split(b"\0")[0].decode("latin-1")
        try:
            number = name2oid(name)
        except SyscallError:
            _missing(td, name)
            raise
        return struct.pack(f"<{len(number)}i", *number)
    rest = mib[2:]
    if mib[1] == 1:
        return _name_of(rest).encode() + b"\0"
    if mib[1] == 2:
        after = sorted(number for number in tree()[1] if number > rest)
        if not after:
            raise SyscallError(ENOENT)
        return struct.pack(f"<{len(after[0])}i", *after[0])
    if mib[1] == 4:
        oid = tree()[1].get(rest)
        if oid is None:
            _ = _name_of(rest)
            return struct.pack("<I", CTLFLAG_RD | 1) + b"N\0"
        flags = CTLFLAG_RD | (CTLFLAG_WR if oid.set is not None else 0)
        shown = "S,unknown" if oid.fmt == "S" else oid.fmt
        return struct.pack("<I", flags | _TYPE_OF_FORMAT[oid.fmt]) + shown.encode() + b"\0"
    if mib[1] == 5:
        return b"\0"
    raise SyscallError(ENOENT)


# -- kern.proc ----------------------------------------------------------------------------------------------


def _kern_proc(td: Thread, mib: tuple[int, ...]) -> bytes:
    """kern.proc.*: what a process may ask about itself.  FreeBSD: sysctl_kern_proc_*()."""
    proc = td.td_proc
    if len(mib) < 4:
        raise SyscallError(EINVAL)
    what, pid = mib[2], mib[3]
    if pid not in (-1, proc.p_pid):
        raise SyscallError(ESRCH)
    if what == KERN_PROC_PATHNAME:
        if proc.p_textvp is None:
            raise SyscallError(ENOENT)
        return vn_fullpath(proc.p_textvp, proc.p_fd.fd_rdir) + b"\0"
    if what == KERN_PROC_CWD:
        return vn_fullpath(proc.p_fd.fd_cdir, proc.p_fd.fd_rdir) + b"\0"
    if what == KERN_PROC_ARGS:
        return b"".join(arg + b"\0" for arg in proc.p_args)
    if what == KERN_PROC_SV_NAME:
        return proc.p_sysent.sv_name.encode() + b"\0"
    if what == KERN_PROC_RLIMIT and len(mib) == 5 and 0 <= mib[4] < len(proc.p_limit.pl_rlimit):
        return struct.pack("<qq", *proc.p_limit.pl_rlimit[mib[4]])
    numbers = {
        KERN_PROC_UMASK: ("<H", proc.p_fd.fd_cmask),
        KERN_PROC_OSREL: ("<i", proc.p_osrel),
        KERN_PROC_PS_STRINGS: ("<Q", proc.p_sysent.sv_psstrings),
    }
    if what in numbers:
        layout, value = numbers[what]
        return struct.pack(layout, value)
    if what == KERN_PROC_SIGTRAMP:
        start = proc.p_sysent.sv_sigcode_base
        return struct.pack("<QQ", start, start + len(proc.p_sysent.sv_sigcode)) + bytes(32)
    _missing(td, f"kern.proc.{what}")
    raise SyscallError(ENOENT)
