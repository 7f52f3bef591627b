"""Exceptions of the processor, and the signals they become.

FreeBSD: trap(), trap_pfault(), sys/amd64/amd64/trap.c; vm_fault_trap(), sys/vm/vm_fault.c.
Linux: arch/x86/kernel/traps.c and arch/x86/mm/fault.c, for what a Linux program sees.  Signal numbers and codes here
are FreeBSD's.

    page fault --> trap_pfault --> vm_fault --> repaired: True
                                            \\-> fault_signal --> trapsignal: False
    #DE #UD #GP ... --> trap --> trapsignal

Differs: the error code is rebuilt from the access and the page table; a Linux program that overruns its stack gets
SEGV_MAPERR in every release, although the gap design has an entry there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernel_model.kern.kern_oom import was_killed
from kernel_model.kern.kern_sig import KSigInfo, trapsignal
from kernel_model.kern.signo import (
    BUS_ADRALN,
    BUS_ADRERR,
    BUS_OBJERR,
    BUS_OOMERR,
    FPE_FLTDIV,
    FPE_FLTINV,
    FPE_FLTOVF,
    FPE_FLTRES,
    FPE_FLTSUB,
    FPE_FLTUND,
    FPE_INTDIV,
    FPE_INTOVF,
    ILL_COPROC,
    ILL_ILLOPN,
    ILL_PRVOPC,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SI_KERNEL,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGKILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    TRAP_TRACE,
    signame,
)
from kernel_model.vm.vm import VM_PROT_EXECUTE, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_flags import MAP_ENTRY_GUARD
from kernel_model.vm.vm_param import (
    KERN_INVALID_ADDRESS,
    KERN_NAMES,
    KERN_OUT_OF_BOUNDS,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    PAGE_SHIFT,
    VM_MAXUSER_ADDRESS,
    VM_MIN_KERNEL_ADDRESS,
    KernReturn,
    VmOffset,
)

if TYPE_CHECKING:
    from kernel_model.kern.machdep import TrapFrame
    from kernel_model.kern.proc import Proc, Thread

T_PRIVINFLT = 1
T_BPTFLT = 3
T_ARITHTRAP = 6
T_PROTFLT = 9
T_TRCTRAP = 10
T_PAGEFLT = 12
T_ALIGNFLT = 14
T_DIVIDE = 18
T_OFLOW = 20
T_BOUND = 21
T_DNA = 22
T_DOUBLEFLT = 23
T_FPOPFLT = 24
T_TSSFLT = 25
T_SEGNPFLT = 26
T_STKFLT = 27
T_XMMFLT = 29

TRAP_OF_VECTOR: dict[int, int] = {
    0: T_DIVIDE, 1: T_TRCTRAP, 3: T_BPTFLT, 4: T_OFLOW, 5: T_BOUND, 6: T_PRIVINFLT, 7: T_DNA, 8: T_DOUBLEFLT,
    9: T_FPOPFLT, 10: T_TSSFLT, 11: T_SEGNPFLT, 12: T_STKFLT, 13: T_PROTFLT, 14: T_PAGEFLT, 16: T_ARITHTRAP,
    17: T_ALIGNFLT, 19: T_XMMFLT,
}  # fmt: skip
"""x86 exception vector to FreeBSD's T_*."""
VECTOR_OF_TRAP = {trapno: vector for vector, trapno in TRAP_OF_VECTOR.items()}

PGEX_P = 0x1
PGEX_W = 0x2
PGEX_U = 0x4
PGEX_I = 0x10

P_OSREL_SIGSEGV = 700004
"""A program older than this, or without the ABI note, sees a protection fault as SIGBUS."""
BUS_PAGE_FAULT = T_PAGEFLT
_NEAR_STACK = 4096
"""A non-canonical address this near to rsp belongs to a push, pop, call or ret: #SS instead of #GP."""


class TrapSignal(NamedTuple):
    """The signal that an exception becomes, and why in words."""

    signo: int
    code: int
    why: str


