"""A refused fault with everything that is needed to explain it.

Model only.  ``Case`` gathers the record, the instruction, names and blame once, and answers the questions
that the rules of ``emu.why.diagnosis`` ask.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from emu.program.disasm import Instruction, disassemble
from emu.program.symbols import Names
from emu.trace.codec import access_name
from emu.why.blame import describe_cause
from kernel_model.errors import some
from kernel_model.ktrace.events import CHECK, Step
from kernel_model.vm.vm import VM_PROT_EXECUTE
from kernel_model.vm.vm_map_entry import MAP_ENTRY_GROWS_DOWN, MAP_ENTRY_GUARD
from kernel_model.vm.vm_param import PAGE_SIZE

if TYPE_CHECKING:
    from emu.program.symbols import Place, Symbols
    from emu.why.blame import Answer, Blame
    from kernel_model.ktrace import EntryState, FaultEvent
    from kernel_model.ktrace.snapshot import MapSnapshot

NEAR_STACK = 1 << 16
"""An access this close to rsp is one to the stack."""
FAR_FRAME = 1 << 16
MAX_CALLERS = 6
GROWTH_CHECKS = ("reserve", "guard", "stack_limit", "memlock", "vmem", "insert", "wire")
"""Checks that only an address in a stack's area reaches."""


def mapping_below(snapshot: MapSnapshot, addr: int) -> EntryState | None:
    """The highest entry of *snapshot*, guards aside, that ends at or below *addr*."""
    below = (entry for entry in reversed(snapshot.entries) if entry.end <= addr)
    return next((entry for entry in below if not entry.eflags & MAP_ENTRY_GUARD), None)


