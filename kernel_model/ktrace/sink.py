"""Where events go: one list of listeners for each kind, None while nobody listens.

Model only.  Callers test one attribute::

    kt = td.td_proc.kernel.ktrace
    if kt is not None and kt.signals is not None:
        kt.emit(SignalEvent(signo, code, addr, "deliver", handler, frame, pid=..., tid=...))

``active`` is true while any list is there: the test of the system-call fast path.  ``Kernel.ktrace`` is
None until somebody asks for a sink.  Listeners run inside the kernel and see the process stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kernel_model.errors import kassert
from kernel_model.ktrace.events import (
    EXEC,
    FAULT,
    INSN,
    KINDS,
    MAP,
    NO_CAUSE,
    SIGNAL,
    SYSCALL,
    UNSUPPORTED,
    Cause,
    Event,
    MapChange,
    SyscallEvent,
)
from kernel_model.ktrace.recorder import FaultRecorder

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread
    from kernel_model.vm.vm_init import Vm

Listener = Callable[[Any], None]
FaultHook = Callable[["Thread", int, int], None]

_ATTRIBUTE = {
    EXEC: "execs",
    SYSCALL: "syscalls",
    FAULT: "faults",
    SIGNAL: "signals",
    MAP: "maps",
    UNSUPPORTED: "unsupported",
    INSN: "insns",
}


class KTrace:
    """The sink of a kernel; ``Kernel.ktrace``.  Model only."""

    __slots__ = (
        "active",
        "before_fault",
        "call",
        "curthread",
        "execs",
        "faults",
        "insns",
        "maps",
        "recorder",
        "seq",
        "signals",
        "syscalls",
        "unsupported",
        "vm",
    )

    def __init__(self, vm: Vm) -> None:
        """*vm* is the kernel's; its hooks are set while somebody listens to map changes or faults."""
        self.vm = vm
        self.seq = 0
        self.active = False
        self.execs: list[Listener] | None = None
        self.syscalls: list[Listener] | None = None
        self.faults: list[Listener] | None = None
        self.signals: list[Listener] | None = None
        self.maps: list[Listener] | None = None
        self.unsupported: list[Listener] | None = None
        self.insns: list[Listener] | None = None
        self.before_fault: list[FaultHook] | None = None
        """Called as ``hook(td, va, access)`` before a fault is decided, while faults are recorded.

        The only listeners that may change the process.
        """
        self.recorder: FaultRecorder | None = None
        """Not None while faults are recorded: trap and copyin call its ``begin`` and ``end``."""
        self.curthread: Thread | None = None
        """Whose event is being told."""
        self.call: SyscallEvent | None = None
        """The system call being served, while anybody listens."""

    def subscribe(self, kind: str, listener: Listener) -> None:
        """Call *listener* with each event of *kind* from now on."""
        kassert(kind in KINDS, "no such kind of event: %s", kind)
        attribute = _ATTRIBUTE[kind]
        setattr(self, attribute, [*(getattr(self, attribute) or ()), listener])
        self._rewire()

    def unsubscribe(self, kind: str, listener: Listener) -> None:
        """Stop calling *listener*."""
        attribute = _ATTRIBUTE[kind]
        listeners = [known for known in getattr(self, attribute) or () if known != listener]
        setattr(self, attribute, listeners or None)
        self._rewire()

    def _rewire(self) -> None:
        watched = (self.syscalls, self.faults, self.signals, self.maps)
        self.active = any(listeners is not None for listeners in watched)
        if self.faults is None:
            self.recorder = None
        elif self.recorder is None:
            self.recorder = FaultRecorder(self)
        self.vm.on_map_change = self.map_changed if self.maps is not None else None

    def next_seq(self) -> int:
        """A fresh sequence number."""
        self.seq += 1
        return self.seq

    def emit(self, event: Event) -> None:
        """Stamp *event*, unless it has a number, and hand it to the listeners of its kind."""
        if not event.seq:
            self.seq += 1
            object.__setattr__(event, "seq", self.seq)
        for listener in getattr(self, _ATTRIBUTE[event.kind]) or ():
            listener(event)

    def map_changed(self, change: MapChange) -> None:
        """``Vm.on_map_change`` while somebody listens: adds the process and the cause."""
        proc = self.vm.curproc
        if proc is not None and proc.p_vmspace.vm_map is change.map:
            object.__setattr__(change, "pid", getattr(proc, "p_pid", 0))
        cause = self.vm.cause
        if cause is not None and (change.cause is NO_CAUSE or change.cause is cause):
            object.__setattr__(change, "cause", self._cause(cause))
        self.emit(change)

    def _cause(self, cause: Cause) -> Cause:
        """*cause*, with who called and with what when it is the system call: added at its first change."""
        call, td = self.call, self.curthread
        if call is None or td is None or cause.args or cause.seq != call.seq:
            return cause
        from kernel_model.ktrace.snapshot import user_callers

        cause = replace(cause, abi=call.abi, args=call.args, letters=call.letters, callers=user_callers(td))
        self.vm.cause = cause
        return cause

    def syscall_enter(
        self,
        td: Thread,
        abi: str,
        number: int,
        name: str,
        args: tuple[int, ...],
        letters: str = "",
        rip: int = 0,
    ) -> None:
        """A system call begins.  Only called while ``active``; sets ``Vm.cause``."""
        pid = td.td_proc.p_pid
        seq = self.next_seq()
        self.curthread = td
        self.call = SyscallEvent("enter", abi, number, name, args, letters, None, 0, rip, seq, pid, td.td_tid)
        self.vm.cause = Cause(SYSCALL, name, number, rip, seq, pid)
        for listener in self.syscalls or ():
            listener(self.call)

    def syscall_return(self, td: Thread, result: int, errno: int) -> None:
        """The call that was entered last is answered; *errno* is FreeBSD's number, 0 for success."""
        call = self.call
        self.call = None
        self.vm.cause = None
        if call is None or self.syscalls is None:
            return
        self.curthread = td
        event = SyscallEvent(
            "return", call.abi, call.number, call.name, call.args, call.letters,
            result, errno, call.rip, call.seq, call.pid, call.tid,
        )  # fmt: skip
        for listener in self.syscalls:
            listener(event)
