"""The root directory cannot be left, and only what may be written is written."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from kernel_model.errors import SyscallError, UsageError
from kernel_model.fs.hostfs import hostfs_mount
from kernel_model.host.files import HostFs
from kernel_model.kern.vfs_lookup import lookup_path, vn_fullpath
from kernel_model.ucred import Ucred
from tests.process import Process

if TYPE_CHECKING:
    from pathlib import Path

SECRET = b"outside"
ENOENT, EACCES, ENXIO, EROFS, EXDEV, ELOOP, ENAMETOOLONG, EISDIR = 2, 13, 6, 30, 18, 40, 36, 21
O_RDWR, O_CREAT, O_EXCL, O_TRUNC = 2, 0x40, 0x80, 0x200


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory with a secret beside the root."""
    (tmp_path / "root/work").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "root/plain").write_bytes(b"inside")
    return tmp_path


def process(outside: Path, cwd: str = "/work", *, rw: bool = False) -> Process:
    return Process("linux", root=outside / "root", cwd=cwd, rw=rw)


def contents(machine: Process, path: str) -> bytes | int:
    """The file as the guest reads it, or the errno."""
    fd = machine.call("open", path, 0, 0)
    if fd < 0:
        return -fd
    got = machine.call("read", fd, machine.at, 65536)
    machine.ok("close", fd)
    return machine.get(machine.at, got) if got >= 0 else -got


@pytest.mark.parametrize(
    "path",
    [
        "../../secret", "/../secret", "/work/../../secret", "/./../../../secret", "//../secret", "/..", "../../..",
        "/work/../../../../../../../../etc/passwd",
    ],
)  # fmt: skip
def test_dots_stay_inside(outside: Path, path: str):
    machine = process(outside)
    expected = ENOENT if path.rstrip("./") else EISDIR
    assert contents(machine, path) == expected
    fd = machine.ok("open", "/", 0x10000, 0)
    opened = machine.call("openat", fd, path.lstrip("/"), 0, 0)
    assert opened == (-ENOENT if expected == ENOENT else fd + 1)


@pytest.mark.parametrize("depth", [0, 1, 30])
def test_links_are_read_inside_the_root(outside: Path, depth: int):
    root = outside / "root"
    for name, target in {
        "abs": str(outside / "secret"), "up": "../secret", "top": "/", "far": "../" * 40 + "secret",
        "self": "self", "etc": "/etc",
    }.items():  # fmt: skip
        (root / "work" / name).symlink_to(target)
    for level in range(depth):
        (root / f"work/chain{level}").symlink_to(f"chain{level + 1}")
    (root / f"work/chain{depth}").symlink_to("/../../secret")
    (root / "secret").write_bytes(b"the root's own")
    machine = process(outside)
    assert contents(machine, "abs") == ENOENT
    for path in ("up", "far", "top/secret", "top/../secret", "top/work/up", "chain0"):
        assert contents(machine, path) == b"the root's own", path
    assert contents(machine, "self") == ELOOP
    assert contents(machine, "etc/passwd") == ENOENT


def test_forty_links_are_followed_and_no_more(outside: Path):
    for level in range(42):
        (outside / f"root/work/l{level}").symlink_to(f"l{level + 1}")
    (outside / "root/work/l42").write_bytes(b"end")
    linux = process(outside)
    assert contents(linux, "l2") == b"end"
    assert contents(linux, "l1") == ELOOP
    bsd = Process("freebsd", root=outside / "root", cwd="/work")
    assert bsd.call("access", "l10", 4) == 0
    assert bsd.call("access", "l9", 4) == -62


def test_a_directory_that_the_host_moves_away_does_not_open_the_way_out(outside: Path):
    inner = outside / "root/work/a/b"
    inner.mkdir(parents=True)
    machine = process(outside)
    machine.ok("chdir", "a/b")
    (outside / "root/work/a").rename(outside / "moved")
    assert contents(machine, "../../../secret") == ENOENT
    assert contents(machine, "../../../../secret") == ENOENT
    assert contents(machine, "../../plain") == ENOENT
    assert contents(machine, "../../../plain") == b"inside"


