"""The verdict as text: what ``emu why`` prints.

Model only.  ``why_text`` is plain text that pipes; ``side_by_side`` sets two decisions beside each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.trace.codec import access_name
from emu.trace.decode import Decoder
from emu.why.blame import history_lines
from emu.why.case import Case, describe_range, distance, refusing_step
from emu.why.diagnosis import past_eof
from kernel_model.kern.signo import SIGBUS, signame
from kernel_model.kern.trap import IDT_PF
from kernel_model.ktrace.events import CHECK, STAGE, Step
from kernel_model.release import RELEASES
from kernel_model.rlimit import RLIM_INFINITY
from kernel_model.vm.vm import prot_string
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_COW,
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GROWS_UP,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_NEEDS_COPY,
    MAP_ENTRY_STACK_GAP_DN,
    MAP_ENTRY_STACK_GAP_UP,
)
from kernel_model.vm.vm_param import KERN_NAMES, KERN_OUT_OF_BOUNDS, round_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emu.why.counterfactual import Counterfactual
    from emu.why.replica import Decision
    from emu.why.verdict import Verdict
    from kernel_model.ktrace import EntryState, FaultEvent

QUESTIONS: dict[str, str] = {
    "mapped": "is the address in an entry of the map",
    "unmapped": "is the address still unmapped",
    "gap": "is it in the reserve of a stack",
    "protection": "does the entry allow the access",
    "wired_cow": "is it no wired copy-on-write entry",
    "max_protection": "may a debugger write",
    "swap": "can swap be reserved for the copy",
    "own_map": "is it the running process's own map",
    "neighbour": "is the entry next to the address a stack",
    "reserve": "is the need within the stack's reserve",
    "guard": "does the need fit above the guard and the neighbour",
    "stack_limit": "is the stack within RLIMIT_STACK",
    "memlock": "are the wired pages within RLIMIT_MEMLOCK",
    "vmem": "is the map within RLIMIT_VMEM",
    "trim": "does a whole growth step fit",
    "insert": "could the new piece be inserted",
    "wire": "could the new piece be wired",
    "object_size": "does the object reach to that page",
    "page_alloc": "is there a free page",
}
"""Each check of the fault path as a question that ``ok`` answers with yes."""
_HEX = frozenset({"va", "addr", "start", "end", "below", "above", "frame", "source", "eflags", "offset"})
FAR_STACK = 1 << 30
"""An access this far below a stack, and beyond four times its reserve, is none to the stack."""
_OBJECT_TYPES = ("anonymous", "swap", "vnode", "device", "phys", "dead", "sg", "mgtdevice")


def why_text(verdict: Verdict, fate: str = "") -> str:
    """The whole verdict; *fate* is what the signal did to the process."""
    lines = [verdict.headline, ""]
    lines += _facts(verdict.case)
    lines += ["", "decision"] + [f"  {line}" for line in decision_lines(verdict.event.steps, repaired=False)]
    lines.append(f"  {_outcome(verdict.event)}{_reason(verdict.case)}")
    if fate:
        lines.append(f"  the process {fate}")
    lines += _changes(verdict)
    if verdict.event.vector == IDT_PF:
        lines += _blame(verdict.case)
    return "\n".join(lines) + "\n"


def _facts(case: Case) -> Iterator[str]:
    event = case.event
    where = "the program" if event.where in ("user", "trap") else "the kernel"
    if event.syscall is not None and event.where != "user":
        where = "a system call"
    yield f"fault          event {event.seq} of the run, pid {event.pid}, thread {event.tid}, in {where}"
    value = "" if event.value is None or event.access != 2 else f", value {event.value:#x}"
    in_memory = event.vector == IDT_PF or event.size
    if in_memory:
        yield f"  access       {case.access} at {event.addr:#x}{value}"
    else:
        yield f"  exception    {event.vector}"
    place = case.place(event.rip)
    inlined = f", inlined from {place.inlined}" if place is not None and place.inlined else ""
    yield f"  at           {event.rip:#x}{f'  {place}' if place is not None else ''}{inlined}"
    insn = case.instruction
    if insn is not None:
        where = ", ".join(f"{operand.text} = {operand.addr:#x}" for operand in insn.memory)
        yield f"  instruction  {insn}{f'    {where}' if where else ''}"
    callers = [f"{place} ({times:,} times)" if times > 1 else str(place) for place, times in case.recursion_callers]
    if callers or case.callers:
        yield f"  called from  {'  <-  '.join(callers or map(str, case.callers))}"
    if event.syscall is not None:
        arguments = event.syscall.decoded or Decoder.plain(event.syscall)
        yield f"  system call  {event.syscall.name}({', '.join(arguments)})"
    if in_memory:
        yield from _map_lines(case)
    yield from _counters(event)


def _map_lines(case: Case) -> Iterator[str]:
    event = case.event
    if event.entry is not None:
        yield f"  entry        {entry_line(event.entry)}"
        yield from _file_line(case)
        return
    if event.addr >= case.snapshot.max_offset:
        yield f"  outside      user space ends at {case.snapshot.max_offset:#x}"
        return
    low = event.below.end if event.below is not None else 0
    high = event.above.start if event.above is not None else case.snapshot.max_offset
    yield f"  hole         [{low:#x}, {high:#x})"
    if event.below is not None:
        below = event.addr - event.below.end
        yield f"  below        {entry_line(event.below)}, {f'{distance(below)} lower' if below else 'right below'}"
    if event.above is not None:
        yield f"  above        {entry_line(event.above)}, {distance(event.above.start - event.addr)} higher"


def _file_line(case: Case) -> Iterator[str]:
    """Where the file ends, for an access behind it."""
    past = past_eof(case)
    if past is None:
        return
    end = round_page(past.size)
    zeros = f"its last page is readable to the end, zeros from byte {past.size:,} on; " if end > past.size else ""
    yield f"  file         {past.size:,} bytes; {zeros}the first byte that cannot be read is {end:,}"


def _counters(event: FaultEvent) -> Iterator[str]:
    before, after = event.before, event.after
    if before is None or after is None:
        return
    rows = (
        ("entries", before.nentries, after.nentries),
        ("map bytes", before.size, after.size),
        ("stack pages", before.ssize_pages, after.ssize_pages),
        ("resident pages", before.resident_pages, after.resident_pages),
    )
    parts = [f"{name} {old:,}" + (f" -> {new:,}" if new != old else "") for name, old, new in rows]
    yield f"  map          {', '.join(parts)}"


def entry_line(entry: EntryState) -> str:
    """``[0x.., 0x..) rw- stack, may grow 536,608,768 bytes``."""
    parts = [describe_range(entry), prot_string(entry.prot)]
    flags = entry.eflags
    if flags & (MAP_ENTRY_STACK_GAP_DN | MAP_ENTRY_STACK_GAP_UP):
        parts.append(f"stack gap, guard {entry.guard:,}" if entry.guard else "stack gap")
    elif flags & MAP_ENTRY_GUARD:
        parts.append("guard")
    elif flags & (MAP_ENTRY_GROWS_DOWN | MAP_ENTRY_GROWS_UP):
        parts.append("stack")
        if entry.avail_ssize:
            parts.append(f"reserve {entry.avail_ssize:,}")
    if flags & MAP_ENTRY_NEEDS_COPY:
        parts.append("copy on the first write")
    elif flags & MAP_ENTRY_COW:
        parts.append("copied on write")
    if entry.wired_count:
        parts.append("wired")
    return " ".join(parts[:2]) + (f" {', '.join(parts[2:])}" if parts[2:] else "")


def decision_lines(steps: tuple[Step, ...], repaired: bool) -> Iterator[str]:
    """Each stage, check and visited object in order; of a refusal, the check that decided it is marked."""
    refusing = None if repaired else refusing_step(steps)
    for step in steps:
        if step.kind == STAGE:
            yield f"{step.name:<12} {_operands(step)}".rstrip()
        elif step.kind == CHECK:
            question = QUESTIONS.get(step.name, step.name)
            answer = "yes" if step.ok else "NO " if step is refusing else "no "
            line = f"  {answer} {question}?  {_operands(step)}{_remark(step)}".rstrip()
            yield f"{line}   <- refused here" if step is refusing else line
        else:
            yield f"  look into {_object(step)}: {step.name}"


def _operands(step: Step) -> str:
    if step.name == "mapped" and not step.ok:
        start, end = step.operands.get("start", 0), step.operands.get("end", 0)
        return "nothing is below" if end <= start else f"the entry below ends at {end:#x}"
    return "  ".join(f"{name} {_operand(name, value)}" for name, value in step.operands.items())


def _remark(step: Step) -> str:
    """What large operands mean."""
    need, reserve = step.operands.get("need", 0), step.operands.get("avail_ssize", 0)
    if step.name != "reserve" or step.ok or need < max(FAR_STACK, 4 * reserve):
        return ""
    return f" (the nearest stack is {distance(need)} away: not a stack access)"


def _operand(name: str, value: int) -> str:
    if name in ("prot", "access", "max_prot", "fault_type"):
        return prot_string(value)
    if name == "rv":
        return KERN_NAMES.get(value, str(value))
    if name in _HEX:
        return f"{value:#x}"
    if value >= RLIM_INFINITY:
        return "unlimited"
    return f"{value:,}"


def _object(step: Step) -> str:
    operands = step.operands
    number = operands.get("type", 0)
    kind = _OBJECT_TYPES[number] if 0 <= number < len(_OBJECT_TYPES) else str(number)
    return (
        f"{kind} object (page {operands.get('pindex', 0):,} of {operands.get('size', 0):,}, "
        f"{operands.get('ref_count', 0)} references, {operands.get('shadow_count', 0)} shadows)"
    )


def _reason(case: Case) -> str:
    """Why a page past the end of a file becomes this signal."""
    event = case.event
    if past_eof(case) is None or not event.signo:
        return ""
    if event.result == KERN_OUT_OF_BOUNDS:
        return f" ({case.snapshot.release}: a page beyond the object is out of bounds, which is a bus error)"
    if event.signo == SIGBUS:
        return ""  # the translation says why
    others = " and ".join(name for name, release in RELEASES.items() if release.fault_past_object == "bounds")
    return f" ({case.snapshot.release}: a page beyond the object counts as a missing right; SIGBUS on {others})"


def _outcome(event: FaultEvent) -> str:
    if event.repaired:
        return "KERN_SUCCESS: the instruction goes on"
    if event.translation:
        return event.translation
    result = KERN_NAMES.get(event.result, "")
    return f"{result} -> {signame(event.signo)}" if event.signo else result


def _changes(verdict: Verdict) -> Iterator[str]:
    if not verdict.counterfactuals:
        return
    yield ""
    remedies = [one for one in verdict.counterfactuals if not one.orientation]
    if remedies:
        yield "what would have changed it (each decided again on a copy of the map, for this access alone)"
        for one in remedies:
            yield _counterfactual_line(one)
            if one.how:
                yield f"    {one.how}"
    if len(remedies) < len(verdict.counterfactuals):
        yield "for orientation (decided again as well)"
        yield from (_counterfactual_line(one) for one in verdict.counterfactuals if one.orientation)


def _counterfactual_line(one: Counterfactual) -> str:
    return f"  * {one.text}" + ("" if one.change.startswith("undo") else f"    [--what-if {one.change}]")


def _blame(case: Case) -> Iterator[str]:
    answer = case.answer
    if answer is None or not answer.history:
        return
    yield ""
    yield f"who changed the map at {case.event.addr:#x} (in front: the number of the event in the run, for --at)"
    yield from (f"  {line}" for line in history_lines(answer.history, case.names))


def what_if_text(title: str, event: FaultEvent, decision: Decision) -> str:
    """The recorded decision beside another one, line by line."""
    left = [*decision_lines(event.steps, event.repaired), _outcome(event)]
    end = "KERN_SUCCESS: the access succeeds" if decision.repaired else decision.translation
    right = [*decision_lines(decision.steps, decision.repaired), end]
    return side_by_side("as it was", left, title, right)


def side_by_side(left_title: str, left: list[str], right_title: str, right: list[str]) -> str:
    """Two columns; a ``|`` marks lines that differ."""
    width = max([len(line) for line in [left_title, *left]] + [20])
    rows = [f"{left_title:<{width}}     {right_title}", f"{'-' * width}     {'-' * len(right_title)}"]
    for index in range(max(len(left), len(right))):
        old = left[index] if index < len(left) else ""
        new = right[index] if index < len(right) else ""
        mark = " " if old == new else "|"
        rows.append(f"{old:<{width}}  {mark}  {new}".rstrip())
    return "\n".join(rows) + "\n"


def access_line(event: FaultEvent) -> str:
    """``write at 0x7fff...``."""
    return f"{access_name(event.access)} at {event.addr:#x}"
