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
from tests.process import BAD, Process

if TYPE_CHECKING:
    from pathlib import Path

EBADF, EFAULT, EINVAL, EMFILE, EFBIG, ESPIPE, EPIPE, ENOTTY = 9, 14, 22, 24, 27, 29, 32, 25
O_CREATE = {"linux": 0x42, "freebsd": 0x202}
O_APPEND = {"linux": 0x400, "freebsd": 0x8}
O_NONBLOCK = {"linux": 0x800, "freebsd": 0x4}
O_CLOEXEC = {"linux": 0x80000, "freebsd": 0x100000}
EAGAIN = {"linux": 11, "freebsd": 35}


@pytest.fixture(params=["linux", "freebsd"])
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Process:
    """A process in an empty writable root, with closed standard streams out of the way."""
    return Process(request.param, root=tmp_path)


def make(process: Process, name: str = "f", data: bytes = b"", extra: int = 0) -> int:
    fd = process.ok("open", name, O_CREATE[process.abi] | extra, 0o644)
    if data:
        assert process.write(fd, data) == len(data)
        process.ok("lseek", fd, 0, 0)
    return fd


def pipe(process: Process, flags: int = 0) -> tuple[int, int]:
    va = process.alloc(8)
    process.ok("pipe2", va, flags)
    return struct.unpack("<ii", process.get(va, 8))


def killed(process: Process) -> bool:
    return process.proc.p_xsig == 9


# -- descriptors -------------------------------------------------------------------------------------


def test_duplicates_share_the_offset_and_opens_do_not(process: Process):
    fd = make(process, data=b"abcdef")
    again = process.ok("dup", fd)
    other = process.ok("open", "f", 0, 0)
    assert (process.read(fd, 2), process.read(again, 2), process.read(other, 2)) == (b"ab", b"cd", b"ab")
    process.ok("close", fd)
    assert process.read(again, 2) == b"ef"


def test_the_lowest_free_descriptor_is_taken(process: Process):
    fds = [make(process, f"f{number}") for number in range(5)]
    assert fds == [3, 4, 5, 6, 7]
    process.ok("close", 6)
    process.ok("close", 4)
    assert [make(process), make(process), make(process)] == [4, 6, 8]
    assert process.ok("fcntl", 3, 0, 20) == 20
    assert process.ok("fcntl", 3, 0, 20) == 21
    process.ok("close", 0)
    assert make(process) == 0


def test_dup2_replaces_and_keeps(process: Process):
    fd = make(process, data=b"one")
    victim = make(process, "g", b"two")
    assert process.ok("dup2", fd, victim) == victim
    assert process.read(victim) == b"one"
    assert process.ok("dup2", fd, fd) == fd
    assert process.call("dup2", 99, fd) == -EBADF
    assert process.call("dup2", fd, -1) == -EBADF
    assert process.call("dup2", fd, 1 << 20) == -EBADF
    assert process.read(fd) == b""


def test_the_descriptor_limit(process: Process):
    process.proc.p_limit.set(RLIMIT_NOFILE, 6, 6)
    assert [make(process, f"f{number}") for number in range(3)] == [3, 4, 5]
    assert process.call("open", "more", O_CREATE[process.abi], 0o644) == -EMFILE
    assert process.call("dup", 3) == -EMFILE
    assert process.call("fcntl", 3, 0, 6) == -EINVAL
    assert process.call("pipe2", process.alloc(8), 0) == -EMFILE
    assert process.call("dup2", 3, 6) == -EBADF


@pytest.mark.parametrize("fd", [-1, 3, 99, 0x7FFFFFFF, -(1 << 31)])
def test_descriptors_that_are_not_open(process: Process, fd: int):
    va = process.alloc(256)
    calls = [
        ("read", fd, va, 1), ("write", fd, va, 1), ("pread64", fd, va, 1, 0), ("close", fd), ("lseek", fd, 0, 0),
        ("fstat", fd, va), ("fsync", fd), ("ftruncate", fd, 0), ("dup", fd), ("fchdir", fd), ("fcntl", fd, 1, 0),
        ("fchmod", fd, 0), ("readv", fd, va, 0), ("ioctl", fd, 0x5401, va), ("openat", fd, "x", 0, 0),
    ]  # fmt: skip
    for name, *args in calls:
        if process.abi == "freebsd":
            name = name.removesuffix("64")
        assert process.call(name, *args) == -EBADF, name


