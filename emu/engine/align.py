"""Alignment of 16-byte SSE operands, which Unicorn does not check; only on request.

A page is searched, when it is executed first, for byte patterns that may be such an instruction; a code hook at
exactly that address decodes it and compares.  A pattern in the middle of another instruction is never executed at
its own address.  Programs pay for each of these instructions, and nothing else.

Differs: without ``strict_alignment`` a misaligned access works, where a processor raises #GP.
Model only: it stands for the processor, not for FreeBSD.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from emu.engine.pmap import mirror_of
from emu.program.disasm import disassemble
from kernel_model.kern.machdep import FRAME_REGISTERS
from kernel_model.kern.trap import IDT_GP, trap
from kernel_model.vm.vm import VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from emu.engine.cpu import UcCpu
    from kernel_model.kern.subr_syscall import Running
    from kernel_model.pcpu import Pcpu
    from kernel_model.vm.pmap import Pmap

LONGEST = 15
ALIGNMENT = 16
PATTERN = re.compile(
    rb"(?=(\x66?)([\x40-\x4f]?)\x0f([\x28\x29\x2b\x51\x54-\x5f\x60-\x6f\x7f\xd0-\xfe])[\x00-\xbf])", re.DOTALL
)
"""Operand-size prefix, REX, opcode, and a ModRM byte that addresses memory."""
STORES = frozenset({"movaps", "movapd", "movdqa", "movntps", "movntpd", "movntdq"})


class AlignmentCheck:
    """Watches the SSE instructions of one engine.  *scan* is told of every page before it is executed."""

    __slots__ = ("_cpu", "_known", "_pcpu", "_pmap")

    def __init__(self, pmap: Pmap, cpu: UcCpu, pcpu: Pcpu) -> None:
        self._pmap = pmap
        self._pcpu = cast("Running", pcpu)
        self._cpu = cpu
        self._known: set[int] = set()
        """Addresses that have a hook."""

    def scan(self, page: int, frame: int) -> None:
        """Hook what may need alignment in the code at *page*, which is in *frame*."""
        mem = self._pmap.vm.phys.mem
        place = frame << PAGE_SHIFT
        for match in PATTERN.finditer(bytes(mem[place : place + PAGE_SIZE])):
            va = page + match.start()
            if va not in self._known:
                self._known.add(va)
                self._cpu.engine.hook_code(self._check, va, va)

    def _check(self, va: int, size: int) -> None:
        """The instruction at *va* is about to be executed."""
        if self._cpu.leaving:
            return
        frame = self._cpu.get_frame()
        registers = {name: getattr(frame, name) for name in FRAME_REGISTERS}
        found = disassemble(self._code(va, size), va, registers)
        if found is None or not found.wants_alignment:
            return
        for operand in found.memory:
            if operand.addr % ALIGNMENT:
                store = found.mnemonic in STORES and found.operands.startswith("xmmword ptr [")
                access = VM_PROT_WRITE if store else VM_PROT_READ
                self._cpu.leave_block()
                trap(self._pcpu.curthread, IDT_GP, 0, operand.addr, access, operand.size)
                self._cpu.engine.stop()
                mirror_of(self._pmap).tlb.refuse_all()
                return

    def _code(self, va: int, size: int) -> bytes:
        """The bytes of the instruction, which may run into the next page."""
        ptes = self._pmap.ptes
        mem = self._pmap.vm.phys.mem
        code = b""
        for at in range(va, va + min(size, LONGEST)):
            place = (ptes[at >> PAGE_SHIFT][0].frame << PAGE_SHIFT) + (at & PAGE_MASK)
            code += mem[place : place + 1]
        return code
