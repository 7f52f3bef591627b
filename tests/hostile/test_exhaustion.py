"""What a program may use up: its own memory and time, never the host's."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emu.machine import MAX_RAM, Machine
from kernel_model.errors import UsageError
from tests.hostile.asm import leave, movabs, repeat, store, system
from tests.hostile.box import FREEBSD, LINUX, run_code
from tests.hostile.process import SCRATCH, Process

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent.parent
MIB = 1 << 20
BIG = 0x2000_0000
TERABYTE = 1 << 40
FOREVER = (1 << 63) - 1
ENOMEM, EFAULT, ENOSPC = 12, 14, 28
ADVANCE = bytes.fromhex("4981c4")
"""add r12, imm32"""


def peak(expression: str) -> tuple[int, int]:
    """The status of a program and the MiB that a fresh host process for it took at most."""
    text = (
        "from pathlib import Path; from tests.hostile import test_exhaustion as t; "
        f"status = t.{expression}(); lines = Path('/proc/self/status').read_text().splitlines(); "
        "print(status, next(int(line.split()[1]) >> 10 for line in lines if line.startswith('VmHWM')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )
    status, mebibytes = map(int, done.stdout.split())
    return status, mebibytes


def one_page_at_a_time() -> int:
    """Touch and give back each third page of a long mapping: one page is resident, never the same."""
    body = bytes.fromhex("4d892424 4c89e7") + movabs(6, 4096) + movabs(2, 4) + movabs(0, 28) + b"\x0f\x05"
    body += ADVANCE + struct.pack("<i", 0x3000)
    code = system(LINUX, "mmap", 1 << 36, 1 << 34, 3, 0x4032, -1, 0) + movabs(12, 1 << 36) + repeat(30_000, body)
    return run_code(code + leave(LINUX), LINUX, ram=32 * MIB, seconds=60)


def more_than_there_is() -> int:
    """Touch three times the memory there is; it goes to the swap file."""
    body = bytes.fromhex("4d892424") + ADVANCE + struct.pack("<i", 0x1000)
    code = system(LINUX, "mmap", 1 << 36, 1 << 34, 3, 0x4032, -1, 0) + movabs(12, 1 << 36) + repeat(25_000, body)
    return run_code(code + leave(LINUX), LINUX, ram=32 * MIB, seconds=60)


@pytest.mark.parametrize("what", [one_page_at_a_time, more_than_there_is])
def test_ram_bounds_what_the_host_gives(what: Callable[[], int]) -> None:
    status, mebibytes = peak(what.__name__)
    assert status == 0
    assert mebibytes < 110


def test_swap_ends_and_then_the_program() -> None:
    """A small machine with little swap: the program dies, the host's disk is not filled."""
    body = bytes.fromhex("4d892424") + ADVANCE + struct.pack("<i", 0x1000)
    code = system(LINUX, "mmap", 1 << 36, 1 << 34, 3, 0x4032, -1, 0) + movabs(12, 1 << 36) + repeat(25_000, body)

    def little(machine: Machine) -> None:
        machine.vm.swap_total = 16 * MIB

    assert run_code(code + leave(LINUX), LINUX, ram=16 * MIB, seconds=60, prepare=little) == 137


def test_no_machine_is_too_big() -> None:
    with pytest.raises(UsageError, match="memory"):
        Machine(ram=MAX_RAM * 2)


def test_thousands_of_mappings_cost_time_in_proportion() -> None:
    """Each second page loses its rights."""
    seconds = []
    for count in (1_000, 6_000):
        body = bytes.fromhex("4c89e7") + movabs(6, 4096) + movabs(2, 0) + movabs(0, 10) + b"\x0f\x05"
        body += ADVANCE + struct.pack("<i", 0x2000)
        code = system(LINUX, "mmap", 1 << 36, count << 13, 3, 0x4032, -1, 0) + movabs(12, 1 << 36) + repeat(count, body)
        began = time.monotonic()
        assert run_code(code + leave(LINUX), LINUX, ram=256 * MIB, seconds=60) == 0
        seconds.append(time.monotonic() - began)
    assert seconds[1] < 6 * seconds[0] + 5


LINUX_CALLS = (
    ("munlock", BIG, TERABYTE),
    ("msync", BIG, TERABYTE, 4),
    *(("madvise", BIG, TERABYTE, advice) for advice in (0, 1, 2, 3, 4, 8, 9, 14, 16)),
    ("mprotect", BIG, TERABYTE, 1),
    ("mprotect", BIG, TERABYTE, 3),
    ("mincore", BIG, TERABYTE, BIG + TERABYTE),
    ("getrandom", SCRATCH, TERABYTE, 0),
    ("readv", 0, BIG, 1 << 31),
    ("writev", 1, BIG, 1 << 31),
    ("poll", BIG, 0xFFFFFFFF, 0),
    ("select", 1 << 30, BIG, BIG, BIG, 0),
    ("getgroups", 1 << 30, SCRATCH),
    ("setgroups", 1 << 30, BIG),
    ("sched_getaffinity", 0, TERABYTE, SCRATCH),
    ("getcwd", SCRATCH, TERABYTE),
    ("getdents64", 3, SCRATCH, TERABYTE),
    ("readlink", "/proc/self/exe", SCRATCH, TERABYTE),
    ("write", 1, BIG + TERABYTE - 4096, TERABYTE),
    ("mmap", 0, 1 << 46, 3, 0x4022, -1, 0),
    ("mremap", BIG, TERABYTE, 2 * TERABYTE, 1, 0),
    ("munmap", BIG, 3 * TERABYTE),
)
FREEBSD_CALLS = (
    ("mlock", BIG, TERABYTE),
    ("munlock", BIG, TERABYTE),
    ("msync", BIG, TERABYTE, 0),
    *(("madvise", BIG, TERABYTE, advice) for advice in range(10)),
    ("minherit", BIG, TERABYTE, 2),
    ("mprotect", BIG, TERABYTE, 1),
    ("mprotect", BIG, TERABYTE, 3),
    ("mincore", BIG, TERABYTE, BIG + TERABYTE),
    ("break", 1 << 45),
    ("poll", BIG, 1 << 31, 0),
    ("select", 1 << 30, BIG, BIG, BIG, 0),
    ("__sysctl", BIG, 2, BIG, BIG, BIG, TERABYTE),
    ("__sysctl", BIG, 24, BIG, BIG, 0, 0),
    ("getgroups", 1 << 30, SCRATCH),
    ("getfsstat", BIG, TERABYTE, 0),
    ("munmap", BIG, TERABYTE),
)


