"""Registers of a stopped thread, and the one interface the kernel needs of a CPU.

FreeBSD: struct trapframe, sys/x86/include/frame.h; exec_setregs() and sendsig() write it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Protocol

GPR_NAMES = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
FRAME_REGISTERS = (*GPR_NAMES, "rip", "rflags", "fs_base", "gs_base")
"""The fields of a TrapFrame, in order."""

PSL_C = 0x1
"""Carry flag: set by a FreeBSD system call that failed."""
PSL_T = 0x100
PSL_D = 0x400
PSL_RF = 0x10000
PSL_USERINIT = 0x202
"""rflags of a fresh program: interrupts on, the always-one bit."""
SYSCALL_LENGTH = 2
"""Bytes of the SYSCALL instruction."""
INITIAL_FPCW = 0x37F
INITIAL_MXCSR = 0x1F80
MXCSR_MASK = 0xFFFF
_FXSAVE = struct.Struct("<HHBxHQQII")
FPSTATE_INIT: Final = _FXSAVE.pack(INITIAL_FPCW, 0, 0, 0, 0, 0, INITIAL_MXCSR, MXCSR_MASK).ljust(512, b"\0")
"""The FXSAVE image of a program that has not computed yet."""


@dataclass(slots=True, eq=False)
class TrapFrame:
    """The integer registers of a thread, each an unsigned 64-bit int."""

    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rbp: int = 0
    rsp: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0
    rflags: int = PSL_USERINIT
    fs_base: int = 0
    gs_base: int = 0


class Cpu(Protocol):
    """The processor that a thread runs on, stopped or inside a system call.

    The frame is the truth while the kernel works: ``set_frame`` takes effect when the thread returns to user
    mode.  A system-call handler that replaces registers (execve, sigreturn) returns ``EJUSTRETURN``.
    """

    def get_frame(self) -> TrapFrame:
        """The registers of the interrupted program."""
        ...

    def set_frame(self, frame: TrapFrame) -> None:
        """Give the program these registers when it goes on."""
        ...

    def get_fpregs(self) -> bytes:
        """The 512-byte FXSAVE image."""
        ...

    def set_fpregs(self, image: bytes) -> None:
        """Load an FXSAVE image."""
        ...

    def set_fsbase(self, base: int) -> None:
        """Set the base of %fs: the thread pointer."""
        ...

    def set_gsbase(self, base: int) -> None:
        """Set the base of %gs."""
        ...


class ReferenceCpu:
    """A processor that runs nothing: where the kernel is used without an engine.  Model only.

    The bases of %fs and %gs are part of the frame.
    """

    __slots__ = ("fpregs", "frame")

    def __init__(self, frame: TrapFrame | None = None, fpregs: bytes = FPSTATE_INIT) -> None:
        self.frame = TrapFrame() if frame is None else frame
        self.fpregs = fpregs

    def get_frame(self) -> TrapFrame:
        """The frame itself, not a copy."""
        return self.frame

    def set_frame(self, frame: TrapFrame) -> None:
        """Keep *frame*."""
        self.frame = frame

    def get_fpregs(self) -> bytes:
        """The image that was set last."""
        return self.fpregs

    def set_fpregs(self, image: bytes) -> None:
        """Keep *image*."""
        self.fpregs = image

    def set_fsbase(self, base: int) -> None:
        """Into the frame."""
        self.frame.fs_base = base

    def set_gsbase(self, base: int) -> None:
        """Into the frame."""
        self.frame.gs_base = base


def reset_fpu_and_bases(cpu: Cpu) -> None:
    """What a new program starts with in both ABIs: a fresh floating-point unit, no thread pointer.

    FreeBSD: fpstate_drop() in exec_setregs().
    """
    cpu.set_fpregs(FPSTATE_INIT)
    cpu.set_fsbase(0)
    cpu.set_gsbase(0)
