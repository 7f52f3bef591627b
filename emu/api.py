"""Machines, verdicts and hooks, for scripts and notebooks: the names here are stable.

Model only.  Everything that the ``emu`` command shows, as typed objects::

    >>> from emu.api import Machine, watch
    >>> from guest import guest
    >>> program = str(guest("null_field").path)
    >>> machine = Machine(stdout=None, stderr=None, seed=1)
    >>> process = watch(machine)
    >>> machine.execve(program, [program], {})
    >>> machine.run()
    139
    >>> print(process.why().headline)            # the last refused fault: a Verdict
    null pointer plus 0x18: read of 4 bytes in weigh
    >>> print(process.why(0x18))                 # an address: who mapped it, and what each access would do
    0x18: nothing is mapped
      read     KERN_INVALID_ADDRESS -> SIGSEGV/SEGV_MAPERR
      write    KERN_INVALID_ADDRESS -> SIGSEGV/SEGV_MAPERR
      execute  KERN_INVALID_ADDRESS -> SIGSEGV/SEGV_MAPERR
    >>> machine.close()                          # or use it in a ``with`` statement

What there is:

* running: ``Machine``, ``Machine.step`` and its ``Stop``;
* watching: ``watch`` gives a ``Process`` with its faults, verdicts, blame and hooks;
* explaining: ``Verdict`` with its ``Diagnosis`` and ``Counterfactual`` remedies, ``Decision``, ``AddressReport``;
* what hooks are told: ``FaultEvent``, ``SyscallEvent``, ``MapChange``, ``SignalEvent``, ``ExecStage``, and in them
  ``Cause``, ``EntryState``, ``Step``;
* traces: ``Tracer`` with a ``TraceWriter``, ``TraceReader``, ``TraceHeader``;
* what can go wrong: ``UsageError`` for bad use, with ``ExecFailed`` and ``TraceError``; ``KernelPanic`` for a mistake
  of ours, with ``MirrorDesync`` and ``MachineError``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from emu.dump import take_snapshot
from emu.engine.raw import MachineError
from emu.machine import ExecFailed, Machine, Stop
from emu.program.symbols import symbols_of
from emu.trace.tracefile import TraceError, TraceHeader, TraceReader, TraceWriter
from emu.trace.tracer import Tracer
from emu.view.why import entry_line, why_text
from emu.why.blame import Answer, Blame, history_lines
from emu.why.counterfactual import Counterfactual
from emu.why.diagnosis import Diagnosis
from emu.why.replica import Decision, decide
from emu.why.verdict import Verdict, judge
from kernel_model.errors import KernelPanic, MirrorDesync, UsageError
from kernel_model.ktrace import (
    FAULT,
    MAP,
    SIGNAL,
    SYSCALL,
    Cause,
    EntryState,
    ExecStage,
    FaultEvent,
    MapChange,
    SignalEvent,
    SyscallEvent,
)
from kernel_model.ktrace.events import Step
from kernel_model.vm.vm import VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.program.symbols import Symbols
    from kernel_model.kern.proc import Proc, Thread

__all__ = [
    "AddressReport", "Cause", "Counterfactual", "Decision", "Diagnosis", "EntryState", "ExecFailed", "ExecStage",
    "FaultEvent", "KernelPanic", "Machine", "MachineError", "MapChange", "MirrorDesync", "Process", "SignalEvent",
    "Step", "Stop", "SyscallEvent", "TraceError", "TraceHeader", "TraceReader", "TraceWriter", "Tracer", "UsageError",
    "Verdict", "watch",
]  # fmt: skip


@dataclass(frozen=True)
class AddressReport:
    """One address of a process now: what is there, who made it, what an access would do.  ``print`` it."""

    addr: int
    entry: EntryState | None
    answer: Answer
    decisions: dict[str, Decision]
    """``read``, ``write`` and ``execute`` to what the kernel would decide."""

    def __str__(self) -> str:
        lines = [f"{self.addr:#x}: {'nothing is mapped' if self.entry is None else entry_line(self.entry)}"]
        for name, decision in self.decisions.items():
            grown = f", after growing by {decision.grown:,} bytes" if decision.grown else ""
            lines.append(f"  {name:<8} {'succeeds' + grown if decision.repaired else decision.translation}")
        lines += [f"  {line}" for line in history_lines(self.answer.history)]
        return "\n".join(lines)


class Process:
    """A machine's process under observation.  Make it with :func:`watch` before the program runs.

    ``faults`` and ``refused`` are what happened, ``why`` explains it; ``on_fault``, ``on_syscall``, ``on_map_change``
    and ``on_signal`` are told, ``before_fault`` and ``before_syscall`` are called first and may change the process::

        >>> from guest import guest
        >>> program = str(guest("grow").path)
        >>> calls = []
        >>> with Machine(stdout=None, stderr=None, seed=1) as machine:
        ...     process = watch(machine)
        ...     process.on_syscall(lambda event: calls.append(event.name))
        ...     machine.execve(program, [program], {})
        ...     status = machine.run()
        >>> status, len(process.refused), calls[0], calls[-1]
        (0, 0, '__sysctl', 'exit')
    """

    def __init__(self, machine: Machine, *, keep: bool = True) -> None:
        """Listen to *machine*; with *keep* every fault record is remembered, else only refused ones."""
        self.machine = machine
        self.blame = Blame()
        self.faults: list[FaultEvent] = []
        """Fault records in order."""
        self._keep = keep
        kt = machine.kernel.ktrace
        kt.subscribe(MAP, self.blame)
        kt.subscribe(FAULT, self._fault)
        self.symbols: Symbols = symbols_of(machine.map, kt)
        """Names for the process's addresses; ``symbols.notes`` says what is missing, and why."""

    def _fault(self, event: FaultEvent) -> None:
        if self._keep or not event.repaired:
            self.faults.append(event)

    @property
    def proc(self) -> Proc:
        """The kernel's own record of the process."""
        return self.machine.proc

    @property
    def refused(self) -> list[FaultEvent]:
        """The faults that became a signal or EFAULT."""
        return [event for event in self.faults if not event.repaired]

    def verdict(self, event: FaultEvent) -> Verdict:
        """Judge a refused fault; UsageError for one that was repaired."""
        if event.repaired:
            raise UsageError(f"fault {event.seq} was repaired: there is nothing to explain")
        return judge(event, self.symbols, self.blame)

    @overload
    def why(self) -> Verdict | None: ...

    @overload
    def why(self, addr: int) -> AddressReport: ...

    def why(self, addr: int | None = None) -> Verdict | AddressReport | None:
        """The verdict on the last refused fault (None: there was none), or what there is to know about *addr*."""
        if addr is None:
            refused = self.refused
            return self.verdict(refused[-1]) if refused else None
        snapshot = take_snapshot(self.proc, addr)
        decisions = {
            name: decide(snapshot, addr, access)
            for name, access in (("read", VM_PROT_READ), ("write", VM_PROT_WRITE), ("execute", VM_PROT_EXECUTE))
        }
        return AddressReport(addr, snapshot.at(addr), self.blame.history(addr), decisions)

    def text(self, verdict: Verdict) -> str:
        """*verdict* as ``emu why`` prints it."""
        return why_text(verdict)

    # hooks

    def on_fault(self, hook: Callable[[FaultEvent], None]) -> None:
        """Call *hook* with each fault after it was decided."""
        self.machine.kernel.ktrace.subscribe(FAULT, hook)

    def before_fault(self, hook: Callable[[Thread, int, int], None]) -> None:
        """Call ``hook(thread, address, access)`` before a fault is decided; it may change the map."""
        kt = self.machine.kernel.ktrace
        kt.before_fault = [*(kt.before_fault or ()), hook]

    def on_syscall(self, hook: Callable[[SyscallEvent], None]) -> None:
        """Call *hook* with each system call after it was answered."""
        self.machine.kernel.ktrace.subscribe(SYSCALL, lambda event: hook(event) if event.phase == "return" else None)

    def before_syscall(self, hook: Callable[[SyscallEvent], None]) -> None:
        """Call *hook* with each system call before it is served."""
        self.machine.kernel.ktrace.subscribe(SYSCALL, lambda event: hook(event) if event.phase == "enter" else None)

    def on_map_change(self, hook: Callable[[MapChange], None]) -> None:
        """Call *hook* with each change of the map."""
        self.machine.kernel.ktrace.subscribe(MAP, hook)

    def on_signal(self, hook: Callable[[SignalEvent], None]) -> None:
        """Call *hook* with each signal that is delivered, ignored, blocked or kills."""
        self.machine.kernel.ktrace.subscribe(SIGNAL, hook)


def watch(machine: Machine, *, keep: bool = True) -> Process:
    """Observe *machine* from now on; without *keep* only refused faults are remembered."""
    return Process(machine, keep=keep)