def test_a_directory_swapped_for_a_link_is_not_followed_outside(outside: Path):
    """Between two look-ups the host puts a link where a directory was."""
    (outside / "root/work/d").mkdir()
    (outside / "root/work/d/secret").write_bytes(b"harmless")
    machine = process(outside)
    assert contents(machine, "d/secret") == b"harmless"
    (outside / "root/work/d").rename(outside / "root/work/gone")
    (outside / "root/work/d").symlink_to(outside)
    assert contents(machine, "d/secret") == ENOENT


def test_what_the_guest_makes_stays_inside(outside: Path):
    machine = process(outside, cwd="/", rw=True)
    assert machine.call("symlink", str(outside), "/work/out") == 0
    assert machine.call("open", "/work/out/new", O_CREAT | O_RDWR, 0o644) == -ENOENT
    assert machine.call("mkdir", "/work/../../new", 0o755) == 0
    assert (outside / "root/new").is_dir() and not (outside / "new").exists()
    assert machine.call("rename", "/plain", "/../../../escaped") == 0
    assert (outside / "root/escaped").exists() and not (outside / "escaped").exists()
    assert machine.call("unlink", "/../secret") == -ENOENT
    assert machine.call("link", "/../secret", "/stolen") == -ENOENT
    assert (outside / "secret").read_bytes() == SECRET


def test_names_with_a_slash_or_nul_never_reach_the_host(outside: Path):
    root = hostfs_mount(outside / "root")
    for path in (b"a\0b", b"/work\0/../../secret"):
        with pytest.raises(SyscallError):
            lookup_path(root, path, Ucred())


def test_only_the_working_directory_is_writable(outside: Path):
    machine = process(outside)
    assert machine.call("open", "/plain", O_RDWR, 0) == -EROFS
    assert machine.call("open", "/new", O_CREAT | O_RDWR, 0o644) == -EROFS
    assert machine.call("open", "/plain", O_TRUNC, 0) == -EROFS
    for call in (
        ("mkdir", "/d", 0o755), ("unlink", "/plain"), ("symlink", "x", "/l"), ("truncate", "/plain", 0),
        ("chmod", "/plain", 0o600), ("chown", "/plain", 1, 1), ("utime", "/plain", 0), ("rmdir", "/work"),
        ("rename", "/plain", "/work/stolen"), ("rename", "/work", "/else"), ("access", "/plain", 2),
    ):  # fmt: skip
        assert machine.call(*call) == -EROFS, call
    assert machine.call("link", "/plain", "/work/hard") == -EXDEV
    fd = machine.ok("open", "mine", O_CREAT | O_RDWR, 0o644)
    assert machine.write(fd, b"data") == 4
    assert machine.call("rename", "mine", "/work/yours") == 0
    assert machine.call("rename", "yours", "/yours") == -EROFS
    machine.ok("symlink", "/plain", "way")
    assert machine.call("open", "way", O_RDWR, 0) == -EROFS
    assert (outside / "root/plain").read_bytes() == b"inside"
    assert (outside / "root/work/yours").read_bytes() == b"data"


def test_a_directory_made_below_the_working_directory_is_writable(outside: Path):
    machine = process(outside)
    machine.ok("mkdir", "a", 0o755)
    machine.ok("mkdir", "a/b", 0o755)
    assert machine.call("open", "/work/a/b/c", O_CREAT | O_RDWR, 0o600) >= 0


def test_without_rw_a_working_directory_at_the_root_protects_everything(outside: Path):
    machine = process(outside, cwd="/")
    assert machine.call("open", "new", O_CREAT | O_RDWR, 0o644) == -EROFS


def test_devices_fifos_and_sockets_of_the_host_are_not_opened(outside: Path):
    root = outside / "root"
    os.mkfifo(root / "work/fifo")
    machine = process(outside, cwd="/", rw=True)
    if os.getuid() == 0:
        try:
            os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except OSError:
            pytest.skip("the host lets nobody make devices")
        assert contents(machine, "/null") == ENXIO
    assert machine.call("open", "/work/fifo", 1 | 0x800, 0) == -ENXIO
    reader = machine.ok("open", "/work/fifo", 0x800, 0)
    writer = machine.ok("open", "/work/fifo", 1, 0)
    assert machine.write(writer, b"through us") == 10
    assert machine.read(reader) == b"through us"


