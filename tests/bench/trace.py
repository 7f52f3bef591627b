"""What tracing costs: nothing when it is off, so much for each fault when it is on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from emu.api import watch
from emu.machine import Machine
from emu.trace.tracefile import TraceHeader, TraceReader, TraceWriter
from emu.trace.tracer import Tracer
from kernel_model.ktrace import FAULT, SYSCALL
from tests.bench import programs
from tests.bench.figures import Figure, best_of, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOPIC = "trace"
RAM = 1 << 30
PAGES = 16_384
CALLS = 100_000


def run(body: bytes, prepare: Callable[[Machine, Path], Callable[[], None]] | None = None) -> float:
    """Seconds that *body* runs, with what *prepare* attached; what that returns is called at the end, untimed."""
    with tempfile.TemporaryDirectory() as name:
        path = programs.elf(Path(name) / "program", body)
        with Machine(cwd=name, ram=RAM, stdin=None, stdout=None, stderr=None) as machine:
            finish = prepare(machine, Path(name)) if prepare is not None else None
            machine.execve(str(path), ["program"], {})
            taken = seconds(machine.run)
            if finish is not None:
                finish()
            return taken


def to_file(*kinds: str) -> Callable[[Machine, Path], Callable[[], None]]:
    """Trace *kinds* to a file."""

    def prepare(machine: Machine, folder: Path) -> Callable[[], None]:
        writer = TraceWriter(folder / "trace.jsonl", TraceHeader("program"))
        tracer = Tracer(machine.kernel, kinds, writer=writer)

        def finish() -> None:
            tracer.close()
            writer.close()

        return finish

    return prepare


def attached_and_left(machine: Machine, _folder: Path) -> Callable[[], None]:
    """A tracer came and went: the machine must be as fast as if none had ever been there."""
    tracer = Tracer(machine.kernel, (FAULT, SYSCALL), show=lambda _event: None)
    tracer.close()
    return lambda: None


def in_turns(body: bytes, prepare: Callable[[Machine, Path], Callable[[], None]]) -> tuple[float, float]:
    """The best of five runs without and with *prepare*, taken in turns."""
    plain = other = float("inf")
    for _ in range(5):
        plain = min(plain, run(body))
        other = min(other, run(body, prepare))
    return plain, other


def reading() -> float:
    """Microseconds an event to read a trace of first touches back."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "trace.jsonl"
        program = programs.elf(Path(name) / "program", programs.code(programs.TOUCH, PAGES))
        with Machine(cwd=name, ram=RAM, stdin=None, stdout=None, stderr=None) as machine:
            writer = TraceWriter(path, TraceHeader("program"))
            Tracer(machine.kernel, (FAULT,), writer=writer)
            machine.execve(str(program), ["program"], {})
            machine.run()
            writer.close()
        return best_of(3, lambda: seconds(lambda: sum(1 for _ in TraceReader(path)))) / writer.events * 1e6


def refused() -> float:
    """Milliseconds to judge a stack overflow, counterfactuals and all."""
    from guest import guest

    with Machine(stdin=None, stdout=None, stderr=None) as machine:
        process = watch(machine)
        path = str(guest("recursion").path)
        machine.execve(path, [path], {})
        machine.run()
        return best_of(3, lambda: seconds(process.why)) * 1e3


def measure() -> Iterator[Figure]:
    """All figures of this topic."""
    touch, calls = programs.code(programs.TOUCH, PAGES), programs.code(programs.GETPPID, CALLS)
    plain, left = in_turns(touch, attached_and_left)
    yield Figure("first touch, tracing off / never attached", left / plain, "x", 1.05)
    plain, left = in_turns(calls, attached_and_left)
    yield Figure("getppid, tracing off / never attached", left / plain, "x", 1.05)
    plain, traced = in_turns(touch, to_file(FAULT))
    yield Figure("first touch with faults traced to a file", traced / PAGES * 1e6, "us/fault", 25)
    yield Figure("of which tracing", (traced - plain) / PAGES * 1e6, "us/fault")
    plain, traced = in_turns(calls, to_file(SYSCALL))
    yield Figure("getppid with calls traced to a file", traced / CALLS * 1e6, "us/call")
    yield Figure("reading a fault back", reading(), "us/event")
    yield Figure("judging a stack overflow", refused(), "ms")
