"""``emu guests``: the bundled programs.  Model only."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from kernel_model.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from guest import Guest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emu guests``."""
    parser.add_argument("name", nargs="?", help="show this one in full, with its source")
    parser.add_argument("--json", action="store_true", help="print JSON")


def find_guest(name: str) -> Guest:
    """The bundled program called *name*; UsageError with near names when there is none."""
    from guest import guest, guests

    try:
        return guest(name)
    except KeyError:
        from difflib import get_close_matches

        near = get_close_matches(name, [one.name for one in guests()])
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `emu guests` lists them"
        raise UsageError(f"no bundled program is called {name!r}{hint}") from None


def _expectation(one: Guest) -> str:
    expect = one.expect
    if expect.signal:
        return f"{expect.signal} {expect.code or ''}".strip()
    return f"exit {expect.exit}"


def _record(one: Guest) -> dict[str, Any]:
    return {
        "name": one.name,
        "abi": one.abi,
        "kind": one.kind,
        "teaches": one.teaches,
        "expect": _expectation(one),
        "cause": one.cause,
    }


def run(options: argparse.Namespace) -> int:
    """List the guests, or show one."""
    from guest import guests

    chosen = [find_guest(options.name)] if options.name else guests()
    if options.json:
        json.dump([_record(one) for one in chosen], sys.stdout, indent=2)
        print()
        return 0
    width = max(len(one.name) for one in chosen)
    for one in chosen:
        print(f"{one.name:{width}}  {one.abi:7}  {_expectation(one):19}  {one.teaches}")
    if options.name:
        print()
        print(chosen[0].source.read_text(encoding="utf-8"), end="")
    return 0
