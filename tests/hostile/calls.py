"""System calls that nobody would make: every row of both tables, with arguments at random and at the edges.

Each case is one process that makes a few dozen calls through the real dispatcher, without an engine.  After it the
host must be as before: nothing outside the root touched, no descriptor left open, no call slow, no memory taken.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import signal
import struct
import time
from typing import TYPE_CHECKING

from emu.machine import Machine
from kernel_model.errno import EJUSTRETURN
from kernel_model.kern.copyin import copyout
from kernel_model.kern.kern_clock import itimers_due
from kernel_model.kern.kern_sig import ast, psignal
from kernel_model.kern.signalvar import KSigInfo
from kernel_model.kern.signo import SIGKILL
from kernel_model.kern.subr_syscall import bind
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from tests.hostile.box import CODE, DATA, DATA_SIZE, FREEBSD, LINUX, elf, root

if TYPE_CHECKING:
    from pathlib import Path

CALLS = 40
SLOW = 5.0
"""Seconds that no call may take, unless it sleeps; a sleeping one is killed after NAP."""
NAP = 0.15
WORD = (1 << 64) - 1
SECRET = b"outside of the root\n"
END = DATA + DATA_SIZE

PATHS = (
    b"f",
    b"d",
    b"d/f",
    b"link",
    b"dangling",
    b"abs",
    b"up",
    b"loop",
    b"..",
    b".",
    b"/",
    b"",
    b"new",
    b"d/new",
    b"fifo",
    b"f/",
    b"d/",
    b"../../../../../../etc/passwd",
    b"/../../outside/secret",
    b"/proc/self/root/outside",
    b"/proc/self/cwd",
    b"/proc/self/fd/0",
    b"/proc/self/fd/1",
    b"/proc/self/exe",
    b"/proc/self/mem",
    b"/proc/self/maps",
    b"/proc/1/root",
    b"/proc/curproc/map",
    b"/dev/null",
    b"/dev/tty",
    b"/dev/stdin",
    b"/dev/zero",
    b"/dev/random",
    b"/dev/fd/1",
    b"/dev/mem",
    b"/dev",
    b"/proc",
    b"/p",
    b"x" * 255,
    b"x" * 256,
    b"a/" * 600,
    b"\xff\xfe",
    b"user.x",
    b"tmpfs",
    b"hw.ncpu",
    b"kern.ostype",
)
SIZES = (
    0,
    1,
    2,
    7,
    8,
    16,
    24,
    32,
    48,
    100,
    128,
    144,
    511,
    4095,
    4096,
    4097,
    65536,
    1 << 20,
    1 << 28,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 36,
    1 << 40,
    1 << 46,
    (1 << 47) - 4096,
    1 << 47,
    (1 << 63) - 1,
    1 << 63,
    WORD - 4095,
    WORD,
)
FDS = (-1, 0, 1, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 30, -100, 1023, 65536, (1 << 31) - 1, -(1 << 31))
SMALL = (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 31, 32, 33, 64, 128, 255, 1000)


def outside() -> Path:
    """A directory beside the root, which no case may reach."""
    return root().parent / (root().name + "-outside")


def furnish(where: Path) -> None:
    """Files for a case to play with, and things beside the root that it must not reach."""
    shutil.rmtree(where, ignore_errors=True)
    (where / "d").mkdir(parents=True)
    (where / "f").write_bytes(b"some text\n" * 1000)
    (where / "d" / "f").write_bytes(b"more text\n")
    (where / "link").symlink_to("f")
    (where / "dangling").symlink_to("nothing")
    (where / "abs").symlink_to("/d/f")
    (where / "up").symlink_to("../../../../../../../../../../etc/hostname")
    (where / "loop").symlink_to("loop")
    (where / "out").symlink_to(outside())
    os.mkfifo(where / "fifo")
    (where / "p").write_bytes(elf(b"\x0f\x0b"))
    (where / "p").chmod(0o755)
    if not outside().is_dir():
        outside().mkdir()
        (outside() / "secret").write_bytes(SECRET)
        import atexit

        atexit.register(shutil.rmtree, outside(), ignore_errors=True)


def descriptors() -> dict[str, str]:
    """What is open."""
    links = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/self/fd/{name}")
            if not link.endswith("/statm"):
                links[name] = link
    return links


def host_state() -> tuple[object, ...]:
    """What a case must leave alone on the host."""
    secret = outside() / "secret"
    one, two = os.stat(secret), os.stat(outside())
    mask = os.umask(0)
    os.umask(mask)
    etc = os.stat("/etc/hostname")
    return (
        secret.read_bytes(),
        sorted(os.listdir(outside())),
        one.st_mode,
        one.st_mtime_ns,
        one.st_nlink,
        two.st_mode,
        two.st_mtime_ns,
        os.getcwd(),
        mask,
        descriptors(),
        os.getuid(),
        etc.st_mode,
        etc.st_mtime_ns,
        etc.st_nlink,
        signal.getitimer(signal.ITIMER_VIRTUAL),
    )


class Caller:
    """One process and the calls it makes."""

    def __init__(self, seed: int, osabi: int) -> None:
        self.rng = random.Random(seed)
        home = root() / "r"
        furnish(home)
        self.machine = Machine(
            root=home,
            rw=self.rng.random() < 0.7,
            cwd="/d" if self.rng.random() < 0.3 else "/",
            release=self.rng.choice(("freebsd-10.1", "freebsd-10.1", "freebsd-12.1", "freebsd-15.0")),
            seed=seed if self.rng.random() < 0.5 else None,
            ram=32 << 20,
            limits={"fsize": 64 << 20},
            stdin=b"input\n" * 100,
            stdout=bytearray(),
            stderr=bytearray(),
        )
        (home / "prog").write_bytes(elf(b"\x0f\x0b", osabi))
        (home / "prog").chmod(0o755)
        self.machine.execve("/prog", ["prog"], {"A": "B"})
        self.said: list[str] = []

    def memory(self) -> None:
        """Fill the data with what calls read: pointers, sizes, small numbers, strings."""
        rng = self.rng
        words = []
        for _ in range(512):
            kind = rng.random()
            if kind < 0.4:
                word = rng.choice(SMALL)
            elif kind < 0.7:
                word = self.pointer()
            elif kind < 0.9:
                word = rng.choice(SIZES)
            else:
                word = rng.getrandbits(64)
            words.append(word & WORD)
        copyout(self.machine.thread, DATA, struct.pack("<512Q", *words))
        at = DATA + 0x2000
        self.paths = []
        for path in PATHS:
            copyout(self.machine.thread, at, path + b"\0")
            self.paths.append(at)
            at += len(path) + 1

    def prelude(self, linux: bool) -> list[tuple[int, tuple[int, ...]]]:
        """Open something of every kind and map a few things, so that later calls get further."""
        rng, path = self.rng, dict(zip(PATHS, self.paths, strict=True))
        open_, creat = (2, 0x40) if linux else (5, 0x200)
        pipe = (293, (DATA + 0x18000, 0)) if linux else (542, (DATA + 0x18000, 0))
        unnamed = (319, (path[b"tmpfs"], 0)) if linux else (482, (1, 2, 0o600))
        anon = 0x22 if linux else 0x1002
        mmap = 9 if linux else 477
        todo = [
            (open_, (path[b"f"], 2)),
            (open_, (path[b"d"], 0)),
            pipe,
            unnamed,
            (open_, (path[b"/dev/zero"], 2)),
            (open_, (path[b"new"], 2 | creat, 0o644)),
            (open_, (path[b"/proc/self/maps"], 0)),
            (open_, (path[b"/dev/tty"], 2)),
            (open_, (path[b"/dev/random"], 0)),
            (open_, (path[b"fifo"], 2)),
            (mmap, (0x10000000, 1 << 20, 3, anon | 0x10, WORD, 0)),
            (mmap, (0x20000000, 1 << 40, 3, anon | 0x10 | (0x4000 if linux else 0x40), WORD, 0)),
            (mmap, (0x30000000 - 4096 * rng.randrange(4), 0x4000, 3, 0x11, 3, 0)),
            (mmap, (0x40000000, 0x4000, 7, 0x12, 3, 0)),
        ]
        return [one for one in todo if rng.random() < 0.8]

    def pointer(self) -> int:
        rng = self.rng
        kind = rng.random()
        if kind < 0.55:
            return DATA + rng.randrange(0, 4096, 8)
        if kind < 0.6:
            return rng.choice((0x10000000, 0x20000000, 0x2FFFF000, 0x40000000)) + rng.choice(
                (0, 0, 0xFF8, 0x1000, 0xFFFF8)
            )
        if kind < 0.7:
            return DATA + 0x10000 + rng.randrange(0x8000)
        return rng.choice(
            (
                0,
                1,
                8,
                CODE,
                CODE + 0xFF8,
                END - 1,
                END - 8,
                END - 4096,
                END,
                END - 65536,
                DATA - 8,
                0x7FFF_FFFF_EFF8,
                0x7FFF_FFFF_FFFF,
                0x7FFF_FFFF_F000,
                0x7FFF_FFFF_0000,
                1 << 47,
                1 << 63,
                WORD,
                WORD - 7,
                WORD - 4095,
                0x10000,
                self.machine.thread.td_cpu.get_frame().rsp,
            )
        )

    def argument(self, letter: str) -> int:
        rng = self.rng
        if rng.random() < 0.04:
            return rng.getrandbits(64)
        if letter == "s" and rng.random() < 0.9:
            return rng.choice(self.paths)
        if letter in "spb":
            return self.pointer()
        if letter == "f":
            return rng.choice(FDS) & WORD if rng.random() < 0.4 else rng.randrange(14)
        if letter == "u":
            return rng.choice(SIZES) if rng.random() < 0.6 else rng.choice(SIZES[:18])
        if letter == "l" and rng.random() < 0.5:
            return rng.choice(SMALL)
        if letter == "l":
            return rng.choice((*SIZES, -1 & WORD, -4096 & WORD, *SMALL))
        if letter in "xqo":
            return rng.choice(
                (
                    0,
                    0,
                    0,
                    0,
                    1,
                    1,
                    2,
                    3,
                    0o644,
                    0o777,
                    rng.getrandbits(5),
                    1 << rng.randrange(32),
                    rng.getrandbits(32),
                    rng.getrandbits(12),
                    0xFFFFFFFF,
                )
            )
        return rng.choice((*SMALL, *SMALL, rng.randrange(64), -1 & WORD, 1 << 31, (1 << 31) - 1, 1 << 20))

    def run(self) -> None:
        td = self.machine.thread
        proc = self.machine.proc
        sv = proc.p_sysent
        table = {number: row for number, row in sv.sv_table().items() if row.handler is not None}
        numbers = sorted(table)
        syscall = bind(self.machine.kernel)
        self.memory()
        for number, args in self.prelude(sv.name == "linux"):
            syscall(number, *args, *(0,) * (6 - len(args)))
        for _ in range(CALLS):
            number = self.rng.choice(numbers) if self.rng.random() < 0.98 else self.rng.getrandbits(32)
            row = table.get(number)
            letters = row.letters if row else "pppppp"
            args = [self.argument(letter) for letter in letters.ljust(6, "u")]
            name = row.name if row else number
            self.said.append(f"{sv.name} {name}({', '.join(hex(arg) for arg in args[: len(letters)])})")
            before = time.monotonic()
            result = syscall(number, *args)
            took = time.monotonic() - before
            self.said[-1] += f" = {result}"
            if took > SLOW and "sleep" not in str(name):
                raise AssertionError(f"{took:.1f} s\n" + self.log())
            if isinstance(result, int) and result != EJUSTRETURN:
                assert -200 < result <= WORD, self.log()
            if td.td_ast or itimers_due(proc):
                ast(td)
            if proc.p_state:
                return
            vm_map_lookup_entry(proc.p_vmspace.vm_map, 0)

    def log(self) -> str:
        return "\n".join(self.said[-12:])


def calls(number: int) -> str:
    """Forty calls of one ABI."""
    osabi = (FREEBSD, LINUX)[number & 1]
    furnish(root() / "r")
    before = host_state()
    caller = Caller(number, osabi)  # makes the furniture again
    rings = 0
    started = time.process_time()

    def ring(_number: int, _frame: object) -> None:
        nonlocal rings
        rings += 1
        psignal(caller.machine.proc, KSigInfo(SIGKILL))

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, NAP + 0.5, NAP)
    try:
        with caller.machine:
            caller.run()
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException as error:
        error.add_note(caller.log())
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    del caller.machine
    gc.collect()
    after = host_state()
    if after != before:
        raise AssertionError(f"the host changed: {before} -> {after}\n" + "\n".join(caller.said))
    if time.process_time() - started > 10:
        raise AssertionError("slow\n" + "\n".join(caller.said))
    return f"{len(caller.said)} {rings}"
