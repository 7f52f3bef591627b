"""Between kernel and program: faults on the way, EFAULT, short memory, hostile sizes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from kernel_model.abi.errno import EFAULT, ENAMETOOLONG
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import (
    copyin,
    copyinstr,
    copyout,
    fuword32,
    fuword64,
    segments,
    suword32,
    suword64,
)
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_READ, VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_map_flags import MAP_STACK_GROWS_DOWN
from kernel_model.vm.vm_param import PAGE_SIZE, VM_MAXUSER_ADDRESS
from tests.unit.vm_check import TlbHardware, check_all, make_vm, map_anon, peek, poke

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread
    from kernel_model.vm.vmspace import VmSpace

BASE = 0x10_0000


def thread(release: str = "freebsd-10.1", ram: int = 1 << 30, swap: int = 1 << 30) -> tuple[Thread, VmSpace]:
    vm, proc = make_vm(release, ram, swap)
    proc.kernel = SimpleNamespace(vm=vm, ktrace=SimpleNamespace(recorder=None))  # type: ignore[attr-defined]
    return SimpleNamespace(td_proc=proc), proc.p_vmspace  # type: ignore[return-value]


def errno_of(call: object, *args: object) -> int:
    with pytest.raises(SyscallError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.errno


@pytest.mark.parametrize(("at", "size"), [(0, 1), (10, 4086), (4090, 12), (1, 3 * PAGE_SIZE), (0, 4 * PAGE_SIZE)])
def test_what_goes_out_comes_in(at: int, size: int) -> None:
    td, space = thread()
    map_anon(space, BASE, 4)
    data = bytes(number % 251 for number in range(size))
    copyout(td, BASE + at, data)
    assert copyin(td, BASE + at, size) == data
    assert b"".join(bytes(piece) for piece in segments(td, BASE + at, size, VM_PROT_READ)) == data
    check_all(space.vm, [space])


def test_words() -> None:
    td, space = thread()
    map_anon(space, BASE, 2)
    suword32(td, BASE + 4094, -2)
    assert fuword32(td, BASE + 4094) == 0xFFFF_FFFE
    suword64(td, BASE + 4092, 0x1122_3344_5566_7788)
    assert fuword64(td, BASE + 4092) == 0x1122_3344_5566_7788


def test_strings_end_at_their_nul_wherever_that_is() -> None:
    td, space = thread()
    map_anon(space, BASE, 2)
    poke(space, BASE + 4000, b"a" * 96)
    poke(space, BASE + 4096, b"b" * 10)
    assert copyinstr(td, BASE + 4000, 1024) == b"a" * 96 + b"b" * 10
    assert errno_of(copyinstr, td, BASE + 4000, 106) == ENAMETOOLONG
    assert copyinstr(td, BASE + 4000, 107) == b"a" * 96 + b"b" * 10
    poke(space, BASE + 2 * PAGE_SIZE - 4, b"edge")
    assert errno_of(copyinstr, td, BASE + 2 * PAGE_SIZE - 4, 1024) == EFAULT


@pytest.mark.parametrize(
    ("va", "size"),
    [
        (BASE - 1, 1),
        (BASE - 1, 2),
        (BASE + PAGE_SIZE, 1),
        (0, 8),
        (VM_MAXUSER_ADDRESS - 1, 2),
        (VM_MAXUSER_ADDRESS, 1),
        ((1 << 64) - 4, 4),
        ((1 << 64) - 4, 8),
        (BASE, 1 << 63),
        (BASE, 1 << 40),
    ],
)
def test_bad_ranges_are_efault_at_no_cost(va: int, size: int) -> None:
    td, space = thread()
    map_anon(space, BASE, 1)
    assert errno_of(copyin, td, va, size) == EFAULT
    assert errno_of(segments, td, va, size, VM_PROT_WRITE) == EFAULT
    if size < PAGE_SIZE:
        assert errno_of(copyout, td, va, bytes(size)) == EFAULT


def test_rights_count() -> None:
    td, space = thread()
    map_anon(space, BASE, 1, VM_PROT_READ)
    map_anon(space, BASE + PAGE_SIZE, 1, 0)
    assert copyin(td, BASE, 4) == bytes(4)
    assert errno_of(copyout, td, BASE, b"x") == EFAULT
    assert errno_of(copyin, td, BASE + PAGE_SIZE, 1) == EFAULT
    assert copyin(td, BASE, 0) == b""
    copyout(td, BASE, b"")


def test_what_precedes_a_bad_page_is_written_and_handed_out_when_partial() -> None:
    td, space = thread()
    map_anon(space, BASE, 1)
    assert errno_of(copyout, td, BASE + PAGE_SIZE - 4, b"12345678") == EFAULT
    assert peek(space, BASE + PAGE_SIZE - 4, 4) == b"1234"
    pieces = segments(td, BASE + 96, PAGE_SIZE, VM_PROT_WRITE, partial=True)
    assert sum(map(len, pieces)) == PAGE_SIZE - 96


@pytest.mark.parametrize("release", ["freebsd-9.3", "freebsd-10.1", "freebsd-12.1", "freebsd-15.0"])
def test_a_buffer_can_grow_the_stack(release: str) -> None:
    td, space = thread(release)
    top = 0x7FFF_FFFF_F000
    space.vm_maxsaddr = top - (1 << 22)
    space.vm_stacktop = top
    assert space.vm_map.stack(top - (1 << 22), 1 << 22, VM_PROT_ALL, VM_PROT_ALL, MAP_STACK_GROWS_DOWN) == 0
    copyout(td, top - 0x30000, b"deep")
    assert peek(space, top - 0x30000, 4) == b"deep"
    assert errno_of(copyout, td, top - (1 << 22) - 8, b"x") == EFAULT


def test_the_machine_is_told_about_code() -> None:
    td, space = thread()
    told: list[tuple[int, int]] = []

    class Listening(TlbHardware):
        def code_changed(self, start: int, end: int) -> None:
            told.append((start, end))

    space.vm_pmap.hardware = Listening(space.vm_pmap)
    map_anon(space, BASE, 2, VM_PROT_ALL)
    copyout(td, BASE + 8, b"\xc3")
    segments(td, BASE, 2 * PAGE_SIZE, VM_PROT_WRITE)
    segments(td, BASE, 2 * PAGE_SIZE, VM_PROT_READ)
    assert told == [(BASE + 8, BASE + 9), (BASE, BASE + 2 * PAGE_SIZE)]


def test_pieces_stay_good_while_the_rest_is_faulted_in() -> None:
    """The page daemon runs in the middle; what was handed out must still be the program's memory."""
    ram = 256
    td, space = thread(ram=ram * PAGE_SIZE)
    vm = space.vm
    map_anon(space, BASE, 4 * ram)
    for page in range(3 * ram):
        poke(space, BASE + page * PAGE_SIZE, b"%04d" % page)
    pieces = segments(td, BASE, 60 * PAGE_SIZE, VM_PROT_WRITE)
    flat = b"".join(bytes(piece) for piece in pieces)
    assert [flat[page * PAGE_SIZE :][:4] for page in range(60)] == [b"%04d" % page for page in range(60)]
    for piece in pieces:
        piece[:4] = b"DONE"
    assert peek(space, BASE, 4) == b"DONE"
    check_all(vm, [space])
    assert vm.cnt.v_wire_count == 0


def test_a_range_larger_than_memory_is_short_or_refused_and_nothing_stays_wired() -> None:
    ram = 256
    td, space = thread(ram=ram * PAGE_SIZE)
    map_anon(space, BASE, 8 * ram)
    pieces = segments(td, BASE, 8 * ram * PAGE_SIZE, VM_PROT_WRITE, partial=True)
    assert 0 < sum(map(len, pieces)) < ram * PAGE_SIZE / 2
    space.vm.on_oom = lambda: pytest.fail("nobody must be killed for a large buffer")
    assert errno_of(segments, td, BASE, 8 * ram * PAGE_SIZE, VM_PROT_RW) == EFAULT
    assert errno_of(copyin, td, BASE, 8 * ram * PAGE_SIZE) == EFAULT
    assert space.vm.cnt.v_wire_count == 0
    check_all(space.vm, [space])
    assert copyin(td, BASE + 7 * ram * PAGE_SIZE, 4) == bytes(4)
