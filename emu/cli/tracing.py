"""The tracing options of the command line, and the run that obeys them.

Model only.  ``add_trace_arguments`` and ``Tracing`` are what a command that runs a program needs::

    with Tracing(options, machine, program) as tracing:
        status = tracing.run()
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emu.cli.machine import execute
from kernel_model.errors import UsageError
from kernel_model.ktrace import FAULT, INSN, MAP
from kernel_model.text import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from types import TracebackType

    from emu.cli.machine import Program
    from emu.machine import Machine
    from emu.program.files import Output
    from emu.trace.coverage import Coverage
    from emu.trace.tracefile import TraceWriter
    from emu.trace.tracer import Tracer
    from emu.why.blame import Blame
    from kernel_model.ktrace import Event


def add_trace_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--trace``, ``--trace-out``, ``--filter`` and ``--coverage``."""
    group = parser.add_argument_group("tracing")
    group.add_argument(
        "--trace", metavar="KIND,...", help="print exec, syscall, fault, signal, map, insn events, or all but insn"
    )
    group.add_argument("--trace-out", metavar="FILE", help="write the events to FILE, as JSON Lines")
    group.add_argument(
        "--filter", metavar="TERM,...", action="append", default=[],
        help="only events with kind=K+K, addr=A-B, pid=N, name=WORD, result=ok|error|ERRNO|repaired|refused",
    )  # fmt: skip
    group.add_argument("--coverage", metavar="FILE", help="write the executed basic blocks to FILE, in drcov format")


def refuse_trace_arguments(options: argparse.Namespace) -> None:
    """UsageError for an option of a run where a trace is read: nothing runs."""
    asked = {"--trace": options.trace, "--trace-out": options.trace_out, "--filter": options.filter}
    for name, value in (asked | {"--coverage": options.coverage}).items():
        if value:
            raise UsageError(f"{name} needs a program that runs, not a trace")


def note_symbols(note: str) -> None:
    """One line about symbols that are missing, on standard error."""
    print(printable(f"emu: {note}"), file=sys.stderr, flush=True)


@dataclass(slots=True)
class Tracing:
    """One run's tracing; does nothing and costs nothing without the options."""

    options: argparse.Namespace
    machine: Machine
    program: Program
    _tracer: Tracer | None = None
    _writer: TraceWriter | None = None
    _blame: Blame | None = None
    _coverage: Coverage | None = None
    _covered: Output | None = None

    def __enter__(self) -> Tracing:
        options = self.options
        if options.trace or options.trace_out:
            self._trace()
        elif options.filter:
            raise UsageError("--filter needs --trace or --trace-out")
        if options.coverage:
            self._cover()
        return self

    def _trace(self) -> None:
        from emu.trace.filter import parse_filter
        from emu.trace.tracefile import TraceHeader, TraceWriter
        from emu.trace.tracer import DEFAULT_KINDS, Tracer, parse_kinds

        options, machine = self.options, self.machine
        kinds = parse_kinds(options.trace) if options.trace else DEFAULT_KINDS
        filters = tuple(parse_filter(text) for text in options.filter)
        if options.trace_out:
            header = TraceHeader(
                self.program.path, tuple(self.program.argv), machine.vm.release.name, options.abi, str(machine.root),
                kinds, machine.limits,
            )  # fmt: skip
            self._writer = TraceWriter(options.trace_out, header)
        show = self._show(kinds) if options.trace else None
        self._tracer = Tracer(machine.kernel, kinds, show=show, writer=self._writer, filters=filters)
        if INSN in kinds:
            from emu.trace.steps import trace_instructions

            trace_instructions(machine)

    def _show(self, kinds: tuple[str, ...]) -> Callable[[Event], None]:
        from emu.program.symbols import symbols_of
        from emu.view.trace import TraceView, use_colour
        from emu.why.blame import Blame

        symbols = None
        if FAULT in kinds:
            self._blame = Blame()
            self.machine.kernel.ktrace.subscribe(MAP, self._blame)
            symbols = symbols_of(self.machine.map, self.machine.kernel.ktrace, note_symbols)
        view = TraceView(use_colour(sys.stderr), symbols, self._blame)
        write = sys.stderr.write

        def show(event: Event) -> None:
            write(view.line(event) + "\n")

        return show

    def _cover(self) -> None:
        from emu.program.files import Output
        from emu.trace.coverage import Coverage
        from emu.trace.steps import trace_blocks

        self._coverage = Coverage()
        # Opened before the program runs: what it puts there itself is not touched.
        self._covered = Output(self.options.coverage)
        self._coverage.write(self._covered, ())
        trace_blocks(self.machine, self._coverage.hit)

    def run(self) -> int:
        """Execute the program and run it to its end; its wait status."""
        execute(self.machine, self.program)
        status = self.machine.run()
        self.finish(status)
        return status

    def finish(self, status: int) -> None:
        """The program has ended with *status*: write what is only known at the end."""
        if self._coverage is not None and self._covered is not None:
            from kernel_model.kern.kern_ktrace import entry_state

            entries = [entry_state(entry) for entry in self.machine.map]
            self._coverage.write(self._covered, entries)
        if self._tracer is not None:
            self._tracer.close()
        if self._writer is not None:
            self._writer.close(self.machine.proc.p_xexit if status < 128 else None, self.machine.proc.p_xsig)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