def test_close_on_exec(process: Process):
    fd = make(process, extra=O_CLOEXEC[process.abi])
    plain = make(process, "g")
    assert (process.ok("fcntl", fd, 1, 0), process.ok("fcntl", plain, 1, 0)) == (1, 0)
    assert process.ok("fcntl", process.ok("dup", fd), 1, 0) == 0
    process.ok("fcntl", plain, 2, 1)
    process.proc.p_fd.close_on_exec()
    assert process.call("close", fd) == process.call("close", plain) == -EBADF
    assert process.proc.p_fd.descriptors() == [0, 1, 2, 5]


def test_status_flags(process: Process):
    fd = make(process, extra=O_APPEND[process.abi])
    large = 0x8000 if process.abi == "linux" else 0
    assert process.ok("fcntl", fd, 3, 0) == 2 | O_APPEND[process.abi] | large
    process.ok("fcntl", fd, 4, O_NONBLOCK[process.abi] | 1)
    assert process.ok("fcntl", fd, 3, 0) == 2 | O_NONBLOCK[process.abi] | large
    assert process.call("fcntl", fd, 12345, 0) == -EINVAL


def test_exclusive_creation(process: Process, tmp_path: Path):
    exclusive = O_CREATE[process.abi] | (0x80 if process.abi == "linux" else 0x800)
    assert process.ok("open", "f", exclusive, 0o644) == 3
    assert process.call("open", "f", exclusive, 0o644) == -17
    (tmp_path / "dangling").symlink_to("nothing")
    assert process.call("open", "dangling", exclusive, 0o644) == -17
    assert process.ok("open", "dangling", O_CREATE[process.abi], 0o644) == 4
    assert (tmp_path / "nothing").exists()
    assert (
        process.call("mkdir", "f", 0o755) == process.call("symlink", "x", "f") == process.call("link", "f", "f") == -17
    )


def test_access_modes_are_kept(process: Process):
    make(process)
    va = process.alloc(8)
    reader, writer = process.ok("open", "f", 0, 0), process.ok("open", "f", 1, 0)
    assert process.call("write", reader, va, 1) == -EBADF
    assert process.call("read", writer, va, 1) == -EBADF
    assert process.call("ftruncate", reader, 0) == -EINVAL
    assert process.call("open", "f", 3, 0) == -EINVAL


# -- transfer --------------------------------------------------------------------------------------------


def test_large_transfers_go_page_by_page(process: Process):
    data = bytes(range(251)) * 8000
    fd = make(process)
    assert process.write(fd, data) == len(data)
    process.at += len(data)
    va = process.alloc(len(data) + 5, align=1)
    assert process.ok("lseek", fd, 0, 0) == 0
    before = process.proc.p_vmspace.vm_pmap.resident_count
    assert process.ok("read", fd, va + 5, 1 << 30) == len(data)
    assert process.get(va + 5, len(data)) == data
    touched = process.proc.p_vmspace.vm_pmap.resident_count - before
    assert touched <= len(data) // PAGE_SIZE + 2


def test_a_short_file_touches_only_what_it_fills(process: Process):
    fd = make(process, data=b"x" * 100)
    va = process.alloc(1 << 20, align=PAGE_SIZE) + PAGE_SIZE
    before = process.proc.p_vmspace.vm_pmap.resident_count
    assert process.ok("read", fd, va, 1 << 20) == 100
    assert process.proc.p_vmspace.vm_pmap.resident_count == before + 1
    assert process.ok("read", fd, va + 65536, 1 << 20) == 0
    assert process.proc.p_vmspace.vm_pmap.resident_count == before + 1


