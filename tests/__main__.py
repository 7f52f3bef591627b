"""The habits of the house, one command each: ``python -m tests NAME [ARGUMENT...]``.

Each name stands for one command of one tool, which is shown before it runs; what comes after the name goes to the tool.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("tests/unit", "tests/property", "tests/conformance", "tests/guest/test_manifest.py")
"""Where the tests that are not marked slow answer within a minute or two."""


@dataclass(frozen=True, slots=True)
class Habit:
    """A name, the tool's command behind it (after ``python -m``), and what it is for."""

    name: str
    command: tuple[str, ...]
    help: str
    output: str = ""
    """A file of the tree that takes what the command prints."""


HABITS = (
    Habit("format", ("ruff", "format"), "lay out every file; with --diff only show what would change"),
    Habit("lint", ("ruff", "check"), "look for mistakes and for what the house does not do; --fix mends some"),
    Habit("types", ("mypy",), "check the types of emu, kernel_model and guest, strictly"),
    Habit("fast", ("pytest", "-m", "not slow", *QUICK), "the tests that answer soon; -k WORD chooses among them"),
    Habit("all", ("pytest",), "every test, as continuous integration runs them"),
    Habit("bench", ("tests.bench",), "measure, one table; names of topics choose some"),
    Habit("mutate", ("tests.mutate",), "put small mistakes into copies of the modules: do the tests notice?"),
    Habit("listings", ("guest.build",), "build the guests and their listings again (clang, lld); names choose some"),
    Habit("quirks", ("tests.quirks",), "list the docstrings' Differs: paragraphs anew", "kernel_model/QUIRKS.md"),
    Habit("replay", ("tests.replay",), "replay recordings (.jsonl, .jsonl.gz) of the real vm_map.c; names the files"),
    Habit("layers", ("tests.layers",), "print an order of the rooms that fits the imports, as the pages list it"),
    Habit("journeys", ("tests.journeys",), "follow a touch, a growth, a fault, an argument, an mmap through the files"),
)


def usage() -> str:
    """The page that --help shows."""
    lines = ["usage: python -m tests [--dry-run] NAME [ARGUMENT...]", ""]
    lines += [f"  {habit.name:<10}{habit.help}\n{'':12}{_shown(habit, ())}" for habit in HABITS]
    lines += ["", "--dry-run only shows the command. What follows NAME is the tool's own; NAME --help asks the tool."]
    return "\n".join(lines)


def _shown(habit: Habit, arguments: Sequence[str]) -> str:
    text = shlex.join(["python", "-m", *habit.command, *arguments])
    return f"{text} > {habit.output}" if habit.output else text


def run(habit: Habit, arguments: Sequence[str]) -> int:
    """Run a habit's command in the root of the tree; its exit status."""
    command = [sys.executable, "-m", *habit.command, *arguments]
    if not habit.output or arguments:
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        (ROOT / habit.output).write_text(done.stdout, encoding="utf-8")
    return done.returncode


def main(arguments: Sequence[str]) -> int:
    """Find the habit and run it, or say which there are; status 2 for bad use."""
    dry = bool(arguments) and arguments[0] == "--dry-run"
    name, *rest = arguments[1:] if dry else arguments or ("",)
    if name in ("-h", "--help"):
        print(usage())
        return 0
    habit = next((habit for habit in HABITS if habit.name == name), None)
    if habit is None:
        print(usage() if not name else f"python -m tests: no habit {name!r}; --help names them", file=sys.stderr)
        return 2
    print(f"$ {_shown(habit, rest)}", file=sys.stderr, flush=True)
    return 0 if dry else run(habit, rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