# -- page faults ------------------------------------------------------------------------------------------


def trap_pfault(td: Thread, va: VmOffset, access: int, size: int = 0, value: int | None = None, rip: int = 0) -> bool:
    """Serve a page fault of the program: True when the instruction can go on.

    *va* is exact, *access* one of VM_PROT_READ, WRITE and EXECUTE; *size* and *value* are only recorded.
    When it is refused a signal waits and ``td_ast`` is set.
    FreeBSD: trap_pfault().
    """
    if VM_MAXUSER_ADDRESS <= va < (1 << 64) - VM_MAXUSER_ADDRESS:
        _noncanonical(td, va, access, size)
        return False
    proc = td.td_proc
    recorder = proc.kernel.ktrace.recorder
    if recorder is None:
        rv = _pfault(proc, va, access)
        if rv == KERN_SUCCESS:
            return True
        _refuse(td, fault_signal(proc, va, access, rv), va, access)
        return False
    recorder.begin(td, va, access, size, value, rip)
    rv = _pfault(proc, va, access)
    if rv == KERN_SUCCESS:
        recorder.end(rv)
        return True
    sig = fault_signal(proc, va, access, rv)
    seq = recorder.end(rv, sig.signo, sig.code, sig.why)
    _refuse(td, sig, va, access, seq)
    return False


def _pfault(proc: Proc, va: VmOffset, access: int) -> KernReturn:
    if va >= VM_MIN_KERNEL_ADDRESS:
        return KERN_INVALID_ADDRESS
    return vm_fault(proc.p_vmspace.vm_map, va, access)


def _refuse(td: Thread, sig: TrapSignal, va: VmOffset, access: int, fault: int = 0) -> None:
    trapsignal(
        td,
        KSigInfo(
            sig.signo,
            sig.code,
            ksi_addr=va,
            ksi_trapno=T_PAGEFLT,
            ksi_err=page_fault_error(td.td_proc, va, access),
            ksi_fault=fault,
        ),
    )


def page_fault_error(proc: Proc, va: VmOffset, access: int) -> int:
    """The error code a processor would have pushed: PGEX_*."""
    error = PGEX_U
    # Linux calls every address of the kernel present, so that nobody learns which one is.
    linux_kernel = va >= VM_MAXUSER_ADDRESS and proc.p_sysent.is_linux
    if linux_kernel or va >> PAGE_SHIFT in proc.p_vmspace.vm_pmap.ptes:
        error |= PGEX_P
    if access & VM_PROT_WRITE:
        error |= PGEX_W
    elif access & VM_PROT_EXECUTE:
        error |= PGEX_I
    return error


def fault_signal(proc: Proc, va: VmOffset, access: int, rv: KernReturn) -> TrapSignal:
    """Which signal and code the refusal *rv* of vm_fault becomes.  FreeBSD: vm_fault_trap()."""
    if rv == KERN_RESOURCE_SHORTAGE and was_killed(proc):
        return TrapSignal(SIGKILL, SI_KERNEL, "memory ran out, and this process was chosen -> SIGKILL")
    if proc.p_sysent.is_linux:
        return _linux_fault_signal(proc, va, access, rv)
    bounds = proc.kernel.release.fault_past_object == "bounds"
    if rv == KERN_PROTECTION_FAILURE:
        translation = proc.kernel.tunables.get("machdep.prot_fault_translation", 0)
        if translation == 0 and proc.p_osrel < P_OSREL_SIGSEGV:
            why = f"KERN_PROTECTION_FAILURE, p_osrel {proc.p_osrel} < {P_OSREL_SIGSEGV} -> SIGBUS"
            return TrapSignal(SIGBUS, BUS_PAGE_FAULT, why)
        if translation == 1:
            why = "KERN_PROTECTION_FAILURE, machdep.prot_fault_translation 1 -> SIGBUS"
            return TrapSignal(SIGBUS, BUS_PAGE_FAULT, why)
        sig = TrapSignal(SIGSEGV, SEGV_ACCERR, "SEGV_ACCERR")
    elif rv == KERN_OUT_OF_BOUNDS:
        sig = TrapSignal(SIGBUS, BUS_OBJERR, "BUS_OBJERR")
    elif rv == KERN_RESOURCE_SHORTAGE and bounds:
        sig = TrapSignal(SIGBUS, BUS_OOMERR, "BUS_OOMERR")
    else:
        sig = TrapSignal(SIGSEGV, SEGV_MAPERR, "SEGV_MAPERR")
    why = f"{KERN_NAMES[rv]} -> {signame(sig.signo)}/{sig.why}"
    return TrapSignal(sig.signo, sig.code, why)