def test_bad_buffers(process: Process):
    fd = make(process, data=b"y" * (3 * PAGE_SIZE))
    assert process.call("read", fd, BAD, 1) == -EFAULT
    assert process.call("write", fd, BAD, 1) == -EFAULT
    assert process.call("read", fd, 1 << 63, 1) == -EFAULT
    assert process.call("read", fd, BAD, 0) == 0
    start = BAD - PAGE_SIZE
    partial = process.call("read", fd, start, 2 * PAGE_SIZE)
    assert partial == (PAGE_SIZE if process.abi == "linux" else -EFAULT)
    assert process.get(start, PAGE_SIZE) == b"y" * PAGE_SIZE
    assert process.call("read", fd, BAD - 10, 20) == (10 if process.abi == "linux" else -EFAULT)
    assert process.call("open", BAD, 0, 0) == -EFAULT
    assert process.call("read", fd, start, 1 << 63) == (-EFAULT if process.abi == "linux" else -EINVAL)


def test_a_buffer_that_cannot_be_written_is_a_fault(process: Process):
    fd = make(process, data=b"data")
    va = process.put(b"old!", align=PAGE_SIZE)
    vm_map_protect(process.proc.p_vmspace.vm_map, va, va + PAGE_SIZE, VM_PROT_READ)
    assert process.call("read", fd, va, 4) == -EFAULT
    assert process.get(va, 4) == b"old!"
    assert process.call("write", fd, va, 4) == 4


def test_vectors(process: Process):
    fd = make(process)
    pieces = [process.put(b"ab"), process.put(b"cdef"), process.put(b"g")]
    lengths = [2, 4, 1]
    iov = process.put(b"".join(struct.pack("<QQ", *pair) for pair in zip(pieces, lengths, strict=True)))
    assert process.ok("writev", fd, iov, 3) == 7
    assert process.ok("lseek", fd, 1, 0) == 1
    assert process.ok("readv", fd, iov, 3) == 6
    assert [process.get(*pair) for pair in zip(pieces, lengths, strict=True)] == [b"bc", b"defg", b"g"]
    assert process.ok("preadv", fd, iov, 2, 4) == 3
    assert process.get(pieces[0], 2) == b"ef"
    for count in (-1, 1025, 1 << 31):
        assert process.call("readv", fd, iov, count) == -EINVAL, count
    huge = process.put(struct.pack("<QQQQ", pieces[0], 1 << 62, pieces[1], 1 << 62))
    assert process.call("readv", fd, huge, 2) == -EINVAL
    assert process.call("writev", fd, BAD, 1) == -EFAULT
    assert process.call("writev", fd, iov, 0) == 0


def test_offsets(process: Process):
    fd = make(process, data=b"0123456789")
    assert process.ok("lseek", fd, -3, 2) == 7
    assert process.ok("lseek", fd, 2, 1) == 9
    assert process.call("lseek", fd, -10, 1) == -EINVAL
    assert process.call("lseek", fd, 0, 9) == -EINVAL
    top = (1 << 63) - 1
    assert process.call("lseek", fd, top, 2) == (-75 if process.abi == "linux" else -84)
    assert process.ok("lseek", fd, 20, 0) == 20
    assert process.write(fd, b"!") == 1
    process.ok("lseek", fd, 8, 0)
    assert process.read(fd) == b"89" + bytes(10) + b"!"
    assert process.ok("lseek", fd, 3, 3) == 3
    assert process.ok("lseek", fd, 3, 4) == 21
    assert process.call("lseek", fd, 21, 3) == -6
    name = "pwrite64" if process.abi == "linux" else "pwrite"
    va = process.put(b"zz")
    assert process.call(name, fd, va, 2, -1) == -EINVAL
    assert process.call(name, fd, va, 2, top) == -EFBIG
    assert process.ok(name, fd, va, 2, 0) == 2
    assert process.ok("lseek", fd, 0, 1) == 21


