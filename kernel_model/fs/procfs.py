"""/proc: what a kernel tells about itself and its processes, as text.

FreeBSD: sys/fs/procfs and sys/compat/linprocfs; the layout is Linux's, with FreeBSD's names ``curproc``, ``file`` and
``map`` beside it.
Differs: numbers that nothing here measures (interrupts, load, I/O) are absent or 0; mem and the files of other
kernel subsystems are absent.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.fs.procfs_maps import proc_map, proc_maps
from kernel_model.fs.procfs_text import (
    cpuinfo,
    filesystems,
    kernel_version,
    loadavg,
    meminfo,
    osrelease,
    pid_cmdline,
    pid_environ,
    pid_limits,
    pid_mountinfo,
    pid_mounts,
    pid_stat,
    pid_statm,
    pid_status,
    stat,
    uptime,
)
from kernel_model.fs.pseudofs import (
    PseudoDir,
    PseudoFile,
    PseudoLink,
    PseudoMount,
    PseudoNode,
    pseudo_mount,
)
from kernel_model.kern.vfs_lookup import vn_globalpath
from kernel_model.kern.vnode import VFIFO, VLNK, Vattr, Vnode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kernel_model.kern.kern_descrip import File
    from kernel_model.kern.proc import Kernel, Proc

PROCFS_FSID = 0x1E
LINUX_PROCFS_MAGIC = 0x9FA0


class DescriptorLink(PseudoNode):
    """/proc/<pid>/fd/N: a magic link to what descriptor N is open on."""

    __slots__ = ("number", "proc")

    def __init__(self, mount: PseudoMount, proc: Proc, number: int) -> None:
        PseudoNode.__init__(self, v_type=VLNK, v_mount=mount, mode=0o700)
        self.proc = proc
        self.number = number

    def _file(self) -> File | None:
        return self.proc.p_fd.fd_files.get(self.number)

    def readlink(self) -> bytes:
        """The path of a file, or ``pipe:[7]``."""
        fp = self._file()
        return b"" if fp is None else fp.f_ops.fo_name(fp)

    def follow_to(self) -> Vnode | None:
        """The vnode itself; what has none is opened through dupfd()."""
        fp = self._file()
        if fp is None or fp.f_vnode is None:
            return OpenLink(self.v_mount, self.number)
        if fp.f_vnode.link_text():
            return OpenLink(self.v_mount, self.number, fp.f_vnode)
        return fp.f_vnode


class OpenLink(PseudoNode):
    """The far end of a DescriptorLink whose file is no file of a tree: it can only be opened again."""

    __slots__ = ("number", "real")

    def __init__(self, mount: PseudoMount, number: int, real: Vnode | None = None) -> None:
        PseudoNode.__init__(self, v_type=VFIFO if real is None else real.v_type, v_mount=mount, mode=0o600, fileid=1)
        self.number = number
        self.real = real

    def getattr(self) -> Vattr:
        """Those of the open file."""
        return PseudoNode.getattr(self) if self.real is None else self.real.getattr()

    def writable(self) -> bool:
        """As it was opened."""
        return True

    def dupfd(self, fmode: int) -> tuple[int, int]:
        """The same open file again."""
        return self.number, fmode


def procfs_mount(kernel: Kernel) -> PseudoDir:
    """Make a procfs; ``mount_at(root, b"proc", ...)`` puts it in place."""
    mount = pseudo_mount(kernel, b"proc", b"/proc", LINUX_PROCFS_MAGIC, PROCFS_FSID)
    known: dict[int, PseudoDir] = {}

    def find(name: bytes) -> Vnode | None:
        if not name.isdigit():
            return None
        proc = kernel.procs.get(int(name))
        if proc is None:
            return None
        if proc.p_pid not in known:
            known[proc.p_pid] = pid_dir(mount, proc)
        return known[proc.p_pid]

    def pids() -> Iterable[bytes]:
        return [b"%d" % pid for pid in sorted(kernel.procs)]

    root = PseudoDir(v_mount=mount, find=find, extra=pids)
    for name, text in _GLOBAL.items():
        root.add(name, PseudoFile(v_mount=mount, text=partial(text, kernel)))
    own = partial(_current_pid, kernel)
    root.add(b"self", PseudoLink(v_mount=mount, text=own))
    root.add(b"curproc", PseudoLink(v_mount=mount, text=own))
    root.add(b"thread-self", PseudoLink(v_mount=mount, text=partial(_current_task, kernel)))
    root.add(b"mounts", PseudoLink(v_mount=mount, text=partial(bytes, b"self/mounts")))
    root.add(b"sys", _sys_dir(mount))
    return root


def _current_pid(kernel: Kernel) -> bytes:
    td = kernel.curthread
    return b"" if td is None else b"%d" % td.td_proc.p_pid


def _current_task(kernel: Kernel) -> bytes:
    td = kernel.curthread
    return b"" if td is None else b"%d/task/%d" % (td.td_proc.p_pid, td.td_tid)


_GLOBAL: dict[bytes, Callable[[Kernel], bytes]] = {
    b"cpuinfo": cpuinfo,
    b"filesystems": filesystems,
    b"loadavg": loadavg,
    b"meminfo": meminfo,
    b"stat": stat,
    b"uptime": uptime,
    b"version": kernel_version,
}

_PID: dict[bytes, Callable[[Proc], bytes]] = {
    b"cgroup": lambda proc: b"0::/\n",
    b"cmdline": pid_cmdline,
    b"comm": lambda proc: proc.p_comm.encode(errors="surrogateescape")[:15] + b"\n",
    b"environ": pid_environ,
    b"limits": pid_limits,
    b"map": proc_map,
    b"maps": proc_maps,
    b"mountinfo": pid_mountinfo,
    b"mounts": pid_mounts,
    b"stat": pid_stat,
    b"statm": pid_statm,
    b"status": pid_status,
}


def pid_dir(mount: PseudoMount, proc: Proc) -> PseudoDir:
    """The directory of one process."""
    kassert(proc.p_threads, "procfs: process %d has no thread", proc.p_pid)
    top = PseudoDir(v_mount=mount)
    fill_pid_dir(top, mount, proc)
    tasks = PseudoDir(v_mount=mount)
    top.add(b"task", tasks)
    for td in proc.p_threads:
        task = PseudoDir(v_mount=mount)
        fill_pid_dir(task, mount, proc)
        tasks.add(b"%d" % td.td_tid, task)
    return top


def fill_pid_dir(top: PseudoDir, mount: PseudoMount, proc: Proc) -> None:
    """The files of a process, which its tasks have too."""
    for name, text in _PID.items():
        top.add(name, PseudoFile(v_mount=mount, text=partial(text, proc)))

    def link(text: Callable[[], bytes], follow: Callable[[], Vnode | None]) -> PseudoLink:
        return PseudoLink(v_mount=mount, text=text, follow=follow)

    top.add(b"exe", link(partial(_exe_path, proc), lambda: proc.p_textvp))
    top.add(b"file", link(partial(_exe_path, proc), lambda: proc.p_textvp))
    top.add(b"cwd", link(lambda: vn_globalpath(proc.p_fd.fd_cdir), lambda: proc.p_fd.fd_cdir))
    top.add(b"root", link(lambda: vn_globalpath(proc.p_fd.fd_rdir), lambda: proc.p_fd.fd_rdir))
    top.add(b"fd", _fd_dir(mount, proc))


def _exe_path(proc: Proc) -> bytes:
    return b"" if proc.p_textvp is None else vn_globalpath(proc.p_textvp)


def _fd_dir(mount: PseudoMount, proc: Proc) -> PseudoDir:
    known: dict[int, Vnode] = {}

    def find(name: bytes) -> Vnode | None:
        if not name.isdigit() or int(name) not in proc.p_fd.fd_files:
            return None
        number = int(name)
        if number not in known:
            known[number] = DescriptorLink(mount, proc, number)
        return known[number]

    def names() -> Iterable[bytes]:
        return [b"%d" % fd for fd in proc.p_fd.descriptors()]

    return PseudoDir(v_mount=mount, mode=0o500, find=find, extra=names)


def _sys_dir(mount: PseudoMount) -> PseudoDir:
    kernel = mount.kernel

    def tree(files: dict[bytes, Callable[[], bytes]]) -> PseudoDir:
        top = PseudoDir(v_mount=mount)
        for name, text in files.items():
            top.add(name, PseudoFile(v_mount=mount, text=text))
        return top

    def fixed(text: bytes) -> Callable[[], bytes]:
        return partial(bytes, text + b"\n")

    sys = PseudoDir(v_mount=mount)
    kern = tree({
        b"osrelease": lambda: osrelease(kernel) + b"\n",
        b"ostype": fixed(b"Linux"),
        b"hostname": lambda: kernel.hostname.encode() + b"\n",
        b"pid_max": fixed(b"99999"),
        b"ngroups_max": fixed(b"65536"),
        b"cap_last_cap": fixed(b"40"),
        b"randomize_va_space": fixed(b"0"),
    })
    kern.add(b"random", tree({
        b"boot_id": partial(_uuid, kernel.random_bytes(16)),
        b"uuid": lambda: _uuid(kernel.random_bytes(16)),
        b"entropy_avail": fixed(b"256"),
    }))
    sys.add(b"kernel", kern)
    sys.add(b"vm", tree({
        b"max_map_count": fixed(b"65530"),
        b"mmap_min_addr": fixed(b"65536"),
        b"overcommit_memory": lambda: b"%d\n" % (2 if kernel.vm.overcommit & 1 else 0),
    }))
    sys.add(b"fs", tree({b"file-max": fixed(b"65536"), b"pipe-max-size": fixed(b"65536")}))
    return sys


def _uuid(raw: bytes) -> bytes:
    digits = raw.hex()
    cuts = (digits[:8], digits[8:12], "4" + digits[13:16], "a" + digits[17:20], digits[20:])
    return "-".join(cuts).encode() + b"\n"
