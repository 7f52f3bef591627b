"""From SYSCALL to a handler and back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernel_model import errno as E
from kernel_model.abi.freebsd64.sysent import table
from kernel_model.abi.linux64.sysvec import ELF64_LINUX_SYSVEC
from kernel_model.errors import SyscallError
from kernel_model.kern.proc import Thread
from kernel_model.kern.signo import SIGSYS
from kernel_model.kern.sysent import Support, Sysent
from kernel_model.ktrace import SYSCALL
from tests.process import SCRATCH, Process

PROBE = 199
"""A number that only these tests give a handler."""


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch):
    def install(handler, letters: str = "") -> None:
        monkeypatch.setitem(table(), PROBE, Sysent("probe", letters, Support.FULL, handler))

    return install


def test_success_is_the_value() -> None:
    assert Process("freebsd").raw(20) == 1000
    assert Process("linux").raw(39) == 1000


def test_freebsd_errors_are_negative_and_linux_errors_a_register() -> None:
    assert Process("freebsd").raw(73, SCRATCH, 0) == -E.EINVAL
    assert Process("linux").raw(11, SCRATCH, 0) == (1 << 64) - 22
    assert Process("linux").raw(13, 65, 0, 0, 8) == (1 << 64) - 22


def test_linux_gets_its_own_numbers() -> None:
    assert Process("linux").call(202, SCRATCH, 0, 5) == -11, "EAGAIN is 11 there and 35 here"


def test_whoever_is_current_is_served_in_its_own_abi() -> None:
    process = Process("freebsd")
    other = replace(process.proc, p_pid=4242, p_sysent=ELF64_LINUX_SYSVEC, p_threads=[])
    for _ in range(2):
        process.vm.pcpu.switch(Thread(other, 4242, process.cpu))
        assert process.raw(39) == 4242
        assert process.raw(11, SCRATCH, 0) == (1 << 64) - 22, "munmap, refused as Linux does"
        process.vm.pcpu.switch(process.td)
        assert process.raw(20) == 1000
        assert process.raw(73, SCRATCH, 0) == -E.EINVAL


def test_a_negative_result_is_no_error(probe) -> None:
    probe(lambda td: -5)
    assert Process().raw(PROBE) == (1 << 64) - 5
    assert Process().raw(PROBE) == (1 << 64) - 5


def test_two_results(probe) -> None:
    probe(lambda td: (3, 4))
    assert Process().raw(PROBE) == (3, 4)


def test_unknown_number_raises_sigsys() -> None:
    process = Process("freebsd")
    assert process.raw(9999) == -E.ENOSYS
    assert [ksi.ksi_signo for ksi in process.td.td_sigqueue] == [SIGSYS]
    assert process.td.td_ast
    assert process.unsupported[0].number == 9999


def test_known_but_missing_call_is_enosys_without_a_signal() -> None:
    process = Process("freebsd")
    assert process.raw(2) == -E.ENOSYS
    assert not process.td.td_sigqueue
    assert (process.unsupported[0].name, process.unsupported[0].detail) == ("fork", "no processes yet")


def test_linux_never_raises_sigsys() -> None:
    process = Process("linux")
    assert process.call(9999) == process.call(57) == -38
    assert not process.td.td_sigqueue


def test_only_the_low_half_of_rax_counts() -> None:
    assert Process("freebsd").raw(0xFFFFFFFF_00000014) == 1000


def test_syscall_and___syscall_shift_the_arguments() -> None:
    process = Process("freebsd")
    assert process.raw(0, 20) == 1000
    assert process.raw(198, 20) == 1000
    process.put(b"")
    assert process.raw(198, 73, SCRATCH, 0) == -E.EINVAL


def test___syscall_takes_the_last_argument_from_the_stack() -> None:
    process = Process("freebsd")
    sp = process.cpu.frame.rsp
    from kernel_model.kern.copyin import copyout

    copyout(process.td, sp, (0).to_bytes(8, "little") + (7).to_bytes(8, "little"))
    assert process.raw(198, 477, 0, 4096, 3, 0x1002, -1) == -E.EINVAL, "pos 7 for anonymous memory"
    copyout(process.td, sp + 8, bytes(8))
    assert process.raw(198, 477, 0, 4096, 3, 0x1002, -1) > 0


def test_restart_goes_back_to_the_instruction(probe) -> None:
    def handler(td) -> int:
        raise SyscallError(E.ERESTART)

    probe(handler)
    process = Process()
    rip = process.cpu.frame.rip
    for _ in range(2):
        process.cpu.frame.rip = rip
        assert process.raw(PROBE) == E.EJUSTRETURN
        assert (process.cpu.frame.rip, process.cpu.frame.rax) == (rip - 2, PROBE)
        assert process.td.td_ast


def test_td_syscall_is_set_only_meanwhile(probe) -> None:
    seen = []
    probe(lambda td: seen.append(td.td_syscall) or 0)
    process = Process()
    process.raw(PROBE)
    process.raw(PROBE)
    assert seen == [PROBE, PROBE]
    assert process.td.td_syscall == -1


def test_tracing_tells_entry_and_return() -> None:
    process = Process("linux")
    events = []
    process.kernel.ktrace.subscribe(SYSCALL, events.append)
    process.raw(39)
    process.raw(11, SCRATCH, 0)
    told = [(e.phase, e.name, e.errno) for e in events]
    assert told[:2] == [("enter", "getpid", 0), ("return", "getpid", 0)]
    assert told[2:] == [("enter", "munmap", 0), ("return", "munmap", E.EINVAL)]
    assert events[0].rip == process.cpu.frame.rip - 2
    process.kernel.ktrace.unsubscribe(SYSCALL, events.append)
    process.raw(39)
    assert len(events) == 4


def test_the_fast_path_serves_the_second_call(probe) -> None:
    calls = []
    probe(lambda td, a: calls.append(a) or 0, "d")
    process = Process()
    for value in (1, 0xFFFFFFFF, 3):
        process.raw(PROBE, value)
    assert calls == [1, -1, 3]