def test_append_goes_to_the_end_always(process: Process):
    fd = make(process, extra=O_APPEND[process.abi])
    other = process.ok("open", "f", 1, 0)
    for piece in (b"aa", b"bb"):
        process.ok("lseek", fd, 0, 0)
        assert process.write(fd, piece) == 2
        process.ok("lseek", other, 0, 2)
        assert process.write(other, b"-") == 1
    process.ok("lseek", fd, 0, 0)
    assert process.read(fd) == b"aa-bb-"


def test_the_file_size_limit(process: Process):
    process.proc.p_limit.set(RLIMIT_FSIZE, 10, 10)
    fd = make(process)
    assert process.write(fd, b"x" * 8) == 8
    assert process.write(fd, b"x" * 8) == 2
    assert process.write(fd, b"x") == -EFBIG
    assert [ksi.ksi_signo for ksi in process.td.td_sigqueue] == [25]
    assert process.ok("lseek", fd, 0, 2) == 10


# -- the file and its mappings ---------------------------------------------------------------------------


def mapped(process: Process, fd: int, size: int):
    """Map the file shared and writable at a fixed place, as mmap(2) does, and return (address, object)."""
    from kernel_model.vm.vm_map_entry import MAP_PREFAULT_PARTIAL
    from kernel_model.vm.vnode_pager import vnode_pager_alloc

    vp = process.proc.p_fd.fget(fd).f_vnode
    object_ = vnode_pager_alloc(process.vm, vp)
    where = 0x5000_0000
    rv = vm_map_fixed(process.proc.p_vmspace.vm_map, object_, 0, where, size, 3, 7, MAP_PREFAULT_PARTIAL)
    assert rv == 0
    return where, object_


def test_read_sees_what_a_mapping_wrote(process: Process):
    from kernel_model.kern.copyin import copyout

    fd = make(process, data=b"a" * (2 * PAGE_SIZE + 100))
    va, _ = mapped(process, fd, 3 * PAGE_SIZE)
    copyout(process.td, va + PAGE_SIZE - 2, b"MAPS")
    copyout(process.td, va + 2 * PAGE_SIZE + 98, b"ENDbeyond")
    data = process.read(fd, 4 * PAGE_SIZE)
    assert len(data) == 2 * PAGE_SIZE + 100
    assert data[PAGE_SIZE - 3 : PAGE_SIZE + 3] == b"aMAPSa"
    assert data[-3:] == b"aEN"


def test_a_mapping_sees_what_write_wrote(process: Process):
    fd = make(process, data=b"a" * (2 * PAGE_SIZE))
    va, _ = mapped(process, fd, 4 * PAGE_SIZE)
    assert process.get(va, 2) == b"aa"
    process.ok("lseek", fd, PAGE_SIZE - 1, 0)
    assert process.write(fd, b"XYZ") == 3
    assert process.get(va + PAGE_SIZE - 2, 5) == b"aXYZa"
    process.ok("lseek", fd, 0, 2)
    assert process.write(fd, b"grown" * 1000) == 5000
    assert process.get(va + 2 * PAGE_SIZE, 10) == b"growngrown"


def test_a_growing_last_page_is_seen(process: Process):
    fd = make(process, data=b"a" * 10)
    va, _ = mapped(process, fd, PAGE_SIZE)
    assert process.get(va, 12) == b"a" * 10 + bytes(2)
    process.ok("lseek", fd, 0, 2)
    assert process.write(fd, b"bb") == 2
    assert process.get(va, 13) == b"a" * 10 + b"bb\0"


def test_truncation_reaches_the_mapping(process: Process):
    from kernel_model.errors import SyscallError
    from kernel_model.kern.copyin import copyin

    fd = make(process, data=b"a" * (2 * PAGE_SIZE))
    va, _ = mapped(process, fd, 2 * PAGE_SIZE)
    assert process.get(va + PAGE_SIZE, 1) == b"a"
    process.ok("ftruncate", fd, 100)
    assert process.get(va + 99, 2) == b"a\0"
    with pytest.raises(SyscallError):
        copyin(process.td, va + PAGE_SIZE, 1)
    process.ok("ftruncate", fd, 2 * PAGE_SIZE)
    assert process.get(va + 100, 50) == bytes(50)
    assert process.get(va + PAGE_SIZE, 4) == bytes(4)


