"""Credentials: whose process it is, and who pays for memory.

FreeBSD: struct ucred, sys/sys/ucred.h.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Ucred:
    """Who a process is: struct ucred.

    It is replaced and never changed, by ``proc_set_cred`` of kern_prot: what was charged to its user is given back to
    that user, whoever the process has become.  Two are the same only as one object.
    """

    cr_uid: int = 0
    cr_ruid: int = 0
    cr_svuid: int = 0
    cr_gid: int = 0
    cr_rgid: int = 0
    cr_svgid: int = 0
    cr_groups: tuple[int, ...] = (0,)
