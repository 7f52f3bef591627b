"""The ``emu`` command.

Model only.  Each subcommand is a module of this package with ``HELP``, ``add_arguments(parser)`` and
``run(options) -> int``; only the chosen one is imported, because ``emu run`` of a short program is mostly
start-up.  Exit status: the program's own; 2 for bad use; 70 when the model itself is at fault.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING, Protocol

from kernel_model.errors import KernelPanic, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

EX_USAGE = 2
EX_SOFTWARE = 70
"""Exit status of sysexits(3) for a fault of ours."""

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
    parser = argparse.ArgumentParser(prog="emu", description=description)
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
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    parser = _parser(chosen)
    options = parser.parse_args(arguments)
    if options.version:
        print(f"emu {_version()}")
        return 0
    if options.command is None:
        parser.print_help()
        return EX_USAGE
    try:
        status: int = options.run(options)
    except UsageError as error:
        print(f"emu: {error}", file=sys.stderr)
        return EX_USAGE
    except KernelPanic as error:
        from emu.cli.report import report_panic

        report_panic(error)
        return EX_SOFTWARE
    except BrokenPipeError:
        return _quiet_broken_pipe()
    except KeyboardInterrupt:
        return 130
    return status


def _quiet_broken_pipe() -> int:
    """Our reader has gone (``emu maps | head``): not an error worth a traceback."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13
