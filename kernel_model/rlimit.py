"""Numbers of the resource limits.

FreeBSD: sys/sys/resource.h.  They stand below vm and kern, which both use them.
"""

from __future__ import annotations

RLIMIT_CPU = 0
RLIMIT_FSIZE = 1
RLIMIT_DATA = 2
RLIMIT_STACK = 3
RLIMIT_CORE = 4
RLIMIT_RSS = 5
RLIMIT_MEMLOCK = 6
RLIMIT_NPROC = 7
RLIMIT_NOFILE = 8
RLIMIT_SBSIZE = 9
RLIMIT_VMEM = 10
RLIMIT_AS = RLIMIT_VMEM
RLIMIT_NPTS = 11
RLIMIT_SWAP = 12
RLIMIT_KQUEUES = 13
RLIMIT_UMTXP = 14
RLIM_NLIMITS = 15

RLIM_INFINITY = (1 << 63) - 1

RLIMIT_NAMES: dict[int, str] = {
    RLIMIT_CPU: "cpu",
    RLIMIT_FSIZE: "fsize",
    RLIMIT_DATA: "data",
    RLIMIT_STACK: "stack",
    RLIMIT_CORE: "core",
    RLIMIT_RSS: "rss",
    RLIMIT_MEMLOCK: "memlock",
    RLIMIT_NPROC: "nproc",
    RLIMIT_NOFILE: "nofile",
    RLIMIT_SBSIZE: "sbsize",
    RLIMIT_VMEM: "vmem",
    RLIMIT_NPTS: "npts",
    RLIMIT_SWAP: "swap",
    RLIMIT_KQUEUES: "kqueues",
    RLIMIT_UMTXP: "umtxp",
}
