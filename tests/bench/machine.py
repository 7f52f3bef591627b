"""Whole programs on the machine: loops beside raw Unicorn, system calls, faults, growth."""

from __future__ import annotations

import ctypes
import mmap
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from emu.engine.cpu import CPU_SKYLAKE_CLIENT, UcCpu
from emu.engine.raw import UC_MEM_FETCH, UC_X86_INS_SYSCALL, Engine, TlbEntry
from emu.machine import Machine
from tests.bench import programs
from tests.bench.figures import Figure, best_of, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

TOPIC = "machine"
RAM = 4 << 30


def run(body: bytes, data_pages: int = 0, **limits: int) -> float:
    """Seconds that *body* runs on a new machine, without making it."""
    with tempfile.TemporaryDirectory() as name:
        path = programs.elf(Path(name) / "program", body, data_pages)
        with Machine(cwd=name, ram=RAM, limits=limits, stdin=None, stdout=None, stderr=None) as machine:
            machine.execve(str(path), ["program"], {})
            status = 0

            def work() -> None:
                nonlocal status
                status = machine.run()

            taken = seconds(work)
            if status:
                raise RuntimeError(f"the program ended with {status}")
            return taken


def raw_unicorn(body: bytes) -> float:
    """Seconds that *body* runs in Unicorn alone: virtual TLB, W^X fills, no kernel."""
    base = 1 << 47
    memory = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    engine = Engine(CPU_SKYLAKE_CLIENT)
    host = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    cpu = UcCpu(engine)
    engine.mem_map_ptr(base, 1 << 30, 7, host)
    frames: dict[int, int] = {}

    def fill(page: int, access: int, answer: TlbEntry) -> bool:
        frame = frames.setdefault(page, len(frames))
        answer.paddr = base + frame * programs.PAGE
        answer.perms = 5 if access == UC_MEM_FETCH else 3
        return True

    engine.hook_fill(fill)
    engine.hook_insn(UC_X86_INS_SYSCALL, engine.stop)
    frames[programs.TEXT] = 0
    memory[: len(body)] = body
    frame = cpu.get_frame()
    frame.rip, frame.rsp = programs.TEXT, 0x7FFF_0000
    cpu.set_frame(frame)
    taken = seconds(lambda: engine.run(cpu.resume_rip()))
    engine.close()
    return taken


def ratio(text: str, rounds: int) -> tuple[float, float]:
    """Seconds on the machine, and how that compares with raw Unicorn; measured in turns."""
    body = programs.code(text, rounds)
    ours = theirs = float("inf")
    for _ in range(4):
        theirs = min(theirs, raw_unicorn(body))
        ours = min(ours, run(body))
    return ours, ours / theirs


def per_round(text: str, rounds: int, times: int = 3, data_pages: int = 0, **limits: int) -> float:
    """Microseconds a round."""
    body = programs.code(text, rounds)
    return best_of(times, lambda: run(body, data_pages, **limits)) / rounds * 1e6


def measure() -> Iterator[Figure]:
    """All figures of this topic."""
    ours, times = ratio(programs.COMPUTE, 200_000_000)
    yield Figure("compute loop: machine / raw Unicorn", times, "x", 1.05, f"{ours:.2f} s")
    ours, times = ratio(programs.STORE, 20_000)
    yield Figure("store-heavy loop: machine / raw Unicorn", times, "x", 1.05, f"{ours:.2f} s")
    yield Figure("getppid", per_round(programs.GETPPID, 200_000), "us", 2.5)
    small = per_round(programs.TOUCH, 1_024, 5)
    large = per_round(programs.TOUCH, 65_536)
    yield Figure("first touch, 1,024 anonymous pages", small, "us/page", 6)
    yield Figure("first touch, 65,536 anonymous pages", large, "us/page", 6)
    yield Figure("first touch, 65,536 / 1,024", large / small, "x", 1.2)
    pages = 4_096
    read = per_round(programs.READ, pages, data_pages=pages)
    both = per_round(programs.READ + programs.WRITE, pages, data_pages=pages)
    yield Figure("page-in from a file", read, "us/page")
    yield Figure("copy-on-write copy", both - read, "us/page", 12)
    yield Figure("stack growth step of 128 KiB", per_round(programs.STACK, 4_000, 5, stack=512 << 20), "us/step", 60)
    yield Figure("mmap, touch, munmap with 50 entries", per_round(programs.MMAP, 2_000, 9), "us/round", 80)
