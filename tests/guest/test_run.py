"""Every bundled program under the machine, on every release: its manifest row is the expectation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from emu.machine import Machine
from guest import Guest, guests
from kernel_model.kern import signo as numbers
from kernel_model.ktrace import MAP, SIGNAL, MapChange, SignalEvent
from kernel_model.release import DEFAULT_RELEASE, RELEASES
from kernel_model.vm.vm_param import MAXSSIZ

if TYPE_CHECKING:
    from pathlib import Path

NARROW = ("freebsd-10.1", "freebsd-12.1")
"""Linux builds and stripped ones are told the same by every release."""

LINUX_SIGBUS = 7


@dataclass
class Run:
    """What a program did."""

    status: int = -1
    out: str = ""
    growths: int = 0
    signals: list[SignalEvent] = field(default_factory=list)

    def saw_map(self, change: MapChange) -> None:
        self.growths += change.what == "grow"

    @property
    def death(self) -> SignalEvent | None:
        """The signal that ended it; ``no_frame`` is one whose handler could not be entered."""
        return next((event for event in reversed(self.signals) if event.action in ("kill", "core", "no_frame")), None)


def _run(one: Guest, release: str, cwd: Path) -> Run:
    run, out = Run(), bytearray()
    how = {"stdin": one.stdin, "stdout": out, "stderr": out, "paranoid": True, "strict_alignment": one.strict_alignment}
    with Machine(release=release, cwd=cwd, limits=one.limits, **how) as machine:
        machine.kernel.ktrace.subscribe(MAP, run.saw_map)
        machine.kernel.ktrace.subscribe(SIGNAL, run.signals.append)
        machine.execve(str(one.path), list(one.argv), dict(one.env))
        run.status = machine.run()
    run.out = out.decode()
    return run


def _check_address(one: Guest, run: Run, addr: int) -> None:
    match one.expect.addr:
        case int(exact):
            assert addr == exact
        case "printed":
            assert addr == int(re.findall(r"^fault at: (0x[0-9a-f]+)$", run.out, re.MULTILINE)[-1], 16)
        case "stack":
            top = 0x7FFFFFFFF000
            assert top - MAXSSIZ <= addr < top
        case "rip":
            assert addr == run.death.rip
        case _:
            pass


def _linux_bus(one: Guest) -> bool:
    return one.abi == "linux" and one.expect.signal == "SIGBUS"


def _jobs() -> list[tuple[str, Guest]]:
    return [
        (release, one)
        for one in guests()
        for release in RELEASES
        if release in NARROW or (one.abi == "freebsd" and not one.stripped)
    ]


@pytest.mark.parametrize(("release", "one"), _jobs(), ids=lambda value: getattr(value, "name", value))
def test_a_guest_does_what_its_row_says(release: str, one: Guest, tmp_path: Path) -> None:
    one = one.on(release)
    run = _run(one, release, tmp_path)
    if one.expect.exit is not None:
        assert run.status == one.expect.exit, run.out
        assert run.death is None
    else:
        death = run.death
        assert death is not None, run.out
        assert run.status == 128 + (LINUX_SIGBUS if _linux_bus(one) else getattr(numbers, one.expect.signal))
        if one.expect.code:
            assert death.code == getattr(numbers, one.expect.code)
        _check_address(one, run, death.addr)
    if one.growths is not None:
        assert run.growths == one.growths
    if one.kind == "check":
        assert "not ok" not in run.out


def test_the_default_release_is_one_of_those_run() -> None:
    assert DEFAULT_RELEASE in NARROW
