"""Limits, clocks, timers, ids, sysctl, and threads of one: through the dispatcher."""

from __future__ import annotations

import os
import struct
from dataclasses import FrozenInstanceError, replace

import pytest

from kernel_model import errno as E
from kernel_model.kern.kern_clock import itimers_due
from kernel_model.kern.kern_sig import ast
from kernel_model.kern.signalvar import SigAction
from kernel_model.kern.signo import SIGALRM
from kernel_model.kern.vfs_lookup import namei
from kernel_model.rlimit import RLIM_INFINITY, RLIMIT_MEMLOCK, RLIMIT_STACK
from kernel_model.vm.vm import VM_PROT_NONE
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vmspace import vmspace_free
from tests.process import HANDLER, SCRATCH, Process

INF = (1 << 64) - 1


@pytest.fixture
def bsd() -> Process:
    return Process("freebsd")


@pytest.fixture
def lin() -> Process:
    return Process("linux")


# -- limits -------------------------------------------------------------------------------------------------


def test_rlimits_of_freebsd(bsd: Process) -> None:
    at = bsd.put(bytes(16))
    assert bsd.call(194, RLIMIT_STACK, at) == 0
    assert struct.unpack("<qq", bsd.get(at, 16)) == (8 << 20, 512 << 20)
    assert bsd.call(195, RLIMIT_STACK, bsd.put(struct.pack("<qq", -1, -1))) == 0
    assert bsd.proc.p_limit.pl_rlimit[RLIMIT_STACK] == (512 << 20, 512 << 20), "clamped to maxssiz"
    assert bsd.call(195, RLIMIT_STACK, bsd.put(struct.pack("<qq", 9 << 20, 1 << 20))) == 0
    assert bsd.proc.p_limit.pl_rlimit[RLIMIT_STACK] == (1 << 20, 1 << 20), "the soft limit follows the hard one"
    bsd.proc.p_ucred = replace(bsd.proc.p_ucred, cr_uid=5)
    assert bsd.call(195, RLIMIT_STACK, bsd.put(struct.pack("<qq", 2 << 20, 2 << 20))) == -E.EPERM
    assert bsd.call(194, 15, at) == bsd.call(194, 99, at) == -E.EINVAL


def test_rlimits_of_linux(lin: Process) -> None:
    at = lin.put(bytes(16))
    lin.proc.p_limit.set(RLIMIT_MEMLOCK, 7, RLIM_INFINITY)
    assert lin.call(97, 8, at) == 0
    assert struct.unpack("<QQ", lin.get(at, 16)) == (7, INF), "MEMLOCK is 8 there, 6 here"
    assert lin.call(302, 0, 8, lin.put(struct.pack("<QQ", 1, 2)), at) == 0
    assert struct.unpack("<QQ", lin.get(at, 16)) == (7, INF)
    assert lin.proc.p_limit.pl_rlimit[RLIMIT_MEMLOCK] == (1, 2)
    assert lin.call(302, 0, 8, lin.put(struct.pack("<QQ", 3, 2)), 0) == -22
    assert lin.call(302, 77, 8, 0, at) == -3
    assert lin.call(97, 16, at) == -22
    assert lin.call(160, 13, lin.put(struct.pack("<QQ", 5, 5))) == 0, "RLIMIT_NICE is kept"
    assert lin.call(97, 13, at) == 0
    assert struct.unpack("<QQ", lin.get(at, 16)) == (5, 5)


@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1"])
def test_the_stack_band_is_protected_anew(release: str) -> None:
    """Lowering RLIMIT_STACK makes grown pages inaccessible, raising gives them all rights: quirk Q9."""
    process = Process(release=release)
    top = process.proc.p_sysent.sv_usrstack
    process.map_at(top - (8 << 20), 8 << 20, 3)
    limit = process.put(struct.pack("<qq", 1 << 20, 512 << 20))
    assert process.call(195, RLIMIT_STACK, limit) == 0
    assert vm_map_lookup_entry(process.map, top - (2 << 20))[1].protection == VM_PROT_NONE
    assert vm_map_lookup_entry(process.map, top - (1 << 20))[1].protection == 3
    assert process.call(195, RLIMIT_STACK, process.put(struct.pack("<qq", 8 << 20, 512 << 20))) == 0
    assert vm_map_lookup_entry(process.map, top - (2 << 20))[1].protection == 7


