"""What would have changed a refused fault: each answer is the decision taken again with one thing different.

Model only.  Nothing here is guessed: a candidate that does not turn the refusal into a success on a copy of
the map is dropped, and limits are searched for the smallest value that does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from emu.why.case import mapping_below
from emu.why.replica import (
    Decision,
    check_limit_name,
    decide,
    with_guard,
    with_limit,
    with_release,
    with_tunable,
    without_entry,
)
from kernel_model.errors import UsageError
from kernel_model.kern.trap import IDT_PF
from kernel_model.ktrace import EntryState
from kernel_model.release import release_named
from kernel_model.rlimit import RLIM_INFINITY
from kernel_model.vm.vm import OBJT_VNODE, VM_PROT_READ, prot_string
from kernel_model.vm.vm_map_entry import MAP_ENTRY_GROWS_DOWN, MAP_ENTRY_GUARD
from kernel_model.vm.vm_param import PAGE_SIZE, round_page, trunc_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.why.blame import Answer
    from kernel_model.ktrace import FaultEvent, MapChange
    from kernel_model.ktrace.snapshot import MapSnapshot

    Change: TypeAlias = Callable[[MapSnapshot, int], tuple[MapSnapshot, int]]
    """What a ``--what-if`` word does to a snapshot and an address."""

LIMITS = ("stack", "vmem", "memlock", "swap")
"""Resource limits that can refuse a fault."""
WHAT_IF = (
    "limit.NAME=SIZE, guard=PAGES, sgrowsiz=SIZE, release=NAME, remove=ADDRESS, prot=RWX, filesize=SIZE, addr=+BYTES"
)
"""The words that ``parse_change`` understands."""
NEAR = 64 * PAGE_SIZE
"""How far up "so many pages higher" looks."""


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """One change under which the access succeeds."""

    change: str
    """What to give ``--what-if``: ``limit.stack=8392704``, ``guard=0``, ``remove=0x800600000``, ``addr=+0x1000`` ..."""
    text: str
    decision: Decision
    value: int = 0
    """The limit, the address, the file size."""
    how: str = ""
    """How to bring it about, here and on a real system."""
    orientation: bool = False
    """Another access that succeeds, for orientation: no remedy."""


@dataclass(frozen=True, slots=True)
class Question:
    """An access in a recorded map."""

    snapshot: MapSnapshot
    addr: int
    access: int

    def ask(self, snapshot: MapSnapshot, addr: int | None = None) -> Decision:
        """Decide the access in another map, or at another address."""
        return decide(snapshot, self.addr if addr is None else addr, self.access)


def counterfactuals(event: FaultEvent, answer: Answer | None) -> list[Counterfactual]:
    """Everything that would have let the access of *event* succeed; *answer* is blame's for its address."""
    if event.snapshot is None or event.vector != IDT_PF:
        return []
    question = Question(event.snapshot, event.addr, event.access)
    if question.ask(event.snapshot).repaired:
        return []  # what refused is not in the map: no memory, or a device
    found: list[Counterfactual | None] = [_limit(question, name) for name in LIMITS]
    found.append(_guard(question))
    found.append(_neighbour(question, answer))
    found.append(_higher(question))
    found.append(_unmapped(question, answer))
    found.append(_protection(question, answer))
    found.append(_file_size(question))
    found.append(_inside_file(question))
    return [one for one in found if one is not None]


def smallest(low: int, high: int, works: Callable[[int], bool]) -> int:
    """The smallest value in (low, high] for which *works* holds.  Requires: not works(low), works(high), monotone."""
    while high - low > 1:
        middle = (low + high) // 2
        if works(middle):
            high = middle
        else:
            low = middle
    return high


def _limit(question: Question, name: str) -> Counterfactual | None:
    snapshot = question.snapshot
    current = snapshot.limits.get(name, RLIM_INFINITY)
    if current >= RLIM_INFINITY:
        return None

    def works(value: int) -> bool:
        return question.ask(with_limit(snapshot, name, value)).repaired

    if not works(RLIM_INFINITY):
        return None
    high = max(current, PAGE_SIZE)
    while not works(high):
        high *= 2
    value = smallest(current, high, works)
    decision = question.ask(with_limit(snapshot, name, value))
    text = f"would have grown with RLIMIT_{name.upper()} >= {value:,}"
    return Counterfactual(f"limit.{name}={value}", text, decision, value, _how_to_limit(name, value))


def _how_to_limit(name: str, value: int) -> str:
    """How to raise a limit; ulimit of sh counts KiB."""
    letter = {"stack": "s", "vmem": "v", "memlock": "l", "swap": "w"}[name]
    there = f"setrlimit(RLIMIT_{name.upper()}) or ulimit -{letter} {-(-value // 1024)} on a real system"
    return f"set by --limit {name}={value} here, by {there}; what comes after this access may need more"


