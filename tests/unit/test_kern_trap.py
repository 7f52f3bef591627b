"""Which signal an access or an exception becomes: by release and ABI."""

from __future__ import annotations

import pytest

from kernel_model.kern.kern_sig import ast
from kernel_model.kern.signalvar import SigAction
from kernel_model.kern.signo import SA_SIGINFO, SI_KERNEL, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP
from kernel_model.kern.trap import fault_signal, trap, trap_pfault
from kernel_model.ktrace import FAULT
from kernel_model.vm.vm import VM_PROT_EXECUTE, VM_PROT_NONE, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_OUT_OF_BOUNDS,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
)
from tests.process import HANDLER, Process

PAGE = 0x50_0000
HOLE = 0x51_0000


def raised(process: Process) -> tuple[int, int, int]:
    ksi = process.td.td_sigqueue[0]
    assert ksi.ksi_trap
    assert process.td.td_ast
    return ksi.ksi_signo, ksi.ksi_code, ksi.ksi_addr


def test_a_good_access_is_repaired_and_silent() -> None:
    for abi in ("freebsd", "linux"):
        process = Process(abi)
        process.map_at(PAGE, 4096)
        assert trap_pfault(process.td, PAGE + 5, VM_PROT_WRITE, 8, 1, 0x400000)
        assert not process.td.td_ast
        assert process.proc.p_vmspace.vm_pmap.lookup(PAGE)


@pytest.mark.parametrize("abi", ["freebsd", "linux"])
def test_si_addr_is_exact_to_the_byte(abi: str) -> None:
    process = Process(abi)
    assert not trap_pfault(process.td, HOLE + 0x123, VM_PROT_READ)
    assert raised(process) == (SIGSEGV, 1, HOLE + 0x123)


@pytest.mark.parametrize("abi", ["freebsd", "linux"])
@pytest.mark.parametrize(
    ("prot", "access", "err"),
    [
        (VM_PROT_READ, VM_PROT_WRITE, 6),
        (VM_PROT_NONE, VM_PROT_READ, 4),
        (VM_PROT_READ | VM_PROT_WRITE, VM_PROT_EXECUTE, 0x14),
    ],
)
def test_against_the_rights(abi: str, prot: int, access: int, err: int) -> None:
    process = Process(abi)
    process.map_at(PAGE, 4096, prot)
    assert not trap_pfault(process.td, PAGE + 1, access)
    assert raised(process) == (SIGSEGV, 2, PAGE + 1)
    assert process.td.td_sigqueue[0].ksi_err == err
    process = Process(abi)
    process.map_at(PAGE, 4096, VM_PROT_READ)
    assert trap_pfault(process.td, PAGE, VM_PROT_READ)
    assert not trap_pfault(process.td, PAGE, VM_PROT_WRITE)
    assert process.td.td_sigqueue[0].ksi_err == 7, "the page was there"


def test_program_without_the_note_gets_sigbus_12() -> None:
    process = Process()
    process.map_at(PAGE, 4096, VM_PROT_READ)
    process.proc.p_osrel = 0
    assert not trap_pfault(process.td, PAGE, VM_PROT_WRITE)
    assert raised(process) == (SIGBUS, 12, PAGE)


@pytest.mark.parametrize(
    ("value", "osrel", "expected"),
    [(0, 700003, (SIGBUS, 12)), (0, 700004, (SIGSEGV, 2)), (1, 900000, (SIGBUS, 12)), (2, 0, (SIGSEGV, 2))],
)
def test_prot_fault_translation(value: int, osrel: int, expected: tuple[int, int]) -> None:
    process = Process()
    process.proc.p_osrel = osrel
    process.kernel.tunables["machdep.prot_fault_translation"] = value
    assert fault_signal(process.proc, PAGE, VM_PROT_READ, KERN_PROTECTION_FAILURE)[:2] == expected


@pytest.mark.parametrize(
    ("release", "rv", "expected"),
    [
        ("freebsd-10.1", KERN_INVALID_ADDRESS, (SIGSEGV, 1)),
        ("freebsd-10.1", KERN_FAILURE, (SIGSEGV, 1)),
        ("freebsd-10.1", KERN_RESOURCE_SHORTAGE, (SIGSEGV, 1)),
        ("freebsd-12.1", KERN_RESOURCE_SHORTAGE, (SIGBUS, 100)),
        ("freebsd-12.1", KERN_OUT_OF_BOUNDS, (SIGBUS, 3)),
        ("freebsd-15.0", KERN_OUT_OF_BOUNDS, (SIGBUS, 3)),
        ("freebsd-12.1", KERN_FAILURE, (SIGSEGV, 1)),
    ],
)
def test_results_by_release(release: str, rv: int, expected: tuple[int, int]) -> None:
    assert fault_signal(Process(release=release).proc, PAGE, VM_PROT_READ, rv)[:2] == expected