def test_fsync_brings_mapped_pages_to_the_store(process: Process, tmp_path: Path):
    from kernel_model.kern.copyin import copyout

    fd = make(process, data=b"a" * 100)
    va, _ = mapped(process, fd, PAGE_SIZE)
    copyout(process.td, va + 10, b"stored")
    process.ok("fsync", fd)
    assert (tmp_path / "f").read_bytes() == b"a" * 10 + b"stored" + b"a" * 84


# -- pipes ----------------------------------------------------------------------------------------------------


def test_a_pipe_carries_bytes_in_order(process: Process):
    reader, writer = pipe(process)
    assert process.write(writer, b"one") == 3
    assert process.write(writer, b"two") == 3
    assert process.read(reader, 4) == b"onet"
    assert process.read(reader, 4) == b"wo"
    process.ok("close", writer)
    assert process.read(reader) == b""
    assert process.call("lseek", reader, 0, 0) == -ESPIPE
    name = "pread64" if process.abi == "linux" else "pread"
    assert process.call(name, reader, process.alloc(1), 1, 0) == -ESPIPE


def test_a_pipe_without_reader_is_broken(process: Process):
    reader, writer = pipe(process)
    process.ok("close", reader)
    assert process.write(writer, b"x") == -EPIPE
    assert [ksi.ksi_signo for ksi in process.td.td_sigqueue] == [13]


def test_directions(process: Process):
    reader, writer = pipe(process)
    back = process.write(reader, b"back")
    assert back == (4 if process.abi == "freebsd" else -EBADF)
    if process.abi == "freebsd":
        assert process.read(writer) == b"back"


def test_a_pipe_that_does_not_block(process: Process):
    reader, writer = pipe(process, O_NONBLOCK[process.abi])
    again = -EAGAIN[process.abi]
    assert process.call("read", reader, process.alloc(1), 1) == again
    assert process.write(writer, b"x" * 65536) == 65536
    assert process.write(writer, b"x") == again
    assert len(process.read(reader, 100)) == 100
    assert process.write(writer, b"y" * 101) == again
    assert process.write(writer, b"y" * 5000) == 100


@pytest.mark.parametrize("how", ["read", "write", "poll", "select"])
def test_a_wait_that_nothing_can_end_ends_the_run(process: Process, how: str):
    reader, writer = pipe(process)
    if how == "read":
        assert process.call("read", reader, process.alloc(1), 1) < 0
    elif how == "write":
        assert process.write(writer, b"x" * 65536) == 65536
        assert process.write(writer, b"x" * 1000) < 0
    elif how == "poll":
        assert process.call("poll", process.put(struct.pack("<ihh", reader, 1, 0)), 1, -1) < 0
    else:
        assert process.call("select", reader + 1, process.put((1 << reader).to_bytes(8, "little")), 0, 0, 0) < 0
    assert killed(process)


def test_a_signal_that_waits_ends_the_wait_instead(process: Process):
    from kernel_model.kern.kern_sig import tdsendsignal
    from kernel_model.kern.signalvar import KSigInfo

    reader, _ = pipe(process)
    process.proc.p_sigacts.ps_sigact[14] = SigAction(0x1234)
    tdsendsignal(process.td, KSigInfo(14))
    assert process.call("read", reader, process.alloc(1), 1) == -4
    assert not killed(process)


# -- waiting ----------------------------------------------------------------------------------------------------


def poll(process: Process, *wanted: tuple[int, int], timeout: int = 0) -> tuple[int, list[int]]:
    va = process.put(b"".join(struct.pack("<ihh", fd, events, 0x55) for fd, events in wanted))
    count = process.ok("poll", va, len(wanted), timeout)
    return count, [struct.unpack_from("<h", process.get(va + 8 * i + 6, 2))[0] for i in range(len(wanted))]