@pytest.mark.parametrize(
    ("abi", "calls"), [("linux", LINUX_CALLS), ("freebsd", FREEBSD_CALLS)], ids=["linux", "freebsd"]
)
def test_a_terabyte_is_as_fast_as_a_page(tmp_path: Path, abi: str, calls: tuple[tuple[object, ...], ...]) -> None:
    with Process(tmp_path, abi, release="freebsd-12.1", ram=32 * MIB) as p:
        anon = 0x4032 if abi == "linux" else 0x1012
        assert p.call("mmap", BIG, TERABYTE, 3, anon, -1, 0) == BIG
        p.store(BIG, bytes(8192))
        for call in calls:
            began = time.process_time()
            p.call(*call)
            assert time.process_time() - began < 5, call  # page by page it were hours
            assert not p.dead, call


def test_shared_memory_is_bounded_by_swap(tmp_path: Path) -> None:
    with Process(tmp_path) as p:
        p.machine.vm.swap_total = 1 * MIB
        first, second = p.call("memfd_create", "m", 0), p.call("memfd_create", "n", 0)
        for size in (1 << 46, 1 << 62, FOREVER):
            assert p.call("fallocate", first, 0, 0, size) == -ENOSPC
        assert p.call("ftruncate", first, TERABYTE) == 0
        assert p.call("fallocate", first, 0, 0, 900 << 10) == 0
        p.store(SCRATCH, bytes(200 << 10))
        assert p.call("pwrite64", second, SCRATCH, 200 << 10, 1 << 40) == -ENOSPC
        assert p.call("pwrite64", first, SCRATCH, 200 << 10, 0) == 200 << 10, "what is there can be written again"
        assert p.call("pwrite64", second, SCRATCH, 100 << 10, 0) == 100 << 10
        assert p.call("ftruncate", first, 0) == 0
        assert p.call("pwrite64", second, SCRATCH, 200 << 10, 1 << 40) == 200 << 10
        assert p.call("pwrite64", first, SCRATCH, 1, FOREVER) < 0


def test_a_shared_mapping_of_shared_memory_is_bounded_too(tmp_path: Path) -> None:
    with Process(tmp_path, ram=16 * MIB) as p:
        p.machine.vm.swap_total = 1 * MIB
        fd = p.call("memfd_create", "m", 0)
        p.call("ftruncate", fd, TERABYTE)
        assert p.call("mmap", BIG, TERABYTE, 3, 1, fd, 0) > 0
        assert p.call("msync", BIG, TERABYTE, 4) == -ENOMEM
        used = p.machine.kernel.shm_store
        assert used is not None
        assert used.used() <= 1 * MIB


def test_the_table_of_files_fills_up(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    with Process(tmp_path, rw=True) as p:
        opened = 0
        while p.call("open", "f", 0, 0) >= 0:
            opened += 1
            assert opened < 100_000
        for call in (
            ("stat", "f", SCRATCH),
            ("mkdir", "d", 0o755),
            ("rename", "f", "g"),
            ("unlink", "g"),
            ("getcwd", SCRATCH, 100),
            ("chdir", "d"),
            ("uname", SCRATCH),
        ):
            assert p.call(*call) >= 0, call
        for call in (("open", "/proc/self/maps", 0, 0), ("memfd_create", "m", 0), ("pipe2", SCRATCH, 0), ("dup", 0)):
            assert p.call(*call) < 0, call


@pytest.mark.parametrize("abi", ["linux", "freebsd"])
@pytest.mark.parametrize("seed", [None, 1])
def test_times_beyond_any_clock(tmp_path: Path, abi: str, seed: int | None) -> None:
    """With a clock of its own the program sleeps 272 years at once; with the host's it does not start."""
    with Process(tmp_path, abi, seed=seed) as p:
        for seconds, rest in ((FOREVER, 0), (FOREVER, 999_999_999), (1 << 62, 1), (-1, 0), (0, 1_000_000_000), (0, -1)):
            p.store(SCRATCH, struct.pack("<4q", seconds, rest, seconds, min(rest, 999_999)))
            if seed is not None or seconds <= 0:
                p.call("nanosleep", SCRATCH, 0)
            p.call("setitimer", 0, SCRATCH, SCRATCH + 64)
            p.call("getitimer", 0, SCRATCH + 64)
            p.store(SCRATCH, bytes(32))
            p.call("setitimer", 0, SCRATCH, 0)
        assert p.call("clock_gettime", 0 if abi == "linux" else 4, SCRATCH) == 0
        assert not p.dead


def test_an_endless_recursion_ends() -> None:
    code = b"\xe8\xfb\xff\xff\xff"
    assert run_code(code, LINUX, seconds=30, ram=64 * MIB) == 139
    assert run_code(code, FREEBSD, seconds=30, ram=64 * MIB) == 139
    assert run_code(store(SCRATCH, 1) + leave(LINUX, 4), LINUX) == 4
