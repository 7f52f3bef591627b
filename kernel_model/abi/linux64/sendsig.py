"""Delivering a signal to a Linux program, and coming back from its handler.

    high   128 bytes of red zone below rsp      (not on an alternate stack)
           FXSAVE image, 512 bytes, 64-aligned
           siginfo, 128 bytes
           ucontext, 304 bytes
           pretcode: the program's own restorer  <- rsp, 8 above a multiple of 16
    low

FreeBSD: linux_rt_sendsig(), sys/amd64/linux/linux_sysvec.c.
Linux: struct rt_sigframe, arch/x86/include/asm/sigframe.h; x64_setup_rt_frame(), rt_sigreturn(),
arch/x86/kernel/signal_64.c.
Differs: no XSAVE area, the machine offers only SSE; a 32-bit code segment is refused.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.abi.linux64.signo import code_to_linux, mask_to_bsd, mask_to_linux, to_linux
from kernel_model.errno import EFAULT, EJUSTRETURN
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_sig import SIG_SETMASK, kern_sigprocmask, sigexit, trapsignal
from kernel_model.kern.machdep import FPSTATE_INIT, MXCSR_MASK, PSL_D, PSL_RF, PSL_T, TrapFrame
from kernel_model.kern.signalvar import KSigInfo, SigAction
from kernel_model.kern.signo import (
    SA_ONSTACK,
    SI_KERNEL,
    SI_LWP,
    SI_QUEUE,
    SI_TIMER,
    SI_USER,
    SIGBUS,
    SIGCHLD,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    SS_DISABLE,
)
from kernel_model.kern.trap import IDT_GP, T_PAGEFLT, VECTOR_OF_TRAP, trap
from kernel_model.vm.vm_param import VM_MAXUSER_ADDRESS, WORD_MASK

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

LINUX_SS_ONSTACK = 1
LINUX_SS_DISABLE = 2
LINUX_MINSIGSTKSZ = 2048

UC_SIGCONTEXT_SS = 2
UC_STRICT_RESTORE_SS = 4
USER_CS = 0x33
USER_SS = 0x2B
FIX_EFLAGS = 0x50DD5
"""Flags that rt_sigreturn(2) takes from the program: CF PF AF ZF SF TF DF OF RF AC."""
RED_ZONE = 128
FPSTATE = 512

SF_PRETCODE = 0
SF_UC = 8
UC_STACK = 16
UC_MCONTEXT = 40
SIZEOF_MCONTEXT = 256
UC_SIGMASK = UC_MCONTEXT + SIZEOF_MCONTEXT
SIZEOF_UCONTEXT = UC_SIGMASK + 8
SF_INFO = SF_UC + SIZEOF_UCONTEXT
SIZEOF_SIGINFO = 128
SIZEOF_SIGFRAME = SF_INFO + SIZEOF_SIGINFO

_REGS = (
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx",
    "rsp", "rip", "rflags",
)  # fmt: skip
_SIGCONTEXT = struct.Struct("<18QHHHHQQQQQ64x")
"""registers; cs gs fs ss; err trapno oldmask cr2 fpstate."""
_FAULTS = (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP)


def pack_siginfo(ksi: KSigInfo) -> bytes:
    """siginfo_t: 128 bytes, the union chosen by code and signal."""
    signo = ksi.ksi_signo
    code = ksi.ksi_code
    head = struct.pack("<iii4x", to_linux(signo), ksi.ksi_errno, code_to_linux(signo, code))
    uid = ksi.ksi_uid & 0xFFFFFFFF
    if code in (SI_USER, SI_LWP, SI_QUEUE):
        body = struct.pack("<iIQ", ksi.ksi_pid, uid, ksi.ksi_value)
    elif code == SI_TIMER:
        body = struct.pack("<iiQ", 0, 0, ksi.ksi_value)
    elif signo in _FAULTS:
        body = struct.pack("<Q", ksi.ksi_addr)
    elif signo == SIGCHLD:
        body = struct.pack("<iIi", ksi.ksi_pid, uid, ksi.ksi_status)
    elif code <= 0:
        body = struct.pack("<iIQ", ksi.ksi_pid, uid, ksi.ksi_value)
    else:
        body = b""
    return (head + body).ljust(SIZEOF_SIGINFO, b"\0")


def linux_ss_flags(flags: int) -> int:
    """ss_flags in Linux's numbers."""
    return LINUX_SS_DISABLE if flags & SS_DISABLE else flags


def _pack_ucontext(frame: TrapFrame, ksi: KSigInfo, stack: bytes, mask: int, fpstate: int) -> bytes:
    trapno = VECTOR_OF_TRAP.get(ksi.ksi_trapno, 0) if ksi.ksi_trap else 0
    cr2 = ksi.ksi_addr if ksi.ksi_trapno == T_PAGEFLT else 0
    sigcontext = _SIGCONTEXT.pack(
        *[getattr(frame, name) for name in _REGS],
        USER_CS, 0, 0, USER_SS, ksi.ksi_err, trapno, mask & WORD_MASK, cr2, fpstate,
    )  # fmt: skip
    flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
    return b"".join((struct.pack("<QQ", flags, 0), stack, sigcontext, struct.pack("<Q", mask)))


