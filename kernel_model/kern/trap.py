"""Exceptions of the processor, and the signals they become.

FreeBSD: trap(), trap_pfault(), sys/amd64/amd64/trap.c.  Which signal it is, the ABI says (trap.py of each); signal
numbers and codes are FreeBSD's.

    page fault --> trap_pfault --> vm_fault --> repaired: True
                                            \\-> fault_signal --> trapsignal: False
    #DE #UD #GP ... --> trap --> trapsignal

Differs: the error code is rebuilt from the access and the page table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.kern.kern_sig import trapsignal, was_killed
from kernel_model.kern.signalvar import KSigInfo, TrapSignal
from kernel_model.kern.signo import (
    FPE_FLTDIV,
    FPE_FLTINV,
    FPE_FLTOVF,
    FPE_FLTRES,
    FPE_FLTSUB,
    FPE_FLTUND,
    SI_KERNEL,
    SIGKILL,
)
from kernel_model.vm.vm import VM_PROT_EXECUTE, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_param import (
    KERN_INVALID_ADDRESS,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    PAGE_SHIFT,
    VM_MAXUSER_ADDRESS,
    VM_MIN_KERNEL_ADDRESS,
    KernReturn,
    VmOffset,
)

if TYPE_CHECKING:
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

_NEAR_STACK = 4096
"""A non-canonical address this near to rsp belongs to a push, pop, call or ret: #SS instead of #GP."""


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
    signal = fault_signal(proc, va, access, rv)
    seq = recorder.end(rv, signal.signo, signal.code, signal.why)
    _refuse(td, signal, va, access, seq)
    return False


def _pfault(proc: Proc, va: VmOffset, access: int) -> KernReturn:
    if va >= VM_MIN_KERNEL_ADDRESS:
        return KERN_INVALID_ADDRESS
    return vm_fault(proc.p_vmspace.vm_map, va, access)


def _refuse(td: Thread, signal: TrapSignal, va: VmOffset, access: int, fault: int = 0) -> None:
    kassert(td is td.td_proc.kernel.curthread, "page fault of thread %d, which does not run", td.td_tid)
    trapsignal(
        td,
        KSigInfo(
            signal.signo,
            signal.code,
            ksi_addr=va,
            ksi_trapno=T_PAGEFLT,
            ksi_err=page_fault_error(td.td_proc, va, access),
            ksi_fault=fault,
        ),
    )


def page_fault_error(proc: Proc, va: VmOffset, access: int) -> int:
    """The error code a processor would have pushed: PGEX_*."""
    error = PGEX_U
    kernel_present = va >= VM_MAXUSER_ADDRESS and proc.p_sysent.signals.kernel_present
    if kernel_present or va >> PAGE_SHIFT in proc.p_vmspace.vm_pmap.ptes:
        error |= PGEX_P
    if access & VM_PROT_WRITE:
        error |= PGEX_W
    elif access & VM_PROT_EXECUTE:
        error |= PGEX_I
    return error


def fault_signal(proc: Proc, va: VmOffset, access: int, rv: KernReturn) -> TrapSignal:
    """Which signal and code the refusal *rv* of vm_fault becomes.  FreeBSD: vm_fault_trap(), trap_pfault()."""
    if rv == KERN_RESOURCE_SHORTAGE and was_killed(proc):
        return TrapSignal(SIGKILL, SI_KERNEL, "memory ran out, and this process was chosen -> SIGKILL")
    return proc.p_sysent.fault_signal(proc, va, access, rv)


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
    kassert(0 <= vector < 256, "trap: vector %d", vector)
    proc = td.td_proc
    frame = td.td_cpu.get_frame()
    signal, addr = proc.p_sysent.sv_transtrap(td, vector, frame)
    recorder = proc.kernel.ktrace.recorder
    seq = 0
    if recorder is not None:
        seq = recorder.trap(td, vector, frame.rip, signal.signo, signal.code, signal.why, va, access, size)
    trapno = TRAP_OF_VECTOR.get(vector, T_PROTFLT)
    trapsignal(
        td,
        KSigInfo(signal.signo, signal.code, ksi_addr=addr, ksi_trapno=trapno, ksi_err=error, ksi_fault=seq),
    )


FLOAT_VECTORS = (16, 19)
"""#MF of the x87 and #XM of SSE: their flags say the code."""


def fputrap(td: Thread, vector: int) -> tuple[int, str]:
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
