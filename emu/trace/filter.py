"""Choosing events: ``--filter kind=fault+map,addr=0x800000000-0x800100000,pid=1000,result=error``.

Model only.  The terms of one filter must all hold; of several filters one must.  Terms: ``kind=K+K``, ``addr=A``
or ``addr=A-B`` (B exclusive), ``pid=N``, ``name=WORD`` (a system call, an exec stage, a kind of map change) and
``result=`` one of ``ok``, ``error``, an errno name, ``repaired``, ``refused``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel_model.errno import NAMES
from kernel_model.errors import UsageError
from kernel_model.ktrace import (
    KINDS,
    Event,
    ExecStage,
    FaultEvent,
    InsnEvent,
    MapChange,
    SignalEvent,
    SyscallEvent,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_RESULTS = ("ok", "error", "repaired", "refused")


@dataclass(frozen=True, slots=True)
class Filter:
    """The terms of one ``--filter``; None for a term that was not given."""

    kinds: frozenset[str] | None = None
    low: int | None = None
    high: int = 0
    """Exclusive."""
    pid: int | None = None
    name: str | None = None
    result: str | None = None

    def __call__(self, event: Event) -> bool:
        """Whether every term holds for *event*."""
        if self.kinds is not None and event.kind not in self.kinds:
            return False
        if self.pid is not None and event.pid != self.pid:
            return False
        if self.name is not None and self.name not in _names(event):
            return False
        if self.low is not None and not any(self.low < end and start < self.high for start, end in _ranges(event)):
            return False
        return self.result is None or self.result in _results(event)


def _names(event: Event) -> tuple[str, ...]:
    match event:
        case SyscallEvent():
            return (event.name,)
        case ExecStage():
            return (event.stage,)
        case MapChange():
            return (event.what, event.cause.name)
        case FaultEvent():
            return () if event.syscall is None else (event.syscall.name,)
        case _:
            return (str(getattr(event, "name", "")),)


def _ranges(event: Event) -> Iterable[tuple[int, int]]:
    match event:
        case MapChange():
            return ((event.start, event.end),)
        case FaultEvent():
            return ((event.addr, event.addr + max(event.size, 1)),)
        case SyscallEvent():
            return ((value, value + 1) for value in (*event.args, event.result or 0))
        case SignalEvent():
            return ((event.addr, event.addr + 1),)
        case InsnEvent():
            return ((event.rip, event.rip + 1),)
        case ExecStage():
            return ((value, value + 1) for value in event.operands.values() if isinstance(value, int))
        case _:
            return ()


def _results(event: Event) -> tuple[str, ...]:
    match event:
        case SyscallEvent():
            return ("error", NAMES.get(event.errno, "")) if event.errno else ("ok",)
        case FaultEvent():
            return ("repaired", "ok") if event.repaired else ("refused", "error")
        case _:
            return ()


def parse_filter(text: str) -> Filter:
    """The filter that *text* describes; UsageError for a word that is none."""
    terms: dict[str, str] = {}
    for term in text.split(","):
        name, equals, value = term.partition("=")
        if not equals or not value or name not in ("kind", "addr", "pid", "name", "result"):
            raise UsageError(f"--filter {term!r}: expected kind=, addr=, pid=, name= or result=")
        terms[name] = value
    kinds = None
    if "kind" in terms:
        kinds = frozenset(terms["kind"].split("+"))
        if unknown := kinds - frozenset(KINDS):
            raise UsageError(f"--filter kind={', '.join(sorted(unknown))}: choose from {', '.join(KINDS)}")
    low, high = _range(terms["addr"]) if "addr" in terms else (None, 0)
    result = terms.get("result")
    if result is not None and result not in (*_RESULTS, *NAMES.values()):
        raise UsageError(f"--filter result={result}: choose from {', '.join(_RESULTS)} or an errno as ENOENT")
    pid = _number(terms["pid"]) if "pid" in terms else None
    return Filter(kinds, low, high, pid, terms.get("name"), result)


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low = _number(first)
    high = _number(last) if dash else low + 1
    if high <= low:
        raise UsageError(f"--filter addr={text}: the end is not above the start")
    return low, high


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"--filter: {text!r} is no number") from None


def accepts(filters: tuple[Filter, ...], event: Event) -> bool:
    """Whether *event* passes: there is no filter, or one of them holds."""
    return not filters or any(one(event) for one in filters)
