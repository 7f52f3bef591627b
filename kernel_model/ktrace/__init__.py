"""What happened and why: event records and the sink they go to.

Model only: see ``events`` for the records, ``sink`` for the listeners, ``recorder`` for faults.  Nothing
heavy is imported.
"""

from __future__ import annotations

from kernel_model.ktrace.events import (
    EXEC,
    FAULT,
    INSN,
    KINDS,
    MAP,
    NO_CAUSE,
    SIGNAL,
    SYSCALL,
    UNSUPPORTED,
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
from kernel_model.ktrace.recorder import FaultRecorder
from kernel_model.ktrace.sink import KTrace, Listener

__all__ = [
    "EXEC",
    "FAULT",
    "INSN",
    "KINDS",
    "MAP",
    "NO_CAUSE",
    "SIGNAL",
    "SYSCALL",
    "UNSUPPORTED",
    "Cause",
    "Counters",
    "EntryState",
    "Event",
    "ExecStage",
    "FaultEvent",
    "FaultRecorder",
    "InsnEvent",
    "KTrace",
    "Listener",
    "MapChange",
    "SignalEvent",
    "SyscallEvent",
    "Unsupported",
]
