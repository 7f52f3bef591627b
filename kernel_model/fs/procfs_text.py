"""The texts of /proc that are lists of numbers.

FreeBSD: sys/compat/linprocfs/linprocfs.c.
Differs: what is not measured is 0.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.kern.linux_mib import LINUX_OSNAME, LINUX_RELEASE, LINUX_VERSION
from kernel_model.rlimit import (
    RLIM_INFINITY,
    RLIMIT_AS,
    RLIMIT_CORE,
    RLIMIT_CPU,
    RLIMIT_DATA,
    RLIMIT_FSIZE,
    RLIMIT_MEMLOCK,
    RLIMIT_NOFILE,
    RLIMIT_NPROC,
    RLIMIT_RSS,
    RLIMIT_STACK,
)
from kernel_model.vm.vm_param import PAGE_SHIFT

if TYPE_CHECKING:
    from kernel_model.kern.proc import Kernel, Proc
    from kernel_model.kern.vnode import Vnode

HZ = 100
NSEC = 1_000_000_000
_CPU_FLAGS = "fpu de pse tsc msr pae mce cx8 apic cmov pat clflush mmx fxsr sse sse2 syscall nx lm"


def _table(rows: list[tuple[str, str]], separator: str) -> bytes:
    return "".join(f"{name}{separator}{value}\n" for name, value in rows).encode()


# -- the kernel -----------------------------------------------------------------------------------------


def osrelease(kernel: Kernel) -> bytes:
    """What uname -r says to a Linux program."""
    return LINUX_RELEASE.encode()


def kernel_version(kernel: Kernel) -> bytes:
    """/proc/version."""
    return f"{LINUX_OSNAME} version {LINUX_RELEASE} (growstack) {LINUX_VERSION}\n".encode()


def cpuinfo(kernel: Kernel) -> bytes:
    """/proc/cpuinfo: one processor."""
    return _table([
        ("processor\t", "0"), ("vendor_id\t", "AuthenticAMD"), ("cpu family\t", "15"), ("model\t\t", "107"),
        ("model name\t", "QEMU Virtual CPU version 2.5+"), ("stepping\t", "1"), ("cpu MHz\t\t", "1000.000"),
        ("cache size\t", "512 KB"), ("physical id\t", "0"), ("siblings\t", "1"), ("core id\t\t", "0"),
        ("cpu cores\t", "1"), ("fpu\t\t", "yes"), ("flags\t\t", _CPU_FLAGS), ("bogomips\t", "2000.00"),
        ("clflush size\t", "64"), ("address sizes\t", "40 bits physical, 48 bits virtual"),
    ], ": ") + b"\n"  # fmt: skip


def meminfo(kernel: Kernel) -> bytes:
    """/proc/meminfo, in kilobytes."""
    cnt = kernel.vm.cnt
    page = (1 << PAGE_SHIFT) >> 10
    total, free = cnt.v_page_count * page, cnt.v_free_count * page
    swap, used = kernel.vm.swap_total >> 10, 0
    device = kernel.vm.swap_device
    if device is not None:
        used = device.used * page
    rows = [
        ("MemTotal", total), ("MemFree", free), ("MemAvailable", free), ("Buffers", 0), ("Cached", 0),
        ("SwapCached", 0), ("SwapTotal", swap), ("SwapFree", swap - used),
    ]  # fmt: skip
    return "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in rows).encode()


def uptime(kernel: Kernel) -> bytes:
    """/proc/uptime."""
    seconds = kernel.clock.nanouptime() / NSEC
    return f"{seconds:.2f} 0.00\n".encode()


def loadavg(kernel: Kernel) -> bytes:
    """/proc/loadavg."""
    return f"0.00 0.00 0.00 1/{len(kernel.procs)} {kernel.lastpid}\n".encode()


def stat(kernel: Kernel) -> bytes:
    """/proc/stat."""
    ticks = kernel.clock.cputime() * HZ // NSEC
    line = f"{ticks} 0 0 0 0 0 0 0 0 0"
    return (
        f"cpu  {line}\ncpu0 {line}\nintr 0\nctxt 0\nbtime {kernel.boottime // NSEC}\n"
        f"processes {len(kernel.procs)}\nprocs_running 1\nprocs_blocked 0\n"
    ).encode()


def filesystems(kernel: Kernel) -> bytes:
    """/proc/filesystems."""
    return b"nodev\tproc\nnodev\tdevtmpfs\n\text4\n"


# -- a process ------------------------------------------------------------------------------------------------


def pid_cmdline(proc: Proc) -> bytes:
    """The arguments, each with its NUL."""
    return b"".join(arg + b"\0" for arg in proc.p_args)


def pid_environ(proc: Proc) -> bytes:
    """The first environment; what the program changed since is not in it, unlike on Linux."""
    return b"".join(string + b"\0" for string in proc.p_envv)


def _sizes(proc: Proc) -> tuple[int, int]:
    """Pages mapped and pages resident."""
    vmspace = proc.p_vmspace
    return vmspace.vm_map.size >> PAGE_SHIFT, vmspace.vm_pmap.resident_count


def pid_stat(proc: Proc) -> bytes:
    """The 52 numbers of /proc/<pid>/stat."""
    size, resident = _sizes(proc)
    vmspace = proc.p_vmspace
    td = proc.p_threads[0] if proc.p_threads else None
    frame = None if td is None else td.td_cpu.get_frame()
    state = "Z" if proc.p_state else "R"
    ticks = proc.kernel.clock.cputime() * HZ // NSEC
    cnt = proc.kernel.vm.cnt
    limit = proc.p_limit.lim_cur(RLIMIT_RSS)
    text = vmspace.vm_taddr
    fields: list[object] = [
        proc.p_pid, f"({proc.p_comm[:15]})", state, proc.p_ppid, proc.p_pgid, proc.p_sid, 0, -1, 0,
        cnt.v_vm_faults, 0, cnt.v_vnodein, 0, ticks, 0, 0, 0, 20, 0, len(proc.p_threads), 0, 0,
        size << PAGE_SHIFT, resident, (1 << 64) - 1 if limit == RLIM_INFINITY else limit,
        text, text + (vmspace.vm_tsize << PAGE_SHIFT), proc.p_sysent.sv_usrstack,
        0 if frame is None else frame.rsp, 0 if frame is None else frame.rip,
        0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0,
        vmspace.vm_daddr, vmspace.vm_daddr + (vmspace.vm_dsize << PAGE_SHIFT), 0, 0, 0, 0, 0, proc.p_xexit << 8,
    ]  # fmt: skip
    kassert(len(fields) == 52, "procfs: stat has %d numbers", len(fields))
    return " ".join(map(str, fields)).encode(errors="surrogateescape") + b"\n"


def pid_statm(proc: Proc) -> bytes:
    """Sizes in pages."""
    size, resident = _sizes(proc)
    vmspace = proc.p_vmspace
    data = vmspace.vm_dsize + vmspace.vm_ssize
    return f"{size} {resident} 0 {vmspace.vm_tsize} 0 {data} 0\n".encode()


def pid_status(proc: Proc) -> bytes:
    """/proc/<pid>/status."""
    size, resident = _sizes(proc)
    vmspace = proc.p_vmspace
    cred = proc.p_ucred
    page = (1 << PAGE_SHIFT) >> 10
    rows = [
        ("Name", proc.p_comm[:15]), ("Umask", f"{proc.p_fd.fd_cmask:04o}"), ("State", "R (running)"),
        ("Tgid", str(proc.p_pid)), ("Ngid", "0"), ("Pid", str(proc.p_pid)), ("PPid", str(proc.p_ppid)),
        ("TracerPid", "0"), ("Uid", f"{cred.cr_ruid}\t{cred.cr_uid}\t{cred.cr_svuid}\t{cred.cr_uid}"),
        ("Gid", f"{cred.cr_rgid}\t{cred.cr_gid}\t{cred.cr_svgid}\t{cred.cr_gid}"), ("FDSize", "64"),
        ("Groups", " ".join(map(str, cred.cr_groups))), ("VmPeak", f"{size * page:>8} kB"),
        ("VmSize", f"{size * page:>8} kB"), ("VmLck", f"{vmspace.vm_pmap.wired_count * page:>8} kB"),
        ("VmHWM", f"{resident * page:>8} kB"), ("VmRSS", f"{resident * page:>8} kB"),
        ("VmData", f"{vmspace.vm_dsize * page:>8} kB"), ("VmStk", f"{vmspace.vm_ssize * page:>8} kB"),
        ("VmExe", f"{vmspace.vm_tsize * page:>8} kB"), ("Threads", str(len(proc.p_threads))),
        ("Seccomp", "0"), ("Cpus_allowed", "1"), ("Cpus_allowed_list", "0"),
    ]  # fmt: skip
    return _table(rows, ":\t")


_LIMITS = (
    ("Max cpu time", RLIMIT_CPU, "seconds"), ("Max file size", RLIMIT_FSIZE, "bytes"),
    ("Max data size", RLIMIT_DATA, "bytes"), ("Max stack size", RLIMIT_STACK, "bytes"),
    ("Max core file size", RLIMIT_CORE, "bytes"), ("Max resident set", RLIMIT_RSS, "bytes"),
    ("Max processes", RLIMIT_NPROC, "processes"), ("Max open files", RLIMIT_NOFILE, "files"),
    ("Max locked memory", RLIMIT_MEMLOCK, "bytes"), ("Max address space", RLIMIT_AS, "bytes"),
)  # fmt: skip


def pid_limits(proc: Proc) -> bytes:
    """/proc/<pid>/limits."""

    def show(value: int) -> str:
        return "unlimited" if value >= RLIM_INFINITY else str(value)

    lines = [f"{'Limit':<26}{'Soft Limit':<21}{'Hard Limit':<21}{'Units':<10}"]
    for name, which, unit in _LIMITS:
        soft, hard = proc.p_limit.lim_cur(which), proc.p_limit.lim_max(which)
        lines.append(f"{name:<26}{show(soft):<21}{show(hard):<21}{unit:<10}")
    return ("\n".join(lines) + "\n").encode()


def _mounted(proc: Proc) -> list[Vnode]:
    root = proc.p_fd.fd_rdir
    return [root, *root.v_covers.values()]


def _options(vp: Vnode) -> str:
    return "rw,relatime" if vp.writable() else "ro,relatime"


def pid_mounts(proc: Proc) -> bytes:
    """/proc/<pid>/mounts."""
    lines = []
    for vp in _mounted(proc):
        info = vp.v_mount.statfs(vp)
        kind = info.f_fstypename.decode()
        source = info.f_mntfromname.decode(errors="replace")
        lines.append(f"{source} {info.f_mntonname.decode(errors='replace')} {kind} {_options(vp)} 0 0\n")
    return "".join(lines).encode()


def pid_mountinfo(proc: Proc) -> bytes:
    """/proc/<pid>/mountinfo."""
    lines = []
    for index, vp in enumerate(_mounted(proc)):
        info = vp.v_mount.statfs(vp)
        dev = vp.getattr().va_fsid
        kind = info.f_fstypename.decode()
        where = info.f_mntonname.decode(errors="replace")
        parent = 20 if index else 1
        source = info.f_mntfromname.decode(errors="replace")
        device = f"{os.major(dev)}:{os.minor(dev)}"
        lines.append(f"{20 + index} {parent} {device} / {where} {_options(vp)} - {kind} {source} rw\n")
    return "".join(lines).encode()
