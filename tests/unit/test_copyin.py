"""Moving bytes between the kernel and a program."""

from __future__ import annotations

import pytest

from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyinstr, copyout, fuword32, fuword64, segments, suword32, suword64
from kernel_model.ktrace import FAULT
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_READ, VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_param import VM_MAXUSER_ADDRESS
from tests.unit.kern_host import KernHost

AT = 0x50_0000
PG = 4096
TOP = 1 << 64


@pytest.fixture
def host() -> KernHost:
    made = KernHost()
    made.map_at(AT, 4 * PG, VM_PROT_RW)
    made.map_at(AT + 5 * PG, PG, VM_PROT_READ)
    return made


def refused(function, *args, **kwargs) -> int:
    with pytest.raises(SyscallError) as caught:
        function(*args, **kwargs)
    return caught.value.errno


def test_round_trip_across_pages(host: KernHost) -> None:
    data = bytes(range(256)) * 40
    copyout(host.td, AT + 100, data)
    assert copyin(host.td, AT + 100, len(data)) == data
    assert copyin(host.td, AT, 100) == bytes(100)
    assert copyin(host.td, AT + 4 * PG, 0) == b""
    copyout(host.td, 0, b"")


@pytest.mark.parametrize(
    "va", [0, AT - 1, AT + 4 * PG - 3, VM_MAXUSER_ADDRESS - 2, VM_MAXUSER_ADDRESS, TOP - 4, TOP - 1]
)
def test_bad_addresses(host: KernHost, va: int) -> None:
    assert refused(copyin, host.td, va, 8) == E.EFAULT
    assert refused(copyout, host.td, va, bytes(8)) == E.EFAULT
    assert refused(segments, host.td, va, 8, VM_PROT_READ) == E.EFAULT
    assert refused(copyin, host.td, va, TOP) == E.EFAULT


def test_a_read_only_page_is_read_and_not_written(host: KernHost) -> None:
    va = AT + 5 * PG
    assert copyin(host.td, va, 4) == bytes(4)
    assert refused(copyout, host.td, va, b"x") == E.EFAULT
    assert refused(segments, host.td, va, 4, VM_PROT_WRITE) == E.EFAULT, "resident does not mean writable"
    assert copyin(host.td, va, 4) == bytes(4)


def test_writing_through_segments_after_a_read_copies_on_write(host: KernHost) -> None:
    from kernel_model.vm.swap_pager import swap_reserve_by_cred
    from kernel_model.vm.vmspace import vmspace_fork

    copyout(host.td, AT, b"parent")
    child, charge = vmspace_fork(host.proc.p_vmspace)
    assert swap_reserve_by_cred(host.vm, charge, host.proc.p_ucred)
    assert copyin(host.td, AT, 6) == b"parent"
    segments(host.td, AT, 6, VM_PROT_WRITE)[0][:] = b"change"
    assert copyin(host.td, AT, 6) == b"change"
    host.proc.p_vmspace = child
    assert copyin(host.td, AT, 6) == b"parent"


def test_segments_join_what_lies_together(host: KernHost) -> None:
    for page in range(4):
        copyout(host.td, AT + page * PG, b"x")
    pieces = segments(host.td, AT + 10, 3 * PG, VM_PROT_WRITE)
    assert [len(piece) for piece in pieces] == [3 * PG]
    pieces[0][:] = b"y" * (3 * PG)
    assert copyin(host.td, AT + 10, 3 * PG) == b"y" * (3 * PG)


def test_partial_segments_end_at_the_bad_page(host: KernHost) -> None:
    pieces = segments(host.td, AT + 3 * PG, 3 * PG, VM_PROT_WRITE, partial=True)
    assert sum(len(piece) for piece in pieces) == PG
    assert refused(segments, host.td, AT + 4 * PG, PG, VM_PROT_WRITE, partial=True) == E.EFAULT


def test_copyout_writes_what_precedes_the_bad_page(host: KernHost) -> None:
    assert refused(copyout, host.td, AT + 4 * PG - 8, b"z" * 16) == E.EFAULT
    assert copyin(host.td, AT + 4 * PG - 8, 8) == b"z" * 8


def test_copyinstr(host: KernHost) -> None:
    copyout(host.td, AT + PG - 3, b"across\0rest")
    assert copyinstr(host.td, AT + PG - 3, 100) == b"across"
    assert copyinstr(host.td, AT + PG - 3, 7) == b"across"
    assert refused(copyinstr, host.td, AT + PG - 3, 6) == E.ENAMETOOLONG
    copyout(host.td, AT + 4 * PG - 3, b"abc")
    assert refused(copyinstr, host.td, AT + 4 * PG - 3, 100) == E.EFAULT, "runs off the mapping"
    assert copyinstr(host.td, AT + 5 * PG, 9) == b""


def test_words(host: KernHost) -> None:
    suword64(host.td, AT + PG - 4, -2)
    assert fuword64(host.td, AT + PG - 4) == TOP - 2
    suword32(host.td, AT, 1 << 40 | 7)
    assert fuword32(host.td, AT) == 7


def test_code_written_by_the_kernel_is_reported(host: KernHost) -> None:
    told = []

    class Hardware:
        def __getattr__(self, name):
            return lambda *args: told.append((name, args))

    host.map_at(AT + 8 * PG, 2 * PG, VM_PROT_ALL)
    host.proc.p_vmspace.vm_pmap.hardware = Hardware()
    copyout(host.td, AT, b"data")
    assert not [name for name, _ in told if name == "code_changed"]
    copyout(host.td, AT + 8 * PG + 3, b"code")
    assert ("code_changed", (AT + 8 * PG + 3, AT + 8 * PG + 7)) in told
    told.clear()
    segments(host.td, AT + 8 * PG, 2 * PG, VM_PROT_READ)
    assert not told
    segments(host.td, AT + 8 * PG, 2 * PG, VM_PROT_WRITE)
    assert ("code_changed", (AT + 8 * PG, AT + 10 * PG)) in told


def test_a_fault_in_a_copy_is_recorded_as_such(host: KernHost) -> None:
    events = []
    host.kernel.ktrace.subscribe(FAULT, events.append)
    copyin(host.td, AT, 8)
    refused(copyout, host.td, AT + 4 * PG, b"x")
    assert [(event.where, event.result == 0) for event in events] == [("copyin", True), ("copyout", False)]
    assert "EFAULT" in events[1].translation


def test_a_buffer_can_grow_a_stack() -> None:
    host = KernHost(release="freebsd-12.1")
    host.proc.p_textvp = host.proc.p_fd.fd_cdir
    base = host.call(477, 0x10_0000_0000, 0x40000, 3, 0x400, -1, 0)
    copyout(host.td, base + 0x2000, b"deep below what was mapped")
    assert copyin(host.td, base + 0x2000, 4) == b"deep"
    assert refused(copyout, host.td, base + 10, b"in the guard") == E.EFAULT