@dataclass(frozen=True)
class Case:
    """One refused fault.  Requires: ``event.snapshot`` and ``event.registers`` are there."""

    event: FaultEvent
    symbols: Symbols | None = None
    blame: Blame | None = None

    @property
    def snapshot(self) -> MapSnapshot:
        """The map when the fault was refused."""
        return some(self.event.snapshot, "snapshot of a refused fault")

    @cached_property
    def registers(self) -> dict[str, int]:
        """The registers of the thread; empty when they were not recorded."""
        return self.event.registers or {}

    @property
    def rsp(self) -> int:
        """The stack pointer."""
        return self.registers.get("rsp", 0)

    @cached_property
    def instruction(self) -> Instruction | None:
        """The faulting instruction, None when its bytes could not be read."""
        if not self.event.code_bytes:
            return None
        return disassemble(self.event.code_bytes, self.event.rip, self.registers)

    @cached_property
    def answer(self) -> Answer | None:
        """Blame's answer for the address, None when nobody recorded map changes."""
        if self.blame is None or not self.blame.changes:
            return None
        return self.blame.history(self.event.addr, self.event.seq)

    def place(self, addr: int) -> Place | None:
        """What *addr* is called."""
        return None if self.symbols is None else self.symbols.find(addr, self.snapshot.entries)

    def name(self, addr: int) -> str:
        """The symbol at *addr* with its offset, without source line; empty when unknown."""
        place = self.place(addr)
        if place is None or not place.symbol:
            return ""
        return f"{place.symbol}+{place.offset:#x}" if place.offset else place.symbol

    @cached_property
    def function(self) -> str:
        """`` in NAME`` for the code that faulted; without a symbol the nearest caller that has one, or nothing."""
        place = self.place(self.event.rip)
        if place is None:
            return ""
        if place.symbol:
            return f" in {place.symbol}"
        caller = next((caller for caller in self.callers if caller.symbol), None)
        return f" in {Path(place.file).name}, called from {caller.symbol}" if caller is not None else ""

    @cached_property
    def callers(self) -> tuple[Place, ...]:
        """What the return addresses on top of the stack are called, nearest first; some may be stale."""
        if self.symbols is None:
            return ()
        base = self.registers.get("stack_base", self.rsp)
        found: list[Place] = []
        data = self.event.stack_bytes[(-base) % 8 :]
        for (word,) in struct.iter_unpack("<Q", data[: len(data) & ~7]):
            entry = self.snapshot.at(word)
            if entry is None or not entry.prot & VM_PROT_EXECUTE:
                continue
            place = self.symbols.caller(word, self.snapshot.entries)
            if place is not None and all(place.addr != known.addr for known in found):
                found.append(place)
        return tuple(found[:MAX_CALLERS])

    @cached_property
    def recursion_callers(self) -> tuple[tuple[Place, int], ...]:
        """The callers of a recursion, nearest first, and how often each stands on the stack; empty without one."""
        shape = self.snapshot.recursion
        if shape is None or self.symbols is None:
            return ()
        found = [(self.symbols.caller(addr, self.snapshot.entries), times) for addr, times in shape.callers]
        repeated = [(place, times) for place, times in found if place is not None]
        if not repeated:
            return ()
        known = {place.addr for place, _ in repeated}
        inner = itertools.takewhile(lambda place: place.addr not in known, self.callers)
        return (*((place, 1) for place in inner), *repeated)

    @cached_property
    def names(self) -> Names | None:
        """Names in the map of the fault."""
        return None if self.symbols is None else Names(self.symbols, self.snapshot.entries)

    def line_name(self, addr: int) -> str:
        """What *addr* is called, with its source line; empty when unknown."""
        return "" if self.names is None else self.names(addr)

    @property
    def access(self) -> str:
        """``write of 8 bytes``, ``read``, ``jump``."""
        event = self.event
        if event.access == VM_PROT_EXECUTE:
            return "instruction fetch"
        size = event.size
        return access_name(event.access) + (f" of {size} byte{'s' if size != 1 else ''}" if size else "")

    @cached_property
    def entry(self) -> EntryState | None:
        """The entry at the address."""
        return self.event.entry

    @cached_property
    def stack(self) -> EntryState | None:
        """The growable stack right above the address, if nothing but its reserve lies between."""
        for entry in self.snapshot.entries:
            if entry.start <= self.event.addr or entry.eflags & MAP_ENTRY_GUARD:
                continue
            # DragonFly keeps no flag on the pieces that it grew, only the reserve.
            grows = entry.eflags & MAP_ENTRY_GROWS_DOWN or (entry.avail_ssize and self.snapshot.release == "dragonfly")
            return entry if grows else None
        return None

    @property
    def near_stack_pointer(self) -> bool:
        """The access is one to the stack: a push, a call, a local variable."""
        stack = self.stack
        addr = self.event.addr
        if abs(addr - self.rsp) < NEAR_STACK:
            return True
        return stack is not None and self.rsp - NEAR_STACK <= addr < stack.start and self.rsp < stack.end

    @cached_property
    def refusal(self) -> Step | None:
        """The last check of the decision that said no."""
        return refusing_step(self.event.steps)

    @property
    def grew_in_vain(self) -> bool:
        """vm_map_growstack was asked and refused."""
        return self.refusal is not None and self.refusal.name in GROWTH_CHECKS

    def below(self) -> EntryState | None:
        """The highest real mapping below the address."""
        return mapping_below(self.snapshot, self.event.addr)

    def made_by(self, entry: EntryState) -> str:
        """`` mapped by mmap at event 212 (rip ..., main)``, empty without blame."""
        if self.blame is None:
            return ""
        answer = self.blame.history(entry.start, self.event.seq)
        made = answer.made
        if made is None or made.cause.kind == "kernel":
            return ""
        return f" mapped by {describe_cause(made.cause, self.line_name)}"

    def word_at(self, addr: int) -> int | None:
        """A word of the recorded top of the stack."""
        base = self.registers.get("stack_base", self.rsp)
        offset = addr - base
        data = self.event.stack_bytes
        if offset < 0 or offset + 8 > len(data):
            return None
        return int.from_bytes(data[offset : offset + 8], "little")


def refusing_step(steps: tuple[Step, ...]) -> Step | None:
    """The check that decided a refusal: the last no that did not merely choose another way."""
    said_no = [step for step in steps if step.kind == CHECK and not step.ok]
    decided = [step for step in said_no if step.name not in ("mapped", "protection", "trim")]
    return next(iter((decided or said_no)[-1:]), None)


def describe_range(entry: EntryState) -> str:
    """``[0x1000, 0x2000)``, with the file behind it."""
    text = f"[{entry.start:#x}, {entry.end:#x})"
    return f"{text} {entry.vnode}" if entry.vnode else text


def pages(count: int) -> str:
    """*count* bytes in words: pages when it is a whole number of them."""
    if count and count % PAGE_SIZE == 0:
        number = count // PAGE_SIZE
        return f"{number:,} page{'s' if number != 1 else ''}"
    return f"{count:,} byte{'s' if count != 1 else ''}"


def as_text(value: int) -> str:
    """The characters that *value* is made of, when all its bytes are printable; else empty."""
    data = value.to_bytes(8, "little").rstrip(b"\0")
    if len(data) < 4 or not all(0x20 <= byte < 0x7F for byte in data):
        return ""
    return data.decode("ascii")


def distance(count: int) -> str:
    """*count* bytes for people: exact when near, in large units when far."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if count >= 1 << shift and (count & 0xFFF or count >= 1 << 30):
            return f"{count / (1 << shift):,.4g} {unit}"
    return pages(count)