def test_poll(process: Process):
    reader, writer = pipe(process)
    fd = make(process)
    assert poll(process, (reader, 1), (writer, 4), (fd, 5), (-1, 1), (77, 1)) == (3, [0, 4, 5, 0, 0x20])
    process.write(writer, b"x")
    assert poll(process, (reader, 1)) == (1, [1])
    process.ok("close", writer)
    assert poll(process, (reader, 1)) == (1, [0x11])
    process.read(reader)
    assert poll(process, (reader, 1))[1][0] & 0x10
    other_reader, other_writer = pipe(process)
    process.ok("close", other_reader)
    assert poll(process, (other_writer, 4)) == (1, [4 | 8 if process.abi == "linux" else 0x10])
    before = process.kernel.clock.nanouptime()
    assert poll(process, (-1, 1), timeout=50) == (0, [0])
    assert process.kernel.clock.nanouptime() - before >= 50_000_000
    assert process.call("poll", BAD, 1, 0) == -EFAULT
    assert process.call("poll", 0, 0, 0) == 0
    assert process.call("poll", 0, 1 << 31, 0) == -EINVAL


def test_select(process: Process):
    reader, writer = pipe(process)
    fd = make(process)
    mask = 1 << reader | 1 << writer | 1 << fd
    sets = [process.put(mask.to_bytes(8, "little")) for _ in range(2)]
    now = process.put(bytes(16))
    both_ways = process.abi == "freebsd"
    assert process.ok("select", fd + 1, *sets, 0, now) == 3 + both_ways
    assert int.from_bytes(process.get(sets[0], 8), "little") == 1 << fd
    assert int.from_bytes(process.get(sets[1], 8), "little") == 1 << writer | 1 << fd | both_ways << reader
    assert process.call("select", -1, 0, 0, 0, now) == -EINVAL
    assert process.call("select", 60, process.put((1 << 55).to_bytes(8, "little")), 0, 0, now) == -EBADF
    assert process.call("select", 5, 0, 0, 0, process.put(struct.pack("<qq", 0, 1_000_000))) == -EINVAL
    assert process.call("select", 5, 0, 0, 0, process.put(struct.pack("<qq", -1, 0))) == -EINVAL
    assert process.call("select", 0, 0, 0, 0, now) == 0


def test_standard_streams(tmp_path: Path):
    out = bytearray()
    process = Process("linux", root=tmp_path, streams=(b"typed\n", out, None))
    assert process.read(0, 3) == b"typ"
    assert process.read(0) == b"ed\n"
    assert process.read(0) == b""
    assert process.write(1, b"said") == 4
    assert bytes(out) == b"said"
    assert process.write(2, b"x") == -EBADF
    assert process.call("ioctl", 1, 0x5401, process.alloc(64)) == -ENOTTY
    assert process.call("lseek", 0, 0, 1) == -ESPIPE


def test_a_redirected_file_keeps_one_offset_with_the_shell(tmp_path: Path):
    import os

    target = tmp_path / "out"
    fd = os.open(target, os.O_RDWR | os.O_CREAT)
    second = os.dup(fd)
    try:
        os.write(fd, b"shell ")
        process = Process("linux", root=tmp_path, streams=(None, fd, second))
        assert process.write(1, b"out ") == 4
        assert process.write(2, b"err ") == 4
        assert process.write(1, b"out2 ") == 5
        os.write(fd, b"after")
        assert target.read_bytes() == b"shell out err out2 after"
    finally:
        os.close(fd)
        os.close(second)


# -- locks ------------------------------------------------------------------------------------------------------


