"""Signals with everything wrong at once: handlers, masks, alternate stacks, contexts for sigreturn(2)."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

from kernel_model.kern.kern_sig import ast, trapsignal
from kernel_model.kern.signalvar import KSigInfo
from tests.hostile.box import CODE, DATA, root, run_machine
from tests.hostile.process import SCRATCH, Process

if TYPE_CHECKING:
    from pathlib import Path

WORD = (1 << 64) - 1
EDGE = (
    0,
    1,
    8,
    DATA,
    DATA + 0x800,
    DATA + 0x3FF8,
    CODE,
    CODE + 0xFF8,
    0x7FFF_FFFF_EFFF,
    0x7FFF_FFFF_F000,
    0x7FFF_FFFF_FFFF,
    1 << 47,
    1 << 63,
    WORD,
    WORD - 7,
    WORD - 4095,
)
SIZES = (0, 1, 2047, 2048, 4096, 8192, 1 << 20, 1 << 40, WORD)


def _home(abi: str) -> Path:
    home = root() / abi
    home.mkdir(exist_ok=True)
    return home


class Victim(Process):
    """A process to which a random generator does things."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        abi = self.rng.choice(("linux", "freebsd"))
        super().__init__(_home(abi), abi, release=self.rng.choice(("freebsd-10.1", "freebsd-12.1", "freebsd-15.0")))
        rng = self.rng
        words = [rng.choice((rng.choice(EDGE), rng.getrandbits(64), rng.getrandbits(8))) for _ in range(1024)]
        self.store(DATA, struct.pack("<1024Q", *words))

    def put_call(self, data: bytes, name: str, *args: int) -> None:
        self.store(SCRATCH, data)
        self.call(name, *args)

    def come_back(self) -> None:
        """sigreturn from a context at random."""
        if self.abi == "linux":
            frame = self.td.td_cpu.get_frame()
            frame.rsp = (self.rng.choice(EDGE) + self.rng.choice((0, 8))) & WORD
            self.td.td_cpu.set_frame(frame)
            self.call("rt_sigreturn")
        else:
            self.call(
                self.rng.choice(("sigreturn", "setcontext")), self.rng.choice(EDGE) + self.rng.choice((0, 16, 40))
            )

    def action(self) -> None:
        rng = self.rng
        signo = rng.choice((rng.randrange(-2, 140), 4, 5, 7, 8, 9, 10, 11, 17, 19))
        handler = rng.choice((*EDGE, 1))
        flags = rng.choice((0, 4, 0x44000004, 0x0C000004, 0x40, 0x41, 0x50, 0x84000000, rng.getrandbits(32)))
        if self.abi == "linux":
            self.put_call(
                struct.pack("<4Q", handler, flags, rng.choice(EDGE), rng.getrandbits(64)),
                "rt_sigaction",
                signo,
                SCRATCH,
                0,
                8,
            )
        else:
            mask = [rng.getrandbits(32) for _ in range(4)]
            self.put_call(struct.pack("<Q6I", handler, flags, *mask, 0), "sigaction", signo, SCRATCH, 0)

    def alternate(self) -> None:
        base, flags, size = self.rng.choice(EDGE), self.rng.choice((0, 1, 2, 4, 1 << 31)), self.rng.choice(SIZES)
        words = (
            struct.pack("<QIIQ", base, flags, 0, size)
            if self.abi == "linux"
            else struct.pack("<QQII", base, size, flags, 0)
        )
        self.put_call(words, "sigaltstack", SCRATCH, 0)

    def mask(self) -> None:
        words = struct.pack("<4I", *[self.rng.getrandbits(32) for _ in range(4)])
        self.put_call(
            words, "rt_sigprocmask" if self.abi == "linux" else "sigprocmask", self.rng.randrange(-1, 5), SCRATCH, 0, 8
        )

    def kill(self) -> None:
        pid = self.proc.p_pid
        self.call(
            "kill",
            self.rng.choice((pid, 0, -1, -pid, 1, -(1 << 31))),
            self.rng.choice((self.rng.randrange(-1, 130), 1 << 31)),
        )

    def fault(self) -> None:
        rng = self.rng
        frame = self.td.td_cpu.get_frame()
        frame.rsp = rng.choice((*EDGE, frame.rsp))
        frame.rip = rng.choice(EDGE)
        self.td.td_cpu.set_frame(frame)
        ksi = KSigInfo(
            rng.choice((4, 5, 8, 10, 11)),
            rng.choice((1, 2, 3, 0x80, -1)),
            ksi_addr=rng.choice(EDGE),
            ksi_trapno=rng.choice((3, 6, 9, 10, 12, 18, 99)),
        )
        trapsignal(self.td, ksi)
        ast(self.td)


def contexts(number: int) -> int:
    """Up to thirty hostile steps, then a little time on the engine."""
    with Victim(number) as victim:
        steps = (victim.come_back, victim.action, victim.alternate, victim.mask, victim.kill, victim.fault)
        for _ in range(victim.rng.randrange(1, 30)):
            if victim.proc.p_state:
                break
            victim.rng.choice(steps)()
        frame = victim.td.td_cpu.get_frame()
        for name in frame.__slots__:
            value = getattr(frame, name)
            assert 0 <= value <= WORD, (name, hex(value))
        return run_machine(victim.machine, 0.02)
