"""Which Linux kernel a Linux program is told it runs on: uname(2) and /proc say the same.

FreeBSD: sys/compat/linux/linux_mib.c.  It stands below fs and abi, which both ask.
"""

from __future__ import annotations

LINUX_OSNAME = "Linux"
LINUX_RELEASE = "6.1.0-growstack"
"""New enough for every libc of Debian 12."""
LINUX_VERSION = "#1 SMP PREEMPT_DYNAMIC growstack"
