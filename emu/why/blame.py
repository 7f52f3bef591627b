"""Who made, changed and removed what is mapped where.

Model only.  ``Blame`` listens to map changes (of a running machine, or of a trace) and answers for an
address, for an entry, at any sequence number::

    blame = Blame()
    kernel.ktrace.subscribe(MAP, blame)
    blame.history(0x7fffdffff000)

It keeps the changes themselves, 100 bytes or so each, and computes only when asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from emu.trace.decode import Decoder
from kernel_model.ktrace import SyscallEvent
from kernel_model.vm.vm import prot_string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from emu.program.symbols import Names
    from kernel_model.ktrace import Cause, MapChange

CREATED = "insert"
GREW = "grow"
REMOVED = "delete"
CLEARED = "clear"


class Owned(NamedTuple):
    """A range of a map and the changes that made it what it is; the first one created it."""

    start: int
    end: int
    changes: tuple[MapChange, ...]

    @property
    def made_by(self) -> MapChange:
        """The insertion, or the growth, that created the range."""
        return self.changes[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """What blame knows about one address."""

    addr: int
    history: tuple[MapChange, ...]
    """Every change that touched the address, oldest first."""
    mapped: bool
    """Something is mapped there at the time asked for."""

    @property
    def made(self) -> MapChange | None:
        """What created the mapping that is there now; None when nothing is there."""
        if not self.mapped:
            return None
        return next((change for change in reversed(self.history) if change.what in (CREATED, GREW)), None)

    @property
    def removed(self) -> MapChange | None:
        """What took the mapping away that was there; None when something is there, or nothing ever was."""
        if self.mapped or not self.history or self.history[-1].what not in (REMOVED, CLEARED):
            return None
        return self.history[-1]

    @property
    def changed(self) -> tuple[MapChange, ...]:
        """What changed the mapping that is there, or was there last, after it was made."""
        since = 0
        for index, change in enumerate(self.history):
            if change.what in (CREATED, GREW):
                since = index + 1
        return tuple(change for change in self.history[since:] if change.what not in (REMOVED, CLEARED))


class Blame:
    """The changes of one process's map, in order.  Callable: it is a listener for MAP events."""

    def __init__(self, changes: Iterable[MapChange] = (), *, pid: int = 0) -> None:
        """Keep *changes* and what is heard later; with *pid* only those of that process."""
        self.pid = pid
        self.changes: list[MapChange] = []
        for change in changes:
            self(change)

    def __call__(self, change: MapChange) -> None:
        """Remember *change*.  The map itself is not kept alive."""
        if self.pid and change.pid and change.pid != self.pid:
            return
        last = self.changes[-1] if self.changes else None
        if change.what == GREW and last is not None and _same_growth(last, change):
            self.changes.pop()
        self.changes.append(change._replace(map=None) if change.map is not None else change)

    def before(self, seq: int | None) -> list[MapChange]:
        """The changes up to and including those caused by sequence number *seq*; all for None."""
        if seq is None:
            return self.changes
        return [change for change in self.changes if moment(change) <= seq]

    def history(self, addr: int, seq: int | None = None) -> Answer:
        """What happened at *addr* up to *seq*."""
        touching = []
        mapped = False
        for change in self.before(seq):
            if change.what == CLEARED or change.start <= addr < change.end:
                if change.what == CLEARED and not mapped:
                    continue
                touching.append(change)
                if change.what in (CREATED, GREW):
                    mapped = True
                elif change.what in (REMOVED, CLEARED):
                    mapped = False
        return Answer(addr, tuple(touching), mapped)

    def map_at(self, seq: int | None = None) -> list[Owned]:
        """Every mapped range and its makers, as it was after *seq*, in address order."""
        owned: list[Owned] = []
        for change in self.before(seq):
            owned = _apply(owned, change)
        return owned


def _same_growth(insert: MapChange, grow: MapChange) -> bool:
    return insert.what == CREATED and (insert.start, insert.end) == (grow.start, grow.end)


def moment(change: MapChange) -> int:
    """When the change counts: with the call or fault behind it, else by its own number."""
    return change.cause.seq or change.seq


