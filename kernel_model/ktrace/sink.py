"""Where events go: one list of listeners for each kind, None while nobody listens.

Model only.  Callers test one attribute::

    kt = td.td_proc.kernel.ktrace
    if kt.signals is not None:
        kt.emit(SignalEvent(signo, code, addr, "deliver", handler, frame, pid=..., tid=...))

``active`` is true while system calls, faults, signals or map changes are listened to: the test of the system-call fast
path.  Listeners run inside the kernel and see the process stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

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

if TYPE_CHECKING:
    from kernel_model.pcpu import Pcpu

Listener = Callable[[Any], None]

_ATTRIBUTE = {
    EXEC: "execs",
    SYSCALL: "syscalls",
    FAULT: "faults",
    SIGNAL: "signals",
    MAP: "maps",
    UNSUPPORTED: "unsupported",
    INSN: "insns",
}


class TracedProc(Protocol):
    """What the sink must know of a process."""

    @property
    def p_pid(self) -> int:
        """Its number."""
        ...

    @property
    def p_vmspace(self) -> Any:  # noqa: ANN401  its class stands above
        """Its address space."""
        ...


class TracedThread(Protocol):
    """What the sink must know of a thread."""

    @property
    def td_proc(self) -> TracedProc:
        """Its process."""
        ...

    @property
    def td_tid(self) -> int:
        """Its number."""
        ...


FaultHook = Callable[[Any, int, int], None]


class FaultRecorder(Protocol):
    """Who records faults: kern_ktrace."""

    def begin(
        self, td: Any, va: int, access: int, size: int, value: int | None, rip: int, where: str = "user"  # noqa: ANN401
    ) -> None:
        """A fault at *va* is about to be decided."""
        ...

    def end(self, result: int, signo: int = 0, code: int = 0, translation: str = "") -> int:
        """It is decided; returns its sequence number."""
        ...

    def trap(
        self, td: Any, vector: int, rip: int, signo: int, code: int, translation: str, addr: int = 0,  # noqa: ANN401
        access: int = 0, size: int = 0,
    ) -> int:  # fmt: skip
        """An exception that is no page fault became a signal; returns its sequence number."""
        ...


class KTrace:
    """The sink of a kernel; ``Kernel.ktrace``.  Model only."""

    __slots__ = (
        "active",
        "before_fault",
        "call",
        "callers",
        "cause",
        "evidence",
        "execs",
        "faults",
        "insns",
        "make_recorder",
        "maps",
        "pcpu",
        "recorder",
        "seq",
        "signals",
        "syscalls",
        "unsupported",
    )

    def __init__(self, pcpu: Pcpu) -> None:
        self.pcpu = pcpu
        self.seq = 0
        self.active = False
        self.execs: list[Listener] | None = None
        self.syscalls: list[Listener] | None = None
        self.faults: list[Listener] | None = None
        self.signals: list[Listener] | None = None
        self.maps: list[Listener] | None = None
        """Not None while map changes are heard: vm_map reports none otherwise."""
        self.unsupported: list[Listener] | None = None
        self.insns: list[Listener] | None = None
        self.before_fault: list[FaultHook] | None = None
        """Called as ``hook(td, va, access)`` before a fault is decided, while faults are recorded.

        The only listeners that may change the process.
        """
        self.make_recorder: Callable[[], FaultRecorder] | None = None
        """Makes the recorder when the first listener to faults comes; the kernel registers it."""
        self.recorder: FaultRecorder | None = None
        """Not None while faults are recorded: trap and copyin call its ``begin`` and ``end``."""
        self.evidence: Callable[..., dict[str, Any]] | None = None
        """``(td, rip, va, spot)``: the fields of a FaultEvent that only a refused fault has; registered from above."""
        self.callers: Callable[[Any], tuple[int, ...]] | None = None
        """``(td)``: return addresses of the user code that made the system call; registered from above."""
        self.call: SyscallEvent | None = None
        """The system call being served, while anybody listens."""
        self.cause: Cause | None = None
        """Why maps change just now."""

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
        elif self.recorder is None and self.make_recorder is not None:
            self.recorder = self.make_recorder()

    def next_seq(self) -> int:
        """A fresh sequence number."""
        self.seq += 1
        return self.seq

    def emit(self, event: Event) -> None:
        """Hand *event* to the listeners of its kind, with the next number unless it has one."""
        if not event.seq:
            event = event._replace(seq=self.next_seq())
        for listener in getattr(self, _ATTRIBUTE[event.kind]) or ():
            listener(event)

    def map_changed(self, change: MapChange) -> None:
        """A map changed, and somebody listens: adds the process and the cause."""
        td = cast("TracedThread | None", self.pcpu.curthread)
        # A fork fills the child's map, which is nobody's yet.
        pid = td.td_proc.p_pid if td is not None and td.td_proc.p_vmspace.vm_map is change.map else 0
        self.emit(change._replace(seq=self.next_seq(), pid=pid, cause=self._cause()))

    def _cause(self) -> Cause:
        """The cause, with who called and with what when it is the system call: added at its first change."""
        cause, call = self.cause, self.call
        if cause is None:
            return NO_CAUSE
        if call is None or self.callers is None or cause.args or cause.seq != call.seq:
            return cause
        callers = self.callers(self.pcpu.curthread)
        self.cause = cause._replace(abi=call.abi, args=call.args, letters=call.letters, callers=callers)
        return self.cause

    def syscall_enter(
        self, abi: str, number: int, name: str, args: tuple[int, ...], letters: str = "", rip: int = 0
    ) -> None:
        """The current thread's system call begins.  Only called while ``active``."""
        td = cast("TracedThread", self.pcpu.curthread)
        pid = td.td_proc.p_pid
        seq = self.next_seq()
        self.call = SyscallEvent("enter", abi, number, name, args, letters, None, 0, rip, seq, pid, td.td_tid)
        self.cause = Cause(SYSCALL, name, number, rip, seq, pid)
        for listener in self.syscalls or ():
            listener(self.call)

    def syscall_return(self, result: int, errno: int) -> None:
        """The call that was entered last is answered; *errno* is FreeBSD's number, 0 for success."""
        call = self.call
        self.call = None
        self.cause = None
        if call is None or self.syscalls is None:
            return
        event = call._replace(phase="return", result=result, errno=errno)
        for listener in self.syscalls:
            listener(event)
