"""Stops of the engine: from hooks, from other threads, before it starts and as it is closed; what makes them exact."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from emu.engine import stops
from emu.engine.fill import Fill
from emu.engine.pmap import mirror_of
from emu.engine.raw import UC_ERR_OK, Engine
from emu.engine.stops import KNOWN, SLICE, build_id, known_build, leave_exactly, proved, whole_file_is
from emu.machine import AST, HOST, Machine
from kernel_model.ktrace import SYSCALL, SyscallEvent
from kernel_model.vm.vm_param import PAGE_SHIFT
from tests.bench import programs
from tests.bench.programs import code, elf
from tests.unit.emu_box import CODE, DATA, Box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emu.engine.raw import TlbEntry

both_ways = pytest.mark.parametrize("counted", [False, True], ids=["blocks", "slices"])
# 1: inc qword ptr [rsi]; lock xadd [rsi+8],rcx (of 1); mov ecx,1; push rax; pop qword ptr [rsi+16]; inc rax; jmp 1b
LOOP = "48ff06f0480fc14e08b901000000508f461048ffc0ebe9"
LOOP_LENGTH = 7


@pytest.fixture
def fresh() -> Iterator[None]:
    """The look at the library and the self-test are made anew, and forgotten."""
    known_build.cache_clear()
    proved.cache_clear()
    yield
    known_build.cache_clear()
    proved.cache_clear()


# which library


def test_the_library_is_known_to_the_last_byte() -> None:
    build = known_build()
    if build is None:
        pytest.skip("another build of Unicorn is installed: it runs in slices")
    assert whole_file_is(build)
    assert not whole_file_is(build._replace(sha256="0" * 64))
    assert proved(build)


def test_a_build_id_is_read_from_any_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    assert build_id(str(tmp_path / "text")) == ""
    assert build_id(str(elf(tmp_path / "program", code("90", 1)))) == ""


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("other", [{"size": 1}, {"build_id": "00"}], ids=["size", "build id"])
def test_another_library_is_not_touched(monkeypatch: pytest.MonkeyPatch, other: dict[str, object]) -> None:
    monkeypatch.setattr(stops, "KNOWN", (KNOWN[0]._replace(**other),))  # type: ignore[arg-type]
    assert known_build() is None
    _counts(counted=False)


def test_the_option_leaves_the_library_alone() -> None:
    _counts(counted=True)


def _counts(*, counted: bool) -> None:
    with Engine(0) as engine:
        leave_exactly(engine, counted=counted)
        assert engine.slice == SLICE
        assert engine.read_state(KNOWN[0].offset) == 0


@pytest.mark.usefixtures("fresh")
def test_a_byte_that_does_something_else_fails_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = 1368  # the engine's count of instructions, which anybody may write
    wrong = KNOWN[0]._replace(offset=counter)
    assert not proved(wrong)
    monkeypatch.setattr(stops, "known_build", lambda: wrong)
    _counts(counted=False)


# in the middle of a block


@pytest.fixture
def ask_at_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for a stop, as another thread would, while the program reaches for its data."""
    serve = Fill.serve

    def fill(self: Fill, page: int, access: int, answer: TlbEntry) -> bool:
        done = serve(self, page, access, answer)
        if page == DATA and self._tlb.engine is not None:
            self._tlb.engine.ask()
        return done

    monkeypatch.setattr(Fill, "serve", fill)


@pytest.mark.usefixtures("ask_at_data")
@both_ways
@pytest.mark.parametrize("rest", ["0f05", "cc", "0f0b"], ids=["syscall", "int3", "ud2"])
def test_what_follows_in_the_block_is_not_lost(rest: str, *, counted: bool) -> None:
    """``inc qword ptr [rsi]`` is where the stop comes, and the rest of its block calls the kernel."""
    with Box(counted=counted) as box:
        box.insert(DATA, 1)
        at: list[int] = []
        box.on_syscall = lambda: at.append(box.engine.read_rip())
        box.run("48ff06" + rest + "ebfe", rsi=DATA)
        assert (at, box.vectors, box.undefined) in (([CODE + 3], [], 0), ([], [3], 0), ([], [], 1))
        assert box.peek(DATA, 8) == (1).to_bytes(8, "little")


def _after_one_step(path: Path, text: str, *, strict: bool = False) -> tuple[Machine, list[str]]:
    """A machine whose program was left for a signal, and the system calls that it made."""
    program = elf(path / "program", code(text, 1), 1)
    machine = Machine(cwd=path, stdin=None, stdout=None, stderr=None, strict_alignment=strict)
    machine.execve(str(program), ["program"], {})
    calls: list[str] = []

    def hear(event: SyscallEvent) -> None:
        calls.append(event.name)

    machine.kernel.ktrace.subscribe(SYSCALL, hear)
    assert machine.step().why == AST
    return machine, calls


REST = "48ff042500000010d9e80f05"
"""inc qword ptr [DATA]; fld1; syscall (getpid): the rest of a block that is left."""