def test_record_locks_of_another_process_are_seen(tmp_path: Path):
    from kernel_model.kern.kern_lockf import lf_setlock
    from kernel_model.kern.vnode import Flock

    process = Process("linux", root=tmp_path)
    fd = make(process, data=b"x" * 100)
    vp = process.proc.p_fd.fget(fd).f_vnode
    assert lf_setlock(vp, Flock("other", 10, 20, exclusive=True, pid=77)) is None

    def lock(cmd: int, kind: int, start: int, length: int) -> tuple[int, tuple]:
        va = process.put(struct.pack("<hh4xqqi4x", kind, 0, start, length, 0))
        return process.call("fcntl", fd, cmd, va), struct.unpack("<hh4xqqi4x", process.get(va, 32))

    assert lock(6, 1, 0, 10)[0] == 0
    assert lock(6, 1, 0, 11)[0] == -11
    assert lock(5, 0, 0, 0) == (0, (1, 0, 10, 10, 77))
    assert lock(5, 1, 30, 5) == (0, (2, 0, 30, 5, 0))
    assert lock(6, 0, 19, 1)[0] == -11
    assert lock(6, 9, 0, 1)[0] == -EINVAL
    assert lock(6, 1, -1, 1)[0] == -EINVAL
    assert lock(6, 1, 50, -10)[0] == 0
    mine = [(item.start, item.end) for item in vp.v_lockf if item.owner is process.proc]
    assert mine == [(0, 10), (40, 50)]
    assert lock(6, 2, 3, 4)[0] == 0
    mine = [(item.start, item.end) for item in vp.v_lockf if item.owner is process.proc]
    assert mine == [(0, 3), (7, 10), (40, 50)]
    process.ok("close", process.ok("open", "f", 0, 0))
    assert [item.owner for item in vp.v_lockf] == ["other"]


def test_readers_share_and_writers_do_not(process: Process):
    first = make(process)
    second = process.ok("open", "f", 2, 0)
    process.ok("flock", first, 1)
    process.ok("flock", second, 1 | 4)
    assert process.call("flock", second, 2 | 4) == -EAGAIN[process.abi]
    process.ok("flock", first, 8)
    process.ok("flock", second, 2 | 4)
    assert process.call("flock", first, 1 | 4) == -EAGAIN[process.abi]
    assert process.call("flock", first, 2) < 0
    assert killed(process)


def test_flock_belongs_to_the_open_file(process: Process):
    first = make(process)
    second = process.ok("open", "f", 2, 0)
    process.ok("flock", first, 2)
    assert process.call("flock", second, 2 | 4) == -EAGAIN[process.abi]
    again = process.ok("dup", first)
    process.ok("close", first)
    assert process.call("flock", second, 1 | 4) == -EAGAIN[process.abi]
    process.ok("close", again)
    process.ok("flock", second, 1 | 4)


# -- directories ----------------------------------------------------------------------------------------------------


def names_in(process: Process, fd: int, size: int) -> list[bytes]:
    found: list[bytes] = []
    va = process.alloc(size)
    while True:
        if process.abi == "linux":
            got = process.call("getdents64", fd, va, size)
            head, length, name = 19, 16, 19
        else:
            got = process.call("getdirentries", fd, va, size, 0)
            head, length, name = 24, 16, 24
        if got <= 0:
            assert got == 0
            return found
        data, at = process.get(va, got), 0
        while at < got:
            reclen = struct.unpack_from("<H", data, at + length)[0]
            assert reclen > head
            found.append(data[at + name : at + reclen].split(b"\0")[0])
            at += reclen


@pytest.mark.parametrize("size", [300, 1000, 32768])
def test_a_directory_is_listed_once_whatever_the_buffer(process: Process, tmp_path: Path, size: int):
    expected = {b".", b"..", b"dev", b"proc", b"x" * 255} | {b"f%d" % number for number in range(100)}
    (tmp_path / ("x" * 255)).write_bytes(b"")
    for number in range(100):
        (tmp_path / f"f{number}").write_bytes(b"")
    fd = process.ok("open", "/", 0, 0)
    found = names_in(process, fd, size)
    assert len(found) == len(expected) and set(found) == expected
    process.ok("lseek", fd, 0, 0)
    (tmp_path / "late").write_bytes(b"")
    assert set(names_in(process, fd, size)) == expected | {b"late"}
    process.ok("lseek", fd, 0, 0)
    name = "getdents64" if process.abi == "linux" else "getdirentries"
    assert process.call(name, fd, process.alloc(8), 8, 0) == -EINVAL


