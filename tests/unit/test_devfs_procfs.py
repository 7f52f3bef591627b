"""Devices, terminals and /proc as programs see them."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from typing import TYPE_CHECKING

import pytest

from kernel_model.kern.copyin import copyout
from kernel_model.vm.vm_map_find import vm_map_fixed
from kernel_model.vm.vm_param import PAGE_SIZE
from tests.process import SCRATCH, SCRATCH_SIZE, STACK, STACK_SIZE, Process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENOENT, EACCES, ENXIO, ENOTTY, ENOSPC, EROFS, ELOOP = 2, 13, 6, 25, 28, 30, 40


@pytest.fixture(params=["linux", "freebsd"])
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Process:
    """A process with input waiting and buffers for its output."""
    return Process(request.param, root=tmp_path, streams=(b"typed", bytearray(), bytearray()))


def text(process: Process, path: str) -> bytes:
    """A whole file, read in small pieces."""
    fd = process.ok("open", path, 0, 0)
    parts = []
    while piece := process.read(fd, 100):
        parts.append(piece)
    process.ok("close", fd)
    return b"".join(parts)


# -- devices ---------------------------------------------------------------------------------------------


def test_null_zero_full_random(process: Process):
    null, zero, full = (process.ok("open", f"/dev/{name}", 2, 0) for name in ("null", "zero", "full"))
    assert process.read(null) == b""
    assert process.write(null, b"gone") == 4
    assert process.read(zero, 70000) == bytes(70000)
    assert process.write(full, b"x") == -ENOSPC
    va = process.put(b"x" * 20)
    assert process.ok("read", zero, va + 5, 10) == 10
    assert process.get(va, 20) == b"xxxxx" + bytes(10) + b"xxxxx"
    first, second = (process.read(process.ok("open", "/dev/urandom", 0, 0), 64) for _ in range(2))
    assert len(first) == 64 and first != second
    other = Process(process.abi, root=process.root)
    assert other.read(other.ok("open", "/dev/urandom", 0, 0), 64) == first


def test_devices_are_character_devices(process: Process):
    va = process.alloc(224)
    process.ok("stat" if process.abi == "linux" else "freebsd11_stat", "/dev/null", va)
    where, code = (24, "<I") if process.abi == "linux" else (8, "<H")
    mode = struct.unpack_from(code, process.get(va, 100), where)[0]
    assert mode & 0o170000 == 0o020000
    assert process.call("unlink", "/dev/null") < 0
    assert process.call("open", "/dev/nothing", 0, 0) == -ENOENT
    assert process.call("open", "/dev/new", 0x42 if process.abi == "linux" else 0x202, 0o644) == -EROFS
    assert process.call("rmdir", "/dev") == -16
    assert process.call("rename", "/dev", "/x") == -16


def test_descriptors_by_name(process: Process):
    assert process.read(process.ok("open", "/dev/fd/0", 0, 0), 2) == b"ty"
    assert process.read(process.ok("open", "/dev/stdin", 0, 0)) == b"ped"
    assert process.call("open", "/dev/fd/99", 0, 0) == -ENOENT
    assert process.call("open", "/dev/fd/0", 1, 0) == -EACCES
    assert process.write(process.ok("open", "/dev/stdout", 1, 0), b"said") == 4
    assert bytes(process.proc.p_fd.fd_files[1].f_vnode.out) == b"said"


def test_a_regular_file_by_descriptor_name(process: Process, tmp_path: Path):
    (tmp_path / "f").write_bytes(b"abcdef")
    fd = process.ok("open", "/f", 0, 0)
    assert process.read(fd, 2) == b"ab"
    again = process.ok("open", f"/dev/fd/{fd}", 0, 0)
    assert process.read(again, 2) == (b"ab" if process.abi == "linux" else b"cd")


def test_no_terminal(process: Process):
    assert process.call("open", "/dev/tty", 2, 0) == -ENXIO


# -- terminals ---------------------------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Master and slave of a host's pseudo terminal, 33 rows of 99 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("<4H", 33, 99, 0, 0))
    yield master, slave
    os.close(master)
    os.close(slave)


REQUESTS = {
    "linux": {"get": 0x5401, "set": 0x5402, "size": 0x5413, "group": 0x540F, "waiting": 0x541B},
    "freebsd": {"get": 0x402C7413, "set": 0x802C7414, "size": 0x40087468, "group": 0x40047477, "waiting": 0x4004667F},
}


@pytest.mark.parametrize("abi", ["linux", "freebsd"])
def test_terminal_requests(tmp_path: Path, terminal: tuple[int, int], abi: str):
    master, slave = terminal
    process = Process(abi, root=tmp_path, streams=(slave, slave, slave))
    process.proc.p_pgid = 1234
    number = REQUESTS[abi]
    va = process.alloc(64)
    process.ok("ioctl", 0, number["size"], va)
    assert struct.unpack("<4H", process.get(va, 8))[:2] == (33, 99)
    process.ok("ioctl", 0, number["group"], va)
    assert struct.unpack("<i", process.get(va, 4))[0] == 1234
    os.write(master, b"line\n")
    assert process.call("poll", process.put(struct.pack("<ihh", 0, 1, 0)), 1, 5000) == 1
    process.ok("ioctl", 0, number["waiting"], va)
    assert struct.unpack("<i", process.get(va, 4))[0] == 5
    assert process.read(0) == b"line\n"
    tty = process.ok("open", "/dev/tty", 2, 0)
    assert process.write(tty, b"out") == 3
    assert process.call("ioctl", 0, 0x12345678, va) == -ENOTTY


@pytest.mark.parametrize("abi", ["linux", "freebsd"])
def test_terminal_modes_are_set_and_given_back(tmp_path: Path, terminal: tuple[int, int], abi: str):
    _, slave = terminal
    before = termios.tcgetattr(slave)
    process = Process(abi, root=tmp_path, streams=(slave, None, None))
    number, echo = REQUESTS[abi], 0x8
    va = process.alloc(64)
    process.ok("ioctl", 0, number["get"], va)
    lflag = struct.unpack("<I", process.get(va + 12, 4))[0]
    assert lflag & echo
    copyout(process.td, va + 12, struct.pack("<I", lflag & ~echo))
    process.ok("ioctl", 0, number["set"], va)
    changed = termios.tcgetattr(slave)
    assert changed[3] == before[3] & ~termios.ECHO
    assert changed[:3] + changed[4:] == before[:3] + before[4:]
    process.proc.p_fd.fd_files[0].f_vnode.restore()
    assert termios.tcgetattr(slave) == before


def test_reading_a_terminal_without_blocking(tmp_path: Path, terminal: tuple[int, int]):
    master, slave = terminal
    process = Process("linux", root=tmp_path, streams=(slave, None, None))
    process.ok("fcntl", 0, 4, 0x800)
    assert process.call("read", 0, process.alloc(10), 10) == -11
    os.write(master, b"x\n")
    assert process.call("poll", process.put(struct.pack("<ihh", 0, 1, 0)), 1, 5000) == 1
    assert process.read(0) == b"x\n"
    assert not fcntl.fcntl(slave, fcntl.F_GETFL) & os.O_NONBLOCK


# -- /proc --------------------------------------------------------------------------------------------------


def test_self_is_the_caller(process: Process):
    pid = process.proc.p_pid
    va = process.alloc(64)
    assert process.get(va, process.ok("readlink", "/proc/self", va, 64)) == b"%d" % pid
    process.proc.p_comm, process.proc.p_args = "program", [b"program", b"-x", b"\xff"]
    assert text(process, "/proc/self/cmdline") == b"program\0-x\0\xff\0"
    process.proc.p_envv = [b"A=1", b"B="]
    assert text(process, "/proc/self/environ") == b"A=1\0B=\0"
    assert text(process, f"/proc/{pid}/comm") == b"program\n"
    assert text(process, "/proc/curproc/stat").startswith(b"%d (program) R 1 " % pid)
    assert len(text(process, "/proc/self/stat").split()) == 52
    assert b"\nPid:\t%d\n" % pid in text(process, "/proc/thread-self/status")
    assert process.call("open", "/proc/99999", 0, 0) == -ENOENT
    assert process.call("open", "/proc/self/mem", 0, 0) == -ENOENT
    assert process.call("open", "/proc/self/comm", 1, 0) == -EROFS


def test_the_map_as_text(process: Process, tmp_path: Path):
    from kernel_model.vm.vnode_pager import vnode_pager_alloc

    (tmp_path / "lib").write_bytes(b"x" * PAGE_SIZE * 3)
    vp = process.proc.p_fd.fget(process.ok("open", "/lib", 0, 0)).f_vnode
    map_ = process.proc.p_vmspace.vm_map
    process.ok("munmap", STACK, STACK_SIZE)
    object_ = vnode_pager_alloc(process.vm, vp)
    assert vm_map_fixed(map_, object_, PAGE_SIZE, 0x7000_0000, 2 * PAGE_SIZE, 5, 7, 0) == 0
    lines = text(process, "/proc/self/maps").splitlines()
    assert lines[0].split() == [b"%08x-%08x" % (SCRATCH, SCRATCH + SCRATCH_SIZE), b"rwxp", b"00000000", b"00:00", b"0"]
    info = (tmp_path / "lib").stat()
    device = b"%02x:%02x" % (os.major(info.st_dev), os.minor(info.st_dev))
    assert lines[1].split() == [
        b"70000000-70002000", b"r-xs", b"00001000", device, b"%d" % info.st_ino, b"/lib",
    ]  # fmt: skip
    assert lines[1].index(b"/lib") == 73
    assert len(text(process, "/proc/self/map").splitlines()) == 2


def test_links_of_a_process(process: Process, tmp_path: Path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/prog").write_bytes(b"binary")
    process.ok("chdir", "/d")
    fd = process.ok("open", "prog", 0, 0)
    process.proc.p_textvp = process.proc.p_fd.fget(fd).f_vnode
    va = process.alloc(100)

    def link(path: str) -> bytes:
        return process.get(va, process.ok("readlink", path, va, 100))

    assert link("/proc/self/exe") == b"/d/prog"
    assert link("/proc/self/cwd") == b"/d"
    assert link(f"/proc/self/fd/{fd}") == b"/d/prog"
    assert text(process, "/proc/self/exe") == b"binary"
    assert text(process, "/proc/self/cwd/prog") == b"binary"
    assert text(process, "/proc/self/root/d/prog") == b"binary"
    assert link("/proc/self/fd/0").startswith(b"pipe:[")
    (tmp_path / "d/prog").unlink()
    assert link("/proc/self/exe").endswith(b"(deleted)")
    assert text(process, f"/proc/self/fd/{fd}") == b"binary"


def test_magic_links_do_not_lead_out_of_the_root(process: Process):
    assert text(process, "/proc/self/root/../../proc/version").startswith(b"Linux version")
    assert process.call("open", "/proc/self/cwd/../../../etc/passwd", 0, 0) == -ENOENT


@pytest.mark.parametrize(
    ("path", "contains"),
    [
        ("/proc/cpuinfo", b"flags\t\t: fpu"), ("/proc/meminfo", b"MemTotal:"), ("/proc/version", b"Linux version "),
        ("/proc/stat", b"btime "), ("/proc/uptime", b" "), ("/proc/loadavg", b"0.00"), ("/proc/filesystems", b"proc"),
        ("/proc/mounts", b" /proc proc "), ("/proc/self/mountinfo", b" - devfs "),
        ("/proc/self/limits", b"Max stack size"),
        ("/proc/self/statm", b" "), ("/proc/self/cgroup", b"0::/"), ("/proc/sys/kernel/osrelease", b"."),
        ("/proc/sys/vm/overcommit_memory", b"0"), ("/proc/sys/kernel/random/boot_id", b"-"),
    ],
)  # fmt: skip
def test_texts(process: Process, path: str, contains: bytes):
    found = text(process, path)
    assert contains in found
    assert found.endswith(b"\n")


def test_everything_in_proc_and_dev_can_be_listed_and_read(process: Process):
    """Nothing in there may raise anything but an errno."""

    def visit(vp, path: bytes, depth: int) -> int:
        count = 0
        for entry in vp.readdir():
            if entry.d_name in (b".", b".."):
                continue
            where = path + b"/" + entry.d_name
            count += 1
            va = process.alloc(300)
            process.call("lstat" if process.abi == "linux" else "freebsd11_lstat", where, va)
            fd = process.call("open", where, 0, 0)
            if fd >= 0:
                process.call("read", fd, va, 64)
                child = process.proc.p_fd.fd_files[fd].f_vnode
                if entry.d_type == 4 and depth:
                    count += visit(child, where, depth - 1)
                process.ok("close", fd)
            process.at = va
        return count

    root = process.proc.p_fd.fd_rdir
    assert visit(root.v_covers[b"proc"], b"/proc", 4) > 60
    assert visit(root.v_covers[b"dev"], b"/dev", 2) > 10


def test_links_that_point_at_each_other_through_proc(process: Process, tmp_path: Path):
    (tmp_path / "loop").symlink_to("/proc/self/cwd/loop")
    assert process.call("open", "/loop", 0, 0) == -(ELOOP if process.abi == "linux" else 62)
