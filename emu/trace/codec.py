"""Events to JSON objects and back.  Model only.

The objects are described by ``trace.schema.json`` beside this file, ``VERSION`` is its version.  All
numbers are plain integers, up to 2**64 - 1; bytes are hexadecimal strings.  Faults that were repaired
are the bulk of a trace, so they are formatted by hand.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from kernel_model.ktrace import (
    Cause,
    Counters,
    EntryState,
    Event,
    ExecStage,
    FaultEvent,
    InsnEvent,
    MapChange,
    SignalEvent,
    SyscallEvent,
    Unsupported,
)
from kernel_model.ktrace.events import Step
from kernel_model.ktrace.snapshot import MapSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = 2
"""Version of the trace format that is written."""
READABLE = (1, 2)
"""Versions that are read: 1 lacks the arguments and callers behind a map change, and the callers of a recursion."""

Json = dict[str, Any]

_ACCESS = {1: "read", 2: "write", 4: "execute"}
_ACCESS_NUMBER = {name: number for number, name in _ACCESS.items()}
_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def access_name(access: int) -> str:
    """``read``, ``write`` or ``execute`` for a VM_PROT_* bit."""
    return _ACCESS.get(access, "read")


def encode(event: Event) -> str:
    """One line of a trace, without its newline."""
    if type(event) is FaultEvent and event.result == 0:
        return _repaired_fault(event)
    return _compact(to_json(event))


def to_json(event: Event) -> Json:
    """*event* as a JSON object: what ``trace.schema.json`` describes."""
    if isinstance(event, FaultEvent):
        return _fault(event)
    out: Json = {"kind": event.kind}
    for name, value in event._asdict().items():
        match name:
            case "map":
                continue
            case "cause":
                value = value._asdict()
            case "operands":
                value = dict(value)
            case "code_bytes":
                value = value.hex()
            case _:
                pass
        out[name] = value
    return out


def from_json(data: Json) -> Event:
    """The typed event of a JSON object; KeyError, TypeError or ValueError when it is not one."""
    kind = data["kind"]
    decode = _DECODE.get(kind)
    if decode is None:
        raise ValueError(f"unknown kind of event {kind!r}")
    return decode({name: value for name, value in data.items() if name != "kind"})


def _optional(record: EntryState | Counters | None) -> Json | None:
    return None if record is None else record._asdict()


def _fault(event: FaultEvent) -> Json:
    out: Json = {"kind": event.kind}
    for name, value in event._asdict().items():
        match name:
            case "access":
                value = access_name(value)
            case "entry" | "below" | "above" | "before" | "after":
                value = _optional(value)
            case "steps":
                value = [step._asdict() for step in value]
            case "syscall":
                value = None if value is None else to_json(value)
            case "code_bytes" | "stack_bytes":
                value = value.hex()
            case "snapshot":
                value = None if value is None else value.to_json()
            case _:
                pass
        out[name] = value
    return out


def _entry_text(entry: EntryState) -> str:
    """An entry without the fields that have their default."""
    text = (
        f'{{"start":{entry.start},"end":{entry.end},"prot":{entry.prot},"max_prot":{entry.max_prot},'
        f'"eflags":{entry.eflags}'
    )
    if entry[4:5] + entry[6:] != _PLAIN_ENTRY:
        for name, value in zip(_ENTRY_REST, entry[4:5] + entry[6:], strict=True):
            if value != _ENTRY_DEFAULTS[name]:
                text += f',"{name}":{_compact(value) if name == "vnode" else value}'
    return text + "}"


_ENTRY_DEFAULTS = EntryState._field_defaults
_ENTRY_REST = (EntryState._fields[4], *EntryState._fields[6:])
_PLAIN_ENTRY = tuple(_ENTRY_DEFAULTS[name] for name in _ENTRY_REST)


def _counters_text(counters: Counters | None) -> str:
    if counters is None:
        return "null"
    return (
        f'{{"nentries":{counters.nentries},"size":{counters.size},"ssize_pages":{counters.ssize_pages},'
        f'"resident_pages":{counters.resident_pages},"free_pages":{counters.free_pages}}}'
    )


def _step_text(step: Step) -> str:
    kind, name, ok, operands = step
    return _step_format(kind, name, ok, tuple(operands)) % tuple(operands.values())


@cache
def _step_format(kind: str, name: str, ok: bool, operands: tuple[str, ...]) -> str:
    """What the steps of one check or stage have in common: there are a few dozen of these, and millions of steps."""
    text = ",".join([f'"{key}":%d' for key in operands])
    return f'{{"kind":"{kind}","name":"{name}","ok":{"true" if ok else "false"},"operands":{{{text}}}}}'


def _repaired_fault(event: FaultEvent) -> str:
    """A fault with KERN_SUCCESS: the same as its JSON object without what is null, empty or 0, but faster."""
    parts = [
        (
            f'{{"kind":"fault","seq":{event.seq},"pid":{event.pid},"tid":{event.tid},"rip":{event.rip},'
            f'"access":"{_ACCESS.get(event.access, "read")}","addr":{event.addr},"size":{event.size},'
            f'"where":"{event.where}","steps":[{",".join([_step_text(step) for step in event.steps])}],"result":0,'
            f'"before":{_counters_text(event.before)},"after":{_counters_text(event.after)},"abi":"{event.abi}"'
        )
    ]
    if event.value is not None:
        parts.append(f',"value":{event.value}')
    if event.entry is not None:
        parts.append(f',"entry":{_entry_text(event.entry)}')
    if event.below is not None:
        parts.append(f',"below":{_entry_text(event.below)}')
    if event.above is not None:
        parts.append(f',"above":{_entry_text(event.above)}')
    if event.syscall is not None:
        parts.append(f',"syscall":{_compact(to_json(event.syscall))}')
    parts.append("}")
    return "".join(parts)


def _to_map(data: Json) -> MapChange:
    cause = data["cause"]
    data["cause"] = Cause(**(cause | {name: tuple(cause.get(name, ())) for name in ("args", "callers")}))
    return MapChange(**data)


def _to_syscall(data: Json) -> SyscallEvent:
    data["args"] = tuple(data["args"])
    data["decoded"] = tuple(data["decoded"])
    return SyscallEvent(**data)


_ABSENT: Json = {
    "value": None, "entry": None, "below": None, "above": None, "signo": 0, "code": 0, "translation": "",
    "vector": 14, "syscall": None, "snapshot": None, "registers": None, "code_bytes": "", "stack_bytes": "",
}  # fmt: skip
"""What a fault's line may leave out."""


