"""What happened and why: event records and the sink they go to.

Model only: see ``events`` for the records, ``sink`` for the listeners, ``snapshot`` for maps.  Nothing
heavy is imported.
"""

from __future__ import annotations

from kernel_model.ktrace.entry import EntryState
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
    Event,
    ExecStage,
    FaultEvent,
    InsnEvent,
    MapChange,
    SignalEvent,
    SyscallEvent,
    Unsupported,
)
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
    "InsnEvent",
    "KTrace",
    "Listener",
    "MapChange",
    "SignalEvent",
    "SyscallEvent",
    "Unsupported",
]
