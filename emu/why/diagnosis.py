"""What is wrong with a program whose access was refused, as one word and one line.

Model only.  ``RULES`` are asked from the most special to the most general; each looks at a ``Case`` and returns a
``Diagnosis`` or None.  A rule never guesses: where the record does not tell, a later one answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from emu.why.blame import describe_cause
from emu.why.case import FAR_FRAME, NEAR_STACK, Case, as_text, describe_range, distance, pages
from emu.why.counterfactual import file_offset
from kernel_model.kern.trap import IDT_GP, IDT_PF
from kernel_model.vm.vm import OBJT_VNODE, VM_PROT_EXECUTE, VM_PROT_WRITE
from kernel_model.vm.vm_map_entry import MAP_ENTRY_GROWS_DOWN, MAP_ENTRY_GUARD
from kernel_model.vm.vm_param import VM_MAXUSER_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.ktrace import EntryState

NULL_ZONE = 1 << 16
"""Addresses this low come from a null pointer, when nothing is mapped there."""
NEIGHBOURHOOD = 1 << 16
"""An access this close to a mapping has overrun it."""
_ARCHITECTURE = {
    0: "integer division by zero or overflow",
    1: "single step",
    3: "breakpoint instruction",
    4: "overflow trap",
    5: "bound range exceeded",
    6: "undefined or privileged instruction",
    7: "no floating-point unit",
    16: "floating-point exception",
    17: "alignment check",
    19: "SSE floating-point exception",
}


class Diagnosis(NamedTuple):
    """What is wrong, for a program (``kind``) and for people (``line``)."""

    kind: str
    line: str


def diagnose(case: Case) -> Diagnosis:
    """What is wrong in *case*; ``unknown`` states the plain facts when no rule fits."""
    event = case.event
    if event.syscall is not None and event.where in ("copyin", "copyout"):
        return _bad_argument(case)
    inner = _memory(case)
    if event.where == "copyout" and not event.rip:
        return Diagnosis(inner.kind, f"execve could not fill the first stack: {inner.line}")
    if event.where == "copyout":
        return Diagnosis(inner.kind, f"no room for the frame of a signal handler: {inner.line}")
    return inner


def _memory(case: Case) -> Diagnosis:
    for rule in RULES:
        found = rule(case)
        if found is not None:
            return found
    return Diagnosis("unknown", f"{case.access} at {case.event.addr:#x} was refused{case.function}")


def _bad_argument(case: Case) -> Diagnosis:
    """The kernel could not copy from or to what a system call was given."""
    call = case.event.syscall
    if call is None:
        return _memory(case)
    index, start = _argument(case.event.addr, call.args, call.letters)
    inner = _memory(case).line
    if index < 0:
        return Diagnosis("syscall-pointer", f"bad pointer inside what {call.name} was given: {inner}")
    beyond = case.event.addr - start
    what = "a bad pointer" if beyond == 0 else f"a pointer to too little memory, {beyond:,} bytes in"
    return Diagnosis("syscall-pointer", f"{call.name}: argument {index + 1} ({start:#x}) is {what}: {inner}")


def _argument(addr: int, args: tuple[int, ...], letters: str) -> tuple[int, int]:
    """The pointer argument that *addr* was reached from, the nearest below; (-1, 0) for none."""
    best = (-1, 0)
    for index, value in enumerate(args):
        letter = letters[index] if index < len(letters) else "p"
        if letter in "psb" and value <= addr and addr - value < 1 << 24 and (best[0] < 0 or value > best[1]):
            best = (index, value)
    return best


def _trap(case: Case) -> Diagnosis | None:
    """Exceptions that are no page fault, and addresses that no page table can hold."""
    event = case.event
    if VM_MAXUSER_ADDRESS <= event.addr < (1 << 64) - VM_MAXUSER_ADDRESS:
        text = as_text(event.addr)
        made_of = f", the text {text!r}" if text else ""
        verb = "jump" if event.access == VM_PROT_EXECUTE else case.access
        return Diagnosis(
            "non-canonical",
            f"non-canonical address {event.addr:#x}{made_of}: {verb}{case.function}; bits 63 to 47 must be the same",
        )
    if event.vector == IDT_PF:
        return None
    insn = case.instruction
    if event.vector == IDT_GP and insn is not None and insn.wants_alignment:
        wide = next((operand for operand in insn.memory if operand.size == 16 and operand.addr % 16), None)
        if wide is not None:
            return Diagnosis(
                "misaligned",
                f"misaligned SSE access{case.function}: {insn.mnemonic} needs a multiple of 16, "
                f"{wide.text} is {wide.addr:#x}, {wide.addr % 16} too high",
            )
    if event.vector == IDT_GP:
        return Diagnosis("protection", f"general protection fault{case.function}: {insn or 'unreadable instruction'}")
    what = _ARCHITECTURE.get(event.vector, f"processor exception {event.vector}")
    return Diagnosis("trap", f"{what}{case.function}: {insn or 'unreadable instruction'}")


def _null(case: Case) -> Diagnosis | None:
    event = case.event
    if event.addr >= NULL_ZONE or case.entry is not None:
        return None
    if event.access == VM_PROT_EXECUTE:
        what = "call through a null pointer" if event.addr == 0 else f"jump to {event.addr:#x}"
        return Diagnosis("null", f"{what}{_called_from(case)}")
    if event.addr == 0:
        return Diagnosis("null", f"null pointer: {case.access} at address 0{case.function}")
    return Diagnosis("null", f"null pointer plus {event.addr:#x}: {case.access}{case.function}")


def _altstack(case: Case) -> Diagnosis | None:
    base, size = case.snapshot.altstack
    addr = case.event.addr
    on_it = base - NEAR_STACK <= case.rsp < base + size
    if not size or not on_it or not base - NEAR_STACK <= addr < base:
        return None
    return Diagnosis(
        "altstack-overflow",
        f"overflow of the alternate stack{case.function}{_frames(case)}; {pages(base - addr)} below its "
        f"{size:,} bytes at {base:#x}",
    )


def _overflow(case: Case) -> Diagnosis | None:
    """The stack pointer ran out of stack."""
    stack = case.stack
    entry = case.entry
    if stack is None or case.event.access == VM_PROT_EXECUTE or not case.near_stack_pointer:
        return None
    if entry is not None and not entry.eflags & (MAP_ENTRY_GUARD | MAP_ENTRY_GROWS_DOWN):
        # The stack had grown right down to a neighbour, and the access hit that.
        if case.rsp >= stack.start + NEAR_STACK:
            return None
        blocker = f"growth stopped by the mapping {describe_range(entry)}{case.made_by(entry)}"
        return Diagnosis("stack-neighbour", f"stack overflow{case.function}{_shape(case, stack)}; {blocker}")
    if not case.grew_in_vain or case.refusal is None:
        return None
    kind, why = _growth_refused(case, stack)
    return Diagnosis(kind, f"stack overflow{case.function}{_shape(case, stack)}; {why}")


def _growth_refused(case: Case, stack: EntryState) -> tuple[str, str]:
    """Which check of vm_map_growstack refused, in words."""
    step = case.refusal
    operands = {} if step is None else step.operands
    name = "" if step is None else step.name
    limits = case.snapshot.limits
    match name:
        case "stack_limit":
            return "stack-limit", f"RLIMIT_STACK of {limits['stack']:,} bytes is used up"
        case "vmem":
            return "vmem-limit", f"RLIMIT_VMEM of {limits['vmem']:,} bytes leaves no room to grow"
        case "memlock":
            return "memlock-limit", f"RLIMIT_MEMLOCK of {limits['memlock']:,} bytes leaves no room to grow"
        case "guard":
            blocker = case.below()
            gap = operands.get("gap", operands.get("max_grow", 0))
            if blocker is not None and _in_the_reserve(case, blocker, stack):
                guard = operands.get("guard", 0)
                keep = f", {pages(guard)} of guard above it" if guard else ""
                return "stack-neighbour", (
                    f"growth stopped by the mapping {describe_range(blocker)}{case.made_by(blocker)}{keep}"
                )
            return "stack-guard", f"only its guard of {pages(operands.get('guard', gap))} is left"
        case "reserve":
            return "stack-reserve", f"its reserve is used up ({pages(operands.get('avail_ssize', 0))} left)"
        case _:
            return "stack-overflow", f"growth refused by the check {name!r}"


def _in_the_reserve(case: Case, blocker: EntryState, stack: EntryState) -> bool:
    """*blocker* lies where the process stack would have been allowed to grow."""
    snapshot = case.snapshot
    if snapshot.maxsaddr <= case.event.addr < snapshot.stacktop:
        return blocker.end > snapshot.maxsaddr
    return stack.start - blocker.end < FAR_FRAME


def _shape(case: Case, stack: EntryState) -> str:
    """``: 41,200 frames of 192 bytes``, ``: one frame of 9,437,184 bytes``."""
    repeated = _frames(case)
    if repeated:
        return repeated
    rbp = case.registers.get("rbp", 0)
    if case.rsp < rbp < _oldest_piece(case, stack).end and rbp - case.rsp >= FAR_FRAME:
        size = rbp - case.rsp
        if stack.start - case.event.addr > FAR_FRAME:
            return f": one frame of {size:,} bytes"
        return f": a frame that has grown to {size:,} bytes"
    return ""


def _oldest_piece(case: Case, stack: EntryState) -> EntryState:
    """The topmost of the pieces that *stack* has grown in."""
    top = stack
    for entry in case.snapshot.entries:
        if entry.start == top.end and entry.prot == top.prot:
            top = entry
    return top


def _frames(case: Case) -> str:
    recursion = case.snapshot.recursion
    if recursion is None:
        return ""
    name = case.place(recursion.return_address)
    who = f" of {name.symbol}," if name is not None and name.symbol and f" in {name.symbol}" != case.function else " of"
    return f": {recursion.frames:,} frames{who} {recursion.frame_size:,} bytes"


def _gap(case: Case) -> Diagnosis | None:
    """In or right below a stack, but not through the stack pointer."""
    addr = case.event.addr
    stack = case.stack
    if case.event.access == VM_PROT_EXECUTE:
        return None
    if stack is None or (case.entry is None and stack.start - addr > max(NEIGHBOURHOOD, stack.avail_ssize)):
        return None
    where = f"the stack {describe_range(stack)}{_stack_maker(case, stack)}"
    away = distance(stack.start - addr)
    step = case.refusal
    if case.entry is not None and not case.entry.eflags & MAP_ENTRY_GUARD:
        return None
    if step is not None and step.name in ("stack_limit", "vmem", "memlock"):
        kind, why = _growth_refused(case, stack)
        return Diagnosis(kind, f"{case.access}, {away} below {where}{case.function}; {why}")
    if case.entry is not None:
        return Diagnosis("stack-guard", f"guard page hit{case.function}: {case.access}, {away} below {where}")
    if step is not None and step.name == "guard":
        line = f"guard page of {where} hit{case.function}: {case.access}, {away} below the stack"
        return Diagnosis("stack-guard", line)
    return Diagnosis(
        "below-stack",
        f"{case.access}{case.function}, {away} below the stack {describe_range(stack)}{_stack_maker(case, stack)}"
        f": its reserve is used up and nothing is mapped there",
    )


def _stack_maker(case: Case, stack: EntryState) -> str:
    """Who mapped the oldest piece of a stack."""
    return case.made_by(_oldest_piece(case, stack))


def _guard(case: Case) -> Diagnosis | None:
    """A page without any right: PROT_NONE or MAP_GUARD."""
    entry = case.entry
    if entry is None or entry.prot:
        return None
    above = next((one for one in case.snapshot.entries if one.start == entry.end), None)
    stacky = above is not None and above.prot and case.near_stack_pointer
    if entry.end - entry.start > 1 << 20 and not stacky:
        return Diagnosis(
            "no-access",
            f"{case.access}{case.function} in reserved memory without any right: "
            f"{describe_range(entry)}{_maker(case, entry)}",
        )
    if stacky:
        line = f"stack overflow{case.function} into a guard page{_frames(case)}"
    else:
        line = f"guard page hit{case.function}: {case.access} at {case.event.addr:#x}"
    return Diagnosis("guard-page", f"{line}; {describe_range(entry)} has no rights{_maker(case, entry)}")


def _maker(case: Case, entry: EntryState) -> str:
    """Who last gave *entry* its rights."""
    answer = case.answer
    if answer is not None:
        for change in reversed(answer.changed):
            if change.what == "protect":
                return f", by {describe_cause(change.cause, case.line_name)}"
    return _made(case, entry)


def _made(case: Case, entry: EntryState) -> str:
    """``, mapped by ...``, empty without blame."""
    made = case.made_by(entry)
    return f",{made}" if made else ""


def _jump(case: Case) -> Diagnosis | None:
    event = case.event
    if event.access != VM_PROT_EXECUTE:
        return None
    returned = case.word_at(case.rsp - 8) == event.rip and case.word_at(case.rsp) != event.rip
    called = _called_from(case)
    entry = case.entry
    where = _kind_of_memory(case, entry)
    name = case.name(event.addr)
    target = f"{name} ({event.addr:#x})" if name else f"{event.addr:#x}"
    text = as_text(event.addr)
    made_of = f", the text {text!r}" if text else ""
    if returned and not called:
        return Diagnosis("return-address", f"return address is not code: {target}{made_of}, {where}")
    if entry is None:
        return Diagnosis("wild-jump", f"jump to {target}{made_of}, {where}{called}")
    return Diagnosis("jump-to-data", f"jump to data: {target}, {where}{called}")


def _called_from(case: Case) -> str:
    """`` called from NAME`` when the word at rsp looks like the return address of a call."""
    word = case.word_at(case.rsp)
    if word is None or case.symbols is None or not case.symbols.returns_to(word, case.snapshot.entries):
        return ""
    name = case.name(word)
    return f", called from {name or hex(word)}"


def _kind_of_memory(case: Case, entry: EntryState | None) -> str:
    if entry is None:
        return "where nothing is mapped"
    if entry.eflags & MAP_ENTRY_GROWS_DOWN:
        return "in the stack, mapped without execute"
    if entry.vnode:
        place = case.place(case.event.addr)
        section = f"{place.section} of " if place is not None and place.section else ""
        return f"in {section}{entry.vnode}, mapped without execute"
    place = case.place(case.event.addr)
    if place is not None and place.section:
        return f"in {place.section} of {place.file}, mapped without execute"
    return f"in anonymous memory {describe_range(entry)} without execute{case.made_by(entry)}"


class PastEof(NamedTuple):
    """An access behind the end of a mapped file."""

    path: str
    size: int
    """Bytes of the file."""
    offset: int
    """Where in the file the access would have been."""


def past_eof(case: Case) -> PastEof | None:
    """The file that the access of *case* missed by its size, None when it is no such access."""
    entry = case.entry
    if entry is None or not entry.prot & case.event.access:
        return None
    snap = case.snapshot.at(case.event.addr)
    path, size = _file_of(case, snap)
    if not path or snap is None:
        return None
    offset = file_offset(snap, case.event.addr)
    return None if offset < size else PastEof(path, size, offset)


def _past_eof(case: Case) -> Diagnosis | None:
    past = past_eof(case)
    if past is None or case.entry is None:
        return None
    return Diagnosis(
        "past-eof",
        f"{case.access}{case.function} past the end of the file {past.path}: it has {past.size:,} bytes, "
        f"the access is at offset {past.offset:,}{_made(case, case.entry)}",
    )


def _file_of(case: Case, entry: EntryState | None) -> tuple[str, int]:
    """Path and size of the file at the bottom of *entry*'s object chain."""
    number = -1 if entry is None else entry.object
    objects = case.snapshot.objects
    while number >= 0:
        if objects[number].backing < 0:
            one = objects[number]
            return (one.vnode or "?", one.vnode_size) if one.type == OBJT_VNODE else ("", 0)
        number = objects[number].backing
    return "", 0


