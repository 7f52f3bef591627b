"""Exceptions and system calls as a FreeBSD program sees them.

FreeBSD: trap(), cpu_fetch_syscall_args(), sys/amd64/amd64/trap.c; vm_fault_trap(), sys/vm/vm_fault.c;
cpu_set_syscall_retval(), sys/amd64/amd64/vm_machdep.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.freebsd64.syscalls import SYS___syscall, SYS_syscall
from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin
from kernel_model.kern.signalvar import TrapSignal
from kernel_model.kern.signo import (
    BUS_ADRALN,
    BUS_ADRERR,
    BUS_OBJERR,
    BUS_OOMERR,
    FPE_FLTSUB,
    FPE_INTDIV,
    FPE_INTOVF,
    ILL_COPROC,
    ILL_PRVOPC,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    TRAP_TRACE,
    signame,
)
from kernel_model.kern.trap import (
    FLOAT_VECTORS,
    IDT_AC,
    IDT_BP,
    IDT_BR,
    IDT_DB,
    IDT_DE,
    IDT_FPUGP,
    IDT_GP,
    IDT_NP,
    IDT_OF,
    IDT_SS,
    IDT_TS,
    IDT_UD,
    T_PAGEFLT,
    fputrap,
)
from kernel_model.vm.vm_param import (
    KERN_NAMES,
    KERN_OUT_OF_BOUNDS,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KernReturn,
    VmOffset,
)

if TYPE_CHECKING:
    from kernel_model.kern.machdep import TrapFrame
    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.kern.sysentvec import SyscallArgs

P_OSREL_SIGSEGV = 700004
"""A program older than this, or without the ABI note, sees a protection fault as SIGBUS."""
BUS_PAGE_FAULT = T_PAGEFLT

TRAP_SIGNALS: dict[int, tuple[int, int, str]] = {
    IDT_DE: (SIGFPE, FPE_INTDIV, "#DE -> SIGFPE/FPE_INTDIV"),
    IDT_DB: (SIGTRAP, TRAP_TRACE, "#DB -> SIGTRAP/TRAP_TRACE"),
    IDT_BP: (SIGTRAP, TRAP_BRKPT, "#BP -> SIGTRAP/TRAP_BRKPT"),
    IDT_OF: (SIGFPE, FPE_INTOVF, "#OF -> SIGFPE/FPE_INTOVF"),
    IDT_BR: (SIGFPE, FPE_FLTSUB, "#BR -> SIGFPE/FPE_FLTSUB"),
    IDT_UD: (SIGILL, ILL_PRVOPC, "#UD -> SIGILL/ILL_PRVOPC"),
    IDT_FPUGP: (SIGILL, ILL_COPROC, "coprocessor overrun -> SIGILL/ILL_COPROC"),
    IDT_TS: (SIGBUS, BUS_OBJERR, "#TS -> SIGBUS/BUS_OBJERR"),
    IDT_NP: (SIGBUS, BUS_ADRERR, "#NP -> SIGBUS/BUS_ADRERR"),
    IDT_SS: (SIGBUS, BUS_ADRERR, "#SS -> SIGBUS/BUS_ADRERR"),
    IDT_GP: (SIGBUS, BUS_OBJERR, "#GP -> SIGBUS/BUS_OBJERR"),
    IDT_AC: (SIGBUS, BUS_ADRALN, "#AC -> SIGBUS/BUS_ADRALN"),
}
"""x86 vector to (signal, code, words)."""


def transtrap(td: Thread, vector: int, frame: TrapFrame) -> tuple[TrapSignal, int]:
    """The signal of exception *vector*; its address is always the instruction's.  FreeBSD: trap()."""
    if vector in FLOAT_VECTORS:
        code, name = fputrap(td, vector)
        return TrapSignal(SIGFPE, code, f"{name} -> SIGFPE"), frame.rip
    signo, code, why = TRAP_SIGNALS.get(vector, (SIGBUS, BUS_OBJERR, f"vector {vector} -> SIGBUS/BUS_OBJERR"))
    return TrapSignal(signo, code, why), frame.rip


def fault_signal(proc: Proc, va: VmOffset, access: int, rv: KernReturn) -> TrapSignal:
    """What the refusal *rv* becomes, by its code alone.  FreeBSD: vm_fault_trap()."""
    bounds = proc.kernel.release.fault_past_object == "bounds"
    if rv == KERN_PROTECTION_FAILURE:
        translation = proc.kernel.tunables.get("machdep.prot_fault_translation", 0)
        if translation == 0 and proc.p_osrel < P_OSREL_SIGSEGV:
            why = f"KERN_PROTECTION_FAILURE, p_osrel {proc.p_osrel} < {P_OSREL_SIGSEGV} -> SIGBUS"
            return TrapSignal(SIGBUS, BUS_PAGE_FAULT, why)
        if translation == 1:
            why = "KERN_PROTECTION_FAILURE, machdep.prot_fault_translation 1 -> SIGBUS"
            return TrapSignal(SIGBUS, BUS_PAGE_FAULT, why)
        signo, code, name = SIGSEGV, SEGV_ACCERR, "SEGV_ACCERR"
    elif rv == KERN_OUT_OF_BOUNDS:
        signo, code, name = SIGBUS, BUS_OBJERR, "BUS_OBJERR"
    elif rv == KERN_RESOURCE_SHORTAGE and bounds:
        signo, code, name = SIGBUS, BUS_OOMERR, "BUS_OOMERR"
    else:
        signo, code, name = SIGSEGV, SEGV_MAPERR, "SEGV_MAPERR"
    return TrapSignal(signo, code, f"{KERN_NAMES[rv]} -> {signame(signo)}/{name}")


def cpu_fetch_syscall_args(td: Thread, number: int, args: SyscallArgs) -> tuple[int, SyscallArgs]:
    """syscall(2), __syscall(2): the number is the first argument, the sixth real one is on the stack."""
    if number not in (SYS_syscall, SYS___syscall):
        return number, args
    number, a0, a1, a2, a3, a4 = args
    sp = td.td_cpu.get_frame().rsp
    try:
        a5 = int.from_bytes(copyin(td, sp + 8, 8), "little")
    except SyscallError:
        a5 = 0
    return number & 0xFFFFFFFF, (a0, a1, a2, a3, a4, a5)


def cpu_set_syscall_retval(errno: int) -> int:
    """A negative result: the machine stores the errno and sets the carry flag."""
    return -errno
