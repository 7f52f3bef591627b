"""From the SYSCALL instruction to a handler and back.

FreeBSD: syscallenter(), syscallret(), sys/kern/subr_syscall.c; cpu_fetch_syscall_args() and
cpu_set_syscall_retval(), sys/amd64/amd64/.

``bind(kernel)`` makes the function that the machine calls from its SYSCALL hook, with the registers as they are; it
serves whoever is current then, in the ABI that its process has then::

    result = syscall(rax, rdi, rsi, rdx, r10, r8, r9)

========================  ==========================================  =====================================
result                    FreeBSD ABI                                 Linux ABI
========================  ==========================================  =====================================
0 .. 2**64-1              success: rax := result, carry cleared       rax := result (errors are in it)
negative                  failure: rax := -result, carry set          never
a tuple ``(rax, rdx)``    success with two results, carry cleared     never
``EJUSTRETURN``           registers were replaced, or the thread is   the same
                          gone: leave the engine
========================  ==========================================  =====================================

After each call the machine looks at ``td_ast`` of the current thread; when it is true it stores the result, leaves the
engine and calls ``kern_sig.ast(td)`` before it goes on.  ``td_cpu.get_frame()`` inside a call shows rip behind the
SYSCALL.

A fast path serves calls whose handler is known and that nobody traces; ``_slow`` does everything else.
Differs: a call the model lacks answers ENOSYS and tells the sink; only numbers that FreeBSD itself does not know
raise SIGSYS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from kernel_model.errno import EJUSTRETURN, ENOSYS, ERESTART
from kernel_model.errors import SyscallError
from kernel_model.kern.kern_sig import tdsendsignal
from kernel_model.kern.machdep import SYSCALL_LENGTH
from kernel_model.kern.signalvar import KSigInfo
from kernel_model.kern.sysent import SyscallReturn, Sysent, adapter
from kernel_model.ktrace import Unsupported
from kernel_model.vm.vm_param import WORD_MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kernel_model.kern.proc import Kernel, SysentVec, Thread
    from kernel_model.kern.sysentvec import Syscall, SyscallArgs

    Call = Callable[[Thread, int, int, int, int, int, int], SyscallReturn]


class Running(Protocol):
    """struct pcpu while a program runs: there is a thread, and it is this room's."""

    @property
    def curthread(self) -> Thread:
        """The thread that runs."""
        ...


def bind(kernel: Kernel) -> Syscall:
    """Make the system-call entry of *kernel*.

    It remembers the calls of the ABI that was served last, and no thread.  FreeBSD: amd64_syscall().
    """
    pcpu = cast("Running", kernel.vm.pcpu)
    kt = kernel.ktrace
    sv: SysentVec | None = None
    calls: dict[int, Call] = {}

    def syscall(code: int, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int) -> SyscallReturn:
        nonlocal sv, calls
        td = pcpu.curthread
        if td.td_proc.p_sysent is not sv:
            sv = td.td_proc.p_sysent
            calls = kernel.adapters.setdefault(sv.name, {})
        if code not in calls or kt.active:
            return _slow(td, calls, code, (a0, a1, a2, a3, a4, a5))
        td.td_syscall = code
        try:
            result = calls[code](td, a0, a1, a2, a3, a4, a5)
        except SyscallError as error:
            result = _refuse(td, code, error.errno, td.td_proc.p_sysent.sv_set_syscall_retval)
        else:
            if result.__class__ is int and result < 0:
                result &= WORD_MASK
        td.td_syscall = -1
        return result

    return syscall


def _slow(td: Thread, calls: dict[int, Call], code: int, args: SyscallArgs) -> SyscallReturn:
    """The complete path: first use of a number, indirect calls, missing calls, tracing."""
    sv = td.td_proc.p_sysent
    kt = td.td_proc.kernel.ktrace
    number, args = sv.sv_fetch_syscall_args(td, code & 0xFFFFFFFF, args)
    row = sv.sv_table().get(number)
    td.td_syscall = number
    traced = kt.active
    if traced:
        letters = row.letters if row is not None else "pppppp"
        name = row.name if row is not None else f"#{number}"
        kt.syscall_enter(sv.name, number, name, args[: len(letters)], letters, _rip(td))
    errno = 0
    try:
        result = _handler(td, calls, number, row)(td, *args)
    except SyscallError as error:
        errno = error.errno
        result = _refuse(td, number, errno, sv.sv_set_syscall_retval)
    else:
        if result.__class__ is int and result < 0:
            result &= WORD_MASK
    if traced:
        first = result[0] if isinstance(result, tuple) else result
        kt.syscall_return(first & WORD_MASK, errno)
    td.td_syscall = -1
    return result


def _handler(td: Thread, calls: dict[int, Call], number: int, row: Sysent | None) -> Call:
    """What serves *number*, made when it is first used; ENOSYS for what is not modelled."""
    if row is None or row.handler is None:
        _unsupported(td, number, row)
        raise SyscallError(ENOSYS)
    call = calls.get(number)
    if call is None:
        call = calls[number] = adapter(row)
    return call


def _rip(td: Thread) -> int:
    """Address of the SYSCALL instruction."""
    return td.td_cpu.get_frame().rip - SYSCALL_LENGTH


def _unsupported(td: Thread, number: int, row: Sysent | None) -> None:
    """Tell that the guest asked for a call the model lacks; send the ABI's signal where the real one lacks it too."""
    proc = td.td_proc
    kt = proc.kernel.ktrace
    name = row.name if row is not None else "unknown"
    detail = row.caveat if row is not None else ""
    if kt.unsupported is not None:
        kt.emit(Unsupported("syscall", name, number, detail, pid=proc.p_pid))
    signo = proc.p_sysent.signals.unknown_call
    if row is None and signo:
        tdsendsignal(td, KSigInfo(signo))


def _refuse(td: Thread, code: int, errno: int, retval: Callable[[int], int]) -> int:
    """The ABI's answer to an error; ERESTART sets the registers back to the SYSCALL."""
    if errno == ERESTART:
        return _restart(td, code)
    return retval(errno)


def _restart(td: Thread, code: int) -> int:
    frame = td.td_cpu.get_frame()
    frame.rip -= SYSCALL_LENGTH
    frame.rax = code
    td.td_cpu.set_frame(frame)
    td.td_ast = True
    return EJUSTRETURN


def support_table(table: Mapping[int, Sysent]) -> list[tuple[int, str, str, str]]:
    """Rows ``(number, name, support, caveat)`` of *table*, for README.  Model only."""
    return [(number, row.name, row.support.value, row.caveat) for number, row in sorted(table.items())]
