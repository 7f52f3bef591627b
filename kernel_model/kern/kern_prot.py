"""Who a process is: its ids, its group and session, its users and groups.

FreeBSD: sys/kern/kern_prot.c.  These handlers serve both ABIs, whose calls agree here.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from kernel_model.errno import EINVAL, EPERM, ESRCH
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.copyin import copyin, copyout

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.ucred import Ucred

NGROUPS_MAX = 1023
KEEP = 0xFFFFFFFF
"""An id of -1: leave it as it is."""


def sys_getpid(td: Thread) -> int:
    """getpid(2)."""
    return td.td_proc.p_pid


def sys_getppid(td: Thread) -> int:
    """getppid(2)."""
    return td.td_proc.p_ppid


def sys_gettid(td: Thread) -> int:
    """gettid(2): Linux's name for thr_self(2)."""
    return td.td_tid


def sys_getuid(td: Thread) -> int:
    """getuid(2)."""
    return td.td_proc.p_ucred.cr_ruid


def sys_geteuid(td: Thread) -> int:
    """geteuid(2)."""
    return td.td_proc.p_ucred.cr_uid


def sys_getgid(td: Thread) -> int:
    """getgid(2)."""
    return td.td_proc.p_ucred.cr_rgid


def sys_getegid(td: Thread) -> int:
    """getegid(2)."""
    return td.td_proc.p_ucred.cr_gid


def sys_issetugid(td: Thread) -> int:
    """issetugid(2): no program here gained privileges by execve."""
    return 0


# -- groups and sessions ------------------------------------------------------------------------------------


def _pfind(td: Thread, pid: int) -> Proc:
    if pid == 0 or pid == td.td_proc.p_pid:
        return td.td_proc
    proc = td.td_proc.kernel.procs.get(pid)
    if proc is None:
        raise SyscallError(ESRCH)
    return proc


def sys_getpgrp(td: Thread) -> int:
    """getpgrp(2)."""
    return td.td_proc.p_pgid


def sys_getpgid(td: Thread, pid: int) -> int:
    """getpgid(2)."""
    return _pfind(td, pid).p_pgid


def sys_getsid(td: Thread, pid: int) -> int:
    """getsid(2)."""
    return _pfind(td, pid).p_sid


def sys_setsid(td: Thread) -> int:
    """setsid(2): EPERM for a group leader."""
    proc = td.td_proc
    if any(other.p_pgid == proc.p_pid for other in proc.kernel.procs.values()):
        raise SyscallError(EPERM)
    proc.p_pgid = proc.p_sid = proc.p_pid
    kassert(proc.p_pid in proc.kernel.procs, "setsid: process %d is not in the table", proc.p_pid)
    return proc.p_pid


def sys_setpgid(td: Thread, pid: int, pgid: int) -> int:
    """setpgid(2).  Differs: a process that has called execve is not told from one that has not."""
    if pgid < 0:
        raise SyscallError(EINVAL)
    target = _pfind(td, pid)
    if target.p_sid == target.p_pid:
        raise SyscallError(EPERM)
    pgid = pgid or target.p_pid
    if pgid != target.p_pid and not any(
        other.p_pgid == pgid and other.p_sid == target.p_sid for other in td.td_proc.kernel.procs.values()
    ):
        raise SyscallError(EPERM)
    target.p_pgid = pgid
    return 0


# -- users and groups ---------------------------------------------------------------------------------------


def sys_getgroups(td: Thread, size: int, groups: int) -> int:
    """getgroups(2): EINVAL when *size* is too small, unless it is 0."""
    cred = td.td_proc.p_ucred
    known = cred.cr_groups
    if not known and td.td_proc.p_sysent.creds.groups_hold_egid:
        known = (cred.cr_gid,)
    if size == 0:
        return len(known)
    if size < len(known):
        raise SyscallError(EINVAL)
    copyout(td, groups, struct.pack(f"<{len(known)}I", *known))
    return len(known)


def sys_setgroups(td: Thread, size: int, groups: int) -> int:
    """setgroups(2)."""
    cred = td.td_proc.p_ucred
    if cred.cr_uid != 0:
        raise SyscallError(EPERM)
    rules = td.td_proc.p_sysent.creds
    if not 0 <= size <= rules.ngroups_max:
        raise SyscallError(EINVAL)
    wanted = struct.unpack(f"<{size}I", copyin(td, groups, 4 * size))
    gid = wanted[0] if size and rules.groups_hold_egid else cred.cr_gid
    proc_set_cred(td.td_proc, replace(cred, cr_groups=wanted, cr_gid=gid))
    return 0


class _Ids(NamedTuple):
    """The three ids that a process has as a user, or as a member of a group."""

    real: int
    effective: int
    saved: int


class _Kind(NamedTuple):
    """User ids or group ids: where they stand in a credential, and a credential with others."""

    ids: Callable[[Ucred], _Ids]
    replaced: Callable[[Ucred, _Ids], Ucred]