def _linux_fault_signal(proc: Proc, va: VmOffset, access: int, rv: KernReturn) -> TrapSignal:
    """What a Linux program sees: past the end of a file SIGBUS, in a hole MAPERR, against rights ACCERR."""
    found, entry = proc.p_vmspace.vm_map.lookup_entry(va)
    name = KERN_NAMES[rv]
    if not found or entry.eflags & MAP_ENTRY_GUARD:
        return TrapSignal(SIGSEGV, SEGV_MAPERR, f"{name}, no mapping -> SIGSEGV/SEGV_MAPERR")
    if entry.protection & access != access:
        return TrapSignal(SIGSEGV, SEGV_ACCERR, f"{name} -> SIGSEGV/SEGV_ACCERR")
    return TrapSignal(SIGBUS, BUS_ADRERR, f"{name}, access is allowed -> SIGBUS/BUS_ADRERR")


def _noncanonical(td: Thread, va: VmOffset, access: int, size: int) -> None:
    """No page fault at all: the processor raises #GP, or #SS when the stack pointer is the culprit."""
    rsp = td.td_cpu.get_frame().rsp
    stack = access != VM_PROT_EXECUTE and abs(rsp - va) < _NEAR_STACK
    trap(td, 12 if stack else 13, 0, va, access, size)


# -- all others ---------------------------------------------------------------------------------------------


def trap(td: Thread, vector: int, error: int = 0, va: VmOffset = 0, access: int = 0, size: int = 0) -> None:
    """Turn exception *vector* into a signal; the frame's rip is the instruction's, or behind it for #BP.

    *va*, *access* and *size* are of the memory access that caused it, where there is one; they are only recorded.
    FreeBSD: trap().
    """
    proc = td.td_proc
    frame = td.td_cpu.get_frame()
    linux = proc.p_sysent.is_linux
    sig, addr = (_linux_trap if linux else _freebsd_trap)(td, vector, frame)
    recorder = proc.kernel.ktrace.recorder
    seq = 0
    if recorder is not None:
        seq = recorder.trap(td, vector, frame.rip, sig.signo, sig.code, sig.why, va, access, size)
    trapno = TRAP_OF_VECTOR.get(vector, T_PROTFLT)
    trapsignal(
        td,
        KSigInfo(sig.signo, sig.code, ksi_addr=addr, ksi_trapno=trapno, ksi_err=error, ksi_fault=seq),
    )


_FREEBSD: dict[int, tuple[int, int, str]] = {
    0: (SIGFPE, FPE_INTDIV, "#DE -> SIGFPE/FPE_INTDIV"),
    1: (SIGTRAP, TRAP_TRACE, "#DB -> SIGTRAP/TRAP_TRACE"),
    3: (SIGTRAP, TRAP_BRKPT, "#BP -> SIGTRAP/TRAP_BRKPT"),
    4: (SIGFPE, FPE_INTOVF, "#OF -> SIGFPE/FPE_INTOVF"),
    5: (SIGFPE, FPE_FLTSUB, "#BR -> SIGFPE/FPE_FLTSUB"),
    6: (SIGILL, ILL_PRVOPC, "#UD -> SIGILL/ILL_PRVOPC"),
    9: (SIGILL, ILL_COPROC, "coprocessor overrun -> SIGILL/ILL_COPROC"),
    10: (SIGBUS, BUS_OBJERR, "#TS -> SIGBUS/BUS_OBJERR"),
    11: (SIGBUS, BUS_ADRERR, "#NP -> SIGBUS/BUS_ADRERR"),
    12: (SIGBUS, BUS_ADRERR, "#SS -> SIGBUS/BUS_ADRERR"),
    13: (SIGBUS, BUS_OBJERR, "#GP -> SIGBUS/BUS_OBJERR"),
    17: (SIGBUS, BUS_ADRALN, "#AC -> SIGBUS/BUS_ADRALN"),
}


