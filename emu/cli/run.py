"""``emu run``: run a program; its standard streams, arguments and exit status are the guest's.  Model only."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from emu.cli.machine import add_machine_arguments, build_machine, chosen_program
from emu.debug.tracing import Tracing, add_trace_arguments
from kernel_model.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from emu.machine import Machine

SHOWS = ("growth", "maps", "stats")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emu run``."""
    seen = parser.add_argument_group("what to show")
    seen.add_argument("--show", metavar="WHAT", default="", help="growth, maps, stats (comma separated), on standard error")
    add_trace_arguments(parser)
    add_machine_arguments(parser)


def _shows(text: str) -> set[str]:
    words = {word for word in text.split(",") if word}
    if unknown := words - set(SHOWS):
        raise UsageError(f"--show {', '.join(sorted(unknown))}: choose from {', '.join(SHOWS)}")
    return words


def _say(line: str) -> None:
    """One line on standard error, after what the program has written so far."""
    print(line, file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> int:
    """Run the program and return its exit status: its own, or 128 + the signal that killed it."""
    shows = _shows(options.show)
    program = chosen_program(options)
    with build_machine(options) as machine:
        machine.kernel.uprintf = _say
        if "growth" in shows:
            from emu.view.growth import GrowthView

            GrowthView(_say).attach(machine.kernel.ktrace)
        with Tracing(options, machine, program.path, tuple(program.argv)) as tracing:
            machine.execve(program.path, program.argv, program.env)
            status = machine.run()
            tracing.finish(status)
        _show_the_end(machine, shows)
    return status


def _show_the_end(machine: Machine, shows: set[str]) -> None:
    if "maps" in shows:
        from emu.view.maps import maps_text

        _say(maps_text(machine))
    if "stats" in shows:
        from emu.view.stats import stats_text

        _say(stats_text(machine))
