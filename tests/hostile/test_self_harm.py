"""Programs that pull the ground from under themselves: each ends as the hardware and the kernel would end it."""

from __future__ import annotations

import struct

import pytest

from tests.hostile.asm import INT3, RDI, RET, UD2, action, call, jump, leave, movabs, repeat, store, system
from tests.hostile.box import CODE, DATA, DATA_SIZE, FREEBSD, LINUX, R, X, run_code

BOTH = pytest.mark.parametrize("abi", [FREEBSD, LINUX], ids=["freebsd", "linux"])
SIGILL, SIGTRAP, SIGFPE, SIGKILL, SIGSEGV = 132, 133, 136, 137, 139
SIGBUS = {FREEBSD: 138, LINUX: 135}
NX = CODE + 0x1000
"""A second page of code."""
ANON = {FREEBSD: 0x1012, LINUX: 0x32}
"""MAP_PRIVATE | MAP_ANON | MAP_FIXED"""
RW, RWX = 3, 7
PARANOID = {"paranoid": True, "seconds": 5.0}


def run(code: bytes, abi: int, **options: object) -> int:
    return run_code(code, abi, **(PARANOID | options))


@BOTH
@pytest.mark.parametrize(
    ("start", "size"),
    [(CODE, 0x1000), (0x1000, 0x7FFF_FFFE_0000), (0x7FFF_0000_0000, 0xFFFF_F000), (0x1000, 0x7FFF_FFFF_E000)],
    ids=["code", "nearly all", "stack", "all"],
)
def test_unmap_own_ground(abi: int, start: int, size: int) -> None:
    code = system(abi, "munmap", start, size) + b"\x50" + leave(abi, 7)
    assert run(code, abi) == SIGSEGV


