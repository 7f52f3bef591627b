"""Which Linux kernel a Linux program is told it runs on.

FreeBSD: sys/compat/linux/linux_mib.c.
"""

from __future__ import annotations

LINUX_OSNAME = "Linux"
LINUX_OSRELEASE = "5.15.0"
"""glibc refuses less than 3.2; the calls that are there are those of about this version."""
LINUX_VERSION = "#1 SMP"