def _denied(case: Case) -> Diagnosis | None:
    """Something is mapped there, but not for this."""
    entry = case.entry
    event = case.event
    if entry is None or entry.prot & event.access:
        return None
    answer = case.answer
    if answer is not None:
        for change in reversed(answer.changed):
            if change.what == "protect" and change.before_prot & event.access:
                by = describe_cause(change.cause, case.line_name)
                return Diagnosis(
                    "protected",
                    f"{case.access}{case.function} at {event.addr:#x}, "
                    f"{'made read-only' if change.prot else 'made inaccessible'} by {by}",
                )
    name = case.name(event.addr)
    target = f"{name} ({event.addr:#x})" if name else f"{event.addr:#x}"
    if event.access == VM_PROT_WRITE and entry.prot & VM_PROT_EXECUTE:
        return Diagnosis("write-to-code", f"write to code{case.function}: {target} in {describe_range(entry)}")
    if event.access == VM_PROT_WRITE and (entry.vnode or case.place(event.addr) is not None):
        line = f"write to read-only data{case.function}: {target} in {describe_range(entry)}"
        return Diagnosis("read-only-data", line)
    where = f"{describe_range(entry)}{_made(case, entry)}"
    return Diagnosis("access-denied", f"{case.access}{case.function} not allowed in {where}")


