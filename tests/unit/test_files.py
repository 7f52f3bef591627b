"""Descriptors, transfer, pipes, waiting: what programs of both ABIs rely on."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from kernel_model.kern.signalvar import SigAction
from kernel_model.rlimit import RLIMIT_FSIZE, RLIMIT_NOFILE
from kernel_model.vm.vm import VM_PROT_READ
from kernel_model.vm.vm_map_find import vm_map_fixed
from kernel_model.vm.vm_map_protect import vm_map_protect
from kernel_model.vm.vm_param import PAGE_SIZE
from tests.unit.file_host import BAD, FileHost

if TYPE_CHECKING:
    from pathlib import Path

EBADF, EFAULT, EINVAL, EMFILE, EFBIG, ESPIPE, EPIPE, ENOTTY = 9, 14, 22, 24, 27, 29, 32, 25
O_CREATE = {"linux": 0x42, "freebsd": 0x202}
O_APPEND = {"linux": 0x400, "freebsd": 0x8}
O_NONBLOCK = {"linux": 0x800, "freebsd": 0x4}
O_CLOEXEC = {"linux": 0x80000, "freebsd": 0x100000}
EAGAIN = {"linux": 11, "freebsd": 35}


@pytest.fixture(params=["linux", "freebsd"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> FileHost:
    """A process in an empty writable root, with closed standard streams out of the way."""
    return FileHost(tmp_path, abi=request.param)


def make(host: FileHost, name: str = "f", data: bytes = b"", extra: int = 0) -> int:
    fd = host.ok("open", name, O_CREATE[host.abi] | extra, 0o644)
    if data:
        assert host.write(fd, data) == len(data)
        host.ok("lseek", fd, 0, 0)
    return fd


def pipe(host: FileHost, flags: int = 0) -> tuple[int, int]:
    va = host.space(8)
    host.ok("pipe2", va, flags)
    return struct.unpack("<ii", host.get(va, 8))


def killed(host: FileHost) -> bool:
    return host.proc.p_xsig == 9


# -- descriptors -------------------------------------------------------------------------------------


def test_duplicates_share_the_offset_and_opens_do_not(host: FileHost):
    fd = make(host, data=b"abcdef")
    again = host.ok("dup", fd)
    other = host.ok("open", "f", 0, 0)
    assert (host.read(fd, 2), host.read(again, 2), host.read(other, 2)) == (b"ab", b"cd", b"ab")
    host.ok("close", fd)
    assert host.read(again, 2) == b"ef"


def test_the_lowest_free_descriptor_is_taken(host: FileHost):
    fds = [make(host, f"f{number}") for number in range(5)]
    assert fds == [3, 4, 5, 6, 7]
    host.ok("close", 6)
    host.ok("close", 4)
    assert [make(host), make(host), make(host)] == [4, 6, 8]
    assert host.ok("fcntl", 3, 0, 20) == 20
    assert host.ok("fcntl", 3, 0, 20) == 21
    host.ok("close", 0)
    assert make(host) == 0


def test_dup2_replaces_and_keeps(host: FileHost):
    fd = make(host, data=b"one")
    victim = make(host, "g", b"two")
    assert host.ok("dup2", fd, victim) == victim
    assert host.read(victim) == b"one"
    assert host.ok("dup2", fd, fd) == fd
    assert host.call("dup2", 99, fd) == -EBADF
    assert host.call("dup2", fd, -1) == -EBADF
    assert host.call("dup2", fd, 1 << 20) == -EBADF
    assert host.read(fd) == b""


def test_the_descriptor_limit(host: FileHost):
    host.proc.p_limit.set(RLIMIT_NOFILE, 6, 6)
    assert [make(host, f"f{number}") for number in range(3)] == [3, 4, 5]
    assert host.call("open", "more", O_CREATE[host.abi], 0o644) == -EMFILE
    assert host.call("dup", 3) == -EMFILE
    assert host.call("fcntl", 3, 0, 6) == -EINVAL
    assert host.call("pipe2", host.space(8), 0) == -EMFILE
    assert host.call("dup2", 3, 6) == -EBADF


@pytest.mark.parametrize("fd", [-1, 3, 99, 0x7FFFFFFF, -(1 << 31)])
def test_descriptors_that_are_not_open(host: FileHost, fd: int):
    va = host.space(256)
    calls = [
        ("read", fd, va, 1), ("write", fd, va, 1), ("pread64", fd, va, 1, 0), ("close", fd), ("lseek", fd, 0, 0),
        ("fstat", fd, va), ("fsync", fd), ("ftruncate", fd, 0), ("dup", fd), ("fchdir", fd), ("fcntl", fd, 1, 0),
        ("fchmod", fd, 0), ("readv", fd, va, 0), ("ioctl", fd, 0x5401, va), ("openat", fd, "x", 0, 0),
    ]  # fmt: skip
    for name, *args in calls:
        if host.abi == "freebsd":
            name = name.removesuffix("64")
        assert host.call(name, *args) == -EBADF, name


def test_close_on_exec(host: FileHost):
    fd = make(host, extra=O_CLOEXEC[host.abi])
    plain = make(host, "g")
    assert (host.ok("fcntl", fd, 1, 0), host.ok("fcntl", plain, 1, 0)) == (1, 0)
    assert host.ok("fcntl", host.ok("dup", fd), 1, 0) == 0
    host.ok("fcntl", plain, 2, 1)
    host.proc.p_fd.close_on_exec()
    assert host.call("close", fd) == host.call("close", plain) == -EBADF
    assert host.proc.p_fd.descriptors() == [0, 1, 2, 5]


def test_status_flags(host: FileHost):
    fd = make(host, extra=O_APPEND[host.abi])
    large = 0x8000 if host.abi == "linux" else 0
    assert host.ok("fcntl", fd, 3, 0) == 2 | O_APPEND[host.abi] | large
    host.ok("fcntl", fd, 4, O_NONBLOCK[host.abi] | 1)
    assert host.ok("fcntl", fd, 3, 0) == 2 | O_NONBLOCK[host.abi] | large
    assert host.call("fcntl", fd, 12345, 0) == -EINVAL


def test_exclusive_creation(host: FileHost, tmp_path: Path):
    exclusive = O_CREATE[host.abi] | (0x80 if host.abi == "linux" else 0x800)
    assert host.ok("open", "f", exclusive, 0o644) == 3
    assert host.call("open", "f", exclusive, 0o644) == -17
    (tmp_path / "dangling").symlink_to("nothing")
    assert host.call("open", "dangling", exclusive, 0o644) == -17
    assert host.ok("open", "dangling", O_CREATE[host.abi], 0o644) == 4
    assert (tmp_path / "nothing").exists()
    assert host.call("mkdir", "f", 0o755) == host.call("symlink", "x", "f") == host.call("link", "f", "f") == -17


def test_access_modes_are_kept(host: FileHost):
    make(host)
    va = host.space(8)
    reader, writer = host.ok("open", "f", 0, 0), host.ok("open", "f", 1, 0)
    assert host.call("write", reader, va, 1) == -EBADF
    assert host.call("read", writer, va, 1) == -EBADF
    assert host.call("ftruncate", reader, 0) == -EINVAL
    assert host.call("open", "f", 3, 0) == -EINVAL


# -- transfer --------------------------------------------------------------------------------------------


def test_large_transfers_go_page_by_page(host: FileHost):
    data = bytes(range(251)) * 8000
    fd = make(host)
    assert host.write(fd, data) == len(data)
    host.at += len(data)
    va = host.space(len(data) + 5, align=1)
    assert host.ok("lseek", fd, 0, 0) == 0
    before = host.proc.p_vmspace.vm_pmap.resident_count
    assert host.ok("read", fd, va + 5, 1 << 30) == len(data)
    assert host.get(va + 5, len(data)) == data
    touched = host.proc.p_vmspace.vm_pmap.resident_count - before
    assert touched <= len(data) // PAGE_SIZE + 2


def test_a_short_file_touches_only_what_it_fills(host: FileHost):
    fd = make(host, data=b"x" * 100)
    va = host.space(1 << 20, align=PAGE_SIZE) + PAGE_SIZE
    before = host.proc.p_vmspace.vm_pmap.resident_count
    assert host.ok("read", fd, va, 1 << 20) == 100
    assert host.proc.p_vmspace.vm_pmap.resident_count == before + 1
    assert host.ok("read", fd, va + 65536, 1 << 20) == 0
    assert host.proc.p_vmspace.vm_pmap.resident_count == before + 1


def test_bad_buffers(host: FileHost):
    fd = make(host, data=b"y" * (3 * PAGE_SIZE))
    assert host.call("read", fd, BAD, 1) == -EFAULT
    assert host.call("write", fd, BAD, 1) == -EFAULT
    assert host.call("read", fd, 1 << 63, 1) == -EFAULT
    assert host.call("read", fd, BAD, 0) == 0
    start = BAD - PAGE_SIZE
    partial = host.call("read", fd, start, 2 * PAGE_SIZE)
    assert partial == (PAGE_SIZE if host.abi == "linux" else -EFAULT)
    assert host.get(start, PAGE_SIZE) == b"y" * PAGE_SIZE
    assert host.call("read", fd, BAD - 10, 20) == (10 if host.abi == "linux" else -EFAULT)
    assert host.call("open", BAD, 0, 0) == -EFAULT
    assert host.call("read", fd, start, 1 << 63) == (-EFAULT if host.abi == "linux" else -EINVAL)


def test_a_buffer_that_cannot_be_written_is_a_fault(host: FileHost):
    fd = make(host, data=b"data")
    va = host.put(b"old!", align=PAGE_SIZE)
    vm_map_protect(host.proc.p_vmspace.vm_map, va, va + PAGE_SIZE, VM_PROT_READ)
    assert host.call("read", fd, va, 4) == -EFAULT
    assert host.get(va, 4) == b"old!"
    assert host.call("write", fd, va, 4) == 4


def test_vectors(host: FileHost):
    fd = make(host)
    pieces = [host.put(b"ab"), host.put(b"cdef"), host.put(b"g")]
    lengths = [2, 4, 1]
    iov = host.put(b"".join(struct.pack("<QQ", *pair) for pair in zip(pieces, lengths, strict=True)))
    assert host.ok("writev", fd, iov, 3) == 7
    assert host.ok("lseek", fd, 1, 0) == 1
    assert host.ok("readv", fd, iov, 3) == 6
    assert [host.get(*pair) for pair in zip(pieces, lengths, strict=True)] == [b"bc", b"defg", b"g"]
    assert host.ok("preadv", fd, iov, 2, 4) == 3
    assert host.get(pieces[0], 2) == b"ef"
    for count in (-1, 1025, 1 << 31):
        assert host.call("readv", fd, iov, count) == -EINVAL, count
    huge = host.put(struct.pack("<QQQQ", pieces[0], 1 << 62, pieces[1], 1 << 62))
    assert host.call("readv", fd, huge, 2) == -EINVAL
    assert host.call("writev", fd, BAD, 1) == -EFAULT
    assert host.call("writev", fd, iov, 0) == 0


def test_offsets(host: FileHost):
    fd = make(host, data=b"0123456789")
    assert host.ok("lseek", fd, -3, 2) == 7
    assert host.ok("lseek", fd, 2, 1) == 9
    assert host.call("lseek", fd, -10, 1) == -EINVAL
    assert host.call("lseek", fd, 0, 9) == -EINVAL
    top = (1 << 63) - 1
    assert host.call("lseek", fd, top, 2) == (-75 if host.abi == "linux" else -84)
    assert host.ok("lseek", fd, 20, 0) == 20
    assert host.write(fd, b"!") == 1
    host.ok("lseek", fd, 8, 0)
    assert host.read(fd) == b"89" + bytes(10) + b"!"
    assert host.ok("lseek", fd, 3, 3) == 3
    assert host.ok("lseek", fd, 3, 4) == 21
    assert host.call("lseek", fd, 21, 3) == -6
    name = "pwrite64" if host.abi == "linux" else "pwrite"
    va = host.put(b"zz")
    assert host.call(name, fd, va, 2, -1) == -EINVAL
    assert host.call(name, fd, va, 2, top) == -EFBIG
    assert host.ok(name, fd, va, 2, 0) == 2
    assert host.ok("lseek", fd, 0, 1) == 21


def test_append_goes_to_the_end_always(host: FileHost):
    fd = make(host, extra=O_APPEND[host.abi])
    other = host.ok("open", "f", 1, 0)
    for piece in (b"aa", b"bb"):
        host.ok("lseek", fd, 0, 0)
        assert host.write(fd, piece) == 2
        host.ok("lseek", other, 0, 2)
        assert host.write(other, b"-") == 1
    host.ok("lseek", fd, 0, 0)
    assert host.read(fd) == b"aa-bb-"


def test_the_file_size_limit(host: FileHost):
    host.proc.p_limit.set(RLIMIT_FSIZE, 10, 10)
    fd = make(host)
    assert host.write(fd, b"x" * 8) == 8
    assert host.write(fd, b"x" * 8) == 2
    assert host.write(fd, b"x") == -EFBIG
    assert [ksi.ksi_signo for ksi in host.td.td_sigqueue] == [25]
    assert host.ok("lseek", fd, 0, 2) == 10


# -- the file and its mappings ---------------------------------------------------------------------------


def mapped(host: FileHost, fd: int, size: int):
    """Map the file shared and writable at a fixed place, as mmap(2) does, and return (address, object)."""
    from kernel_model.vm.vm_map_entry import MAP_PREFAULT_PARTIAL
    from kernel_model.vm.vnode_pager import vnode_pager_alloc

    vp = host.proc.p_fd.fget(fd).f_vnode
    object_ = vnode_pager_alloc(host.vm, vp)
    where = 0x5000_0000
    rv = vm_map_fixed(host.proc.p_vmspace.vm_map, object_, 0, where, size, 3, 7, MAP_PREFAULT_PARTIAL)
    assert rv == 0
    return where, object_


def test_read_sees_what_a_mapping_wrote(host: FileHost):
    from kernel_model.kern.copyin import copyout

    fd = make(host, data=b"a" * (2 * PAGE_SIZE + 100))
    va, _ = mapped(host, fd, 3 * PAGE_SIZE)
    copyout(host.td, va + PAGE_SIZE - 2, b"MAPS")
    copyout(host.td, va + 2 * PAGE_SIZE + 98, b"ENDbeyond")
    data = host.read(fd, 4 * PAGE_SIZE)
    assert len(data) == 2 * PAGE_SIZE + 100
    assert data[PAGE_SIZE - 3 : PAGE_SIZE + 3] == b"aMAPSa"
    assert data[-3:] == b"aEN"


def test_a_mapping_sees_what_write_wrote(host: FileHost):
    fd = make(host, data=b"a" * (2 * PAGE_SIZE))
    va, _ = mapped(host, fd, 4 * PAGE_SIZE)
    assert host.get(va, 2) == b"aa"
    host.ok("lseek", fd, PAGE_SIZE - 1, 0)
    assert host.write(fd, b"XYZ") == 3
    assert host.get(va + PAGE_SIZE - 2, 5) == b"aXYZa"
    host.ok("lseek", fd, 0, 2)
    assert host.write(fd, b"grown" * 1000) == 5000
    assert host.get(va + 2 * PAGE_SIZE, 10) == b"growngrown"


def test_a_growing_last_page_is_seen(host: FileHost):
    fd = make(host, data=b"a" * 10)
    va, _ = mapped(host, fd, PAGE_SIZE)
    assert host.get(va, 12) == b"a" * 10 + bytes(2)
    host.ok("lseek", fd, 0, 2)
    assert host.write(fd, b"bb") == 2
    assert host.get(va, 13) == b"a" * 10 + b"bb\0"


def test_truncation_reaches_the_mapping(host: FileHost):
    from kernel_model.errors import SyscallError
    from kernel_model.kern.copyin import copyin

    fd = make(host, data=b"a" * (2 * PAGE_SIZE))
    va, _ = mapped(host, fd, 2 * PAGE_SIZE)
    assert host.get(va + PAGE_SIZE, 1) == b"a"
    host.ok("ftruncate", fd, 100)
    assert host.get(va + 99, 2) == b"a\0"
    with pytest.raises(SyscallError):
        copyin(host.td, va + PAGE_SIZE, 1)
    host.ok("ftruncate", fd, 2 * PAGE_SIZE)
    assert host.get(va + 100, 50) == bytes(50)
    assert host.get(va + PAGE_SIZE, 4) == bytes(4)


def test_fsync_brings_mapped_pages_to_the_store(host: FileHost, tmp_path: Path):
    from kernel_model.kern.copyin import copyout

    fd = make(host, data=b"a" * 100)
    va, _ = mapped(host, fd, PAGE_SIZE)
    copyout(host.td, va + 10, b"stored")
    host.ok("fsync", fd)
    assert (tmp_path / "f").read_bytes() == b"a" * 10 + b"stored" + b"a" * 84


# -- pipes ----------------------------------------------------------------------------------------------------


def test_a_pipe_carries_bytes_in_order(host: FileHost):
    reader, writer = pipe(host)
    assert host.write(writer, b"one") == 3
    assert host.write(writer, b"two") == 3
    assert host.read(reader, 4) == b"onet"
    assert host.read(reader, 4) == b"wo"
    host.ok("close", writer)
    assert host.read(reader) == b""
    assert host.call("lseek", reader, 0, 0) == -ESPIPE
    name = "pread64" if host.abi == "linux" else "pread"
    assert host.call(name, reader, host.space(1), 1, 0) == -ESPIPE


def test_a_pipe_without_reader_is_broken(host: FileHost):
    reader, writer = pipe(host)
    host.ok("close", reader)
    assert host.write(writer, b"x") == -EPIPE
    assert [ksi.ksi_signo for ksi in host.td.td_sigqueue] == [13]


def test_directions(host: FileHost):
    reader, writer = pipe(host)
    back = host.write(reader, b"back")
    assert back == (4 if host.abi == "freebsd" else -EBADF)
    if host.abi == "freebsd":
        assert host.read(writer) == b"back"


def test_a_pipe_that_does_not_block(host: FileHost):
    reader, writer = pipe(host, O_NONBLOCK[host.abi])
    again = -EAGAIN[host.abi]
    assert host.call("read", reader, host.space(1), 1) == again
    assert host.write(writer, b"x" * 65536) == 65536
    assert host.write(writer, b"x") == again
    assert len(host.read(reader, 100)) == 100
    assert host.write(writer, b"y" * 101) == again
    assert host.write(writer, b"y" * 5000) == 100


@pytest.mark.parametrize("how", ["read", "write", "poll", "select"])
def test_a_wait_that_nothing_can_end_ends_the_run(host: FileHost, how: str):
    reader, writer = pipe(host)
    if how == "read":
        assert host.call("read", reader, host.space(1), 1) < 0
    elif how == "write":
        assert host.write(writer, b"x" * 65536) == 65536
        assert host.write(writer, b"x" * 1000) < 0
    elif how == "poll":
        assert host.call("poll", host.put(struct.pack("<ihh", reader, 1, 0)), 1, -1) < 0
    else:
        assert host.call("select", reader + 1, host.put((1 << reader).to_bytes(8, "little")), 0, 0, 0) < 0
    assert killed(host)


def test_a_signal_that_waits_ends_the_wait_instead(host: FileHost):
    from kernel_model.kern.kern_sig import tdsendsignal
    from kernel_model.kern.signalvar import KSigInfo

    reader, _ = pipe(host)
    host.proc.p_sigacts.ps_sigact[14] = SigAction(0x1234)
    tdsendsignal(host.td, KSigInfo(14))
    assert host.call("read", reader, host.space(1), 1) == -4
    assert not killed(host)


# -- waiting ----------------------------------------------------------------------------------------------------


def poll(host: FileHost, *wanted: tuple[int, int], timeout: int = 0) -> tuple[int, list[int]]:
    va = host.put(b"".join(struct.pack("<ihh", fd, events, 0x55) for fd, events in wanted))
    count = host.ok("poll", va, len(wanted), timeout)
    return count, [struct.unpack_from("<h", host.get(va + 8 * i + 6, 2))[0] for i in range(len(wanted))]


def test_poll(host: FileHost):
    reader, writer = pipe(host)
    fd = make(host)
    assert poll(host, (reader, 1), (writer, 4), (fd, 5), (-1, 1), (77, 1)) == (3, [0, 4, 5, 0, 0x20])
    host.write(writer, b"x")
    assert poll(host, (reader, 1)) == (1, [1])
    host.ok("close", writer)
    assert poll(host, (reader, 1)) == (1, [0x11])
    host.read(reader)
    assert poll(host, (reader, 1))[1][0] & 0x10
    other_reader, other_writer = pipe(host)
    host.ok("close", other_reader)
    assert poll(host, (other_writer, 4)) == (1, [4 | 8 if host.abi == "linux" else 0x10])
    before = host.kernel.clock.nanouptime()
    assert poll(host, (-1, 1), timeout=50) == (0, [0])
    assert host.kernel.clock.nanouptime() - before >= 50_000_000
    assert host.call("poll", BAD, 1, 0) == -EFAULT
    assert host.call("poll", 0, 0, 0) == 0
    assert host.call("poll", 0, 1 << 31, 0) == -EINVAL


def test_select(host: FileHost):
    reader, writer = pipe(host)
    fd = make(host)
    mask = 1 << reader | 1 << writer | 1 << fd
    sets = [host.put(mask.to_bytes(8, "little")) for _ in range(2)]
    now = host.put(bytes(16))
    both_ways = host.abi == "freebsd"
    assert host.ok("select", fd + 1, *sets, 0, now) == 3 + both_ways
    assert int.from_bytes(host.get(sets[0], 8), "little") == 1 << fd
    assert int.from_bytes(host.get(sets[1], 8), "little") == 1 << writer | 1 << fd | both_ways << reader
    assert host.call("select", -1, 0, 0, 0, now) == -EINVAL
    assert host.call("select", 60, host.put((1 << 55).to_bytes(8, "little")), 0, 0, now) == -EBADF
    assert host.call("select", 5, 0, 0, 0, host.put(struct.pack("<qq", 0, 1_000_000))) == -EINVAL
    assert host.call("select", 5, 0, 0, 0, host.put(struct.pack("<qq", -1, 0))) == -EINVAL
    assert host.call("select", 0, 0, 0, 0, now) == 0


def test_standard_streams(tmp_path: Path):
    out = bytearray()
    host = FileHost(tmp_path, streams=(b"typed\n", out, None))
    assert host.read(0, 3) == b"typ"
    assert host.read(0) == b"ed\n"
    assert host.read(0) == b""
    assert host.write(1, b"said") == 4
    assert bytes(out) == b"said"
    assert host.write(2, b"x") == -EBADF
    assert host.call("ioctl", 1, 0x5401, host.space(64)) == -ENOTTY
    assert host.call("lseek", 0, 0, 1) == -ESPIPE


def test_a_redirected_file_keeps_one_offset_with_the_shell(tmp_path: Path):
    import os

    target = tmp_path / "out"
    fd = os.open(target, os.O_RDWR | os.O_CREAT)
    second = os.dup(fd)
    try:
        os.write(fd, b"shell ")
        host = FileHost(tmp_path, streams=(None, fd, second))
        assert host.write(1, b"out ") == 4
        assert host.write(2, b"err ") == 4
        assert host.write(1, b"out2 ") == 5
        os.write(fd, b"after")
        assert target.read_bytes() == b"shell out err out2 after"
    finally:
        os.close(fd)
        os.close(second)


# -- locks ------------------------------------------------------------------------------------------------------


def test_record_locks_of_another_process_are_seen(tmp_path: Path):
    from kernel_model.kern.kern_lockf import lf_setlock
    from kernel_model.kern.vnode import Flock

    host = FileHost(tmp_path)
    fd = make(host, data=b"x" * 100)
    vp = host.proc.p_fd.fget(fd).f_vnode
    assert lf_setlock(vp, Flock("other", 10, 20, exclusive=True, pid=77)) is None

    def lock(cmd: int, kind: int, start: int, length: int) -> tuple[int, tuple]:
        va = host.put(struct.pack("<hh4xqqi4x", kind, 0, start, length, 0))
        return host.call("fcntl", fd, cmd, va), struct.unpack("<hh4xqqi4x", host.get(va, 32))

    assert lock(6, 1, 0, 10)[0] == 0
    assert lock(6, 1, 0, 11)[0] == -11
    assert lock(5, 0, 0, 0) == (0, (1, 0, 10, 10, 77))
    assert lock(5, 1, 30, 5) == (0, (2, 0, 30, 5, 0))
    assert lock(6, 0, 19, 1)[0] == -11
    assert lock(6, 9, 0, 1)[0] == -EINVAL
    assert lock(6, 1, -1, 1)[0] == -EINVAL
    assert lock(6, 1, 50, -10)[0] == 0
    mine = [(item.start, item.end) for item in vp.v_lockf if item.owner is host.proc]
    assert mine == [(0, 10), (40, 50)]
    assert lock(6, 2, 3, 4)[0] == 0
    mine = [(item.start, item.end) for item in vp.v_lockf if item.owner is host.proc]
    assert mine == [(0, 3), (7, 10), (40, 50)]
    host.ok("close", host.ok("open", "f", 0, 0))
    assert [item.owner for item in vp.v_lockf] == ["other"]


def test_readers_share_and_writers_do_not(host: FileHost):
    first = make(host)
    second = host.ok("open", "f", 2, 0)
    host.ok("flock", first, 1)
    host.ok("flock", second, 1 | 4)
    assert host.call("flock", second, 2 | 4) == -EAGAIN[host.abi]
    host.ok("flock", first, 8)
    host.ok("flock", second, 2 | 4)
    assert host.call("flock", first, 1 | 4) == -EAGAIN[host.abi]
    assert host.call("flock", first, 2) < 0
    assert killed(host)


def test_flock_belongs_to_the_open_file(host: FileHost):
    first = make(host)
    second = host.ok("open", "f", 2, 0)
    host.ok("flock", first, 2)
    assert host.call("flock", second, 2 | 4) == -EAGAIN[host.abi]
    again = host.ok("dup", first)
    host.ok("close", first)
    assert host.call("flock", second, 1 | 4) == -EAGAIN[host.abi]
    host.ok("close", again)
    host.ok("flock", second, 1 | 4)


# -- directories ----------------------------------------------------------------------------------------------------


def names_in(host: FileHost, fd: int, size: int) -> list[bytes]:
    found: list[bytes] = []
    va = host.space(size)
    while True:
        if host.abi == "linux":
            got = host.call("getdents64", fd, va, size)
            head, length, name = 19, 16, 19
        else:
            got = host.call("getdirentries", fd, va, size, 0)
            head, length, name = 24, 16, 24
        if got <= 0:
            assert got == 0
            return found
        data, at = host.get(va, got), 0
        while at < got:
            reclen = struct.unpack_from("<H", data, at + length)[0]
            assert reclen > head
            found.append(data[at + name : at + reclen].split(b"\0")[0])
            at += reclen


@pytest.mark.parametrize("size", [300, 1000, 32768])
def test_a_directory_is_listed_once_whatever_the_buffer(host: FileHost, tmp_path: Path, size: int):
    expected = {b".", b"..", b"dev", b"proc", b"x" * 255} | {b"f%d" % number for number in range(100)}
    (tmp_path / ("x" * 255)).write_bytes(b"")
    for number in range(100):
        (tmp_path / f"f{number}").write_bytes(b"")
    fd = host.ok("open", "/", 0, 0)
    found = names_in(host, fd, size)
    assert len(found) == len(expected) and set(found) == expected
    host.ok("lseek", fd, 0, 0)
    (tmp_path / "late").write_bytes(b"")
    assert set(names_in(host, fd, size)) == expected | {b"late"}
    host.ok("lseek", fd, 0, 0)
    name = "getdents64" if host.abi == "linux" else "getdirentries"
    assert host.call(name, fd, host.space(8), 8, 0) == -EINVAL


def test_removing_while_listing_skips_nothing(host: FileHost, tmp_path: Path):
    host.ok("mkdir", "d", 0o755)
    for number in range(50):
        (tmp_path / f"d/f{number}").write_bytes(b"")
    fd = host.ok("open", "d", 0, 0)
    va = host.space(400)
    name = "getdents64" if host.abi == "linux" else "getdirentries"
    start = 19 if host.abi == "linux" else 24
    while (got := host.ok(name, fd, va, 400, 0)) > 0:
        data, at = host.get(va, got), 0
        while at < got:
            reclen = struct.unpack_from("<H", data, at + 16)[0]
            entry = data[at + start : at + reclen].split(b"\0")[0]
            at += reclen
            if entry not in (b".", b".."):
                host.ok("unlink", b"d/" + entry)
    host.ok("rmdir", "d")


# -- odds and ends -------------------------------------------------------------------------------------


def test_shared_memory_objects(host: FileHost):
    if host.abi == "linux":
        fd = host.ok("memfd_create", "m", 1)
    else:
        fd = host.ok("shm_open", 1, 2, 0o600)
    assert host.write(fd, b"memory") == 6
    host.ok("lseek", fd, 2, 0)
    assert host.read(fd) == b"mory"
    host.ok("ftruncate", fd, 10000)
    assert host.ok("lseek", fd, 0, 2) == 10000
    assert host.ok("fcntl", fd, 1, 0) == 1


def test_copying_inside_the_kernel(tmp_path: Path):
    host = FileHost(tmp_path)
    source, target = make(host, "a", b"0123456789" * 1000), make(host, "b")
    offset = host.put(struct.pack("<q", 5))
    assert host.ok("sendfile", target, source, offset, 20000) == 9995
    assert struct.unpack("<q", host.get(offset, 8))[0] == 10000
    assert host.ok("lseek", source, 0, 1) == 0
    assert host.ok("copy_file_range", source, 0, target, 0, 10, 0) == 10
    assert host.ok("lseek", source, 0, 1) == 10
    assert (tmp_path / "b").read_bytes()[-12:] == b"890123456789"
    assert host.call("sendfile", target, 1, 0, 1) == -EBADF


def test_times(host: FileHost, tmp_path: Path):
    make(host)
    host.ok("utimes", "f", host.put(struct.pack("<4q", 100, 5, 200, 999_999)))
    info = (tmp_path / "f").stat()
    assert (info.st_atime_ns, info.st_mtime_ns) == (100_000_005_000, 200_999_999_000)
    now, omit = (0x3FFFFFFF, 0x3FFFFFFE) if host.abi == "linux" else (-1, -2)
    host.ok("utimensat", -100, "f", host.put(struct.pack("<4q", 0, omit, 7, 8)), 0)
    info = (tmp_path / "f").stat()
    assert (info.st_atime_ns, info.st_mtime_ns) == (100_000_005_000, 7_000_000_008)
    host.ok("utimensat", -100, "f", host.put(struct.pack("<4q", 0, now, 0, omit)), 0)
    assert (tmp_path / "f").stat().st_mtime_ns == 7_000_000_008
    assert host.call("utimes", "f", host.put(struct.pack("<4q", 0, 1_000_000, 0, 0))) == -EINVAL
    assert host.call("utimensat", -100, "f", host.put(struct.pack("<4q", 0, 1 << 40, 0, 0)), 0) == -EINVAL


def test_umask_and_modes(host: FileHost, tmp_path: Path):
    assert host.ok("umask", 0o077) == 0o022
    make(host)
    host.ok("mkdir", "d", 0o777)
    assert oct((tmp_path / "f").stat().st_mode)[-3:] == "600"
    assert oct((tmp_path / "d").stat().st_mode)[-3:] == "700"
    assert host.ok("umask", 0) == 0o077
