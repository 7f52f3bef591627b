"""The event sink: who is called, what is stamped, and that silence costs one attribute."""

from __future__ import annotations

import pytest

from kernel_model.errors import KernelPanic
from kernel_model.ktrace import MAP, SIGNAL, SYSCALL, KTrace, MapChange, SignalEvent
from kernel_model.pcpu import Pcpu
from kernel_model.vm.vm_check import StepRecorder
from tests.process import Process


def test_nobody_listens() -> None:
    kt = KTrace(Pcpu())
    assert not kt.active
    assert kt.recorder is None
    assert kt.syscalls is kt.maps is kt.faults is kt.signals is None


def test_listeners_are_called_in_order_and_can_leave() -> None:
    kt = KTrace(Pcpu())
    seen: list[str] = []

    def first(event: object) -> None:
        seen.append("first")

    def second(event: object) -> None:
        seen.append("second")

    kt.subscribe(SIGNAL, first)
    kt.subscribe(SIGNAL, second)
    kt.emit(SignalEvent(11))
    kt.unsubscribe(SIGNAL, first)
    kt.emit(SignalEvent(11))
    kt.unsubscribe(SIGNAL, second)
    assert seen == ["first", "second", "second"]
    assert kt.signals is None
    assert not kt.active


def test_a_map_change_gets_number_cause_and_process() -> None:
    process = Process(bare=True)
    kt = process.kernel.ktrace
    kt.callers = lambda td: (0x402000,)
    seen = process.events(MAP)
    kt.syscall_enter("freebsd64", 477, "mmap", (0, 4096), rip=0x401000)
    kt.map_changed(MapChange("insert", 0x1000, 0x2000, 3, 7, map=process.map))
    kt.syscall_return(0x1000, 0)
    (change,) = seen
    assert (change.seq, change.pid) == (2, process.proc.p_pid)
    assert (change.cause.name, change.cause.seq, change.cause.rip) == ("mmap", 1, 0x401000)
    assert (change.cause.args, change.cause.callers) == ((0, 4096), (0x402000,))
    assert kt.cause is None
    kt.unsubscribe(MAP, seen.append)
    assert kt.maps is None


def test_one_call_is_told_twice_under_one_number() -> None:
    process = Process(bare=True)
    kt = process.kernel.ktrace
    seen = process.events(SYSCALL)
    kt.syscall_enter("freebsd64", 20, "getpid", ())
    kt.syscall_return(7, 0)
    assert [(e.phase, e.seq, e.result, e.errno) for e in seen] == [("enter", 1, None, 0), ("return", 1, 7, 0)]


def test_an_unknown_kind_is_our_mistake() -> None:
    with pytest.raises(KernelPanic, match="no such kind"):
        KTrace(Pcpu()).subscribe("weather", print)


def test_the_probe_names_the_check_that_failed() -> None:
    probe = StepRecorder()
    probe.stage("lookup", va=0x1000)
    probe.check("neighbour", True)
    probe.check("stack_limit", False, need=0x1000, limit=0)
    step = probe.failed()
    assert step is not None
    assert (step.name, step.operands) == ("stack_limit", {"need": 0x1000, "limit": 0})
