"""Words about the ABIs of programs; struct sysentvec itself stands with the processes, in ``proc``.

FreeBSD: SV_* of sys/sys/sysent.h.
"""

from __future__ import annotations

from collections.abc import Callable

SV_ABI_LINUX = 3
SV_ABI_FREEBSD = 9
SV_ABI_MASK = 0xFF
SV_SHP = 0x010000
"""The ABI has a shared page at the top of user space."""

Syscall = Callable[[int, int, int, int, int, int, int], "int | tuple[int, int]"]
"""``(code, a0 .. a5)`` of the current thread; see subr_syscall.bind()."""