@pytest.mark.parametrize(
    ("text", "strict"),
    [("ec", False), ("ee", False), ("e410", False), ("0f28442401", True)],
    ids=["in al,dx", "out dx,al", "in al,16", "movaps xmm0,[rsp+1]"],
)
def test_a_hook_that_leaves_is_the_end_of_the_block(tmp_path: Path, text: str, *, strict: bool) -> None:
    machine, calls = _after_one_step(tmp_path, "b814000000" + text + REST, strict=strict)
    with machine:
        assert machine.thread.td_cpu.get_frame().rip == programs.TEXT + 0x1000 + 5
        assert machine.thread.td_cpu.get_fpregs()[4] == 0, "nothing is on the x87 stack"
        assert programs.DATA >> PAGE_SHIFT not in machine.proc.p_vmspace.vm_pmap.ptes
        assert calls == []


# from another thread


@both_ways
def test_a_stop_before_the_start_is_kept(*, counted: bool) -> None:
    with Box(counted=counted) as box:
        box.insert(DATA, 1)
        box.engine.interrupt()
        frame = box.run("48ff06ebfb", rsi=DATA)  # 1: inc qword ptr [rsi]; jmp 1b
        assert (box.status, frame.rip) == (UC_ERR_OK, CODE)
        box.on_syscall = box.engine.stop
        assert box.run("0f05").rip == CODE + 2, "one stop is one stop"


def test_a_stop_while_unicorn_starts_is_asked_for_again() -> None:
    """Between our look at the request and Unicorn's own beginning, which forgets it; ``jmp .`` would run for ever."""
    with Box() as box:
        start, stop = box.engine._emu_start, box.engine._stop_fn
        asked = threading.Event()

        def stopping() -> None:
            stop()
            asked.set()

        def late(*arguments: int) -> int:
            if not asked.is_set():
                threading.Thread(target=box.engine.interrupt).start()
                asked.wait()
            status: int = start(*arguments)
            return status

        box.engine._emu_start, box.engine._stop_fn = late, stopping  # type: ignore[assignment]
        assert box.run("ebfe").rip == CODE
        assert asked.is_set()


def test_a_stop_of_a_closed_engine_does_nothing() -> None:
    engine = Engine(0)
    engine.close()

    def never() -> None:
        raise AssertionError("a closed engine was touched")

    engine._stop_fn = never  # type: ignore[assignment]
    engine.interrupt()
    engine.close()


def test_an_engine_is_not_closed_under_a_stop() -> None:
    engine = Engine(0)
    stop = engine._stop_fn
    closer = threading.Thread(target=engine.close)

    def slow() -> None:
        closer.start()
        closer.join(0.05)
        assert engine.handle, "closed while another thread uses it"
        stop()

    engine._stop_fn = slow  # type: ignore[assignment]
    engine.interrupt()
    closer.join()
    assert not engine.handle


def test_engines_are_closed_while_others_stop_them(tmp_path: Path) -> None:
    """All of it at once: machines come and go under a thread that never pauses."""
    program = elf(tmp_path / "program", code("b8140000000f05", 1))
    machines: list[Machine] = []
    done = threading.Event()

    def stop() -> None:
        while not done.is_set():
            for machine in tuple(machines[-2:]):
                machine._stop()

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        for _ in range(30):
            with Machine(cwd=tmp_path, stdin=None, stdout=None, stderr=None) as machine:
                machines.append(machine)
                machine.execve(str(program), ["program"], {})
                assert machine.run() == 0
    finally:
        done.set()
        thread.join()


@both_ways
@pytest.mark.parametrize("times", [100, pytest.param(2_000, marks=pytest.mark.slow)], ids=["few", "many"])
def test_a_thread_that_never_pauses_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, times: int, *, counted: bool
) -> None:
    monkeypatch.setattr(stops, "SLICE", 1009)
    with Box(counted=counted) as box:
        box.insert(DATA, 1)
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                box.engine.ask()
                time.sleep(0)  # only lets the other thread have the interpreter

        box.engine.interrupt()
        box.run(LOOP, rsi=DATA, rcx=1)
        thread = threading.Thread(target=ask)
        thread.start()
        for _ in range(times):
            assert box.hw.run(box.cpu.resume_rip()) == UC_ERR_OK
        done.set()
        thread.join()
        box.engine.slice = 1
        box.engine.interrupt()  # after one instruction, from now on
        for _ in range(LOOP_LENGTH):
            if box.cpu.get_frame().rip != CODE:
                box.engine._run_slices(box.cpu.get_frame().rip)
        rounds = box.cpu.get_frame().rax
        words = [int.from_bytes(box.peek(DATA + at, 8), "little") for at in (0, 8, 16)]
        assert rounds > 0
        assert words == [rounds, rounds, rounds - 1]


def test_machine_looks_at_a_signal_before_the_engine_starts(tmp_path: Path) -> None:
    """An interrupt that finds no engine running is one step that does nothing."""
    program = elf(tmp_path / "program", code("ebfe", 1))
    with Machine(cwd=tmp_path, stdin=None, stdout=None, stderr=None) as machine:
        machine.execve(str(program), ["program"], {})
        machine._start(mirror_of(machine.proc.p_vmspace.vm_pmap), machine.thread)
        machine._stop()
        assert machine.step().why == HOST
        assert machine.thread.td_cpu.get_frame().rip == programs.TEXT + 0x1000
