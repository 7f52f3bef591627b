"""One measured figure, its bound, and the table of all."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True, slots=True)
class Figure:
    """*value* in *unit*; *bound* is the most it may be, None when nothing was promised."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    note: str = ""

    @property
    def good(self) -> bool:
        """Whether the promise is kept."""
        return self.bound is None or self.value <= self.bound


def best_of(times: int, measure: Callable[[], float]) -> float:
    """The smallest of several measurements: the one that other programs disturbed least."""
    return min(measure() for _ in range(times))


def seconds(work: Callable[[], object]) -> float:
    """Wall time of *work*."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def table(figures: Iterable[Figure]) -> str:
    """The figures as lines of text."""
    lines = [f"{'what':52} {'measured':>10} {'bound':>8}  unit"]
    for figure in figures:
        bound = "" if figure.bound is None else f"{figure.bound:g}"
        mark = "" if figure.good else "  MISSED"
        lines.append(f"{figure.name:52} {figure.value:10.3f} {bound:>8}  {figure.unit}{mark}  {figure.note}".rstrip())
    return "\n".join(lines)
