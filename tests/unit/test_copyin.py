"""Moving bytes between the kernel and a program."""

from __future__ import annotations

import pytest

from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyinstr, copyout, fuword32, fuword64, segments, suword32, suword64
from kernel_model.ktrace import FAULT
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_READ, VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_param import VM_MAXUSER_ADDRESS
from tests.process import Process

AT = 0x58_0000
PG = 4096
TOP = 1 << 64


@pytest.fixture
def process() -> Process:
    made = Process()
    made.map_at(AT, 4 * PG, VM_PROT_RW)
    made.map_at(AT + 5 * PG, PG, VM_PROT_READ)
    return made


def refused(function, *args, **kwargs) -> int:
    with pytest.raises(SyscallError) as caught:
        function(*args, **kwargs)
    return caught.value.errno


def test_round_trip_across_pages(process: Process) -> None:
    data = bytes(range(256)) * 40
    copyout(process.td, AT + 100, data)
    assert copyin(process.td, AT + 100, len(data)) == data
    assert copyin(process.td, AT, 100) == bytes(100)
    assert copyin(process.td, AT + 4 * PG, 0) == b""
    copyout(process.td, 0, b"")


@pytest.mark.parametrize(
    "va", [0, AT - 1, AT + 4 * PG - 3, VM_MAXUSER_ADDRESS - 2, VM_MAXUSER_ADDRESS, TOP - 4, TOP - 1]
)
def test_bad_addresses(process: Process, va: int) -> None:
    assert refused(copyin, process.td, va, 8) == E.EFAULT
    assert refused(copyout, process.td, va, bytes(8)) == E.EFAULT
    assert refused(segments, process.td, va, 8, VM_PROT_READ) == E.EFAULT
    assert refused(copyin, process.td, va, TOP) == E.EFAULT


def test_a_read_only_page_is_read_and_not_written(process: Process) -> None:
    va = AT + 5 * PG
    assert copyin(process.td, va, 4) == bytes(4)
    assert refused(copyout, process.td, va, b"x") == E.EFAULT
    assert refused(segments, process.td, va, 4, VM_PROT_WRITE) == E.EFAULT, "resident does not mean writable"
    assert copyin(process.td, va, 4) == bytes(4)


def test_writing_through_segments_after_a_read_copies_on_write(process: Process) -> None:
    from kernel_model.vm.swap_pager import swap_reserve_by_cred
    from kernel_model.vm.vmspace import vmspace_fork

    copyout(process.td, AT, b"parent")
    child, charge = vmspace_fork(process.proc.p_vmspace)
    assert swap_reserve_by_cred(process.vm, charge, process.proc.p_ucred)
    assert copyin(process.td, AT, 6) == b"parent"
    segments(process.td, AT, 6, VM_PROT_WRITE)[0][:] = b"change"
    assert copyin(process.td, AT, 6) == b"change"
    process.proc.p_vmspace = child
    assert copyin(process.td, AT, 6) == b"parent"


def test_segments_join_what_lies_together(process: Process) -> None:
    for page in range(4):
        copyout(process.td, AT + page * PG, b"x")
    pieces = segments(process.td, AT + 10, 3 * PG, VM_PROT_WRITE)
    assert [len(piece) for piece in pieces] == [3 * PG]
    pieces[0][:] = b"y" * (3 * PG)
    assert copyin(process.td, AT + 10, 3 * PG) == b"y" * (3 * PG)


def test_partial_segments_end_at_the_bad_page(process: Process) -> None:
    pieces = segments(process.td, AT + 3 * PG, 3 * PG, VM_PROT_WRITE, partial=True)
    assert sum(len(piece) for piece in pieces) == PG
    assert refused(segments, process.td, AT + 4 * PG, PG, VM_PROT_WRITE, partial=True) == E.EFAULT


def test_copyout_writes_what_precedes_the_bad_page(process: Process) -> None:
    assert refused(copyout, process.td, AT + 4 * PG - 8, b"z" * 16) == E.EFAULT
    assert copyin(process.td, AT + 4 * PG - 8, 8) == b"z" * 8


def test_copyinstr(process: Process) -> None:
    copyout(process.td, AT + PG - 3, b"across\0rest")
    assert copyinstr(process.td, AT + PG - 3, 100) == b"across"
    assert copyinstr(process.td, AT + PG - 3, 7) == b"across"
    assert refused(copyinstr, process.td, AT + PG - 3, 6) == E.ENAMETOOLONG
    copyout(process.td, AT + 4 * PG - 3, b"abc")
    assert refused(copyinstr, process.td, AT + 4 * PG - 3, 100) == E.EFAULT, "runs off the mapping"
    assert copyinstr(process.td, AT + 5 * PG, 9) == b""


def test_words(process: Process) -> None:
    suword64(process.td, AT + PG - 4, -2)
    assert fuword64(process.td, AT + PG - 4) == TOP - 2
    suword32(process.td, AT, 1 << 40 | 7)
    assert fuword32(process.td, AT) == 7


def test_code_written_by_the_kernel_is_reported(process: Process) -> None:
    told = []

    class Hardware:
        def __getattr__(self, name):
            return lambda *args: told.append((name, args))

    process.map_at(AT + 8 * PG, 2 * PG, VM_PROT_ALL)
    process.proc.p_vmspace.vm_pmap.hardware = Hardware()
    copyout(process.td, AT, b"data")
    assert not [name for name, _ in told if name == "code_changed"]
    copyout(process.td, AT + 8 * PG + 3, b"code")
    assert ("code_changed", (AT + 8 * PG + 3, AT + 8 * PG + 7)) in told
    told.clear()
    segments(process.td, AT + 8 * PG, 2 * PG, VM_PROT_READ)
    assert not told
    segments(process.td, AT + 8 * PG, 2 * PG, VM_PROT_WRITE)
    assert ("code_changed", (AT + 8 * PG, AT + 10 * PG)) in told


def test_a_fault_in_a_copy_is_recorded_as_such(process: Process) -> None:
    events = []
    process.kernel.ktrace.subscribe(FAULT, events.append)
    copyin(process.td, AT, 8)
    refused(copyout, process.td, AT + 4 * PG, b"x")
    assert [(event.where, event.result == 0) for event in events] == [("copyin", True), ("copyout", False)]
    assert "EFAULT" in events[1].translation


def test_a_buffer_can_grow_a_stack() -> None:
    process = Process(release="freebsd-12.1")
    process.proc.p_textvp = process.proc.p_fd.fd_cdir
    base = process.call(477, 0x10_0000_0000, 0x40000, 3, 0x400, -1, 0)
    copyout(process.td, base + 0x2000, b"deep below what was mapped")
    assert copyin(process.td, base + 0x2000, 4) == b"deep"
    assert refused(copyout, process.td, base + 10, b"in the guard") == E.EFAULT
