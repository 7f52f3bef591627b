"""The verdict on a fault: what happened, why it was decided so, and what would have changed it.

Model only.  ``judge`` puts everything together; nothing of it is computed while the program runs::

    verdict = judge(event, symbols, blame)
    verdict.headline             # the first line
    verdict.counterfactuals      # each confirmed by deciding again
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emu.why.case import Case
from emu.why.counterfactual import Counterfactual, counterfactuals
from emu.why.diagnosis import Diagnosis, diagnose
from kernel_model.vm.vm_param import PAGE_SIZE

if TYPE_CHECKING:
    from emu.program.symbols import Symbols
    from emu.why.blame import Blame
    from kernel_model.ktrace import FaultEvent


@dataclass(frozen=True)
class Verdict:
    """A judged fault."""

    case: Case
    diagnosis: Diagnosis
    counterfactuals: tuple[Counterfactual, ...]

    @property
    def event(self) -> FaultEvent:
        """The record."""
        return self.case.event

    @property
    def kind(self) -> str:
        """What is wrong as one word: ``null``, ``stack-limit``, ``use-after-munmap`` ..."""
        return self.diagnosis.kind

    @property
    def headline(self) -> str:
        """What is wrong in one line."""
        return self.diagnosis.line


def judge(event: FaultEvent, symbols: Symbols | None = None, blame: Blame | None = None) -> Verdict:
    """Judge a refused fault.  Requires: the event has its snapshot."""
    case = Case(event, symbols, blame)
    return Verdict(case, diagnose(case), tuple(counterfactuals(event, case.answer)))


def headline(event: FaultEvent, symbols: Symbols | None = None, blame: Blame | None = None) -> str:
    """Only the first line: no decision is taken again.  For a repaired fault, what was done."""
    if event.repaired:
        return repaired_line(event)
    if event.snapshot is None:
        return f"refused: {event.translation}"
    return diagnose(Case(event, symbols, blame)).line


def repaired_line(event: FaultEvent) -> str:
    """What repaired a fault: ``zero-fill``, ``copied``, ``stack grown by 131,072 bytes and zero-fill`` ..."""
    names = {step.name for step in event.steps if step.kind == "stage"}
    done = [words for stage, words in _REPAIRS.items() if stage in names]
    if event.before is not None and event.after is not None:
        grown = event.after.ssize_pages - event.before.ssize_pages
        if grown > 0:
            done.insert(0, f"stack grown by {grown * PAGE_SIZE:,} bytes")
    return " and ".join(done) or "mapped again"


_REPAIRS = {
    "pagein": "read from its file",
    "cow_copy": "copied",
    "cow_move": "moved up from its backing object",
    "zerofill": "zero-fill",
}