_USER = _Kind(
    lambda cred: _Ids(cred.cr_ruid, cred.cr_uid, cred.cr_svuid),
    lambda cred, ids: replace(cred, cr_ruid=ids.real, cr_uid=ids.effective, cr_svuid=ids.saved),
)
_GROUP = _Kind(
    lambda cred: _Ids(cred.cr_rgid, cred.cr_gid, cred.cr_svgid),
    lambda cred, ids: replace(cred, cr_rgid=ids.real, cr_gid=ids.effective, cr_svgid=ids.saved),
)


def proc_set_cred(proc: Proc, newcred: Ucred) -> None:
    """*proc* is *newcred* from now on: the only place that changes who a process is.

    FreeBSD: crcopysafe(), proc_set_cred().
    """
    kassert(newcred is not proc.p_ucred, "proc_set_cred: process %d has this credential already", proc.p_pid)
    proc.p_ucred = newcred


def _may_be(cred: Ucred, kind: _Kind, value: int) -> bool:
    """Whether an unprivileged process may take *value* as one of its ids."""
    return cred.cr_uid == 0 or value == KEEP or value in kind.ids(cred)


def _setres(td: Thread, kind: _Kind, real: int, effective: int, saved: int) -> int:
    cred = td.td_proc.p_ucred
    wanted = (real, effective, saved)
    if not all(_may_be(cred, kind, value) for value in wanted):
        raise SyscallError(EPERM)
    old = kind.ids(cred)
    new = _Ids(*(before if value == KEEP else value for before, value in zip(old, wanted, strict=True)))
    proc_set_cred(td.td_proc, kind.replaced(cred, new))
    return 0


def _set(td: Thread, kind: _Kind, value: int) -> int:
    """setuid(2), setgid(2): all three ids for the super-user, for others as the ABI says."""
    cred = td.td_proc.p_ucred
    rules = td.td_proc.p_sysent.creds
    if value == KEEP and not rules.minus_one_is_an_id:
        raise SyscallError(EINVAL)
    if not _may_be(cred, kind, value):
        raise SyscallError(EPERM)
    if cred.cr_uid != 0 and not rules.setid_sets_all:
        return _setres(td, kind, KEEP, value, KEEP)
    return _setres(td, kind, value, value, value)


def _setre(td: Thread, kind: _Kind, real: int, effective: int) -> int:
    """setreuid(2), setregid(2): the saved id follows the effective one when it matters."""
    cred = td.td_proc.p_ucred
    if not all(_may_be(cred, kind, value) for value in (real, effective)):
        raise SyscallError(EPERM)
    old = kind.ids(cred)
    new_effective = old.effective if effective == KEEP else effective
    follows = real != KEEP or effective not in (KEEP, old.real)
    new = _Ids(old.real if real == KEEP else real, new_effective, new_effective if follows else old.saved)
    proc_set_cred(td.td_proc, kind.replaced(cred, new))
    return 0


def sys_setuid(td: Thread, uid: int) -> int:
    """setuid(2)."""
    return _set(td, _USER, uid)


def sys_setgid(td: Thread, gid: int) -> int:
    """setgid(2)."""
    return _set(td, _GROUP, gid)


def sys_seteuid(td: Thread, uid: int) -> int:
    """seteuid(2)."""
    return _setres(td, _USER, KEEP, uid, KEEP)


def sys_setegid(td: Thread, gid: int) -> int:
    """setegid(2)."""
    return _setres(td, _GROUP, KEEP, gid, KEEP)


def sys_setreuid(td: Thread, ruid: int, euid: int) -> int:
    """setreuid(2)."""
    return _setre(td, _USER, ruid, euid)


def sys_setregid(td: Thread, rgid: int, egid: int) -> int:
    """setregid(2)."""
    return _setre(td, _GROUP, rgid, egid)


def sys_setresuid(td: Thread, ruid: int, euid: int, suid: int) -> int:
    """setresuid(2)."""
    return _setres(td, _USER, ruid, euid, suid)


def sys_setresgid(td: Thread, rgid: int, egid: int, sgid: int) -> int:
    """setresgid(2)."""
    return _setres(td, _GROUP, rgid, egid, sgid)


def sys_getresuid(td: Thread, ruid: int, euid: int, suid: int) -> int:
    """getresuid(2)."""
    cred = td.td_proc.p_ucred
    return _getres(td, (ruid, euid, suid), (cred.cr_ruid, cred.cr_uid, cred.cr_svuid))


def sys_getresgid(td: Thread, rgid: int, egid: int, sgid: int) -> int:
    """getresgid(2)."""
    cred = td.td_proc.p_ucred
    return _getres(td, (rgid, egid, sgid), (cred.cr_rgid, cred.cr_gid, cred.cr_svgid))


def _getres(td: Thread, places: tuple[int, ...], values: tuple[int, ...]) -> int:
    for place, value in zip(places, values, strict=True):
        if place or not td.td_proc.p_sysent.creds.getres_null:
            copyout(td, place, value.to_bytes(4, "little"))
    return 0


def sys_setfsuid(td: Thread, uid: int) -> int:
    """setfsuid(2) of Linux: the file-system id is the effective one here; returns the old."""
    return td.td_proc.p_ucred.cr_uid


def sys_setfsgid(td: Thread, gid: int) -> int:
    """setfsgid(2) of Linux."""
    return td.td_proc.p_ucred.cr_gid