def test_doors_into_the_hosts_kernel_look_empty():
    root = hostfs_mount("/")
    for path in (b"/proc", b"/sys"):
        vp = lookup_path(root, path, Ucred())
        if root.v_mount.host_fs(vp.getattr().va_fsid).fstype == "unknown":
            pytest.skip("the host does not tell its mounts")
        assert [entry.d_name for entry in vp.readdir()] == [b".", b".."]
        with pytest.raises(SyscallError):
            lookup_path(root, path + b"/self", Ucred())
        with pytest.raises(SyscallError):
            lookup_path(root, path + b"/kernel", Ucred())


def test_a_mount_of_a_pseudo_file_system_below_any_name_is_hidden(outside: Path, monkeypatch: pytest.MonkeyPatch):
    """A file of another device whose type is in the list; the type is planted, as mounting needs privileges."""
    root = hostfs_mount(outside / "root")
    info = (outside / "root/work").stat()
    monkeypatch.setitem(root.v_mount.filesystems, info.st_dev, HostFs("proc", "proc"))
    root.host_id = (-1, root.host_id[1])
    (outside / "root/work/inner").write_bytes(b"x")
    assert [entry.d_name for entry in lookup_path(root, b"/work", Ucred()).readdir()] == [b".", b".."]
    with pytest.raises(SyscallError):
        lookup_path(root, b"/work/inner", Ucred())
    with pytest.raises(SyscallError):
        lookup_path(root, b"/plain", Ucred()).open(write=False)


def test_set_id_bits_cannot_be_made(outside: Path):
    machine = process(outside)
    fd = machine.ok("open", "prog", O_CREAT | O_RDWR, 0o6755)
    assert stat.S_IMODE((outside / "root/work/prog").stat().st_mode) == 0o755
    assert machine.call("fchmod", fd, 0o4755) == -1
    assert machine.call("chmod", "prog", 0o2755) == -1
    assert stat.S_IMODE((outside / "root/work/prog").stat().st_mode) == 0o755


def test_changing_a_link_does_not_touch_what_it_points_at(outside: Path):
    """The host path by which a descriptor is named must end at the link itself."""
    (outside / "root/work/out").symlink_to(outside / "secret")
    machine = process(outside)
    before = (outside / "secret").stat()
    machine.ok("lchown", "out", os.getuid(), os.getgid())
    when = machine.put(bytes.fromhex("0500000000000000") * 4)
    machine.ok("utimensat", -100, "out", when, 0x100)
    after = (outside / "secret").stat()
    assert (after.st_ctime_ns, after.st_mtime_ns) == (before.st_ctime_ns, before.st_mtime_ns)
    assert (outside / "root/work/out").lstat().st_mtime_ns == 5_000_000_005
    assert machine.call("linkat", -100, "out", -100, "again", 0) == 0
    assert os.readlink(outside / "root/work/again") == str(outside / "secret")
    assert (outside / "secret").stat().st_nlink == 1
    assert machine.call("access", "out", 2) == -ENOENT
    assert machine.call("faccessat2", -100, "out", 2, 0x100) == 0


def test_one_file_is_one_vnode(outside: Path):
    (outside / "root/work/two").hardlink_to(outside / "root/plain")
    machine = process(outside, cwd="/", rw=True)
    first, second = machine.ok("open", "/plain", 0, 0), machine.ok("open", "/work/two", 0, 0)
    files = machine.proc.p_fd.fd_files
    assert files[first].f_vnode is files[second].f_vnode
    machine.ok("unlink", "/plain")
    (outside / "root/plain").write_bytes(b"another")
    third = machine.ok("open", "/plain", 0, 0)
    assert files[third].f_vnode is not files[first].f_vnode
    assert (machine.read(first), machine.read(third)) == (b"inside", b"another")


