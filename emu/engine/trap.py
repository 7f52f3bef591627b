"""From the engine's hooks into the kernel.

    SYSCALL instruction   -> the system call, served inside the hook
    fault window          -> kern/trap.py: trap_pfault, with the exact address
    exceptions, INT n     -> kern/trap.py: trap, and the engine is left
    undefined instruction -> trap, vector 6

The engine is left (``Engine.stop``) when a signal waits, the registers were replaced, or the process is gone; all
else goes on in the same translated block.  The hooks serve the thread that is current when they fire, and keep none.

FreeBSD: sys/amd64/amd64/exception.S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from emu.engine.raw import UC_X86_INS_IN, UC_X86_INS_OUT, UC_X86_INS_SYSCALL, UC_X86_INS_SYSENTER
from kernel_model.errno import EJUSTRETURN
from kernel_model.kern.machdep import PSL_C, SYSCALL_LENGTH
from kernel_model.kern.subr_syscall import bind
from kernel_model.kern.trap import IDT_BP, IDT_GP, IDT_OF, IDT_UD, trap, trap_pfault
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.engine.cpu import UcCpu
    from emu.engine.pmap import UcPmapHardware
    from kernel_model.kern.proc import Kernel
    from kernel_model.kern.subr_syscall import Running

INT_OPCODE = 0xCD


class Traps:
    """The hooks of one engine."""

    __slots__ = ("_cpu", "_hw", "_kernel", "_pcpu", "_trace", "after")

    def __init__(self, kernel: Kernel, cpu: UcCpu, hw: UcPmapHardware) -> None:
        self._kernel = kernel
        self._pcpu = cast("Running", kernel.vm.pcpu)
        self._trace = kernel.ktrace
        self._cpu = cpu
        self._hw = hw
        self.after: Callable[[], None] | None = None
        """Called after every trap: the mirror's proof, when somebody is paranoid."""

    def attach(self) -> None:
        """Add the hooks to the engine."""
        engine = self._cpu.engine
        engine.hook_insn(UC_X86_INS_SYSCALL, self._syscall_hook())
        self._cpu.answer_cpuid()
        engine.hook_insn(UC_X86_INS_SYSENTER, self._privileged)
        engine.hook_port(UC_X86_INS_IN, self._privileged)
        engine.hook_port(UC_X86_INS_OUT, self._privileged)
        engine.hook_intr(self._interrupt)
        engine.hook_insn_invalid(self._undefined)

    # page faults

    @property
    def exact(self) -> bool:
        """Whether somebody records faults: then each must come with its exact address."""
        return self._trace.recorder is not None

    def page_fault(self, va: int, access: int, size: int, value: int) -> bool:
        """Serve a fault of the program; False when it gets a signal."""
        repaired = trap_pfault(self._pcpu.curthread, va, access, size, value, self._cpu.engine.read_rip())
        if repaired and self.after is not None:
            self.after()
        return repaired

    # system calls

    def _syscall_hook(self) -> Callable[[], None]:
        """The function for SYSCALL: a closure, because each attribute it would look up costs 20 ns."""
        pcpu, cpu, hw, traps = self._pcpu, self._cpu, self._hw, self
        engine = cpu.engine
        stop = engine.stop
        arguments = engine.batch("rax", "rdi", "rsi", "rdx", "r10", "r8", "r9", "rip", "rflags")
        results = engine.batch("rax", "rcx", "r11", "rflags", "rdx")
        fetch, values = arguments.read, results.write
        syscall = bind(self._kernel)

        def hook() -> None:
            if cpu.leaving:
                return
            rax, rdi, rsi, rdx, r10, r8, r9, rip, rflags = fetch()
            cpu.in_syscall = True
            result = syscall(rax, rdi, rsi, rdx, r10, r8, r9)
            cpu.in_syscall = False
            if isinstance(result, int):
                if result == EJUSTRETURN:
                    stop()
                elif result >= 0:
                    rflags &= ~PSL_C
                    values((result, rip + SYSCALL_LENGTH, rflags, rflags, rdx))
                else:
                    rflags |= PSL_C
                    values((-result, rip + SYSCALL_LENGTH, rflags, rflags, rdx))
            else:
                rflags &= ~PSL_C
                values((result[0], rip + SYSCALL_LENGTH, rflags, rflags, result[1]))
            if hw.pending:
                hw.settle()
            if pcpu.curthread.td_ast or cpu.replaced:
                stop()
            if traps.after is not None:
                traps.after()

        return hook

    # exceptions

    def _interrupt(self, vector: int) -> None:
        """An exception, or a software interrupt, whose RIP is already behind it."""
        if self._cpu.leaving:
            return
        frame = self._cpu.get_frame()
        if vector not in (IDT_BP, IDT_OF) and self._bytes_before(frame.rip) == bytes((INT_OPCODE, vector & 0xFF)):
            # The gates of all other vectors belong to the kernel: INT n is a protection fault at itself.
            frame.rip -= 2
            self._cpu.set_frame(frame)
            self._trap(IDT_GP, (vector & 0xFF) * 8 + 2)
        else:
            self._trap(vector)
        self._cpu.forget_exception()

    def _undefined(self) -> bool:
        if not self._cpu.leaving:
            self._trap(IDT_UD)
        return False

    def _privileged(self) -> None:
        """IN, OUT and SYSENTER, which Unicorn would execute: RIP is at the instruction."""
        if not self._cpu.leaving:
            self._cpu.leave_block()
            self._trap(IDT_GP)
            self._hw.tlb.refuse_all()

    def _trap(self, vector: int, error: int = 0) -> None:
        trap(self._pcpu.curthread, vector, error)
        self._cpu.engine.stop()

    def _bytes_before(self, rip: int) -> bytes:
        """The two bytes before *rip*, as far as they are resident."""
        found = b""
        pmap = self._hw.pmap
        for va in (rip - 2, rip - 1):
            pte = pmap.ptes.get(va >> PAGE_SHIFT)
            if pte is not None:
                place = (pte[0].frame << PAGE_SHIFT) + (va & PAGE_MASK)
                found += pmap.vm.phys.mem[place : place + 1]
        return found