def test_linux_leaves_the_stack_alone(lin: Process) -> None:
    top = lin.proc.p_sysent.sv_usrstack
    lin.map_at(top - (8 << 20), 8 << 20, 3)
    assert lin.call(160, 3, lin.put(struct.pack("<QQ", 1 << 20, 512 << 20))) == 0
    assert vm_map_lookup_entry(lin.map, top - (2 << 20))[1].protection == 3


def test_getrusage(bsd: Process) -> None:
    at = bsd.put(b"\xff" * 144)
    assert bsd.call(117, 0, at) == 0
    assert struct.unpack_from("<18q", bsd.get(at, 144))[8] > 0, "ru_minflt"
    assert bsd.call(117, 5, at) == -E.EINVAL


# -- time ---------------------------------------------------------------------------------------------------


def test_clocks_agree_and_go_on(bsd: Process, lin: Process) -> None:
    for process, number in ((bsd, 232), (lin, 228)):
        at = process.put(bytes(16))
        last = (0, 0)
        for _ in range(3):
            assert process.call(number, 0, at) == 0
            now = struct.unpack("<qq", process.get(at, 16))
            assert now > last
            last = now
        assert process.call(number, 999, at) == (-22 if process is lin else -E.EINVAL)
    assert bsd.call(232, 4, bsd.put(bytes(16))) == 0
    assert lin.call(228, 1, lin.put(bytes(16))) == 0


def test_a_seed_makes_time_repeatable() -> None:
    times = []
    for _ in range(2):
        process = Process("linux")
        at = process.put(bytes(16))
        process.call(228, 0, at)
        times.append(process.get(at, 16))
    assert times[0] == times[1]


def test_nanosleep(bsd: Process) -> None:
    before = bsd.kernel.clock.nanouptime()
    assert bsd.call(240, bsd.put(struct.pack("<qq", 5, 0)), 0) == 0
    assert bsd.kernel.clock.nanouptime() - before >= 5_000_000_000
    for bad in ((-1, 0), (0, -1), (0, 1_000_000_000)):
        assert bsd.call(240, bsd.put(struct.pack("<qq", *bad)), 0) == -E.EINVAL
    assert bsd.call(240, 8, 0) == -E.EFAULT


@pytest.mark.parametrize(
    ("abi", "call", "args"),
    [
        ("freebsd", "select", (0, 0, 0, 0)),
        ("linux", "select", (0, 0, 0, 0)),
        ("freebsd", "ppoll", (0, 0)),
        ("linux", "ppoll", (0, 0)),
        ("freebsd", "_umtx_op", (SCRATCH, 11, 0, 16)),
        ("freebsd", "_umtx_op", (SCRATCH, 11, 0, 24)),
    ],
)
def test_no_wait_is_longer_than_the_clock(abi: str, call: str, args: tuple[int, ...]) -> None:
    process = Process(abi)
    process.alloc(8)
    for _ in range(2):
        process.call(call, *args, process.put(struct.pack("<qqII", (1 << 63) - 1, 999_999, 0, 4)))
    assert process.call("clock_gettime", 1 if abi == "linux" else 4, process.put(bytes(16))) == 0


def test_clock_nanosleep_answers_with_the_errno(bsd: Process, lin: Process) -> None:
    bad = struct.pack("<qq", 0, -1)
    assert bsd.call(244, 0, 0, bsd.put(bad), 0) == E.EINVAL, "as POSIX wants"
    assert lin.call(230, 0, 0, lin.put(bad), 0) == -22
    past = struct.pack("<qq", 1, 0)
    assert bsd.call(244, 4, 1, bsd.put(past), 0) == 0


def test_an_alarm_ends_a_sleep_and_tells_what_was_left(lin: Process) -> None:
    lin.proc.p_sigacts.ps_sigact[SIGALRM] = SigAction(HANDLER, 0, 0, 0x402000)
    assert lin.call(37, 2) == 0
    left = lin.put(bytes(16))
    assert lin.call(35, lin.put(struct.pack("<qq", 10, 0)), left) == -4
    assert 7 <= struct.unpack("<qq", lin.get(left, 16))[0] <= 8
    ast(lin.td)
    assert lin.cpu.frame.rdi == 14