def test_vnodes_do_not_keep_descriptors(outside: Path):
    for number in range(300):
        (outside / f"root/work/f{number}").write_bytes(b"x")
    machine = process(outside)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(300):
        assert contents(machine, f"f{number}") == b"x"
        machine.ok("chmod", f"f{number}", 0o600)
        assert machine.call("open", f"f{number}/x", 0, 0) == -20
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_paths_that_are_too_long(outside: Path):
    machine = process(outside)
    assert contents(machine, "x" * 256) == ENAMETOOLONG
    assert contents(machine, "x" * 255) == ENOENT
    assert contents(machine, "/" * 4094 + "x") == ENOENT
    assert contents(machine, "/" * 4095 + "x") == ENAMETOOLONG
    bsd = Process("freebsd", root=outside / "root")
    assert bsd.call("open", "/" * 1022 + "x", 0, 0) == -2
    assert bsd.call("open", "/" * 1023 + "x", 0, 0) == -63


def test_names_that_are_not_utf8(outside: Path):
    machine = process(outside)
    fd = machine.ok("open", b"\xff\xfe\x80", O_CREAT | O_RDWR, 0o644)
    assert machine.write(fd, b"raw") == 3
    assert b"\xff\xfe\x80" in os.listdir(os.fsencode(outside / "root/work"))
    machine.ok("rename", b"\xff\xfe\x80", b"\xc3\x28")
    assert contents(machine, b"\xc3\x28") == b"raw"


def test_dots_stop_at_the_root_of_a_chroot(outside: Path):
    (outside / "root/work/jail").mkdir()
    (outside / "root/work/jail/link").symlink_to("/../plain")
    machine = process(outside)
    machine.ok("chroot", "jail")
    machine.ok("chdir", "/")
    for path in ("../plain", "/../plain", "../../plain", "link", "/plain", "/work/jail"):
        assert contents(machine, path) == ENOENT, path
    va = machine.alloc(10)
    assert machine.get(va, machine.ok("getcwd", va, 10)) == b"/\0"
    machine.proc.p_ucred = Ucred(1001, 1001, 1001)
    assert machine.call("chroot", "/") == -1


def test_getcwd_follows_renames_and_notices_removal(outside: Path):
    machine = process(outside)
    machine.ok("mkdir", "a", 0o755)
    machine.ok("chdir", "a")
    root, cwd = machine.proc.p_fd.fd_rdir, machine.proc.p_fd.fd_cdir
    assert vn_fullpath(cwd, root) == b"/work/a"
    (outside / "root/work/a").rename(outside / "root/work/b")
    assert vn_fullpath(cwd, root) == b"/work/b"
    machine.ok("rename", "/work/b", "/work/c")
    assert vn_fullpath(cwd, root) == b"/work/c"
    (outside / "root/work/c").rmdir()
    assert machine.call("getcwd", machine.alloc(100), 100) == -ENOENT


def test_a_root_that_is_not_there_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError):
        Process("linux", root=tmp_path / "nothing")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError):
        Process("linux", root=tmp_path / "file")
    with pytest.raises(UsageError):
        Process("linux", root=tmp_path, cwd="/nowhere")


@pytest.mark.skipif(os.getuid() != 0, reason="only user 0 can be somebody else")
def test_permissions_are_those_of_the_guests_user(outside: Path):
    (outside / "root/work/private").mkdir(mode=0o700)
    (outside / "root/work/private/f").write_bytes(b"x")
    (outside / "root/work/shared").write_bytes(b"x")
    (outside / "root/work/shared").chmod(0o640)
    machine = process(outside)
    machine.proc.p_ucred = Ucred(1001, 1001, 1001, 1002, 1002, 1002, (1002,))
    assert contents(machine, "private/f") == EACCES
    assert contents(machine, "shared") == EACCES
    assert machine.call("open", "new", O_CREAT | O_RDWR, 0o644) == -EACCES
    assert machine.call("chmod", "shared", 0o777) == -1
    os.chown(outside / "root/work/shared", 0, 1002)
    assert contents(machine, "shared") == b"x"
    assert machine.call("unlink", "shared") == -EACCES
