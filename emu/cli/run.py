"""``emu run``: run a program; its standard streams, arguments and exit status are the guest's.  Model only."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from emu.cli.machine import add_machine_arguments, build_machine, chosen_program
from emu.cli.tracing import Tracing, add_trace_arguments
from kernel_model.errors import UsageError
from kernel_model.kern.signo import SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP, signame
from kernel_model.ktrace import UNSUPPORTED, Unsupported
from kernel_model.text import printable

if TYPE_CHECKING:
    import argparse

    from emu.machine import Machine

SHOWS = ("growth", "maps", "stats")
_EXPLAINED = (SIGILL, SIGTRAP, SIGFPE, SIGBUS, SIGSEGV)
"""Signals that come of what an instruction did."""
_NAMED = 8
"""So many kinds of missing things are named after a run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emu run``."""
    seen = parser.add_argument_group("what to show")
    choices = "growth, maps, stats (comma separated), on standard error"
    seen.add_argument("--show", metavar="WHAT", default="", help=choices)
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
    missing: dict[str, int] = {}
    with build_machine(options) as machine:
        machine.kernel.uprintf = lambda line: _say(printable(line))
        machine.host_signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        machine.kernel.ktrace.subscribe(UNSUPPORTED, lambda event: _count(missing, event))
        if "growth" in shows:
            from emu.view.growth import GrowthView

            GrowthView(_say).attach(machine.kernel.ktrace)
        with Tracing(options, machine, program) as tracing:
            status = tracing.run()
        _show_the_end(machine, shows)
        if machine.proc.p_xsig in _EXPLAINED:
            _say(f"emu: killed by {signame(machine.proc.p_xsig)}; `emu why` with the same program says why")
    if missing:
        _say(printable(f"emu: not modelled: {_listed(missing)}"))
    return status


def _count(missing: dict[str, int], event: Unsupported) -> None:
    name = f"{event.what} {event.name}"
    missing[name] = missing.get(name, 0) + 1


def _listed(missing: dict[str, int]) -> str:
    """``syscall fork (2 times), ioctl 0x5401``, the first few of them."""
    shown = [name if times == 1 else f"{name} ({times} times)" for name, times in list(missing.items())[:_NAMED]]
    more = len(missing) - len(shown)
    return ", ".join([*shown, f"and {more} more"] if more else shown)


def _show_the_end(machine: Machine, shows: set[str]) -> None:
    if "maps" in shows:
        from emu.view.maps import maps_text

        _say(maps_text(machine))
    if "stats" in shows:
        from emu.view.stats import stats_text

        _say(stats_text(machine))
