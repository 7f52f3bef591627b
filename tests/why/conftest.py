"""Events of every kind, made by hand."""

from __future__ import annotations

import pytest

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
from kernel_model.ktrace.snapshot import MapSnapshot, ObjectState, Recursion

STACK = EntryState(0x7FFFFFFDF000, 0x7FFFFFFFF000, 3, 7, 1, 0x1000, 0, 0, 0x1FFE0000, 0, 0, 0, 32)
TEXT = EntryState(0x200000, 0x202000, 5, 7, 1, 0xC, 0, 0, 0, 0, 1, 2, 2, "/guest/grow")
CALL = SyscallEvent(
    "return", "FreeBSD ELF64", 477, "mmap", (0, 4096, 3, 0x1002, (1 << 64) - 1, 0), "pudxfl", 0x800000000, 0, 0x2001,
    3, 1000, 100000, ("NULL",),
)  # fmt: skip
STEPS = (
    Step("stage", "lookup", True, {"va": 0x7FFFFFFDE000}),
    Step("check", "reserve", True, {"need": 4096, "avail": 0x1FFE0000}),
    Step("check", "stack_limit", False, {"need": 4096, "ssize": 0x20000, "limit": 0x20000}),
)
SNAPSHOT = MapSnapshot(
    "freebsd-10.1", {"sgrowsiz": 131072}, {"stack": 0x20000}, 0x1000, 0x800000000000, 0, 0x22000, (TEXT, STACK),
    (ObjectState(0, 32), ObjectState(2, 2, vnode="/guest/grow", vnode_size=8000)), 32, 0x7FFFDFFFF000, 0x7FFFFFFFF000,
    "FreeBSD ELF64", 1000000, 0, True, recursion=Recursion(0x201234, 41200, 192),
)  # fmt: skip
COUNTS = Counters(5, 0x22000, 32, 12, 5000)


def fault(**changes: object) -> FaultEvent:
    fields: dict[str, object] = {
        "seq": 9, "pid": 1000, "tid": 100000, "rip": 0x201000, "access": 2, "addr": 0x7FFFFFFDEFF8, "size": 8,
        "value": (1 << 64) - 1, "where": "user", "entry": None, "below": TEXT, "above": STACK, "steps": STEPS,
        "result": 0, "signo": 0, "code": 0, "translation": "", "before": COUNTS, "after": COUNTS,
        "abi": "FreeBSD ELF64",
    }  # fmt: skip
    return FaultEvent(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def events() -> list[Event]:
    """One event of every kind, two faults."""
    cause = Cause("syscall", "mmap", 477, 0x2001, 3, 1000)
    return [
        ExecStage("segment", "/guest/grow", {"start": 0x200000, "name": "text"}, 1, 1000),
        MapChange("insert", 0x800000000, 0x800001000, 3, 7, 1, 0, 0, -1, "", 0, 0, 0, cause, None, 4, 1000),
        CALL,
        fault(),
        fault(entry=TEXT, below=None, above=None, where="copyin", syscall=CALL, value=None, before=None),
        fault(
            seq=10, result=5, signo=11, code=1, translation="KERN_FAILURE -> SIGSEGV", snapshot=SNAPSHOT,
            registers={"rsp": 0x7FFFFFFDF000, "rip": 0x201000}, code_bytes=b"\x89\x44", stack_bytes=b"\0" * 16,
        ),
        SignalEvent(11, 1, 0x18, "deliver", 0x201100, 0x7FFFFFFDE000, True, 0x201000, 10, 11, 1000, 100000),
        Unsupported("syscall", "ktrace", 45, "", 12, 1000),
        InsnEvent(0x201000, b"\x90", 13, 1000, 100000),
    ]  # fmt: skip