def test_kernel_addresses_are_mapped_nowhere() -> None:
    for va in (0xFFFF_8000_0000_0000, 0xFFFF_FE00_0000_0000, 0xFFFF_FFFF_FFFF_FFFF):
        for abi in ("freebsd", "linux"):
            process = Process(abi)
            assert not trap_pfault(process.td, va, VM_PROT_READ)
            assert raised(process) == (SIGSEGV, 1, va)


@pytest.mark.parametrize("va", [0x8000_0000_0000, 0x1234_5678_9ABC_DEF0, 0xFFFF_7FFF_FFFF_FFFF])
def test_noncanonical_addresses_are_general_protection(va: int) -> None:
    process = Process("freebsd")
    rip = process.cpu.frame.rip
    assert not trap_pfault(process.td, va, VM_PROT_READ)
    assert raised(process) == (SIGBUS, 3, rip), "BUS_OBJERR at the instruction"
    process = Process("linux")
    assert not trap_pfault(process.td, va, VM_PROT_WRITE)
    assert raised(process) == (SIGSEGV, SI_KERNEL, 0)


def test_a_noncanonical_stack_is_a_stack_fault() -> None:
    process = Process("freebsd")
    process.cpu.frame.rsp = 0x9000_0000_0000
    assert not trap_pfault(process.td, 0x8FFF_FFFF_FFF8, VM_PROT_WRITE)
    assert raised(process)[:2] == (SIGBUS, 2)


@pytest.mark.parametrize(
    ("vector", "freebsd", "linux"),
    [
        (0, (SIGFPE, 2), (SIGFPE, 2)),
        (3, (SIGTRAP, 1), (SIGTRAP, SI_KERNEL)),
        (1, (SIGTRAP, 2), (SIGTRAP, 2)),
        (6, (SIGILL, 5), (SIGILL, 2)),
        (12, (SIGBUS, 2), (SIGBUS, SI_KERNEL)),
        (13, (SIGBUS, 3), (SIGSEGV, SI_KERNEL)),
        (17, (SIGBUS, 1), (SIGBUS, 1)),
        (99, (SIGBUS, 3), (SIGSEGV, SI_KERNEL)),
    ],
)
def test_exceptions(vector: int, freebsd: tuple[int, int], linux: tuple[int, int]) -> None:
    for abi, expected in (("freebsd", freebsd), ("linux", linux)):
        process = Process(abi)
        trap(process.td, vector)
        signo, code, addr = raised(process)
        assert (signo, code) == expected
        at_rip = abi == "freebsd" or vector in (0, 1, 6)
        assert addr == (process.cpu.frame.rip if at_rip else 0)


@pytest.mark.parametrize(
    ("mxcsr", "code"), [(0x1F80 & ~0x80 | 0x01, 7), (0x1F80 & ~0x200 | 0x04, 3), (0x1F80 & ~0x1000 | 0x20, 6)]
)
def test_unmasked_sse_exceptions(mxcsr: int, code: int) -> None:
    process = Process()
    process.cpu.fpregs = bytes(24) + mxcsr.to_bytes(4, "little") + bytes(484)
    trap(process.td, 19)
    assert raised(process)[:2] == (SIGFPE, code)


def test_unmasked_x87_exceptions() -> None:
    process = Process()
    process.cpu.fpregs = (0x37F & ~0x4).to_bytes(2, "little") + (0x4 | 0x20).to_bytes(2, "little") + bytes(508)
    trap(process.td, 16)
    assert raised(process)[:2] == (SIGFPE, 3), "the masked precision flag does not count"


def test_the_error_and_trap_number_reach_the_frame() -> None:
    process = Process("linux")
    process.map_at(PAGE, 4096, VM_PROT_READ)
    process.proc.p_sigacts.ps_sigact[SIGSEGV] = SigAction(HANDLER, SA_SIGINFO, 0, 0x402000)
    trap_pfault(process.td, PAGE, VM_PROT_READ)
    trap_pfault(process.td, PAGE + 9, VM_PROT_WRITE)
    ast(process.td)
    context = process.cpu.frame.rdx + 40
    assert [process.word(context + offset) for offset in (144 + 8, 144 + 16, 144 + 32)] == [7, 14, PAGE + 9]


def test_a_refused_fault_is_recorded_with_its_verdict() -> None:
    process = Process(release="freebsd-12.1")
    events = []
    process.kernel.ktrace.subscribe(FAULT, events.append)
    trap_pfault(process.td, HOLE, VM_PROT_READ, 4, None, 0x400000)
    assert (events[0].signo, events[0].code, events[0].addr) == (SIGSEGV, 1, HOLE)
    assert "SEGV_MAPERR" in events[0].translation
