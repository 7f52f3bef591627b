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
from tests.unit.kern_host import SCRATCH, KernHost

PROBE = 199
"""A number that only these tests give a handler."""


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch):
    def install(handler, letters: str = "") -> None:
        monkeypatch.setitem(table(), PROBE, Sysent("probe", letters, Support.FULL, handler))

    return install


def test_success_is_the_value() -> None:
    assert KernHost("freebsd").raw(20) == 1000
    assert KernHost("linux").raw(39) == 1000


def test_freebsd_errors_are_negative_and_linux_errors_a_register() -> None:
    assert KernHost("freebsd").raw(73, SCRATCH, 0) == -E.EINVAL
    assert KernHost("linux").raw(11, SCRATCH, 0) == (1 << 64) - 22
    assert KernHost("linux").raw(13, 65, 0, 0, 8) == (1 << 64) - 22


def test_linux_gets_its_own_numbers() -> None:
    assert KernHost("linux").call(202, SCRATCH, 0, 5) == -11, "EAGAIN is 11 there and 35 here"


def test_whoever_is_current_is_served_in_its_own_abi() -> None:
    host = KernHost("freebsd")
    other = replace(host.proc, p_pid=4242, p_sysent=ELF64_LINUX_SYSVEC, p_threads=[])
    for _ in range(2):
        host.vm.pcpu.switch(Thread(other, 4242, host.cpu))
        assert host.raw(39) == 4242
        assert host.raw(11, SCRATCH, 0) == (1 << 64) - 22, "munmap, refused as Linux does"
        host.vm.pcpu.switch(host.td)
        assert host.raw(20) == 1000
        assert host.raw(73, SCRATCH, 0) == -E.EINVAL


def test_a_negative_result_is_no_error(probe) -> None:
    probe(lambda td: -5)
    assert KernHost().raw(PROBE) == (1 << 64) - 5
    assert KernHost().raw(PROBE) == (1 << 64) - 5


def test_two_results(probe) -> None:
    probe(lambda td: (3, 4))
    assert KernHost().raw(PROBE) == (3, 4)


def test_unknown_number_raises_sigsys() -> None:
    host = KernHost("freebsd")
    assert host.raw(9999) == -E.ENOSYS
    assert [ksi.ksi_signo for ksi in host.td.td_sigqueue] == [SIGSYS]
    assert host.td.td_ast
    assert host.unsupported[0].number == 9999


def test_known_but_missing_call_is_enosys_without_a_signal() -> None:
    host = KernHost("freebsd")
    assert host.raw(2) == -E.ENOSYS
    assert not host.td.td_sigqueue
    assert (host.unsupported[0].name, host.unsupported[0].detail) == ("fork", "no processes yet")


def test_linux_never_raises_sigsys() -> None:
    host = KernHost("linux")
    assert host.call(9999) == host.call(57) == -38
    assert not host.td.td_sigqueue


def test_only_the_low_half_of_rax_counts() -> None:
    assert KernHost("freebsd").raw(0xFFFFFFFF_00000014) == 1000


def test_syscall_and___syscall_shift_the_arguments() -> None:
    host = KernHost("freebsd")
    assert host.raw(0, 20) == 1000
    assert host.raw(198, 20) == 1000
    host.put(b"")
    assert host.raw(198, 73, SCRATCH, 0) == -E.EINVAL


def test___syscall_takes_the_last_argument_from_the_stack() -> None:
    host = KernHost("freebsd")
    sp = host.cpu.frame.rsp
    from kernel_model.kern.copyin import copyout

    copyout(host.td, sp, (0).to_bytes(8, "little") + (7).to_bytes(8, "little"))
    assert host.raw(198, 477, 0, 4096, 3, 0x1002, -1) == -E.EINVAL, "pos 7 for anonymous memory"
    copyout(host.td, sp + 8, bytes(8))
    assert host.raw(198, 477, 0, 4096, 3, 0x1002, -1) > 0


def test_restart_goes_back_to_the_instruction(probe) -> None:
    def handler(td) -> int:
        raise SyscallError(E.ERESTART)

    probe(handler)
    host = KernHost()
    rip = host.cpu.frame.rip
    for _ in range(2):
        host.cpu.frame.rip = rip
        assert host.raw(PROBE) == E.EJUSTRETURN
        assert (host.cpu.frame.rip, host.cpu.frame.rax) == (rip - 2, PROBE)
        assert host.td.td_ast


def test_td_syscall_is_set_only_meanwhile(probe) -> None:
    seen = []
    probe(lambda td: seen.append(td.td_syscall) or 0)
    host = KernHost()
    host.raw(PROBE)
    host.raw(PROBE)
    assert seen == [PROBE, PROBE]
    assert host.td.td_syscall == -1


def test_tracing_tells_entry_and_return() -> None:
    host = KernHost("linux")
    events = []
    host.kernel.ktrace.subscribe(SYSCALL, events.append)
    host.raw(39)
    host.raw(11, SCRATCH, 0)
    told = [(e.phase, e.name, e.errno) for e in events]
    assert told[:2] == [("enter", "getpid", 0), ("return", "getpid", 0)]
    assert told[2:] == [("enter", "munmap", 0), ("return", "munmap", E.EINVAL)]
    assert events[0].rip == host.cpu.frame.rip - 2
    host.kernel.ktrace.unsubscribe(SYSCALL, events.append)
    host.raw(39)
    assert len(events) == 4


def test_the_fast_path_serves_the_second_call(probe) -> None:
    calls = []
    probe(lambda td, a: calls.append(a) or 0, "d")
    host = KernHost()
    for value in (1, 0xFFFFFFFF, 3):
        host.raw(PROBE, value)
    assert calls == [1, -1, 3]
