"""siginfo_t, mcontext_t, ucontext_t and the signal frame of amd64, as bytes.

FreeBSD: struct sigframe, sys/x86/include/sigframe.h; mcontext_t, sys/x86/include/ucontext.h; struct __siginfo,
sys/sys/signal.h.  Offsets are from the start of each structure.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.kern.machdep import TrapFrame

if TYPE_CHECKING:
    from kernel_model.kern.signalvar import KSigInfo

SIZEOF_SIGINFO = 80
SIZEOF_STACK = 24
SIZEOF_MCONTEXT = 800
SIZEOF_UCONTEXT = 880
UC_SIGMASK = 0
UC_MCONTEXT = 16
UC_LINK = UC_MCONTEXT + SIZEOF_MCONTEXT
UC_STACK = UC_LINK + 8
UC_FLAGS = UC_STACK + SIZEOF_STACK
SF_HANDLER = 0
SF_UC = 16
SF_SI = SF_UC + SIZEOF_UCONTEXT
SIZEOF_SIGFRAME = SF_SI + SIZEOF_SIGINFO

MC_FPFMT_XMM = 0x10002
MC_FPFMT_NODEV = 0x10000
MC_FPOWNED_NONE = 0x20000
MC_FPOWNED_FPU = 0x20001
MC_FPOWNED_PCB = 0x20002
MC_HASSEGS = 0x1
MC_HASBASES = 0x2
MC_HASFPXSTATE = 0x4
MC_FLAG_MASK = MC_HASSEGS | MC_HASBASES | MC_HASFPXSTATE

UCODESEL = 0x43
UDATASEL = 0x3B
UFSSEL = 0x13
UGSSEL = 0x1B

_REGS = (
    "rdi", "rsi", "rdx", "rcx", "r8", "r9", "rax", "rbx", "rbp", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""Integer registers in the order of struct trapframe, from mc_rdi on."""
_MCONTEXT = struct.Struct("<Q15QIHHQIHHQQQQQQqqq512sQQQQ32x")
"""onstack; registers; trapno fs gs addr flags es ds; err rip cs rflags rsp ss; len fpformat ownedfp; fpstate;
fsbase gsbase xfpustate xfpustate_len."""
_SIGINFO = struct.Struct("<iiiiIiQQi36x")
_STACK = struct.Struct("<QQi4x")


def pack_siginfo(ksi: KSigInfo) -> bytes:
    """siginfo_t: signo errno code pid uid status addr value trapno."""
    return _SIGINFO.pack(
        ksi.ksi_signo, ksi.ksi_errno, ksi.ksi_code, ksi.ksi_pid, ksi.ksi_uid & 0xFFFFFFFF,
        ksi.ksi_status, ksi.ksi_addr, ksi.ksi_value, ksi.ksi_trapno,
    )  # fmt: skip


def pack_stack(sp: int, size: int, flags: int) -> bytes:
    """stack_t: ss_sp ss_size ss_flags."""
    return _STACK.pack(sp, size, flags)


def unpack_stack(data: bytes) -> tuple[int, int, int]:
    """(ss_sp, ss_size, ss_flags) of a stack_t."""
    sp, size, flags = _STACK.unpack(data)
    return sp, size, flags


def pack_sigset(mask: int) -> bytes:
    """sigset_t: four 32-bit words."""
    return (mask & (1 << 128) - 1).to_bytes(16, "little")


def pack_mcontext(frame: TrapFrame, fpstate: bytes, *, onstack: bool, trapno: int, addr: int, err: int) -> bytes:
    """mcontext_t of a thread with registers *frame* and FXSAVE image *fpstate*."""
    return _MCONTEXT.pack(
        int(onstack),
        *[getattr(frame, name) for name in _REGS],
        trapno, UFSSEL, UGSSEL, addr, MC_HASSEGS, UDATASEL, UDATASEL,
        err, frame.rip, UCODESEL, frame.rflags, frame.rsp, UDATASEL,
        SIZEOF_MCONTEXT, MC_FPFMT_XMM, MC_FPOWNED_FPU, fpstate,
        frame.fs_base, frame.gs_base, 0, 0,
    )  # fmt: skip


class MContext:
    """What a program hands to sigreturn(2) or setcontext: read, not yet believed."""

    __slots__ = ("cs", "flags", "fpformat", "fpstate", "frame", "length", "onstack", "ownedfp")

    def __init__(self, data: bytes) -> None:
        fields = _MCONTEXT.unpack(data)
        self.onstack: int = fields[0]
        frame = TrapFrame()
        for index, name in enumerate(_REGS):
            setattr(frame, name, fields[1 + index])
        self.flags: int = fields[20]
        frame.rip, self.cs, frame.rflags, frame.rsp = fields[24:28]
        self.length: int = fields[29]
        self.fpformat: int = fields[30]
        self.ownedfp: int = fields[31]
        self.fpstate: bytes = fields[32]
        frame.fs_base, frame.gs_base = fields[33:35]
        self.frame = frame
