"""The names that sysctl(3) knows, with their numbers, formats and values.

FreeBSD: sys/kern/kern_mib.c and the SYSCTL_* lines of kern_exec.c, kern_proc.c, vm_meter.c, vm_map.c and others;
numbers from sys/sys/sysctl.h.  A name without a number of its own gets one from 0x100 on, as CTL_AUTO_START does.
Differs: one processor; values of a machine with nothing to tune are those of GENERIC.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from kernel_model.errno import EINVAL
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.kern_descrip import MAXFILESPERPROC
from kernel_model.kern.kern_resource import MAXPROCPERUID
from kernel_model.kern.kern_time import pack_timeval
from kernel_model.kern.resourcevar import MAXDSIZ
from kernel_model.vm.vm_param import DFLSSIZ, NBPDR, PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread
    from kernel_model.vm.vm_init import Vm

Value = int | str | bytes
Getter = Callable[["Thread"], Value]
Setter = Callable[["Thread", int], None]

SIZES = {"I": 4, "IU": 4, "L": 8, "LU": 8, "Q": 8, "QU": 8}


class Oid(NamedTuple):
    """One leaf: struct sysctl_oid."""

    name: str
    fmt: str
    """I IU L LU Q QU are numbers; A is a string, S a structure."""
    get: Getter
    set: Setter | None = None
    mib: tuple[int, ...] = ()


def encode(oid: Oid, value: Value) -> bytes:
    """The bytes that a program reads."""
    if isinstance(value, str):
        return value.encode() + b"\0"
    if isinstance(value, bytes):
        return value
    kassert(oid.fmt in SIZES, "sysctl %s: %r is no number", oid.name, oid.fmt)
    size = SIZES[oid.fmt]
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _const(value: Value) -> Getter:
    return lambda td: value


def _vm(name: str) -> tuple[Getter, Setter]:
    """A tunable that is a field of Vm."""

    def get(td: Thread) -> int:
        return int(getattr(td.td_proc.kernel.vm, name))

    def set_(td: Thread, value: int) -> None:
        setattr(td.td_proc.kernel.vm, name, value)

    return get, set_


def _pages_of_stack(name: str, unit: int) -> tuple[Getter, Setter]:
    """A size that stacks are made with, *unit* bytes the piece it counts in.

    Differs: the kernel takes any number, and an INVARIANTS kernel then panics at the next stack; EINVAL here unless it
    is whole pages within what a stack may have.
    """
    get, plain_set = _vm(name)

    def set_(td: Thread, value: int) -> None:
        size = value * unit
        if size & PAGE_MASK or not 0 <= size <= td.td_proc.kernel.vm.maxssiz or (unit == 1 and not size):
            raise SyscallError(EINVAL)
        plain_set(td, value)

    return get, set_


def _tunable(name: str, default: int) -> tuple[Getter, Setter]:
    """A tunable kept by name in the kernel."""

    def get(td: Thread) -> int:
        return td.td_proc.kernel.tunables.get(name, default)

    def set_(td: Thread, value: int) -> None:
        td.td_proc.kernel.tunables[name] = value

    return get, set_


def _set_hostname(td: Thread, value: int) -> None:
    """Strings are written through kern_sysctl; see there."""


def _version(td: Thread) -> str:
    release = td.td_proc.kernel.release
    return f"FreeBSD {release.version} growstack\n"


def _meter(name: str) -> Getter:
    return lambda td: int(getattr(td.td_proc.kernel.vm.cnt, name))


def _queue(index: int) -> Getter:
    def get(td: Thread) -> int:
        vm: Vm = td.td_proc.kernel.vm
        return vm.pagequeues[index].cnt

    return get


def _loadavg(td: Thread) -> bytes:
    return struct.pack("<3I4xq", 0, 0, 0, 2048)


def _total(td: Thread) -> int:
    return td.td_proc.kernel.vm.cnt.v_page_count << PAGE_SHIFT


def _boottime(td: Thread) -> bytes:
    return pack_timeval(td.td_proc.kernel.boottime)


def _arandom(td: Thread) -> bytes:
    return td.td_proc.kernel.random_bytes(256)


_KERN: tuple[tuple[str, str, Value, tuple[int, ...]], ...] = (
    ("kern.ostype", "A", "FreeBSD", (1, 1)),
    ("kern.osrevision", "I", 199506, (1, 3)),
    ("kern.maxvnodes", "I", 100000, (1, 5)),
    ("kern.maxproc", "I", MAXPROCPERUID + 20, (1, 6)),
    ("kern.maxfiles", "I", 64000, (1, 7)),
    ("kern.securelevel", "I", -1, (1, 9)),
    ("kern.hostid", "LU", 0, (1, 11)),
    ("kern.clockrate", "S", struct.pack("<5i", 1000, 1000, 0, 127, 8126), (1, 12)),
    ("kern.posix1version", "I", 200112, (1, 17)),
    ("kern.ngroups", "I", 1023, (1, 18)),
    ("kern.job_control", "I", 1, (1, 19)),
    ("kern.saved_ids", "I", 1, (1, 20)),
    ("kern.domainname", "A", "", (1, 22)),
    ("kern.bootfile", "A", "/boot/kernel/kernel", (1, 26)),
    ("kern.maxfilesperproc", "I", MAXFILESPERPROC, (1, 27)),
    ("kern.maxprocperuid", "I", MAXPROCPERUID, (1, 28)),
    ("kern.iov_max", "I", 1024, (1, 35)),
    ("kern.hostuuid", "A", "00000000-0000-0000-0000-000000000000", (1, 36)),
    ("kern.maxphys", "LU", 131072, (1, 38)),
    ("kern.ident", "A", "GROWSTACK", ()),
    ("kern.conftxt", "A", "", ()),
    ("kern.compiler_version", "A", "", ()),
    ("kern.maxssiz", "LU", 0, ()),
    ("kern.maxdsiz", "LU", MAXDSIZ, ()),
    ("kern.dflssiz", "LU", DFLSSIZ, ()),
    ("kern.hz", "I", 1000, ()),
    ("kern.smp.maxcpus", "I", 256, ()),
    ("kern.smp.cpus", "I", 1, ()),
    ("kern.smp.active", "I", 0, ()),
    ("kern.sched.cpusetsize", "I", 32, ()),
    ("kern.sched.name", "A", "4BSD", ()),
    ("kern.coredump", "I", 0, ()),
    ("kern.corefile", "A", "%N.core", ()),
    ("kern.threads.max_threads_per_proc", "I", 1500, ()),
    ("kern.sigqueue.max_pending_per_proc", "I", 128, ()),
    ("kern.ipc.maxsockbuf", "LU", 2097152, ()),
    ("kern.ipc.somaxconn", "I", 128, ()),
    ("kern.ipc.shm_allow_removed", "I", 0, ()),
    ("kern.ipc.nmbclusters", "I", 65536, ()),
    ("kern.elf64.aslr.enable", "I", 0, ()),
    ("kern.elf64.nxstack", "I", 1, ()),
    ("kern.features.posix_shm", "I", 1, ()),
    ("kern.trap_enotcap", "I", 0, ()),
    ("hw.machine", "A", "amd64", (6, 1)),
    ("hw.model", "A", "growstack virtual processor", (6, 2)),
    ("hw.ncpu", "I", 1, (6, 3)),
    ("hw.byteorder", "I", 1234, (6, 4)),
    ("hw.pagesize", "I", PAGE_SIZE, (6, 7)),
    ("hw.floatingpoint", "I", 1, (6, 10)),
    ("hw.machine_arch", "A", "amd64", (6, 11)),
    ("hw.pagesizes", "S", struct.pack("<3Q", PAGE_SIZE, NBPDR, 0), ()),
    ("hw.instruction_sse", "I", 1, ()),
    ("hw.clockrate", "I", 2000, ()),
    ("hw.availpages", "LU", 0, ()),
    ("user.cs_path", "A", "/usr/bin:/bin:/usr/sbin:/sbin", (8, 1)),
    ("user.bc_base_max", "I", 99, (8, 2)),
    ("user.bc_dim_max", "I", 2048, (8, 3)),
    ("user.bc_scale_max", "I", 99, (8, 4)),
    ("user.bc_string_max", "I", 1000, (8, 5)),
    ("user.coll_weights_max", "I", 10, (8, 6)),
    ("user.expr_nest_max", "I", 32, (8, 7)),
    ("user.line_max", "I", 2048, (8, 8)),
    ("user.re_dup_max", "I", 255, (8, 9)),
    ("user.posix2_version", "I", 199212, (8, 10)),
    ("user.stream_max", "I", 20, (8, 19)),
    ("user.tzname_max", "I", 255, (8, 20)),
    ("user.localbase", "A", "/usr/local", (8, 21)),
    ("p1003_1b.asynchronous_io", "I", 0, (9, 1)),
    ("p1003_1b.mapped_files", "I", 200112, (9, 2)),
    ("p1003_1b.memlock", "I", 200112, (9, 3)),
    ("p1003_1b.memlock_range", "I", 200112, (9, 4)),
    ("p1003_1b.memory_protection", "I", 200112, (9, 5)),
    ("p1003_1b.message_passing", "I", 0, (9, 6)),
    ("p1003_1b.prioritized_io", "I", 0, (9, 7)),
    ("p1003_1b.priority_scheduling", "I", 200112, (9, 8)),
    ("p1003_1b.realtime_signals", "I", 200112, (9, 9)),
    ("p1003_1b.semaphores", "I", 0, (9, 10)),
    ("p1003_1b.fsync", "I", 200112, (9, 11)),
    ("p1003_1b.shared_memory_objects", "I", 200112, (9, 12)),
    ("p1003_1b.synchronized_io", "I", 0, (9, 13)),
    ("p1003_1b.timers", "I", 200112, (9, 14)),
    ("p1003_1b.aio_listio_max", "I", 0, (9, 15)),
    ("p1003_1b.aio_max", "I", 0, (9, 16)),
    ("p1003_1b.delaytimer_max", "I", (1 << 31) - 1, (9, 18)),
    ("p1003_1b.mq_open_max", "I", 0, (9, 19)),
    ("p1003_1b.pagesize", "I", PAGE_SIZE, (9, 20)),
    ("p1003_1b.rtsig_max", "I", 62, (9, 21)),
    ("p1003_1b.nsems_max", "I", 0, (9, 22)),
    ("p1003_1b.sem_value_max", "I", 0, (9, 23)),
    ("p1003_1b.sigqueue_max", "I", 128, (9, 24)),
    ("p1003_1b.timer_max", "I", 32, (9, 25)),
    ("security.bsd.unprivileged_mlock", "I", 1, ()),
    ("security.bsd.see_other_uids", "I", 1, ()),
    ("security.jail.jailed", "I", 0, ()),
    ("vm.stats.vm.v_page_size", "IU", PAGE_SIZE, ()),
)
"""Names whose value never changes."""

_FROM_METER = (
    "v_page_count", "v_free_count", "v_free_min", "v_free_reserved", "v_wire_count", "v_vm_faults", "v_cow_faults",
    "v_zfod", "v_vnodein", "v_vnodepgsin", "v_swapin", "v_swapout",
)  # fmt: skip


def _changing() -> list[Oid]:
    """Names whose value depends on the kernel or the process."""

    def kernel(attribute: str) -> Getter:
        return lambda td: getattr(td.td_proc.kernel, attribute)

    def release(attribute: str) -> Getter:
        return lambda td: getattr(td.td_proc.kernel.release, attribute)

    def sysent(attribute: str) -> Getter:
        return lambda td: getattr(td.td_proc.p_sysent, attribute)

    rows = [
        Oid("kern.osrelease", "A", release("version"), mib=(1, 2)),
        Oid("kern.version", "A", _version, mib=(1, 4)),
        Oid("kern.hostname", "A", kernel("hostname"), _set_hostname, mib=(1, 10)),
        Oid("kern.boottime", "S", _boottime, mib=(1, 21)),
        Oid("kern.argmax", "I", release("arg_max"), mib=(1, 8)),
        Oid("kern.osreldate", "I", release("osreldate"), mib=(1, 24)),
        Oid("kern.ps_strings", "LU", sysent("sv_psstrings"), mib=(1, 32)),
        Oid("kern.usrstack", "LU", sysent("sv_usrstack"), mib=(1, 33)),
        Oid("kern.arandom", "S", _arandom, mib=(1, 37)),
        Oid("kern.maxssiz", "LU", _vm("maxssiz")[0]),
        Oid("kern.dfldsiz", "LU", release("dfldsiz")),
        Oid("kern.maxtsiz", "LU", release("maxtsiz")),
        Oid("kern.sgrowsiz", "LU", *_pages_of_stack("sgrowsiz", 1)),
        Oid("kern.openfiles", "I", lambda td: len(td.td_proc.p_fd.fd_files)),
        Oid("hw.physmem", "LU", _total, mib=(6, 5)),
        Oid("hw.usermem", "LU", _total, mib=(6, 6)),
        Oid("hw.realmem", "LU", _total, mib=(6, 12)),
        Oid("hw.availpages", "LU", _meter("v_page_count")),
        Oid("vm.loadavg", "S", _loadavg, mib=(2, 2)),
        Oid("vm.overcommit", "I", *_vm("overcommit"), mib=(2, 12)),
        Oid("vm.old_mlock", "I", *_vm("old_mlock")),
        Oid("vm.cluster_anon", "I", *_vm("cluster_anon")),
        Oid("vm.max_user_wired", "LU", *_vm("max_user_wired")),
        Oid("vm.swap_total", "QU", _vm("swap_total")[0]),
        Oid("vm.swap_reserved", "QU", _vm("swap_reserved")[0]),
        Oid("vm.stats.vm.v_inactive_count", "IU", _queue(0)),
        Oid("vm.stats.vm.v_active_count", "IU", _queue(1)),
        Oid("security.bsd.stack_guard_page", "I", *_pages_of_stack("stack_guard_page", PAGE_SIZE)),
        Oid("security.bsd.map_at_zero", "I", *_tunable("security.bsd.map_at_zero", 0)),
        Oid("machdep.prot_fault_translation", "I", *_tunable("machdep.prot_fault_translation", 0)),
        Oid("kern.forcesigexit", "I", *_tunable("kern.forcesigexit", 1)),
    ]
    rows += [Oid(f"vm.stats.vm.{name}", "IU", _meter(name)) for name in _FROM_METER]
    return rows


_TOP = {
    "kern": 1, "vm": 2, "vfs": 3, "net": 4, "debug": 5, "hw": 6, "machdep": 7, "user": 8, "p1003_1b": 9,
    "compat": 10, "security": 11,
}  # fmt: skip


@cache
def tree() -> tuple[dict[str, Oid], dict[tuple[int, ...], Oid], dict[str, tuple[int, ...]]]:
    """All leaves by name and by number, and the number of every node."""
    oids = {name: Oid(name, fmt, _const(value), mib=mib) for name, fmt, value, mib in _KERN}
    oids.update({oid.name: oid for oid in _changing()})
    numbers: dict[str, tuple[int, ...]] = {name: (number,) for name, number in _TOP.items()}
    numbers.update({oid.name: oid.mib for oid in oids.values() if oid.mib})
    numbers["kern.proc"] = (1, 14)
    fresh = 0x100
    for name in oids:
        parts = name.split(".")
        for depth in range(2, len(parts) + 1):
            node = ".".join(parts[:depth])
            if node not in numbers:
                numbers[node] = (*numbers[".".join(parts[: depth - 1])], fresh)
                fresh += 1
    by_number = {numbers[name]: oid for name, oid in oids.items()}
    kassert(len(by_number) == len(oids), "sysctl: two names have one number")
    return oids, by_number, numbers


