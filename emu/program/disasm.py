"""The faulting instruction in words, with its operands resolved to addresses.

Model only.  capstone is imported at the first use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_MASK = (1 << 64) - 1
_ALIGNED = frozenset(
    {
        "movaps", "movapd", "movdqa", "movntps", "movntpd", "movntdq", "movntdqa",
        "addps", "addpd", "subps", "subpd", "mulps", "mulpd", "divps", "divpd", "andps", "andpd", "andnps", "andnpd",
        "orps", "orpd", "xorps", "xorpd", "minps", "minpd", "maxps", "maxpd", "sqrtps", "sqrtpd", "shufps", "shufpd",
        "unpcklps", "unpckhps", "unpcklpd", "unpckhpd", "pxor", "por", "pand", "pandn", "paddb", "paddw", "paddd",
        "paddq", "psubb", "psubw", "psubd", "psubq", "pcmpeqb", "pcmpeqw", "pcmpeqd", "pshufd", "pshufb",
    }
)  # fmt: skip
"""SSE instructions whose 16-byte memory operand must be aligned (the common ones)."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A memory operand: its text, its address and how many bytes it covers."""

    text: str
    addr: int
    size: int
    base: str = ""
    """Name of the base register, empty for none."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction."""

    addr: int
    size: int
    mnemonic: str
    operands: str
    memory: tuple[Operand, ...] = ()
    is_return: bool = False
    is_call: bool = False
    target: int | None = None
    """Where a call or jump goes, when the operand is a register or a constant."""

    def __str__(self) -> str:
        return f"{self.mnemonic} {self.operands}".strip()

    @property
    def wants_alignment(self) -> bool:
        """The processor raises #GP when a 16-byte memory operand is not aligned."""
        return self.mnemonic in _ALIGNED and any(operand.size == 16 for operand in self.memory)

    @property
    def touches_stack(self) -> bool:
        """It pushes, or addresses memory through the stack or frame pointer."""
        return self.is_call or self.mnemonic.startswith("push") or any(op.base in ("rsp", "rbp") for op in self.memory)


@cache
def _decoder() -> Any:  # noqa: ANN401 - capstone has no types
    from capstone import CS_ARCH_X86, CS_MODE_64, Cs

    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    decoder.detail = True
    return decoder


def disassemble(code: bytes, rip: int, registers: Mapping[str, int]) -> Instruction | None:
    """Decode the instruction at *rip*; None when *code* is too short or no instruction."""
    from capstone.x86 import X86_GRP_CALL, X86_GRP_JUMP, X86_GRP_RET, X86_OP_IMM, X86_OP_MEM, X86_OP_REG

    found = next(_decoder().disasm(code, rip, 1), None)
    if found is None:
        return None
    memory = []
    target = None
    jumps = found.group(X86_GRP_CALL) or found.group(X86_GRP_JUMP)
    for operand in found.operands:
        if operand.type == X86_OP_MEM:
            memory.append(_memory(found, operand, registers))
        elif jumps and operand.type == X86_OP_IMM:
            target = operand.imm & _MASK
        elif jumps and operand.type == X86_OP_REG:
            target = registers.get(found.reg_name(operand.reg))
    return Instruction(
        rip, found.size, found.mnemonic, found.op_str, tuple(memory),
        found.group(X86_GRP_RET), found.group(X86_GRP_CALL), target,
    )  # fmt: skip


def _memory(found: Any, operand: Any, registers: Mapping[str, int]) -> Operand:  # noqa: ANN401
    mem = operand.mem
    base = found.reg_name(mem.base) if mem.base else ""
    index = found.reg_name(mem.index) if mem.index else ""
    addr: int = mem.disp
    if base == "rip":
        addr += found.address + found.size
    elif base:
        addr += registers.get(base, 0)
    if index:
        addr += registers.get(index, 0) * mem.scale
    if mem.segment:
        addr += registers.get(f"{found.reg_name(mem.segment)}_base", 0)
    text = found.op_str
    opening = text.find("[")
    text = text[opening : text.find("]") + 1] if opening >= 0 else text
    return Operand(text, addr & _MASK, operand.size, base)