def _to_fault(data: Json) -> FaultEvent:
    data = _ABSENT | data
    data["access"] = _ACCESS_NUMBER[data["access"]]
    for name in ("entry", "below", "above"):
        if data[name] is not None:
            data[name] = EntryState(**data[name])
    for name in ("before", "after"):
        if data[name] is not None:
            data[name] = Counters(**data[name])
    data["steps"] = tuple(Step(**step) for step in data["steps"])
    if data["syscall"] is not None:
        data["syscall"].pop("kind")
        data["syscall"] = _to_syscall(data["syscall"])
    if data["snapshot"] is not None:
        data["snapshot"] = MapSnapshot.from_json(data["snapshot"])
    for name in ("code_bytes", "stack_bytes"):
        data[name] = bytes.fromhex(data[name])
    return FaultEvent(**data)


def _to_insn(data: Json) -> InsnEvent:
    data["code_bytes"] = bytes.fromhex(data["code_bytes"])
    return InsnEvent(**data)


_DECODE: dict[str, Callable[[Json], Event]] = {
    "exec": lambda data: ExecStage(**data),
    "syscall": _to_syscall,
    "fault": _to_fault,
    "signal": lambda data: SignalEvent(**data),
    "map": _to_map,
    "unsupported": lambda data: Unsupported(**data),
    "insn": _to_insn,
}
