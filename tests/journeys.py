"""Ways through the code, taken for real: ``python -m tests.journeys`` prints what kernel_model/README.md shows.

A journey is the stack of calls at its end, from the engine's hook or the command line to the place where it arrives:
the files and functions that are under way then.  What was called on the way and has returned is not part of it.
"""

from __future__ import annotations

import os
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emu.cli import main
from emu.engine.pmap import UcPmapHardware
from emu.engine.raw import Engine
from kernel_model.kern.copyin import copyout
from kernel_model.kern.kern_sig import trapsignal
from kernel_model.vm.pmap import Pmap
from kernel_model.vm.vm_stack import vm_map_growstack

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
DOOR = "emu/engine/raw.py"
Journey = list[tuple[str, str]]
"""(file, function), outermost first."""


def _place(frame: FrameType) -> tuple[str, str] | None:
    """File and function of one of ours, None for what belongs to Python or the tests."""
    path = Path(frame.f_code.co_filename)
    if not any(path.is_relative_to(ROOT / package) for package in ("emu", "kernel_model")):
        return None
    return str(path.relative_to(ROOT)), frame.f_code.co_qualname.replace("<locals>.", "")


def calls_before(frame: FrameType) -> Journey:
    """Our calls that led to *frame*, and itself."""
    calls: Journey = []
    under_way: FrameType | None = frame
    while under_way is not None:
        place = _place(under_way)
        if place is not None:
            calls.append(place)
        under_way = under_way.f_back
    return calls[::-1]


def always(_: FrameType) -> bool:
    """Any call will do."""
    return True


def travel(command: list[str], end: Callable[..., Any], wanted: Callable[[FrameType], bool] = always) -> Journey:
    """Run the command; the calls that were under way when *end* was first called and the call was *wanted*."""
    found: list[Journey] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if found or event != "call" or frame.f_code is not end.__code__ or not wanted(frame):
            return
        found.append(calls_before(frame))

    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what the program prints
    sys.setprofile(profile)
    try:
        main(command)
    finally:
        sys.setprofile(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
    return found[0]


def from_the_hook(calls: Journey) -> Journey:
    """What comes after the engine called back."""
    last = max(index for index, (file, _) in enumerate(calls[:-1]) if file == DOOR)
    return calls[last + 1 :]


ARGUMENT = b"an argument to follow"
TOUCH = "the first touch of a page, from the engine's look-up to its entry in the page table"
GROWTH = "a touch below the stack, from the engine's hook to its growth"
FAULT = "a faulting address, from the engine's hook to the signal"
STRING = "an argument of execve, from the command line to the program's stack"
CHANGE = "an mmap, from the registers to the note that the mirror is behind"
MAPPING = "what mmap mapped, from the next entry into the engine to the Unicorn mapping"


def journeys() -> dict[str, Journey]:
    """All of them."""
    holes = ["run", "--guest", "mmap_holes"]

    def in_a_call(frame: FrameType) -> bool:
        """Under the hook of SYSCALL: execve maps much before the program begins."""
        while frame.f_back is not None:
            frame = frame.f_back
            if frame.f_code.co_qualname == "Traps._syscall_hook.<locals>.hook":
                return True
        return False

    def from_the_engine(frame: FrameType) -> bool:
        """Not while execve writes the first stack."""
        return any(call[0] == DOOR for call in calls_before(frame))

    def of_mmap(frame: FrameType) -> bool:
        """Where mmap places what it may place itself: above the heap, below the stack."""
        return 1 << 35 <= frame.f_locals["address"] < 1 << 46

    def of_the_argument(frame: FrameType) -> bool:
        """The string is being written."""
        return ARGUMENT in bytes(frame.f_locals["data"])

    def from_the_machine(calls: Journey) -> Journey:
        return [call for call in calls if not call[0].startswith("emu/cli/")]

    return {
        TOUCH: from_the_hook(travel(["run", "--guest", "lazy"], Pmap.enter, from_the_engine)),
        GROWTH: from_the_hook(travel(["run", "--guest", "grow"], vm_map_growstack, from_the_engine)),
        FAULT: from_the_hook(travel(["run", "--guest", "null"], trapsignal)),
        STRING: travel(["run", "--guest", "hello", "--", ARGUMENT.decode()], copyout, of_the_argument),
        CHANGE: from_the_hook(travel(holes, UcPmapHardware.map_changed, in_a_call)),
        MAPPING: from_the_machine(travel(holes, Engine.mem_map_ptr, of_mmap)),
    }


def by_file(calls: Journey) -> list[tuple[str, list[str]]]:
    """The files passed, each with its functions."""
    return [(file, [name for _, name in group]) for file, group in groupby(calls, key=lambda call: call[0])]


def render() -> str:
    """The journeys as text."""
    lines = []
    for title, calls in journeys().items():
        lines += [title, *(f"  {file:<36}{' > '.join(names)}" for file, names in by_file(calls)), ""]
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    print(render())