def sendsig(td: Thread, action: SigAction, ksi: KSigInfo, mask: int) -> bool:
    """Build the frame and start the handler; False when the frame cannot be written.

    A frame that would fall off the alternate stack is not written at all.
    """
    frame = td.td_cpu.get_frame()
    stack = td.td_sigstk
    onstack = stack.holds(frame.rsp)
    entering = stack.enabled and not onstack and bool(action.sa_flags & SA_ONSTACK)
    sp = stack.ss_sp + stack.ss_size if entering else frame.rsp - RED_ZONE
    fpstate = (sp - FPSTATE) & ~0x3F & WORD_MASK
    sp = (((fpstate - SIZEOF_SIGFRAME) & ~0xF) - 8) & WORD_MASK
    if (onstack or entering) and not stack.holds(sp):
        return False
    if not action.sa_restorer:
        return False
    old_stack = struct.pack("<Qi4xQ", stack.ss_sp, linux_ss_flags(stack.flags_at(frame.rsp)), stack.ss_size)
    context = _pack_ucontext(frame, ksi, old_stack, mask_to_linux(mask), fpstate)
    kassert(sp & 0xF == 8, "frame at %#x", sp)
    image = action.sa_restorer.to_bytes(8, "little") + context + pack_siginfo(ksi)
    try:
        copyout(td, fpstate, td.td_cpu.get_fpregs())
        copyout(td, sp, image)
    except SyscallError:
        return False
    frame.rdi = to_linux(ksi.ksi_signo)
    frame.rsi = sp + SF_INFO
    frame.rdx = sp + SF_UC
    frame.rax = 0
    frame.rsp = sp
    frame.rip = action.sa_handler
    frame.rflags &= ~(PSL_T | PSL_D | PSL_RF)
    td.td_cpu.set_frame(frame)
    td.td_cpu.set_fpregs(FPSTATE_INIT)
    return True


def sendsig_failed(td: Thread, signo: int) -> None:
    """The frame of *signo*'s handler could not be written: SIGSEGV instead, whose own handler kills.

    Linux: force_sigsegv(), kernel/signal.c.
    """
    if signo == SIGSEGV:
        sigexit(td, SIGSEGV)
    else:
        trapsignal(td, KSigInfo(SIGSEGV, SI_KERNEL))


def sys_rt_sigreturn(td: Thread) -> int:
    """rt_sigreturn(2): take over the registers of a frame that may be hostile; what is wrong with it is SIGSEGV."""
    frame = td.td_cpu.get_frame()
    try:
        _restore(td, frame)
    except SyscallError:
        trapsignal(td, KSigInfo(SIGSEGV, SI_KERNEL))
    td.td_ast = True
    return EJUSTRETURN


def _restore(td: Thread, frame: TrapFrame) -> None:
    data = copyin(td, frame.rsp - 8 + SF_UC, SIZEOF_UCONTEXT)
    fields = _SIGCONTEXT.unpack_from(data, UC_MCONTEXT)
    cs, fpstate = fields[18] | 3, fields[26]
    fpregs = FPSTATE_INIT
    if fpstate:
        fpregs = copyin(td, fpstate, FPSTATE)
        if int.from_bytes(fpregs[24:28], "little") & ~MXCSR_MASK:
            raise SyscallError(EFAULT)
    mask = int.from_bytes(data[UC_SIGMASK : UC_SIGMASK + 8], "little")
    new = TrapFrame(fs_base=frame.fs_base, gs_base=frame.gs_base)
    for index, name in enumerate(_REGS):
        setattr(new, name, fields[index])
    new.rflags = (frame.rflags & ~FIX_EFLAGS) | (new.rflags & FIX_EFLAGS)
    td.td_cpu.set_fpregs(fpregs)
    td.td_cpu.set_frame(new)
    kern_sigprocmask(td, SIG_SETMASK, mask_to_bsd(mask))
    sp, flags, size = struct.unpack_from("<Qi4xQ", data, UC_STACK)
    restore_altstack(td, sp, flags, size)
    if cs != USER_CS or VM_MAXUSER_ADDRESS <= new.rip < (1 << 64) - VM_MAXUSER_ADDRESS:
        trap(td, IDT_GP)


def restore_altstack(td: Thread, sp: int, flags: int, size: int) -> None:
    """Put back the alternate stack of a frame, unless it is nonsense or in use."""
    stack = td.td_sigstk
    if flags & LINUX_SS_DISABLE:
        stack.ss_flags = SS_DISABLE
    elif not flags & ~LINUX_SS_ONSTACK and size >= LINUX_MINSIGSTKSZ:
        stack.ss_sp, stack.ss_size, stack.ss_flags = sp, size, 0