def _guard(question: Question) -> Counterfactual | None:
    decision = question.ask(with_guard(question.snapshot, 0))
    if not decision.repaired:
        return None
    return Counterfactual("guard=0", "would have grown with the guard page off", decision)


def _neighbour(question: Question, answer: Answer | None) -> Counterfactual | None:
    """The entry at or below the address, unless it is the stack itself, took the room."""
    snapshot = question.snapshot
    in_the_way = snapshot.at(question.addr)
    if in_the_way is None or in_the_way.eflags & MAP_ENTRY_GUARD:
        in_the_way = mapping_below(snapshot, question.addr)
    if in_the_way is None or in_the_way.eflags & MAP_ENTRY_GROWS_DOWN:
        return None
    decision = question.ask(without_entry(snapshot, in_the_way.start))
    if not decision.repaired:
        return None
    text = f"would have grown without the mapping [{in_the_way.start:#x}, {in_the_way.end:#x})"
    return Counterfactual(f"remove={in_the_way.start:#x}", text, decision, in_the_way.start)


def _gap(entry: EntryState) -> bool:
    return bool(entry.eflags & MAP_ENTRY_GUARD)


def _higher(question: Question) -> Counterfactual | None:
    """The nearest page above at which the access succeeds, if it is near."""
    page = trunc_page(question.addr)
    here = question.snapshot.at(question.addr)
    ceiling = question.snapshot.above(question.addr)
    while ceiling is not None and _gap(ceiling):
        ceiling = question.snapshot.above(ceiling.start)
    if ceiling is None or (here is not None and here.prot and not ceiling.eflags & MAP_ENTRY_GROWS_DOWN):
        return None
    if not question.ask(question.snapshot, ceiling.start).repaired:
        return None
    if ceiling.eflags & MAP_ENTRY_GROWS_DOWN:
        high = smallest(
            page // PAGE_SIZE,
            ceiling.start // PAGE_SIZE,
            lambda number: question.ask(question.snapshot, number * PAGE_SIZE).repaired,
        )
        target = high * PAGE_SIZE
        where = "is inside the stack" if target >= ceiling.start else "the stack still grows"
    else:
        target = ceiling.start
        where = f"it is inside [{ceiling.start:#x}, {ceiling.end:#x})"
    if target - page > NEAR:
        return None
    pages = (target - page) // PAGE_SIZE
    text = f"{pages} page{'s' if pages != 1 else ''} higher {'it ' if where.startswith('is') else ''}{where}"
    decision = question.ask(question.snapshot, target)
    return Counterfactual(f"addr=+{target - page:#x}", text, decision, target, orientation=True)


def _unmapped(question: Question, answer: Answer | None) -> Counterfactual | None:
    """Without the removal, the mapping would still be there."""
    if answer is None or answer.removed is None or answer.removed.what != "delete":
        return None
    gone = answer.removed
    restored = with_entry(question.snapshot, gone)
    decision = question.ask(restored)
    if not decision.repaired:
        return None
    where = f"[{gone.start:#x}, {gone.end:#x})"
    text = f"would have succeeded before event {gone.cause.seq or gone.seq}: {where} was still mapped"
    return Counterfactual(f"undo={gone.seq}", text, decision, gone.seq)


def with_entry(snapshot: MapSnapshot, change: MapChange) -> MapSnapshot:
    """*snapshot* with what *change* removed still in place, where nothing else has taken the room."""
    low, high = change.start, change.end
    for entry in snapshot.entries:
        if entry.end <= low or entry.start >= high:
            continue
        return snapshot
    back = EntryState(low, high, change.prot, change.max_prot, change.inheritance, change.eflags & ~MAP_ENTRY_GUARD)
    entries = tuple(sorted([*snapshot.entries, back], key=lambda entry: entry.start))
    return replace(snapshot, entries=entries, size=snapshot.size + high - low)


def _protection(question: Question, answer: Answer | None) -> Counterfactual | None:
    entry = question.snapshot.at(question.addr)
    if entry is None or entry.eflags & MAP_ENTRY_GUARD or entry.prot & question.access:
        return None
    wanted = entry.prot | question.access | VM_PROT_READ
    decision = question.ask(with_protection(question.snapshot, question.addr, wanted))
    if not decision.repaired:
        return None
    text = f"would have succeeded with {prot_string(wanted)} instead of {prot_string(entry.prot)}"
    if answer is not None:
        for change in reversed(answer.changed):
            if change.what == "protect" and change.before_prot & question.access and change.cause.seq:
                text = f"would have succeeded without the {change.cause.name} at event {change.cause.seq}"
                break
    return Counterfactual(f"prot={prot_string(wanted)}", text, decision, wanted)


