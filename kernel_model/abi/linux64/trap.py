"""Exceptions and system calls as a Linux program sees them.  Signal numbers and codes here are FreeBSD's.

FreeBSD: linux_translate_traps(), linux_fetch_syscall_args(), linux_set_syscall_retval(),
sys/amd64/linux/linux_sysvec.c.  Linux: arch/x86/kernel/traps.c, arch/x86/mm/fault.c, arch/x86/entry/common.c.
Differs: a Linux program that overruns its stack gets SEGV_MAPERR in every release, although the gap design has an
entry there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errno import TO_LINUX
from kernel_model.kern.signalvar import TrapSignal
from kernel_model.kern.signo import (
    BUS_ADRALN,
    BUS_ADRERR,
    FPE_INTDIV,
    ILL_ILLOPN,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SI_KERNEL,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_TRACE,
)
from kernel_model.kern.trap import (
    FLOAT_VECTORS,
    IDT_AC,
    IDT_BP,
    IDT_DB,
    IDT_DE,
    IDT_FPUGP,
    IDT_NP,
    IDT_SS,
    IDT_UD,
    fputrap,
)
from kernel_model.vm.vm_map_flags import MAP_ENTRY_GUARD
from kernel_model.vm.vm_param import KERN_NAMES, WORD_MASK, KernReturn, VmOffset

if TYPE_CHECKING:
    from kernel_model.kern.machdep import TrapFrame
    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.kern.sysentvec import SyscallArgs

TRAP_SIGNALS: dict[int, tuple[int, int, bool, str]] = {
    IDT_DE: (SIGFPE, FPE_INTDIV, True, "#DE -> SIGFPE/FPE_INTDIV"),
    IDT_DB: (SIGTRAP, TRAP_TRACE, True, "#DB -> SIGTRAP/TRAP_TRACE"),
    IDT_BP: (SIGTRAP, SI_KERNEL, False, "#BP -> SIGTRAP/SI_KERNEL"),
    IDT_UD: (SIGILL, ILL_ILLOPN, True, "#UD -> SIGILL/ILL_ILLOPN"),
    IDT_FPUGP: (SIGFPE, SI_KERNEL, False, "coprocessor overrun -> SIGFPE/SI_KERNEL"),
    IDT_NP: (SIGBUS, SI_KERNEL, False, "#NP -> SIGBUS/SI_KERNEL"),
    IDT_SS: (SIGBUS, SI_KERNEL, False, "#SS -> SIGBUS/SI_KERNEL"),
    IDT_AC: (SIGBUS, BUS_ADRALN, False, "#AC -> SIGBUS/BUS_ADRALN"),
}
"""x86 vector to (signal, code, whether si_addr is rip, words)."""


def transtrap(td: Thread, vector: int, frame: TrapFrame) -> tuple[TrapSignal, int]:
    """The signal of exception *vector*, and the address that Linux tells for it: rip or nothing."""
    if vector in FLOAT_VECTORS:
        code, name = fputrap(td, vector)
        return TrapSignal(SIGFPE, code, f"{name} -> SIGFPE"), frame.rip
    signo, code, at_rip, why = TRAP_SIGNALS.get(
        vector, (SIGSEGV, SI_KERNEL, False, f"vector {vector} (#GP) -> SIGSEGV/SI_KERNEL")
    )
    return TrapSignal(signo, code, why), frame.rip if at_rip else 0


def fault_signal(proc: Proc, va: VmOffset, access: int, rv: KernReturn) -> TrapSignal:
    """By what is mapped at *va*: past the end of a file SIGBUS, in a hole MAPERR, against rights ACCERR."""
    found, entry = proc.p_vmspace.vm_map.lookup_entry(va)
    name = KERN_NAMES[rv]
    if not found or entry.eflags & MAP_ENTRY_GUARD:
        return TrapSignal(SIGSEGV, SEGV_MAPERR, f"{name}, no mapping -> SIGSEGV/SEGV_MAPERR")
    if entry.protection & access != access:
        return TrapSignal(SIGSEGV, SEGV_ACCERR, f"{name} -> SIGSEGV/SEGV_ACCERR")
    return TrapSignal(SIGBUS, BUS_ADRERR, f"{name}, access is allowed -> SIGBUS/BUS_ADRERR")


def linux_fetch_syscall_args(td: Thread, number: int, args: SyscallArgs) -> tuple[int, SyscallArgs]:
    """No call is indirect."""
    return number, args


def linux_set_syscall_retval(errno: int) -> int:
    """Minus Linux's number, as an unsigned word: the result itself tells the error."""
    return -TO_LINUX[errno] & WORD_MASK