def _unmapped(case: Case) -> Diagnosis | None:
    answer = case.answer
    if case.entry is not None or answer is None or answer.removed is None:
        return None
    gone = answer.removed
    offset = case.event.addr - gone.start
    by = describe_cause(gone.cause, case.line_name)
    what = f"use after {gone.cause.name}"
    if gone.cause.name in ("munmap", "mmap", "mremap", "kernel"):
        what = "use after munmap"
    where = f"[{gone.start:#x}, {gone.end:#x})"
    line = f"{what}: {case.access}{case.function}, {offset:,} bytes into {where}, unmapped by {by}"
    return Diagnosis("use-after-munmap", line)


def _overrun(case: Case) -> Diagnosis | None:
    below = case.below()
    if case.entry is not None or below is None or case.event.addr - below.end >= NEIGHBOURHOOD:
        return None
    beyond = case.event.addr - below.end
    past = "right behind the end" if beyond == 0 else f"{pages(beyond)} past the end"
    return Diagnosis("overrun", f"{case.access}{case.function}, {past} of {describe_range(below)}{case.made_by(below)}")


def _wild(case: Case) -> Diagnosis | None:
    if case.entry is not None:
        return None
    addr = case.event.addr
    text = as_text(addr)
    made_of = f", the text {text!r}" if text else ""
    above = case.snapshot.above(addr)
    below = case.below()
    gaps = []
    if below is not None:
        gaps.append(f"{describe_range(below)} ends {distance(addr - below.end)} below")
    if above is not None:
        gaps.append(f"{describe_range(above)} begins {distance(above.start - addr)} above")
    return Diagnosis("wild", f"wild pointer {addr:#x}{made_of}: {case.access}{case.function}; {', '.join(gaps)}")


RULES: tuple[Callable[[Case], Diagnosis | None], ...] = (
    _trap, _null, _altstack, _overflow, _gap, _guard, _jump, _past_eof, _denied, _unmapped, _overrun, _wild,
)  # fmt: skip
"""From the most special to the most general."""
