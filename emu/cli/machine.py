"""The options that describe a machine and a program, shared by every command that runs one.  Model only."""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emu.cli.values import parse_environment, parse_limits, parse_size
from kernel_model.errno import ENOENT
from kernel_model.errors import UsageError
from kernel_model.release import DEFAULT_RELEASE, RELEASES, release_named

if TYPE_CHECKING:
    from emu.machine import Machine

_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "TZ", "COLUMNS", "LINES")
"""What of our own environment a program gets by default: no secrets, only what shapes its output."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to execute: a path inside the guest's root, argv, environment."""

    path: str
    argv: list[str]
    env: dict[str, str]


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add PROG, ARG... and everything that decides how the machine is built."""
    parser.usage = f"{parser.prog} [options] PROG [ARG...]"
    program = parser.add_argument_group("the program")
    program.add_argument("--guest", metavar="NAME", help="run this bundled program (see `emu guests`) instead of PROG")
    program.add_argument(
        "--env", metavar="NAME=VALUE", action="append", default=[], help="set a variable of the program"
    )
    program.add_argument("--clear-env", action="store_true", help="start from an empty environment")
    program.add_argument(
        "program", metavar="PROG [ARG...]", nargs=argparse.REMAINDER, help="the program and its arguments"
    )
    machine = parser.add_argument_group("the machine")
    machine.add_argument("--root", metavar="DIR", default="/", help="directory that is the program's / (default: /)")
    machine.add_argument("--cwd", metavar="DIR", help="working directory, inside the root")
    machine.add_argument("--rw", action="store_true", help="let the program write outside its working directory too")
    machine.add_argument(
        "--abi", choices=("auto", "freebsd", "linux"), default="auto", help="default: by the ELF brand"
    )
    machine.add_argument(
        "--release", metavar="NAME", help=f"kernel to play: {', '.join(RELEASES)} (default: {DEFAULT_RELEASE})"
    )
    machine.add_argument(
        "--limit", metavar="NAME=SIZE", action="append", default=[], help="stack=8M,vmem=1G,data=..,nofile=.."
    )
    machine.add_argument("--ram", metavar="SIZE", help="physical memory of the machine")
    machine.add_argument("--seed", metavar="N", type=int, help="deterministic clock, pids and random numbers")
    machine.add_argument(
        "--strict-alignment", action="store_true", help="raise #GP for misaligned SSE operands; slower"
    )
    machine.add_argument(
        "--counted", action="store_true", help="stop the engine by counting instructions (emu doctor: stops); slower"
    )
    machine.add_argument("--paranoid", action="store_true", help="compare mirror and map after every trap")


def build_machine(options: argparse.Namespace) -> Machine:
    """The machine that *options* describe; UsageError for an unknown release or a bad size."""
    from emu.machine import Machine

    release = options.release or DEFAULT_RELEASE
    release_named(release)
    limits = parse_limits(options.limit)
    strict = options.strict_alignment
    if options.guest:
        from emu.cli.guests import find_guest

        one = find_guest(options.guest).on(release)
        limits = dict(one.limits) | limits
        strict = strict or one.strict_alignment
        if os.path.realpath(options.root) != "/":
            raise UsageError("--guest and --root: the bundled programs lie outside that root; leave --root away")
    if not os.path.isdir(options.root):
        raise UsageError(f"--root {options.root}: not a directory")
    return Machine(
        release=release,
        root=options.root,
        cwd=options.cwd,
        rw=options.rw,
        abi=options.abi,
        limits=limits,
        ram=parse_size(options.ram) if options.ram else None,
        seed=options.seed,
        paranoid=options.paranoid,
        strict_alignment=strict,
        counted=options.counted,
        stdin=None if 0 in options.closed else 0,
        # With --json our own standard output is JSON and nothing else.
        stdout=None if 1 in options.closed else 2 if getattr(options, "json", False) else 1,
        stderr=None if 2 in options.closed else 2,
    )


def chosen_program(options: argparse.Namespace) -> Program:
    """The program that *options* name; UsageError when they name none."""
    env = {} if options.clear_env else {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env |= parse_environment(options.env)
    words = options.program[1:] if options.program[:1] == ["--"] else options.program
    if options.guest:
        from emu.cli.guests import find_guest

        one = find_guest(options.guest).on(options.release or DEFAULT_RELEASE)
        if words and one.argv[1:]:
            own = shlex.join(one.argv[1:])
            raise UsageError(f"--guest {one.name} brings its own arguments ({own}); for others run {one.path}")
        return Program(str(one.path), [*one.argv, *words], dict(one.env) | parse_environment(options.env))
    if not words:
        raise UsageError("no program: give PROG, or --guest NAME")
    return Program(words[0], list(words), env)


def execute(machine: Machine, program: Program) -> None:
    """execve *program*; a name without a slash that is not here is looked for along the program's PATH.

    Raises ExecFailed with what was wrong with the first candidate that is there.
    """
    from emu.machine import ExecFailed

    candidates = [program.path]
    if "/" not in program.path:
        candidates += [f"{folder}/{program.path}" for folder in program.env.get("PATH", "").split(":") if folder]
    failures: list[ExecFailed] = []
    for path in candidates:
        try:
            machine.execve(path, program.argv, program.env)
            return
        except ExecFailed as failure:
            failures.append(failure)
    raise next((failure for failure in failures if failure.errno != ENOENT), failures[0])