def _freebsd_trap(td: Thread, vector: int, frame: TrapFrame) -> tuple[TrapSignal, int]:
    if vector in (16, 19):
        code, name = _float_code(td, vector)
        return TrapSignal(SIGFPE, code, f"{name} -> SIGFPE"), frame.rip
    signo, code, why = _FREEBSD.get(vector, (SIGBUS, BUS_OBJERR, f"vector {vector} -> SIGBUS/BUS_OBJERR"))
    return TrapSignal(signo, code, why), frame.rip


_LINUX: dict[int, tuple[int, int, bool, str]] = {
    0: (SIGFPE, FPE_INTDIV, True, "#DE -> SIGFPE/FPE_INTDIV"),
    1: (SIGTRAP, TRAP_TRACE, True, "#DB -> SIGTRAP/TRAP_TRACE"),
    3: (SIGTRAP, SI_KERNEL, False, "#BP -> SIGTRAP/SI_KERNEL"),
    6: (SIGILL, ILL_ILLOPN, True, "#UD -> SIGILL/ILL_ILLOPN"),
    9: (SIGFPE, SI_KERNEL, False, "coprocessor overrun -> SIGFPE/SI_KERNEL"),
    11: (SIGBUS, SI_KERNEL, False, "#NP -> SIGBUS/SI_KERNEL"),
    12: (SIGBUS, SI_KERNEL, False, "#SS -> SIGBUS/SI_KERNEL"),
    17: (SIGBUS, BUS_ADRALN, False, "#AC -> SIGBUS/BUS_ADRALN"),
}
"""Vector to (signal, code, whether si_addr is rip, words)."""


def _linux_trap(td: Thread, vector: int, frame: TrapFrame) -> tuple[TrapSignal, int]:
    if vector in (16, 19):
        code, name = _float_code(td, vector)
        return TrapSignal(SIGFPE, code, f"{name} -> SIGFPE"), frame.rip
    signo, code, at_rip, why = _LINUX.get(
        vector, (SIGSEGV, SI_KERNEL, False, f"vector {vector} (#GP) -> SIGSEGV/SI_KERNEL")
    )
    return TrapSignal(signo, code, why), frame.rip if at_rip else 0


def _float_code(td: Thread, vector: int) -> tuple[int, str]:
    """FPE_* from the unmasked exception flags of x87 or SSE.  FreeBSD: fputrap_x87(), fputrap_sse()."""
    image = td.td_cpu.get_fpregs()
    if vector == 16:
        control = int.from_bytes(image[0:2], "little")
        status = int.from_bytes(image[2:4], "little")
        flags = status & (~control & 0x3F | 0x40)
        name = "#MF"
    else:
        mxcsr = int.from_bytes(image[24:28], "little")
        flags = mxcsr & (~mxcsr >> 7) & 0x3F
        name = "#XM"
    if flags & 0x40:
        return FPE_FLTSUB, name
    for bits, code in (
        (0x01, FPE_FLTINV),
        (0x04, FPE_FLTDIV),
        (0x08, FPE_FLTOVF),
        (0x12, FPE_FLTUND),
        (0x20, FPE_FLTRES),
    ):
        if flags & bits:
            return code, name
    return FPE_FLTINV, name