def test_setitimer_repeats_and_tells(bsd: Process) -> None:
    value = bsd.put(struct.pack("<qqqq", 1, 0, 3, 0))
    old = bsd.put(bytes(32))
    assert bsd.call(83, 0, value, 0) == 0
    bsd.kernel.clock.sleep(3_100_000_000)
    assert itimers_due(bsd.proc)
    assert [ksi.ksi_signo for ksi in bsd.proc.p_sigqueue] == [SIGALRM]
    assert not itimers_due(bsd.proc)
    assert bsd.call(83, 0, bsd.put(bytes(32)), old) == 0
    interval, _, left, micro = struct.unpack("<qqqq", bsd.get(old, 32))
    assert (interval, left) == (1, 0)
    assert 800_000 < micro < 1_000_000
    assert bsd.call(83, 3, value, 0) == -E.EINVAL
    assert bsd.call(83, 0, bsd.put(struct.pack("<qqqq", 0, 0, 0, 1_000_000)), 0) == -E.EINVAL


# -- ids ----------------------------------------------------------------------------------------------------


def test_setuid_drops_everything_for_root(bsd: Process) -> None:
    assert bsd.call(23, 100) == 0
    assert bsd.call(24) == bsd.call(25) == 100
    assert bsd.call(23, 0) == -E.EPERM


def test_saved_ids(lin: Process) -> None:
    assert lin.call(117, 10, 20, 30) == 0
    places = [lin.put(bytes(4)) for _ in range(3)]
    assert lin.call(118, *places) == 0
    assert [int.from_bytes(lin.get(at, 4), "little") for at in places] == [10, 20, 30]
    assert lin.call(117, -1, 30, -1) == 0
    assert lin.call(107) == 30
    assert lin.call(117, 5, -1, -1) == -1
    assert lin.call(113, -1, 10) == 0
    assert lin.call(107) == 10


def test_memory_is_given_back_to_whom_it_was_charged(bsd: Process) -> None:
    before = dict(bsd.vm.uid_vmsize)
    addr = bsd.call(477, 0, 1 << 20, 3, 0x1000, -1, 0)
    assert bsd.vm.uid_vmsize == {0: before[0] + (1 << 20)}
    rooted = bsd.proc.p_ucred
    assert bsd.call(311, 1000, 1000, 1000) == 0
    assert bsd.proc.p_ucred is not rooted
    assert rooted.cr_uid == 0
    assert bsd.call(73, addr, 1 << 20) == 0
    assert bsd.vm.uid_vmsize == before, "user 1000 was never charged"
    vmspace_free(bsd.space)
    assert bsd.vm.uid_vmsize == {0: 0}


def test_a_credential_does_not_change(bsd: Process) -> None:
    with pytest.raises(FrozenInstanceError):
        bsd.proc.p_ucred.cr_uid = 1000


def test_groups(lin: Process) -> None:
    assert lin.call(116, 2, lin.put(struct.pack("<II", 5, 6))) == 0
    at = lin.put(bytes(8))
    assert lin.call(115, 0, 0) == lin.call(115, 2, at) == 2
    assert struct.unpack("<II", lin.get(at, 8)) == (5, 6)
    assert lin.call(115, 1, at) == lin.call(115, -1, at) == -22


# -- sysctl -------------------------------------------------------------------------------------------------


def sysctl(process: Process, *mib: int, room: int = 256) -> tuple[int, bytes]:
    old = process.put(bytes(room))
    size = process.put(room.to_bytes(8, "little"))
    rv = process.call(202, process.put(struct.pack(f"<{len(mib)}i", *mib)), len(mib), old, size, 0, 0)
    return rv, process.get(old, process.word(size)) if rv in (0, -E.ENOMEM) else b""


def number_of(process: Process, name: str) -> tuple[int, ...]:
    old = process.put(bytes(96))
    size = process.put((96).to_bytes(8, "little"))
    text = name.encode()
    assert process.call(202, process.put(struct.pack("<ii", 0, 3)), 2, old, size, process.put(text), len(text)) == 0
    count = process.word(size)
    return struct.unpack(f"<{count // 4}i", process.get(old, count))


