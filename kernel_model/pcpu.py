"""The processor, as the kernel knows it: which thread it runs.

FreeBSD: struct pcpu, sys/sys/pcpu.h; ``curthread`` is PCPU_GET(curthread).  There is one processor for each machine.
Whoever wants to know who runs asks here when it needs the answer, and keeps none.
"""

from __future__ import annotations

from typing import Protocol


class CurThread(Protocol):
    """A thread, as far as every room may look at it; the rooms above know it as ``kern.proc.Thread``."""

    @property
    def td_proc(self) -> object:
        """Its process."""
        ...


class Pcpu:
    """struct pcpu."""

    __slots__ = ("curthread",)

    def __init__(self) -> None:
        self.curthread: CurThread | None = None
        """The thread that runs; None before the first process, and where a map is used without any."""

    def switch(self, td: CurThread | None) -> None:
        """Let *td* run: the only place that changes ``curthread``.  FreeBSD: mi_switch(), cpu_switch()."""
        self.curthread = td
