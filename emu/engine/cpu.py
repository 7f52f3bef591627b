"""The processor: registers, floating point, CPUID, and user mode at privilege level 3.

``UcCpu`` is ``kernel_model.kern.machdep.Cpu`` over one Unicorn instance; a thread has a ``ReferenceCpu`` before that.
While the kernel works the frame is the truth; what it replaces is written into the engine when the thread goes back
to user mode, because Unicorn adds two to RIP after a SYSCALL hook.

FreeBSD: sys/amd64/amd64/machdep.c, exec_machdep.c; fpu.c for the 512-byte image.
Differs: alignment checks (#AC; #GP for an unaligned MOVAPS, unless emu.engine.align is asked for) and unmasked SSE
exceptions are never raised, and arithmetic sets no exception flags in MXCSR or FPSW; FPREM and the transcendental x87
instructions have the precision of a double (musl's strtod rounds the smallest numbers by FPREM).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from emu.engine.raw import REGISTERS, UC_MEM_FETCH, UC_PROT_EXEC, UC_PROT_READ, UC_X86_INS_CPUID, Engine, MachineError
from kernel_model.kern.machdep import FPSTATE_INIT, FRAME_REGISTERS, MXCSR_MASK, SYSCALL_LENGTH, TrapFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.engine.raw import TlbEntry

CPU_SKYLAKE_CLIENT = 21
"""UC_CPU_X86_SKYLAKE_CLIENT: of Unicorn's models the one with most instructions, without AVX as all of them."""

MSR_EFER = 0xC0000080
MSR_STAR = 0xC0000081
EFER_USER = 0xD01
"""SCE, LME, LMA, NXE."""
USER_CS = 0x43
USER_SS = 0x3B
"""Selectors of FreeBSD/amd64; frames carry them."""
CR0_USER = 0x33
"""PE, MP, ET, NE: x87 errors arrive as vector 16.  No PG: Unicorn's own TLB answers."""
CR4_USER = 0x10620
"""PAE, OSFXSR, OSXMMEXCPT, FSGSBASE.  No OSXSAVE: there is no AVX state to save."""
SYSRETQ = bytes.fromhex("480f07")

FXSAVE_SIZE = 512

CPUID_LEAVES: dict[tuple[int, int], tuple[int, int, int, int]] = {
    # What TCG executes, without what needs a kernel's help (XSAVE) or makes runs differ (RDRAND).
    (1, 0): (0x000506E3, 0x00010800, 0x02D82203, 0x078BFBFD),
    (7, 0): (0, 0x00080309, 0, 0),
    (0xD, 0): (0, 0, 0, 0),
    (0xD, 1): (0, 0, 0, 0),
}
"""(leaf, subleaf) -> eax, ebx, ecx, edx.  Leaf 1: SSE3 PCLMUL SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES; leaf 7:
FSGSBASE BMI1 BMI2 ERMS ADX.  Other leaves are Unicorn's."""