def test_sysctl_by_number(bsd: Process) -> None:
    assert sysctl(bsd, 1, 1) == (0, b"FreeBSD\0")
    assert sysctl(bsd, 1, 2) == (0, b"10.1-RELEASE\0")
    assert sysctl(bsd, 1, 24) == (0, struct.pack("<i", 1001000))
    assert sysctl(bsd, 1, 33) == (0, (0x7FFF_FFFF_F000).to_bytes(8, "little"))
    assert sysctl(bsd, 6, 7) == (0, struct.pack("<i", 4096))
    assert sysctl(bsd, 6, 3) == (0, struct.pack("<i", 1))


def test_sysctl_by_name(bsd: Process) -> None:
    for name in ("kern.arandom", "hw.pagesizes", "kern.smp.maxcpus", "vm.overcommit", "security.bsd.stack_guard_page"):
        rv, value = sysctl(bsd, *number_of(bsd, name))
        assert rv == 0, name
        assert value
    assert number_of(bsd, "hw.ncpu") == (6, 3)


@pytest.mark.parametrize("name", ["kern.sgrowsiz", "security.bsd.stack_guard_page"])
def test_sysctl_takes_no_piece_of_stack_that_would_upset_the_map(bsd: Process, name: str) -> None:
    mib = number_of(bsd, name)
    width = "<Q" if name == "kern.sgrowsiz" else "<i"

    def write(value: int) -> int:
        new = bsd.put(struct.pack(width, value))
        at = bsd.put(struct.pack(f"<{len(mib)}i", *mib))
        return bsd.call(202, at, len(mib), 0, 0, new, struct.calcsize(width))

    before = sysctl(bsd, *mib)[1]
    bad = [1, 4095, 1 << 40, 0] if width == "<Q" else [-1, 1 << 30]
    assert [write(value) for value in bad] == [-E.EINVAL] * len(bad)
    assert sysctl(bsd, *mib)[1] == before
    assert write(8192 if width == "<Q" else 2) == 0
    assert sysctl(bsd, *mib)[1] != before


def test_sysctl_sizes_and_errors(bsd: Process) -> None:
    assert sysctl(bsd, 1, 1, room=3) == (-E.ENOMEM, b"Fre")
    assert sysctl(bsd, 1, 37, room=5)[0] == 0, "any number of random bytes is a whole answer"
    assert sysctl(bsd, 1, 9999)[0] == -E.ENOENT
    assert bsd.unsupported[-1].what == "sysctl"
    assert sysctl(bsd, 1, 14)[0] == -E.EINVAL
    size = bsd.put(bytes(8))
    mib = bsd.put(struct.pack("<ii", 1, 1))
    assert bsd.call(202, mib, 2, 0, size, 0, 0) == 0
    assert bsd.word(size) == 8
    assert bsd.call(202, mib, 2, 0, 0, bsd.put(b"Linux\0"), 6) == -E.EPERM
    assert bsd.call(202, mib, 1, 0, size, 0, 0) == bsd.call(202, mib, 25, 0, size, 0, 0) == -E.EINVAL


def test_stack_guard_page_can_be_set() -> None:
    process = Process(release="freebsd-12.1")
    mib = number_of(process, "security.bsd.stack_guard_page")
    at = process.put(struct.pack(f"<{len(mib)}i", *mib))
    assert process.call(202, at, len(mib), 0, 0, process.put(struct.pack("<i", 5)), 4) == 0
    assert process.vm.stack_guard_page == 5
    assert process.call(202, at, len(mib), 0, 0, process.put(struct.pack("<q", 5)), 8) == -E.EINVAL
    process.proc.p_ucred = replace(process.proc.p_ucred, cr_uid=1)
    assert process.call(202, at, len(mib), 0, 0, process.put(struct.pack("<i", 0)), 4) == -E.EPERM


def test_sysctlbyname() -> None:
    process = Process(release="freebsd-15.0")
    name = process.put(b"kern.ostype\0")
    old, size = process.put(bytes(16)), process.put((16).to_bytes(8, "little"))
    assert process.call(570, name, 11, old, size, 0, 0) == 0
    assert process.get(old, 8) == b"FreeBSD\0"


# -- one thread ---------------------------------------------------------------------------------------------


