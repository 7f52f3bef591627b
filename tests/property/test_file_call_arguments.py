"""Senseless arguments: every file system call of both ABIs refuses them with an errno, or lives with them."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from kernel_model.abi.freebsd64 import sys_file as freebsd
from kernel_model.abi.linux64 import linux_file as linux
from kernel_model.kern.sysent import SIGNED32, UNSIGNED32
from tests.process import BAD, SCRATCH, Process

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [("linux", row.name) for row in linux.FILES_SYSCALLS.values()]
ROWS += [("freebsd", row.name) for row in freebsd.FILES_SYSCALLS.values()]
EDGES = [0, 1, 2, 3, 7, 8, 63, 64, 255, 4095, 4096, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
         (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 4096]  # fmt: skip
ROUNDS = 40


def argument(letter: str, process: Process, rng: random.Random, places: list[int]) -> int:
    """A value that is sometimes right for *letter*."""
    if letter in "psb":
        return rng.choice([*places, *places, *places, 0, 1, BAD, BAD - 1, 1 << 47, (1 << 64) - 1, SCRATCH + 5])
    if letter == "f":
        return rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, -1, -100, 99, 1 << 31])
    if letter in SIGNED32 | UNSIGNED32 and rng.random() < 0.5:
        return rng.randrange(16)
    return rng.choice(EDGES) if rng.random() < 0.8 else rng.getrandbits(64)


@pytest.mark.parametrize(("abi", "name"), ROWS, ids=[f"{abi}-{name}" for abi, name in ROWS])
def test_only_errors_of_the_guest(tmp_path: Path, abi: str, name: str):
    rng = random.Random(f"{abi}{name}")
    for round_ in range(ROUNDS):
        if round_ % 10 == 0:
            top = tmp_path / str(round_)
            (top / "work/d").mkdir(parents=True)
            (top / "work/f").write_bytes(b"content")
            (top / "work/l").symlink_to("f")
            process = Process(abi, root=top, cwd="/work", rw=False)
            reader_writer = process.alloc(8)
            process.ok("pipe2", reader_writer, 4 if abi == "freebsd" else 0x800)
            for path in ("f", "d", "/dev/null", "/proc/self/stat"):
                process.ok("open", path, 2 if path == "f" else 0, 0)
            places = [process.put(text + b"\0") for text in (b"f", b"d", b"l", b"d/x", b"/dev/fd", b"n" * 300, b"")]
            places += [process.put(struct.pack("<4Q", *(rng.choice(EDGES) for _ in range(4)))) for _ in range(8)]
            places.append(process.put(struct.pack("<4Q", SCRATCH, 10, SCRATCH + 100, 10)))
            places.append(process.alloc(4096))
        row = process.row(name)
        args = [argument(letter, process, rng, places) for letter in row.letters]
        result = process.call(name, *args)
        assert isinstance(result, int), (name, args)
        if process.proc.p_state:
            assert process.proc.p_xsig == 9, (name, args)
            process.proc.p_state = 0
            process = Process(abi, root=top, cwd="/work")
