"""Tracing a machine: events to a terminal, to a file, or both.

Model only.  ``Tracer`` subscribes to the kinds asked for and nothing else; a system call is told once, when it is
answered, or when the process ends inside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.trace.decode import Decoder
from emu.trace.filter import accepts
from kernel_model.errors import UsageError
from kernel_model.ktrace import INSN, KINDS, SYSCALL, Event, FaultEvent, SyscallEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from emu.trace.filter import Filter
    from emu.trace.tracefile import TraceWriter
    from kernel_model.kern.proc import Kernel

DEFAULT_KINDS = tuple(kind for kind in KINDS if kind != INSN)
"""What a trace file holds when nobody chose: all but single instructions."""


def parse_kinds(text: str) -> tuple[str, ...]:
    """``fault,syscall`` to a tuple of kinds, ``all`` to all but ``insn``; UsageError for a word that is none."""
    words = [word for word in text.split(",") if word]
    kinds: list[str] = []
    for word in words:
        if word == "all":
            kinds.extend(DEFAULT_KINDS)
        elif word in KINDS:
            kinds.append(word)
        else:
            raise UsageError(f"--trace {word}: choose from {', '.join(KINDS)}, all")
    if not kinds:
        raise UsageError(f"--trace: choose from {', '.join(KINDS)}, all")
    # A call that is not modelled is always worth a line beside the calls.
    if SYSCALL in kinds:
        kinds.append("unsupported")
    return tuple(dict.fromkeys(kinds))


class Tracer:
    """Passes the events of a kernel on to *show* (text) and *writer* (a file), filtered."""

    def __init__(
        self,
        kernel: Kernel,
        kinds: Iterable[str],
        *,
        show: Callable[[Event], None] | None = None,
        writer: TraceWriter | None = None,
        filters: tuple[Filter, ...] = (),
    ) -> None:
        """Subscribe to *kinds*; ``insn`` events come only from a machine that was asked to produce them."""
        self.kernel = kernel
        self.kinds = tuple(kinds)
        self.show = show
        self.writer = writer
        self.filters = filters
        self._pending: dict[int, tuple[SyscallEvent, Decoder]] = {}
        for kind in self.kinds:
            kernel.ktrace.subscribe(kind, self._syscall if kind == SYSCALL else self._event)

    def _event(self, event: Event) -> None:
        if self.filters and not accepts(self.filters, event):
            return
        if self.writer is not None:
            if isinstance(event, FaultEvent) and event.syscall is not None:
                event = event._replace(syscall=self._with_text(event.syscall))
            self.writer(event)
        if self.show is not None:
            self.show(event)

    def _with_text(self, call: SyscallEvent) -> SyscallEvent:
        """*call* with its arguments as text, as far as they were read."""
        known = self._pending.get(call.tid)
        return call if known is None or known[0].seq != call.seq else call._replace(decoded=known[1].begun())

    def _syscall(self, event: SyscallEvent) -> None:
        td = self.kernel.curthread
        if td is None:
            return
        if event.phase == "enter":
            self._flush(event.tid)
            self._pending[event.tid] = (event, Decoder(event, td.td_proc.p_vmspace))
            return
        known = self._pending.pop(event.tid, None)
        if known is not None:
            event = event._replace(decoded=known[1].finish(event, td.td_proc.p_vmspace))
        self._event(event)

    def _flush(self, tid: int) -> None:
        """Tell a call that was entered and never answered: exit(2), or execve(2) that succeeded."""
        known = self._pending.pop(tid, None)
        if known is not None:
            self._event(known[0]._replace(decoded=known[1].begun()))

    def close(self) -> None:
        """Tell what is still open and stop listening."""
        for tid in list(self._pending):
            self._flush(tid)
        for kind in self.kinds:
            self.kernel.ktrace.unsubscribe(kind, self._syscall if kind == SYSCALL else self._event)
