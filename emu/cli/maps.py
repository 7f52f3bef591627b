"""``emu maps``: the vm_map beside the Unicorn mappings, of a program that is run now or of a trace.  Model only."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from emu.cli.machine import add_machine_arguments, build_machine, chosen_program, execute
from emu.cli.tracing import Tracing, add_trace_arguments
from emu.cli.why import check_moment, trace_of
from kernel_model.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from emu.view.maps import MapRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emu maps``."""
    parser.add_argument(
        "--json", action="store_true", help="print JSON; what the program prints goes to standard error"
    )
    parser.add_argument("--at", metavar="SEQ", type=int, help="of a trace: the map at this sequence number")
    parser.add_argument("--start", action="store_true", help="the map after execve, before the first instruction")
    parser.add_argument("--partial", action="store_true", help="accept a trace that was cut off")
    add_trace_arguments(parser)
    add_machine_arguments(parser)
    parser.usage = f"{parser.prog} [options] PROG [ARG...] | TRACE [options]"


def run(options: argparse.Namespace) -> int:
    """Show the map at the end of the program, or of the trace."""
    from emu.view.maps import rows_json, rows_text

    trace = trace_of(options, add_arguments)
    if trace is None and options.at is not None:
        raise UsageError("--at needs a trace: of a program the map at its end is shown, or with --start the first one")
    if trace is not None and options.start:
        raise UsageError("--start needs a program; of a trace, --at SEQ shows the map at any time")
    rows = _of_trace(trace, options) if trace is not None else _of_program(options)
    print(rows_json(rows) if options.json else rows_text(rows), end="")
    return 0


def _of_trace(path: Path, options: argparse.Namespace) -> Sequence[MapRow]:
    from emu.trace.tracefile import TraceReader
    from emu.view.maps import blame_rows
    from emu.why.blame import Blame
    from kernel_model.ktrace import MapChange

    blame, last = Blame(), 0
    for event in TraceReader(path, partial=options.partial):
        last = max(last, event.seq)
        if isinstance(event, MapChange):
            blame(event)
    if not blame.changes:
        raise UsageError(f"{path} holds no map changes: trace with --trace map")
    check_moment(options.at, last)
    return blame_rows(blame.map_at(options.at))


def _of_program(options: argparse.Namespace) -> Sequence[MapRow]:
    """The map just before the process's last system call takes it away: when it exits or is killed."""
    from emu.view.maps import machine_rows

    program = chosen_program(options)
    with build_machine(options) as machine, Tracing(options, machine, program) as tracing:
        if options.start:
            execute(machine, program)
        else:
            tracing.run()
            sys.stdout.flush()
        return machine_rows(machine)