def _apply(owned: list[Owned], change: MapChange) -> list[Owned]:
    """*owned* after *change*: ranges are cut where they must be."""
    if change.what == CLEARED:
        return []
    out: list[Owned] = []
    for one in owned:
        if one.end <= change.start or change.end <= one.start:
            out.append(one)
            continue
        if one.start < change.start:
            out.append(Owned(one.start, change.start, one.changes))
        if change.what not in (REMOVED, CREATED, GREW):
            low, high = max(one.start, change.start), min(one.end, change.end)
            out.append(Owned(low, high, (*one.changes, change)))
        if change.end < one.end:
            out.append(Owned(change.end, one.end, one.changes))
    if change.what in (CREATED, GREW):
        out.append(Owned(change.start, change.end, (change,)))
    out.sort(key=lambda one: one.start)
    return out


def _deed(cause: Cause) -> str:
    """What was done, by its name alone."""
    return {"fault": "a fault", "signal": f"signal {cause.name}"}.get(cause.kind, cause.name)


def describe_cause(cause: Cause, name_of: Callable[[int], str] | None = None) -> str:
    """``mmap at event 212 (rip 0x2013a0, main+0x20)``: who did it, for people."""
    if cause.kind == "kernel":
        return "the kernel"
    if cause.kind == "exec":
        return f"execve ({cause.name})" + (f" at event {cause.seq}" if cause.seq else "")
    what = _deed(cause)
    text = f"{what} at event {cause.seq}"
    if cause.rip:
        name = name_of(cause.rip) if name_of is not None else ""
        text += f" (rip {cause.rip:#x}{', ' + name if name else ''})"
    return text


_VERBS = {
    CREATED: "mapped",
    GREW: "grown",
    REMOVED: "unmapped",
    CLEARED: "thrown away with the whole map",
    "protect": "changed to",
    "inherit": "inheritance changed",
    "wire": "wired",
    "unwire": "unwired",
    "advise": "advised",
}


def describe_change(change: MapChange, name_of: Callable[[int], str] | None = None) -> str:
    """One line: ``[0x800600000, 0x800601000) rw- mapped by mmap at event 212 (rip 0x2013a0)``."""
    return f"{describe_effect(change)} by {describe_cause(change.cause, name_of)}"


def describe_effect(change: MapChange) -> str:
    """What *change* did, without its cause."""
    verb = _VERBS.get(change.what, change.what)
    rights = prot_string(change.prot)
    if change.what == "protect":
        verb = f"changed from {prot_string(change.before_prot)} to {rights}"
    elif change.what in (CREATED, GREW):
        verb = f"{verb} {rights}"
    where = f"[{change.start:#x}, {change.end:#x})"
    if change.vnode:
        where += f" {change.vnode}"
    return f"{where} {verb}"


def cause_lines(cause: Cause, names: Names | None = None) -> list[str]:
    """``munmap(0x800202000, 16384)`` and, on a second line, where from: the instruction and its callers.

    The event's number is not in it: a list has it in front of each change.
    """
    if cause.kind == "kernel":
        return ["the kernel"]
    if cause.kind == "exec":
        return [f"execve ({cause.name})"]
    what = _deed(cause)
    if cause.args:
        call = SyscallEvent("enter", cause.abi, cause.number, cause.name, cause.args, cause.letters)
        what = f"{cause.name}({', '.join(Decoder.plain(call))})"
    if not cause.rip:
        return [what]
    place = names(cause.rip) if names is not None else ""
    callers = names.callers(cause.callers) if names is not None else [hex(addr) for addr in cause.callers]
    return [what, "  <-  ".join([f"at {cause.rip:#x}{'  ' + place if place else ''}", *callers])]


def history_lines(changes: Iterable[MapChange], names: Names | None = None) -> Iterator[str]:
    """One or two lines a change, each beginning with the number of the event behind it."""
    for change in changes:
        first, *more = cause_lines(change.cause, names)
        yield f"{moment(change):<6} {describe_effect(change)} by {first}"
        yield from (f"{'':<6} {line}" for line in more)