@BOTH
def test_unmap_everything_page_by_page_while_running(abi: int) -> None:
    body = (
        bytes.fromhex("4c89e7")
        + system(abi, "munmap")[:0]
        + movabs(6, 0x1000)
        + movabs(0, 73 if abi == FREEBSD else 11)
        + b"\x0f\x05"
    )
    code = movabs(12, DATA) + repeat(DATA_SIZE // 0x1000 + 4, body + bytes.fromhex("4981c400100000")) + leave(abi, 5)
    assert run(code, abi) == 5


@BOTH
def test_map_over_own_code(abi: int) -> None:
    code = movabs(12, DATA) + system(abi, "mmap", CODE, 0x1000, RWX, ANON[abi], -1, 0) + leave(abi, 7)
    assert run(code, abi) == SIGSEGV


@BOTH
def test_change_the_next_instruction(abi: int) -> None:
    # mov byte [rip+1], 42 changes the operand of the mov edi that follows in the same block
    code = (
        bytes.fromhex("c605010000002a")
        + bytes.fromhex("bf01000000")
        + movabs(0, 231 if abi == LINUX else 1)
        + b"\x0f\x05"
    )
    assert run(code, abi) == 42


@BOTH
def test_change_a_page_that_was_executed(abi: int) -> None:
    function = bytes.fromhex("bf01000000c3")  # mov edi, 1; ret
    code = (
        repeat(50, call(NX) + bytes.fromhex("fe0425") + struct.pack("<I", NX + 1))
        + call(NX)
        + movabs(0, 231 if abi == LINUX else 1)
        + b"\x0f\x05"
    )
    assert run(code.ljust(0x1000, INT3) + function, abi) == 51


@BOTH
def test_read_into_code(abi: int) -> None:
    code = call(NX) + system(abi, "read", 0, NX, 6) + call(NX) + movabs(0, 231 if abi == LINUX else 1) + b"\x0f\x05"
    patched = bytes.fromhex("bf4d000000c3")
    assert run(code.ljust(0x1000, INT3) + bytes.fromhex("bf01000000c3"), abi, stdin=patched) == 77


@BOTH
def test_flip_the_rights_of_code_that_runs(abi: int) -> None:
    body = system(abi, "mprotect", NX, 0x1000, RW) + system(abi, "mprotect", NX, 0x1000, 5) + call(NX)
    code = repeat(100, body) + leave(abi, 3)
    assert run(code.ljust(0x1000, INT3) + RET, abi, flags=R | X) == 3


@BOTH
def test_take_the_rights_of_the_page_that_runs(abi: int) -> None:
    assert run(system(abi, "mprotect", CODE, 0x1000, 0) + leave(abi, 3), abi) == SIGSEGV
    assert run(system(abi, "mprotect", CODE, 0x1000, RW) + leave(abi, 3), abi) == SIGSEGV


def test_two_views_of_one_page_one_writes_what_the_other_executes() -> None:
    view, alias = 0x1000_0000, 0x2000_0000
    body = bytes.fromhex("fe0425") + struct.pack("<I", alias + 1) + call(view)
    code = b"".join(
        (
            store(DATA, 0x6D),
            system(LINUX, "memfd", DATA, 0),
            system(LINUX, "ftruncate", 3, 0x1000),
            system(LINUX, "mmap", alias, 0x1000, RW, 0x11, 3, 0),
            system(LINUX, "mmap", view, 0x1000, 5, 0x11, 3, 0),
            store(alias, int.from_bytes(bytes.fromhex("bf00000000c3cccc"), "little")),
            repeat(60, body),
            movabs(0, 231),
            b"\x0f\x05",
        )
    )
    assert run(code, LINUX) == 60


@BOTH
def test_an_instruction_across_the_end_of_the_last_page(abi: int) -> None:
    code = jump(CODE + 0x1FFE)
    assert run(code.ljust(0x1FFE, INT3) + b"\x48\xb8", abi) == SIGSEGV


@BOTH
@pytest.mark.parametrize("where", [1 << 47, 1 << 50, (1 << 50) + CODE, 1 << 62, (1 << 64) - 16, 0x7FFF_FFFF_FFFF])
def test_jump_where_no_program_can_be(abi: int, where: int) -> None:
    assert run(jump(where), abi) in (SIGSEGV, SIGBUS[abi])


@BOTH
@pytest.mark.parametrize("where", [1 << 47, (1 << 50) + DATA, 1 << 63, (1 << 64) - 8, 4])
def test_a_stack_nowhere(abi: int, where: int) -> None:
    assert run(movabs(4, where) + b"\x50" + leave(abi), abi) in (SIGSEGV, SIGBUS[abi])


@BOTH
def test_single_steps_end_the_program_or_go_to_its_handler(abi: int) -> None:
    flags = bytes.fromhex("9c 48810c2400010000 9d 90 90")
    assert run(flags + leave(abi), abi) == SIGTRAP


@BOTH
def test_a_fault_that_is_ignored_or_blocked_kills(abi: int) -> None:
    fault = bytes.fromhex("48a1") + bytes(8)
    assert run(action(abi, 11, 1, 0, DATA) + fault + leave(abi), abi) == SIGSEGV
    mask = store(DATA, WORD_OF_ONES) + store(DATA + 8, WORD_OF_ONES)
    how = 3 if abi == FREEBSD else 2
    assert run(mask + system(abi, "sigprocmask", how, DATA, 0, 8) + fault + leave(abi), abi) == SIGSEGV


WORD_OF_ONES = (1 << 64) - 1


@BOTH
@pytest.mark.parametrize(
    "handler", [8, 1 << 47, (1 << 64) - 1, DATA, CODE + 0x1000], ids=["low", "odd", "top", "data", "fault"]
)
@pytest.mark.parametrize("flags", [0, 0x10 | 0x40], ids=["once", "nodefer"])
def test_a_handler_that_faults_ends_the_program(abi: int, handler: int, flags: int) -> None:
    linux_flags = 0x40000000 | 4 if flags else 0
    code = (
        action(abi, 11, handler, linux_flags if abi == LINUX else flags, DATA, CODE) + bytes.fromhex("48a1") + bytes(8)
    )
    code = code.ljust(0x1000, INT3) + bytes.fromhex("48a1") + bytes(8) + UD2
    status = run(code, abi, seconds=20.0, paranoid=False)
    assert status in (SIGSEGV, SIGILL, SIGBUS[abi])


@BOTH
def test_the_trampoline_is_unmapped(abi: int) -> None:
    code = system(abi, "munmap", 0x7FFF_FFFF_F000, 0x1000) + action(
        abi, 11, CODE + 0x1000, 0x50 if abi == FREEBSD else 0x40000004, DATA, 8
    )
    code += bytes.fromhex("48a1") + bytes(8)
    status = run(code.ljust(0x1000, INT3) + RET, abi, seconds=20.0, paranoid=False)
    assert status in (SIGSEGV, SIGILL, SIGBUS[abi])


@BOTH
@pytest.mark.parametrize(
    ("base", "size"),
    [
        (DATA, 0x2000),
        (0x1000, 0x8000),
        (CODE, 0x4000),
        ((1 << 47) - 0x1000, 0x10000),
        (1 << 63, 0x8000),
        ((1 << 64) - 0x4000, 0x4000),
        (0, 1 << 63),
    ],
)
def test_an_alternate_stack_that_is_none(abi: int, base: int, size: int) -> None:
    words = (base, 0, size) if abi == LINUX else (base, size, 0)
    code = b"".join(store(DATA + 0x100 + 8 * i, word) for i, word in enumerate(words)) + system(
        abi, "sigaltstack", DATA + 0x100, 0
    )
    flags = 0x08000000 if abi == LINUX else 1
    code += action(abi, 11, CODE + 0x1000, flags, DATA, CODE) + bytes.fromhex("48a1") + bytes(8)
    status = run(code.ljust(0x1000, INT3) + bytes.fromhex("48a1") + bytes(8), abi, paranoid=False)
    assert status in (SIGSEGV, SIGILL, SIGBUS[abi])


@pytest.mark.parametrize(
    "name",
    ["fork", "clone", "pause", "futex"],
)
def test_what_cannot_be_waited_for_ends_the_run(name: str) -> None:
    arguments = (DATA + 0x1000, 0, 0, 0) if name == "futex" else ()
    status = run(system(LINUX, name, *arguments) + leave(LINUX, 9), LINUX)
    assert status == (9 if name in ("fork", "clone") else SIGKILL)


@BOTH
def test_an_empty_pipe_ends_the_run(abi: int) -> None:
    code = system(abi, "pipe", DATA, 0) + system(abi, "read", 3, DATA, 1) + leave(abi)
    assert run(code, abi) == SIGKILL
    assert (
        run(system(abi, "pipe", DATA, 0) + repeat(20, system(abi, "write", 4, CODE, 0x8000)) + leave(abi), abi)
        == SIGKILL
    )


@BOTH
def test_a_loop_of_faults_in_a_handler_that_repairs_nothing(abi: int) -> None:
    # the handler returns to the faulting instruction for ever: only the watch ends it
    restorer = CODE + 0x1800
    code = (
        action(abi, 11, CODE + 0x1000, 0x40 if abi == FREEBSD else 4, DATA, restorer) + bytes.fromhex("48a1") + bytes(8)
    )
    code = code.ljust(0x1000, INT3) + RET
    code = code.ljust(0x1800, INT3) + movabs(0, 15) + b"\x0f\x05"
    assert run(code, abi, seconds=0.3) == SIGKILL


def test_rdi_is_what_it_was() -> None:
    assert run(movabs(RDI, 6) + movabs(0, 231) + b"\x0f\x05", LINUX) == 6