def test_futex_and_umtx_waits(bsd: Process, lin: Process) -> None:
    word = lin.put(struct.pack("<I", 5))
    short = lin.put(struct.pack("<qq", 0, 1000))
    assert lin.call(202, word, 0, 4, short) == -11
    assert lin.call(202, word, 0, 5, short) == -110
    assert lin.call(202, word, 128 | 1, 1) == 0
    assert lin.call(202, word + 1, 0, 5) == -22
    word = bsd.put(struct.pack("<Q", 5))
    short = bsd.put(struct.pack("<qq", 0, 1000))
    assert bsd.call(454, word, 15, 4, 0, 0) == 0
    assert bsd.call(454, word, 15, 5, 16, short) == -E.ETIMEDOUT
    assert bsd.call(454, word, 2, 5, 16, short) == -E.ETIMEDOUT
    assert bsd.call(454, word, 16, 1, 0, 0) == 0


@pytest.mark.parametrize("abi", ["freebsd", "linux"])
def test_a_wait_for_ever_kills_and_says_so(abi: str) -> None:
    process = Process(abi)
    word = process.put(struct.pack("<Q", 5))
    process.call(*((454, word, 15, 5, 0, 0) if abi == "freebsd" else (202, word, 0, 5, 0)))
    assert process.proc.p_xsig == 9
    assert process.unsupported[-1].what == "deadlock"


def test_bases(bsd: Process, lin: Process) -> None:
    assert bsd.call(165, 129, bsd.put((0x5000).to_bytes(8, "little"))) == 0
    assert bsd.cpu.frame.fs_base == 0x5000
    assert bsd.call(165, 129, bsd.put((1 << 47).to_bytes(8, "little"))) == -E.EINVAL
    at = bsd.put(bytes(8))
    assert bsd.call(165, 128, at) == 0
    assert bsd.word(at) == 0x5000
    assert lin.call(158, 0x1002, 0x7000) == 0
    assert lin.cpu.frame.fs_base == 0x7000
    assert lin.call(158, 0x1002, 1 << 47) == -1
    assert lin.call(158, 0x3001, 0) == -22, "no CET"


def test_stack_gap_control() -> None:
    process = Process(release="freebsd-12.1")
    state = process.put(bytes(4))

    def ctl(value: int) -> int:
        return process.call(544, 0, 0, 17, process.put(struct.pack("<I", value)))

    assert process.call(544, 0, 0, 18, state) == 0
    assert process.get(state, 1) == b"\5"
    assert ctl(2 | 8) == 0
    assert process.call(544, 0, 0, 18, state) == 0
    assert process.get(state, 1) == b"\n"
    assert ctl(1) == ctl(3) == ctl(12) == ctl(16) == -E.EINVAL
    assert Process().call(544, 0, 0, 17, process.put(bytes(4))) == -E.EINVAL, "not before 12"


def test_exit_and_wait(bsd: Process, lin: Process) -> None:
    assert bsd.call(7, -1, 0, 0, 0) == -E.ECHILD
    assert lin.call(61, -1, 0, 0, 0) == -10
    assert bsd.raw(1, 300) == E.EJUSTRETURN
    assert bsd.proc.wait_status == 300 & 0xFF
    assert bsd.td.td_ast


def test_kern_proc_of_oneself(bsd: Process) -> None:
    bsd.ok("chdir", os.getcwd())
    bsd.proc.p_args = [b"a", b"bc"]
    bsd.proc.p_textvp = namei(bsd.td, b"/etc")
    assert sysctl(bsd, 1, 14, 7, -1) == (0, b"a\0bc\0")
    assert sysctl(bsd, 1, 14, 12, -1) == (0, b"/etc\0")
    assert sysctl(bsd, 1, 14, 42, bsd.proc.p_pid) == (0, os.fsencode(os.getcwd()) + b"\0")
    assert sysctl(bsd, 1, 14, 9, -1) == (0, b"FreeBSD ELF64\0")
    assert sysctl(bsd, 1, 14, 40, -1) == (0, struct.pack("<i", bsd.proc.p_osrel))
    assert sysctl(bsd, 1, 14, 12, 77)[0] == -E.ESRCH
    assert sysctl(bsd, 1, 14, 32, -1)[0] == -E.ENOENT