class UcCpu:
    """The registers of the thread that runs on *engine*."""

    __slots__ = ("_area", "_fp", "_fpregs", "_frame", "_regs", "_tag", "engine", "in_syscall", "leaving")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._regs = engine.batch(*FRAME_REGISTERS)
        self._frame: TrapFrame | None = None
        """What the kernel set and the engine does not have yet."""
        self.in_syscall = False
        """RIP is still at a SYSCALL instruction, and RCX and R11 are not what it makes of them."""
        self.leaving = False
        """The thread left the engine in the middle of a block, whose rest runs to no purpose: hooks do nothing."""
        self._fpregs = b""
        """What the floating-point registers were then."""
        self._area = ctypes.create_string_buffer(FXSAVE_SIZE)
        self._tag = ctypes.c_uint16()
        self._fp = self._fp_batch()
        enter_user_mode(engine)
        engine.save_context()
        self.set_fpregs(FPSTATE_INIT)
        self.set_frame(TrapFrame())

    # the frame

    def get_frame(self) -> TrapFrame:
        """The registers as user mode will see them."""
        if self._frame is None:
            frame = TrapFrame(*self._regs.read())
            if self.in_syscall:
                frame.rip += SYSCALL_LENGTH
                frame.rcx = frame.rip
                frame.r11 = frame.rflags
            return frame
        return self._frame

    def set_frame(self, frame: TrapFrame) -> None:
        """Replace the registers when the thread goes back to user mode."""
        self._frame = frame

    @property
    def replaced(self) -> bool:
        """Whether the kernel set registers that the engine does not have yet: it must be left."""
        return self._frame is not None

    def resume_rip(self) -> int:
        """Give the engine what the kernel set; returns where to go on."""
        if self.leaving:
            self.leaving = False
            self.set_fpregs(self._fpregs)
        frame = self._frame
        if frame is None:
            rip = self._regs.read()[16]
            return rip
        self._frame = None
        self._regs.write(
            (
                frame.rax, frame.rbx, frame.rcx, frame.rdx, frame.rsi, frame.rdi, frame.rbp, frame.rsp,
                frame.r8, frame.r9, frame.r10, frame.r11, frame.r12, frame.r13, frame.r14, frame.r15,
                frame.rip, frame.rflags, frame.fs_base, frame.gs_base,
            )
        )  # fmt: skip
        return frame.rip

    def leave_block(self) -> None:
        """The thread is at the instruction whose hook runs, and goes no further; but the engine finishes its block.

        Keeps all registers as they are now.  Requires: no fill is answered until the engine has been left
        (``Tlb.refuse_all``), so that what follows in the block changes no memory.
        """
        self._fpregs = self.get_fpregs()
        self.set_frame(self.get_frame())
        self.leaving = True

    def set_fsbase(self, base: int) -> None:
        """Set FS.base now."""
        self._set_base("fs_base", base)

    def set_gsbase(self, base: int) -> None:
        """Set GS.base now."""
        self._set_base("gs_base", base)

    def _set_base(self, name: str, base: int) -> None:
        if self._frame is not None:
            setattr(self._frame, name, base)
        self.engine.reg_write_bytes(name, base.to_bytes(8, "little"))

    def forget_exception(self) -> None:
        """End the exception whose hook is running, which Unicorn itself never does.

        It keeps the vector as "in flight": the next #DE or #GP would be a double fault, and the one after it nothing.
        No register holds that; a whole context does.
        """
        frame, fpregs = self.get_frame(), self.get_fpregs()
        self.engine.restore_context()
        self.set_fpregs(fpregs)
        self.set_frame(frame)

    # floating point

    def _fp_batch(self) -> tuple[object, object, object]:
        """Registers and where each stands in an FXSAVE image, so that one call moves all of it."""
        places = {"fpcw": 0, "fpsw": 2, "fop": 6, "fip": 8, "fdp": 16, "mxcsr": 24}
        places |= {f"st{i}": 32 + 16 * i for i in range(8)}
        places |= {f"xmm{i}": 160 + 16 * i for i in range(16)}
        base = ctypes.addressof(self._area)
        addresses = [base + offset for offset in places.values()]
        # FPSW holds the top of the stack, which ST0..ST7 are counted from: it is written before them.
        ids = [REGISTERS[name] for name in places] + [REGISTERS["fptag"]]
        addresses.append(ctypes.addressof(self._tag))
        count = len(ids)
        return (ctypes.c_int * count)(*ids), (ctypes.c_void_p * count)(*addresses), ctypes.c_int(count)

    def get_fpregs(self) -> bytes:
        """The 512-byte FXSAVE image."""
        if self.leaving:
            return self._fpregs
        ctypes.memset(self._area, 0, FXSAVE_SIZE)
        self.engine.read_registers_at(*self._fp)
        image = bytearray(self._area.raw)
        tags = self._tag.value
        image[4] = sum(1 << i for i in range(8) if tags >> 2 * i & 3 != 3)
        image[28:32] = MXCSR_MASK.to_bytes(4, "little")
        return bytes(image)

    def set_fpregs(self, image: bytes) -> None:
        """Load an FXSAVE image; reserved MXCSR bits are dropped."""
        if self.leaving:
            self._fpregs = image
            return
        mxcsr = int.from_bytes(image[24:28], "little") & MXCSR_MASK
        ctypes.memmove(self._area, image[:24] + mxcsr.to_bytes(4, "little") + image[28:], FXSAVE_SIZE)
        self._tag.value = sum(3 << 2 * i for i in range(8) if not image[4] >> i & 1)
        self.engine.write_registers_at(*self._fp)

    # instructions

    def answer_cpuid(self) -> None:
        """Answer CPUID.  The hook for SYSCALL stands before: Unicorn asks no second one after a stop."""
        self.engine.hook_insn_skip(UC_X86_INS_CPUID, self._cpuid)

    def _cpuid(self) -> bool:
        batch = self.engine.batch("rax", "rcx")
        leaf, subleaf = (value & 0xFFFFFFFF for value in batch.read())
        answer = CPUID_LEAVES.get((leaf, subleaf)) or (CPUID_LEAVES.get((leaf, 0)) if leaf == 1 else None)
        if answer is None and leaf in (7, 0xD):
            answer = (0, 0, 0, 0)
        if answer is None:
            return False
        self.engine.batch("rax", "rbx", "rcx", "rdx").write(answer)
        return True

    def use_clock(self, insn: int, ticks: Callable[[], int]) -> None:
        """Answer RDTSC (or RDTSCP) from *ticks* instead of the host's counter."""
        out = self.engine.batch("rax", "rdx")

        def rdtsc() -> bool:
            now = ticks()
            out.write((now & 0xFFFFFFFF, now >> 32 & 0xFFFFFFFF))
            return True

        self.engine.hook_insn_skip(insn, rdtsc)


def enter_user_mode(engine: Engine) -> None:
    """Leave privilege level 0, in which Unicorn starts, by executing one SYSRET.

    At level 3 privileged instructions raise #GP instead of doing something.  The instruction is fetched from a page
    that only this function's fill hook knows, and jumps to one that it refuses.
    """
    start, elsewhere = 0x1000, 0x2000
    code = ctypes.create_string_buffer(0x2000)
    host = (ctypes.addressof(code) + 0xFFF) & ~0xFFF
    ctypes.memmove(host, SYSRETQ, len(SYSRETQ))

    def fill(page: int, access: int, answer: TlbEntry) -> bool:
        answer.paddr = page
        answer.perms = UC_PROT_READ | UC_PROT_EXEC
        return page == start and access == UC_MEM_FETCH

    engine.mem_map_ptr(start, 0x1000, UC_PROT_READ | UC_PROT_EXEC, host)
    hook = engine.hook_fill(fill)
    engine.batch("cr0", "cr4").write((CR0_USER, CR4_USER))
    engine.write_msr(MSR_EFER, EFER_USER)
    engine.write_msr(MSR_STAR, (USER_CS - 19) << 48)
    engine.batch("rcx", "r11").write((elsewhere, 0x202))
    engine.run(start)
    selector, rip = engine.batch("cs", "rip").read()
    if (selector & 3, rip) != (3, elsewhere):
        raise MachineError(f"unicorn did not enter user mode: cs={selector:#x} rip={rip:#x}")
    engine.remove_hook(hook)
    engine.mem_unmap(start, 0x1000)