def test_removing_while_listing_skips_nothing(process: Process, tmp_path: Path):
    process.ok("mkdir", "d", 0o755)
    for number in range(50):
        (tmp_path / f"d/f{number}").write_bytes(b"")
    fd = process.ok("open", "d", 0, 0)
    va = process.alloc(400)
    name = "getdents64" if process.abi == "linux" else "getdirentries"
    start = 19 if process.abi == "linux" else 24
    while (got := process.ok(name, fd, va, 400, 0)) > 0:
        data, at = process.get(va, got), 0
        while at < got:
            reclen = struct.unpack_from("<H", data, at + 16)[0]
            entry = data[at + start : at + reclen].split(b"\0")[0]
            at += reclen
            if entry not in (b".", b".."):
                process.ok("unlink", b"d/" + entry)
    process.ok("rmdir", "d")


# -- odds and ends -------------------------------------------------------------------------------------


def test_shared_memory_objects(process: Process):
    if process.abi == "linux":
        fd = process.ok("memfd_create", "m", 1)
    else:
        fd = process.ok("shm_open", 1, 2, 0o600)
    assert process.write(fd, b"memory") == 6
    process.ok("lseek", fd, 2, 0)
    assert process.read(fd) == b"mory"
    process.ok("ftruncate", fd, 10000)
    assert process.ok("lseek", fd, 0, 2) == 10000
    assert process.ok("fcntl", fd, 1, 0) == 1


def test_copying_inside_the_kernel(tmp_path: Path):
    process = Process("linux", root=tmp_path)
    source, target = make(process, "a", b"0123456789" * 1000), make(process, "b")
    offset = process.put(struct.pack("<q", 5))
    assert process.ok("sendfile", target, source, offset, 20000) == 9995
    assert struct.unpack("<q", process.get(offset, 8))[0] == 10000
    assert process.ok("lseek", source, 0, 1) == 0
    assert process.ok("copy_file_range", source, 0, target, 0, 10, 0) == 10
    assert process.ok("lseek", source, 0, 1) == 10
    assert (tmp_path / "b").read_bytes()[-12:] == b"890123456789"
    assert process.call("sendfile", target, 1, 0, 1) == -EBADF


def test_times(process: Process, tmp_path: Path):
    make(process)
    process.ok("utimes", "f", process.put(struct.pack("<4q", 100, 5, 200, 999_999)))
    info = (tmp_path / "f").stat()
    assert (info.st_atime_ns, info.st_mtime_ns) == (100_000_005_000, 200_999_999_000)
    now, omit = (0x3FFFFFFF, 0x3FFFFFFE) if process.abi == "linux" else (-1, -2)
    process.ok("utimensat", -100, "f", process.put(struct.pack("<4q", 0, omit, 7, 8)), 0)
    info = (tmp_path / "f").stat()
    assert (info.st_atime_ns, info.st_mtime_ns) == (100_000_005_000, 7_000_000_008)
    process.ok("utimensat", -100, "f", process.put(struct.pack("<4q", 0, now, 0, omit)), 0)
    assert (tmp_path / "f").stat().st_mtime_ns == 7_000_000_008
    assert process.call("utimes", "f", process.put(struct.pack("<4q", 0, 1_000_000, 0, 0))) == -EINVAL
    assert process.call("utimensat", -100, "f", process.put(struct.pack("<4q", 0, 1 << 40, 0, 0)), 0) == -EINVAL


def test_umask_and_modes(process: Process, tmp_path: Path):
    assert process.ok("umask", 0o077) == 0o022
    make(process)
    process.ok("mkdir", "d", 0o777)
    assert oct((tmp_path / "f").stat().st_mode)[-3:] == "600"
    assert oct((tmp_path / "d").stat().st_mode)[-3:] == "700"
    assert process.ok("umask", 0) == 0o077
