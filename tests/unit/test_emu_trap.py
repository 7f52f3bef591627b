"""Exceptions and system calls of whole programs: a few bytes in an ELF file, on a complete machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from emu.engine.cpu import UcCpu
from emu.machine import AST, EXITED, HOST, ExecFailed, Machine
from kernel_model.errors import UsageError, some
from kernel_model.kern.proc import Thread
from kernel_model.ktrace import SYSCALL, SyscallEvent
from tests.bench.programs import code, elf

if TYPE_CHECKING:
    from pathlib import Path

SIGILL, SIGTRAP, SIGFPE, SIGBUS, SIGSEGV = 132, 133, 136, 138, 139
"""What a shell shows: 128 + FreeBSD's number."""
# mov eax,4; push 1; pop rdi; mov rdx,rdi; mov rsi,rsp; syscall
WRITE_ONE_BYTE = "b8040000006a015f4889fa4889e60f05"


def run(path: Path, text: str, **options: object) -> int:
    """Run the bytes *text*, then exit(0), with the mirror proved after every trap."""
    program = elf(path / "program", code(text, 1))
    with Machine(cwd=path, stdin=None, stdout=None, stderr=None, paranoid=True, **options) as machine:  # type: ignore[arg-type]
        machine.execve(str(program), ["program"], {})
        return machine.run()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("90", 0),
        ("f4", SIGBUS),  # hlt
        ("ec", SIGBUS),  # in al,dx
        ("ee", SIGBUS),  # out dx,al
        ("0f30", SIGBUS),  # wrmsr
        ("0f34", SIGBUS),  # sysenter
        ("cd80", SIGBUS),  # int 0x80
        ("cd0d", SIGBUS),  # int 13
        ("0f0b", SIGILL),  # ud2
        ("c5fc58c1", SIGILL),  # vaddps ymm0,ymm0,ymm1: no AVX
        ("cc", SIGTRAP),  # int3
        ("31c9f7f1", SIGFPE),  # xor ecx,ecx; div ecx
        ("31c0488900", SIGSEGV),  # xor eax,eax; mov [rax],rax
        ("48b80000000000000080488b00", SIGBUS),  # mov rax,1<<63; mov rax,[rax]: not canonical
        ("48b80000000000000080ffe0", SIGBUS),  # mov rax,1<<63; jmp rax
        ("48b80000008000000000ffe0", SIGSEGV),  # mov rax,1<<31; jmp rax
        # fninit; push 0x37b; fldcw [rsp]; fld1; fldz; fdivp; fwait: #MF, division by zero unmasked
        ("dbe3687b030000d92c24d9e8d9eedef99b", SIGFPE),
    ],
)
def test_what_kills(tmp_path: Path, text: str, status: int) -> None:
    assert run(tmp_path, text) == status


def test_system_call_that_succeeds_clears_carry(tmp_path: Path) -> None:
    # mov eax,20 (getpid); stc; syscall; jc bad; jmp ok; bad: ud2; ok:
    assert run(tmp_path, "b814000000f90f057202eb020f0b") == 0


def test_failed_system_call_sets_carry(tmp_path: Path) -> None:
    # mov edi,99; mov eax,6 (close); clc; syscall; jnc bad; cmp eax,9 (EBADF); je ok; bad: ud2; ok:
    assert run(tmp_path, "bf63000000b806000000f80f05730583f80974020f0b") == 0


@pytest.mark.parametrize(("text", "reasons"), [("90", [EXITED]), ("cc", [AST, EXITED])])
def test_a_stop_says_why(tmp_path: Path, text: str, reasons: list[str]) -> None:
    program = elf(tmp_path / "program", code(text, 1))
    with Machine(cwd=tmp_path, stdin=None, stdout=None, stderr=None) as machine:
        machine.execve(str(program), ["program"], {})
        stops = [machine.step() for _ in reasons]
        assert [stop.why for stop in stops] == reasons
        assert {stop.td for stop in stops} == {machine.thread}
        assert machine.step().why == EXITED, "who has ended does not run again"


def test_hooks_serve_whoever_is_current_when_they_fire(tmp_path: Path) -> None:
    """Two threads on one engine: the second takes over in the middle, with the same registers."""
    program = elf(tmp_path / "program", code("b8140000000f05" * 2, 1))  # mov eax,20 (getpid); syscall: twice
    served: list[int] = []
    with Machine(cwd=tmp_path, stdin=None, stdout=None, stderr=None) as machine:
        machine.execve(str(program), ["program"], {})
        first = machine.thread

        def hear(event: SyscallEvent) -> None:
            if event.phase == "enter":
                served.append(event.tid)
                if isinstance(first.td_cpu, UcCpu) and len(served) == 1:
                    first.td_cpu.engine.stop()

        machine.kernel.ktrace.subscribe(SYSCALL, hear)
        assert machine.step().why == HOST
        machine.thread = Thread(machine.proc, 77, first.td_cpu)
        machine.proc.p_threads.append(machine.thread)
        assert machine.run() == 0
    assert served == [first.td_tid, 77, 77]


def test_two_machines_do_not_meet(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    programs = [elf(tmp_path / name / "program", code("90", 1)) for name in ("a", "b")]
    machines = [Machine(stdin=None, stdout=None, stderr=None) for _ in programs]
    for machine, program in zip(machines, programs, strict=True):
        machine.execve(str(program), ["program"], {})
    assert [machine.run() for machine in machines] == [0, 0]
    for machine in machines:
        machine.close()


def test_missing_program_is_the_users_mistake(tmp_path: Path) -> None:
    with Machine(cwd=tmp_path, stdin=None, stdout=None, stderr=None) as machine, pytest.raises(ExecFailed) as caught:
        machine.execve("/nowhere", ["nowhere"], {})
    assert caught.value.errno == 2


def test_bad_release_and_limit() -> None:
    with pytest.raises(UsageError, match="no release"):
        Machine(release="minix-3")
    with pytest.raises(UsageError, match="no resource limit"):
        Machine(limits={"patience": 3})


@pytest.mark.parametrize("text", ["ebfe", "b8140000000f05ebf7"], ids=["jmp", "getpid"])
def test_control_c_reaches_a_busy_program(tmp_path: Path, text: str) -> None:
    """``jmp .`` runs no instruction of ours, and a loop of system calls hardly leaves the engine."""
    program = elf(tmp_path / "program", code(WRITE_ONE_BYTE + text, 1))
    command = [sys.executable, "-m", "emu", "run", "--cwd", str(tmp_path), "--", str(program)]
    # A shell's job in the background ignores SIGINT, and the tests may run in one.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed)
    assert some(child.stdout, "pipe").read(1), "the program does not run"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=20)
    assert child.returncode == 130
    assert b"Traceback" not in errors
