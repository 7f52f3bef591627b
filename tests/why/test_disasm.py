"""Operands become addresses as the processor would compute them."""

from __future__ import annotations

import pytest

from emu.program.disasm import disassemble

REGISTERS = {"rax": 0x1000, "rcx": 3, "rdi": 0x2000, "rsp": 0x7000, "fs_base": 0x800000000, "rbx": (1 << 64) - 8}


@pytest.mark.parametrize(
    ("code", "text", "addr", "size"),
    [
        ("8b4018", "mov eax, dword ptr [rax + 0x18]", 0x1018, 4),
        ("488b44c808", "mov rax, qword ptr [rax + rcx*8 + 8]", 0x1020, 8),
        ("488b0510000000", "mov rax, qword ptr [rip + 0x10]", 0x401017, 8),
        ("64488b042528000000", "mov rax, qword ptr fs:[0x28]", 0x800000028, 8),
        ("c60300", "mov byte ptr [rbx], 0", (1 << 64) - 8, 1),
        ("8b4310", "mov eax, dword ptr [rbx + 0x10]", 8, 4),
        ("0f2807", "movaps xmm0, xmmword ptr [rdi]", 0x2000, 16),
    ],
)
def test_memory_operands(code, text, addr, size):
    insn = disassemble(bytes.fromhex(code), 0x401000, REGISTERS)
    assert str(insn) == text
    (operand,) = insn.memory
    assert (operand.addr, operand.size) == (addr, size)


def test_what_wants_alignment():
    assert disassemble(bytes.fromhex("0f2807"), 0, REGISTERS).wants_alignment
    assert not disassemble(bytes.fromhex("0f1007"), 0, REGISTERS).wants_alignment  # movups
    assert not disassemble(bytes.fromhex("0f28c1"), 0, REGISTERS).wants_alignment  # registers only


def test_control_flow():
    call = disassemble(bytes.fromhex("ffd0"), 0x401000, REGISTERS)
    assert call.is_call
    assert call.target == 0x1000
    near = disassemble(bytes.fromhex("e8fbffffff"), 0x401000, REGISTERS)
    assert near.target == 0x401000
    assert disassemble(b"\xc3", 0, REGISTERS).is_return
    assert disassemble(bytes.fromhex("50"), 0, REGISTERS).touches_stack


def test_what_is_no_instruction():
    assert disassemble(b"", 0, {}) is None
    assert disassemble(b"\x06", 0, {}) is None
