"""No call may reach a file outside the root, or change one outside the working directory."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import stat
import termios
from typing import TYPE_CHECKING

import pytest

from tests.hostile.process import SCRATCH, Process

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"outside of the working directory\n" * 100
MAP = 0x1000_0000
SHARED_RW, SHARED_R = (3, 0x11), (1, 0x11)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """``root`` with ``work`` and ``other``, and ``outside`` beside it; work has every kind of door."""
    home = tmp_path / "root"
    for name in ("root", "root/work", "root/other", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "secret").write_bytes(CONTENT)
    (home / "other" / "file").write_bytes(CONTENT)
    work = home / "work"
    (work / "mine").write_bytes(CONTENT)
    (work / "absolute").symlink_to(tmp_path / "outside" / "secret")
    (work / "relative").symlink_to("../../outside/secret")
    (work / "up").symlink_to("../../../../../../../../.." + str(tmp_path / "outside"))
    (work / "beside").symlink_to("../other/file")
    (work / "proc").symlink_to("/proc/self/root/../outside")
    os.mkfifo(work / "fifo")
    with socket.socket(socket.AF_UNIX) as one:
        before = os.open(".", os.O_PATH)
        os.chdir(work)
        one.bind("socket")
        os.fchdir(before)
        os.close(before)
    return home


def state(where: Path) -> dict[str, tuple[object, ...]]:
    """Everything about the files below *where* that a call could change."""
    found = {}
    for path in [where, *where.rglob("*")]:
        st = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(st.st_mode) else b""
        found[str(path)] = (st.st_mode, st.st_uid, st.st_nlink, st.st_mtime_ns, st.st_size, content)
    return found


@pytest.mark.parametrize("rw", [False, True])
@pytest.mark.parametrize(
    "path",
    [
        "../../outside/secret",
        "/../outside/secret",
        "absolute",
        "relative",
        "up/secret",
        "proc/secret",
        "/proc/self/root/../outside/secret",
        "/proc/self/cwd/../../outside/secret",
        "/etc/passwd",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/sda",
        "/dev/ptmx",
        "/dev/pts/0",
        "/proc/self/mem",
        "/proc/1/root",
        "/proc/1/environ",
        "/proc/self/environ/..",
        "/proc/self/task/../root/../outside/secret",
        "/sys",
        "/proc/sys/kernel/core_pattern",
        "/proc/self/fd/3",
        "/proc/self/fd/9",
        "/dev/fd/7",
    ],
)
def test_no_name_leads_outside(world: Path, path: str, rw: bool) -> None:
    with Process(world, cwd="/work", rw=rw) as p:
        for flags in (0, 2, 0o1000 | 2, 0o101, 0o4000, 0o10000000):
            fd = p.call("open", path, flags, 0o600)
            if fd >= 0 and p.call("read", fd, SCRATCH, 4096) > 0:
                data = p.get(SCRATCH, 64)
                assert not data.startswith(CONTENT[:20]), path
                assert b"root:" not in data, path
        assert p.call("chdir", path) < 0 or path.startswith("/proc")
    assert (world.parent / "outside" / "secret").read_bytes() == CONTENT


def test_doors_into_the_host_do_not_open(world: Path) -> None:
    if os.getuid() == 0:
        for name, kind, device in (
            ("null", stat.S_IFCHR, (1, 3)),
            ("mem", stat.S_IFCHR, (1, 1)),
            ("disk", stat.S_IFBLK, (8, 0)),
        ):
            try:
                os.mknod(world / "work" / name, kind | 0o666, os.makedev(*device))
            except PermissionError:
                pytest.skip("no device nodes here")
    with Process(world, cwd="/work", rw=True) as p:
        for name in ("socket", "null", "mem", "disk"):
            assert p.call("open", name, 2, 0) < 0
        assert p.call("mknod", "node", 0o20666, 0x103) < 0
        assert not p.dead
        # nobody else can open the other end of a fifo: the run ends instead of hanging
        assert p.call("open", "fifo", 0, 0) < 0
        assert p.dead == 9


def test_nothing_outside_the_working_directory_changes(world: Path) -> None:
    before = state(world / "other"), state(world.parent / "outside")
    with Process(world, cwd="/work") as p:
        fd = p.call("open", "../other/file", 0, 0)
        other = p.call("open", "../other", 0, 0)
        mine = p.call("open", "mine", 2, 0)
        assert min(fd, other, mine) >= 0
        names = ("../other/file", "beside", f"/proc/self/fd/{fd}", "/work/../other/file", "/proc/self/root/other/file")
        for name in names:
            for flags in (1, 2, 0o1000, 0o1002, 0o2001):
                assert p.call("open", name, flags, 0) < 0, (name, flags)
            for call in (
                ("truncate", 0),
                ("chmod", 0o777),
                ("chown", 5, 5),
                ("utimes", 0),
                ("utime", 0),
                ("setxattr", "user.a", "b", 1, 0),
            ):
                assert p.call(call[0], name, *call[1:]) < 0, (name, call)
        for call in (
            ("unlink", "../other/file"),
            ("rename", "../other/file", "x"),
            ("rename", "mine", "../other/y"),
            ("link", "mine", "../other/l"),
            ("link", "../other/file", "l"),
            ("mkdir", "../other/d", 0o777),
            ("rmdir", "../other"),
            ("symlink", "x", "../other/s"),
            ("rename", "/other", "/o2"),
            ("rename", "/work", "/w2"),
            ("mknod", "../other/f", 0o10666, 0),
            ("fchmod", fd, 0o777),
            ("fchown", fd, 5, 5),
            ("utimensat", fd, 0, 0, 0),
            ("futimesat", other, "file", 0),
            ("ftruncate", fd, 0),
            ("fallocate", fd, 0, 0, 100),
            ("write", fd, "x", 1),
            ("pwrite64", fd, "x", 1, 0),
            ("sendfile", fd, mine, 0, 10),
            ("copy_file_range", mine, 0, fd, 0, 10, 0),
            ("mmap", MAP, 8192, *SHARED_RW, fd, 0),
            ("linkat", other, "file", -100, "got", 0),
            ("linkat", fd, "", -100, "got", 0x1000),
            ("linkat", -100, f"/proc/self/fd/{fd}", -100, "got", 0x400),
            ("openat", other, "new", 0o102, 0o644),
            ("openat", other, ".", 0o20200001, 0o600),
            ("unlinkat", other, "file", 0),
            ("renameat", other, "file", -100, "z"),
            ("fchmodat", other, "file", 0, 0),
            ("symlinkat", "/etc", other, "s"),
            ("mkdirat", other, "d", 0o777),
        ):
            assert p.call(*call) < 0, call
        assert p.call("mmap", MAP, 4096, *SHARED_R, fd, 0) == MAP
        assert p.call("mprotect", MAP, 4096, 3) < 0
        assert p.call("mmap", MAP, 4096, 3, 0x12, fd, 0) == MAP
        p.store(MAP, b"private")
        assert p.call("msync", MAP, 4096, 4) == 0
        assert p.call("fsync", fd) == 0
        p.call("fcntl", fd, 4, 2)
        assert p.call("write", fd, "x", 1) < 0
    assert (state(world / "other"), state(world.parent / "outside")) == before


def test_what_shares_the_working_directory_s_name_is_not_it(world: Path) -> None:
    (world / "workshop").mkdir()
    (world / "workshop" / "file").write_bytes(CONTENT)
    with Process(world, cwd="/work") as p:
        assert p.call("open", "/workshop/file", 2, 0) < 0
        assert p.call("open", "/work/mine", 2, 0) >= 0


@pytest.mark.parametrize("abi", ["linux", "freebsd"])
def test_no_descriptor_of_the_host_shows(world: Path, abi: str) -> None:
    secret = os.open(world.parent / "outside" / "secret", os.O_RDWR)
    os.set_inheritable(secret, True)
    try:
        with Process(world, abi) as p:
            for fd in range(3, 300):
                assert p.call("fstat" if abi == "linux" else "freebsd11_fstat", fd, SCRATCH) == -9, fd
                assert p.call("write", fd, SCRATCH, 1) == -9
                assert p.call("dup", fd) == -9
    finally:
        os.close(secret)
    assert (world.parent / "outside" / "secret").read_bytes() == CONTENT


def test_the_environment_stays_here(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    with Process(world) as p:
        fd = p.call("open", "/proc/self/environ", 0, 0)
        size = p.call("read", fd, SCRATCH, 4096)
        assert b"hunter2" not in p.get(SCRATCH, max(size, 1))


@pytest.mark.parametrize("abi", ["linux", "freebsd"])
def test_nothing_is_typed_into_the_terminal(world: Path, abi: str) -> None:
    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        with Process(world, abi, stdin=slave, stdout=slave, stderr=slave) as p:
            p.store(SCRATCH + 0x800, b"x" * 256)
            requests = [
                0x5412,
                0x541C,
                0x540E,
                0x5422,
                0x541D,
                0x5423,
                0x4B3A,
                0x4B4D,
                0x5602,
                0x80017472,
                0x20007461,
                0x80047476,
                0x80047462,
                0x20007471,
            ]
            requests += [0x5400 + low for low in range(0x80) if low not in (2, 3, 4, 6, 7, 8, 0x14)]
            for fd in range(3):
                for request in requests:
                    p.call("ioctl", fd, request, SCRATCH + 0x800)
        os.set_blocking(slave, False)
        with pytest.raises(BlockingIOError):
            os.read(slave, 1)
        assert termios.tcgetattr(slave) == before
        assert fcntl.fcntl(slave, fcntl.F_GETFL) & os.O_ASYNC == 0
    finally:
        os.close(master)
        os.close(slave)


def test_a_killed_program_s_terminal_modes_are_undone(world: Path) -> None:
    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        with Process(world, stdin=slave) as p:
            assert p.call("ioctl", 0, 0x5401, SCRATCH + 0x800) == 0
            modes = bytearray(p.get(SCRATCH + 0x800, 36))
            modes[12:16] = bytes(4)
            p.store(SCRATCH + 0x800, bytes(modes))
            assert p.call("ioctl", 0, 0x5402, SCRATCH + 0x800) == 0
            assert termios.tcgetattr(slave) != before
            p.call("kill", p.proc.p_pid, 9)
            assert p.dead == 9
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_chroot_is_no_way_out(world: Path) -> None:
    with Process(world, cwd="/work", rw=True) as p:
        top = p.call("open", "/", 0, 0)
        assert p.call("chroot", "/work") == 0
        for _ in range(20):
            p.call("chdir", "..")
        assert p.call("open", "../../outside/secret", 0, 0) < 0
        assert p.call("fchdir", top) in (0, -1, -13)
        for _ in range(20):
            p.call("chdir", "..")
        assert p.call("open", "outside/secret", 0, 0) < 0
        assert p.call("open", "../outside/secret", 0, 0) < 0
