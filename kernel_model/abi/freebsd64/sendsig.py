"""Delivering a signal to a FreeBSD program, and coming back from its handler.

    high   128 bytes of red zone below rsp        (not on an alternate stack)
           siginfo_t    sf_si
           ucontext_t   sf_uc
           handler      sf_ahu   <- rsp, a multiple of 16; the trampoline calls it from here
    low

FreeBSD: sendsig(), sys_sigreturn(), sys/amd64/amd64/machdep.c.
Differs: no extended (AVX) state, the machine has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.freebsd64.ucontext import (
    MC_FLAG_MASK,
    MC_FPFMT_NODEV,
    MC_FPFMT_XMM,
    MC_FPOWNED_FPU,
    MC_FPOWNED_NONE,
    MC_FPOWNED_PCB,
    MC_HASFPXSTATE,
    SF_SI,
    SF_UC,
    SIZEOF_MCONTEXT,
    SIZEOF_SIGFRAME,
    SIZEOF_SIGINFO,
    SIZEOF_UCONTEXT,
    UC_FLAGS,
    UC_MCONTEXT,
    MContext,
    pack_mcontext,
    pack_siginfo,
    pack_sigset,
    pack_stack,
)
from kernel_model.errno import EINVAL, EJUSTRETURN
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_sig import SIG_SETMASK, kern_sigprocmask, sigexit, trapsignal
from kernel_model.kern.machdep import FPSTATE_INIT, MXCSR_MASK, PSL_D, PSL_T, PSL_USERINIT
from kernel_model.kern.signalvar import KSigInfo, SigAction
from kernel_model.kern.signo import BUS_OBJERR, SA_ONSTACK, SA_SIGINFO, SIGBUS, SIGILL
from kernel_model.kern.trap import IDT_GP, T_PROTFLT, trap
from kernel_model.vm.vm_param import VM_MAXUSER_ADDRESS, WORD_MASK

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

RED_ZONE = 128
PSL_USERCHANGE = 0x254DD5
"""Flags that a program may change: C PF AF Z N T D V NT RF AC ID."""


def sendsig(td: Thread, action: SigAction, ksi: KSigInfo, mask: int) -> bool:
    """Build the frame and send the thread to the trampoline; False when the frame cannot be written."""
    frame = td.td_cpu.get_frame()
    stack = td.td_sigstk
    onstack = stack.holds(frame.rsp)
    context = pack_mcontext(
        frame,
        td.td_cpu.get_fpregs(),
        onstack=onstack,
        trapno=ksi.ksi_trapno,
        addr=ksi.ksi_addr if ksi.ksi_trap else 0,
        err=ksi.ksi_err,
    )
    if stack.enabled and not onstack and action.sa_flags & SA_ONSTACK:
        sp = stack.ss_sp + stack.ss_size
    else:
        sp = frame.rsp - RED_ZONE
    sp = (sp - SIZEOF_SIGFRAME) & ~0xF & WORD_MASK
    info = pack_siginfo(ksi) if action.sa_flags & SA_SIGINFO else bytes(SIZEOF_SIGINFO)
    image = b"".join(
        (
            action.sa_handler.to_bytes(8, "little"),
            bytes(8),
            pack_sigset(mask),
            context,
            bytes(8),
            pack_stack(stack.ss_sp, stack.ss_size, stack.flags_at(frame.rsp)),
            bytes(SIZEOF_UCONTEXT - UC_FLAGS),
            info,
        )
    )
    kassert(len(image) == SIZEOF_SIGFRAME, "frame of %d bytes", len(image))
    try:
        copyout(td, sp, image)
    except SyscallError:
        return False
    frame.rdi = ksi.ksi_signo
    frame.rsi = sp + SF_SI if action.sa_flags & SA_SIGINFO else ksi.ksi_code & WORD_MASK
    frame.rdx = sp + SF_UC
    frame.rcx = ksi.ksi_addr
    frame.rsp = sp
    frame.rip = td.td_proc.p_sysent.sv_sigcode_base
    frame.rflags &= ~(PSL_T | PSL_D)
    td.td_cpu.set_frame(frame)
    td.td_cpu.set_fpregs(FPSTATE_INIT)
    return True


def sendsig_failed(td: Thread, signo: int) -> None:
    """The frame of *signo*'s handler could not be written: SIGILL ends the process.  FreeBSD: sendsig()."""
    sigexit(td, SIGILL)


def sys_sigreturn(td: Thread, sigcntxp: int) -> int:
    """sigreturn(2): take over the registers of a ucontext_t that may be hostile.

    Raises EFAULT, and EINVAL for privileged flags or an unknown FPU format; a code segment of the kernel also
    raises SIGBUS, as does a rip that no processor accepts.
    """
    data = copyin(td, sigcntxp, SIZEOF_UCONTEXT)
    context = MContext(data[UC_MCONTEXT : UC_MCONTEXT + SIZEOF_MCONTEXT])
    if context.flags & ~MC_FLAG_MASK:
        raise SyscallError(EINVAL)
    if (context.frame.rflags ^ PSL_USERINIT) & ~PSL_USERCHANGE:
        raise SyscallError(EINVAL)
    if context.cs & 3 != 3:
        rip = td.td_cpu.get_frame().rip
        ksi = KSigInfo(SIGBUS, BUS_OBJERR, ksi_addr=rip, ksi_trapno=T_PROTFLT)
        trapsignal(td, ksi)
        raise SyscallError(EINVAL)
    if context.flags & MC_HASFPXSTATE:
        raise SyscallError(EINVAL)
    set_context(td, context)
    kern_sigprocmask(td, SIG_SETMASK, int.from_bytes(data[:UC_MCONTEXT], "little"))
    td.td_ast = True
    return EJUSTRETURN


def set_context(td: Thread, context: MContext) -> None:
    """Load registers and FPU from *context*, whose flags were checked.  FreeBSD: set_fpcontext()."""
    if context.fpformat not in (MC_FPFMT_NODEV, MC_FPFMT_XMM):
        raise SyscallError(EINVAL)
    if context.fpformat == MC_FPFMT_XMM:
        if context.ownedfp in (MC_FPOWNED_FPU, MC_FPOWNED_PCB):
            mxcsr = int.from_bytes(context.fpstate[24:28], "little") & MXCSR_MASK
            image = context.fpstate[:24] + mxcsr.to_bytes(4, "little") + context.fpstate[28:]
            td.td_cpu.set_fpregs(image)
        elif context.ownedfp == MC_FPOWNED_NONE:
            td.td_cpu.set_fpregs(FPSTATE_INIT)
        else:
            raise SyscallError(EINVAL)
    td.td_cpu.set_frame(context.frame)
    for address in (context.frame.rip, context.frame.fs_base, context.frame.gs_base):
        if VM_MAXUSER_ADDRESS <= address < (1 << 64) - VM_MAXUSER_ADDRESS:
            trap(td, IDT_GP)
            break
