"""The ``emu`` command.

Model only.  Each subcommand is a module of this package with ``add_arguments(parser)`` and
``run(options) -> int``; only the chosen one is imported, because ``emu run`` of a short program is mostly
start-up.  Exit status: the program's own; 2 for bad use; 70 when the model itself is at fault; 74 when the
host takes no more of a trace.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Protocol

from emu.cli.parser import EX_USAGE, Parser
from kernel_model.errors import KernelPanic, UsageError
from kernel_model.text import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

EX_SOFTWARE = 70
"""Exit status of sysexits(3) for a fault of ours."""
EX_IOERR = 74
"""Exit status of sysexits(3) when the host does not take what we write."""

COMMANDS: dict[str, str] = {
    "run": "run a program",
    "maps": "show a program's vm_map beside the Unicorn mappings",
    "why": "say why a fault was decided as it was",
    "calls": "list the system calls and how far each is modelled",
    "guests": "list the bundled programs and what each teaches",
    "doctor": "check versions, the engine and the mirror",
}
"""Subcommand to one line of help; the module of the same name does the work."""


class Command(Protocol):
    """What a module of this package offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""
        ...

    def run(self, options: argparse.Namespace) -> int:
        """Do the work; the answer is the exit status."""
        ...


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """The whole parser, with the arguments of *chosen* only: the others are never imported."""
    description = "See what an operating system does with a program's memory."
    parser = Parser(prog="emu", description=description)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, line in COMMANDS.items():
        subparser = commands.add_parser(name, help=line, description=line[0].upper() + line[1:] + ".")
        if name == chosen:
            module: Command = importlib.import_module(f"emu.cli.{name}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("growstack")
    except PackageNotFoundError:
        return "not installed"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``emu`` with *argv* (default: the process's own) and return the exit status."""
    closed = occupy_streams()
    escape_what_streams_cannot_say()
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    parser = _parser(chosen)
    options = parser.parse_args(arguments)
    options.closed = closed
    if options.version:
        print(f"emu {_version()}")
        return 0
    if options.command is None:
        parser.print_help()
        return EX_USAGE
    try:
        status: int = options.run(options)
    except UsageError as error:
        _complain(error)
        return EX_USAGE
    except KernelPanic as error:
        from emu.cli.report import report_panic

        report_panic(error)
        return EX_SOFTWARE
    except BrokenPipeError:
        return _quiet_broken_pipe()
    except OSError as error:
        _complain(error)
        return EX_IOERR
    except KeyboardInterrupt:
        return 130
    return status


def occupy_streams() -> frozenset[int]:
    """Which standard descriptors were closed; they are open on nothing now.

    A closed one would become the first file of ours that is opened, and the program would hold that as its own.
    """
    closed = set()
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            closed.add(os.open(os.devnull, os.O_RDWR))
    if sys.stderr is None:
        # Python would print to standard output instead, which is the program's.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    return frozenset(closed)


def escape_what_streams_cannot_say() -> None:
    """A character that the encoding of our output lacks is escaped there, as Python does on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _complain(error: Exception) -> None:
    """One line on standard error; where even that is refused there is nobody to tell."""
    with contextlib.suppress(OSError):
        print(f"emu: {printable(str(error))}", file=sys.stderr)


def _quiet_broken_pipe() -> int:
    """Our reader has gone (``emu maps | head``): not an error worth a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13