def with_protection(snapshot: MapSnapshot, addr: int, prot: int) -> MapSnapshot:
    """*snapshot* with the entry at *addr* having the rights *prot*."""
    entries = tuple(
        entry._replace(prot=prot, max_prot=entry.max_prot | prot) if entry.start <= addr < entry.end else entry
        for entry in snapshot.entries
    )
    return replace(snapshot, entries=entries)


def _file_size(question: Question) -> Counterfactual | None:
    entry = question.snapshot.at(question.addr)
    if entry is None or entry.object < 0 or not entry.prot & question.access:
        return None
    size = file_offset(entry, trunc_page(question.addr)) + 1
    decision = question.ask(with_file_size(question.snapshot, question.addr, size))
    if not decision.repaired:
        return None
    text = f"would have succeeded with a file of {size:,} bytes or more"
    return Counterfactual(f"filesize={size}", text, decision, size)


def _inside_file(question: Question) -> Counterfactual | None:
    """The end of what can be read of the file that is mapped there."""
    entry = question.snapshot.at(question.addr)
    if entry is None or entry.object < 0 or not entry.prot & question.access:
        return None
    number = entry.object
    objects = question.snapshot.objects
    while objects[number].backing >= 0:
        number = objects[number].backing
    if objects[number].type != OBJT_VNODE:
        return None
    end = entry.start - entry.offset + round_page(objects[number].vnode_size)
    if not entry.start < end <= question.addr:
        return None
    decision = question.ask(question.snapshot, end - 1)
    if not decision.repaired:
        return None
    text = f"an access below offset {file_offset(entry, end):,} succeeds"
    return Counterfactual(f"addr=-{question.addr - end + 1:#x}", text, decision, end - 1, orientation=True)


def file_offset(entry: EntryState, addr: int) -> int:
    """The offset in its object that *addr* stands for."""
    return addr - entry.start + entry.offset


def with_file_size(snapshot: MapSnapshot, addr: int, size: int) -> MapSnapshot:
    """*snapshot* with the file mapped at *addr* being *size* bytes long."""
    entry = snapshot.at(addr)
    number = -1 if entry is None else entry.object
    while number >= 0 and snapshot.objects[number].type != OBJT_VNODE:
        number = snapshot.objects[number].backing
    if number < 0:
        return snapshot
    pages = (size + PAGE_SIZE - 1) // PAGE_SIZE
    objects = list(snapshot.objects)
    objects[number] = replace(objects[number], size=max(pages, objects[number].size), vnode_size=size)
    return replace(snapshot, objects=tuple(objects))


def parse_change(change: str, size_of: Callable[[str], int]) -> Change:
    """One ``--what-if`` word as what it does; UsageError when it is none, before anything runs.

    *size_of* turns ``16M`` into bytes.
    """
    name, equals, value = change.partition("=")
    if name.startswith("limit.") and equals:
        limit = name.removeprefix("limit.")
        check_limit_name(limit)
        most = RLIM_INFINITY if value in ("unlimited", "infinity") else size_of(value)
        return lambda snapshot, addr: (with_limit(snapshot, limit, most), addr)
    number: int
    match name if equals else "":
        case "guard":
            number = _integer(value, change)
            return lambda snapshot, addr: (with_guard(snapshot, number), addr)
        case "sgrowsiz":
            number = size_of(value)
            return lambda snapshot, addr: (with_tunable(snapshot, "sgrowsiz", number), addr)
        case "release":
            release = release_named(value).name
            return lambda snapshot, addr: (with_release(snapshot, release), addr)
        case "remove":
            number = _integer(value, change)
            return lambda snapshot, addr: (without_entry(snapshot, number), addr)
        case "prot":
            number = _rights(value, change)
            return lambda snapshot, addr: (with_protection(snapshot, addr, number), addr)
        case "filesize":
            number = size_of(value)
            return lambda snapshot, addr: (with_file_size(snapshot, addr, number), addr)
        case "addr":
            number, relative = _integer(value, change), value[:1] in ("+", "-")
            return lambda snapshot, addr: (snapshot, number + addr if relative else number)
        case _:
            raise UsageError(f"--what-if {change!r}: expected one of {WHAT_IF}")


def _integer(text: str, change: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"--what-if {change!r}: {text!r} is no number") from None


def _rights(text: str, change: str) -> int:
    if not text or text.strip("rwx-"):
        raise UsageError(f"--what-if {change!r}: expected rights as rw- or rwx")
    return ("r" in text) * 1 | ("w" in text) * 2 | ("x" in text) * 4
