"""Filters: each term alone, together, and what is no filter."""

from __future__ import annotations

import pytest

from emu.trace.filter import accepts, parse_filter
from kernel_model.errors import UsageError
from kernel_model.ktrace import SyscallEvent


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("kind=fault", ["fault", "fault", "fault"]),
        ("kind=map+signal", ["map", "signal"]),
        ("pid=1000", ["exec", "map", "syscall", "fault", "fault", "fault", "signal", "unsupported", "insn"]),
        ("pid=1", []),
        ("name=mmap", ["map", "syscall", "fault"]),
        ("name=segment", ["exec"]),
        ("result=refused", ["fault"]),
        ("result=repaired,kind=fault", ["fault", "fault"]),
        ("result=ok", ["syscall", "fault", "fault"]),
        ("addr=0x800000000", ["map", "syscall"]),
        ("addr=0x800000fff", ["map"]),
        ("addr=0x800001000", []),
        ("addr=0x200000-0x202000", ["exec", "insn"]),
        ("addr=0x10-0x20", ["signal"]),
        ("addr=0x7fffffffffff,kind=fault", []),
    ],
)
def test_terms(events, text, kept):
    chosen = parse_filter(text)
    assert [event.kind for event in events if chosen(event)] == kept


def test_an_errno_is_a_result():
    event = SyscallEvent("return", "FreeBSD ELF64", 5, "open", (1, 2), "sx", (1 << 64) - 1, 2)
    assert parse_filter("result=ENOENT")(event)
    assert parse_filter("result=error")(event)
    assert not parse_filter("result=EACCES")(event)


def test_several_filters_are_alternatives(events):
    filters = (parse_filter("kind=map"), parse_filter("kind=exec"))
    assert [event.kind for event in events if accepts(filters, event)] == ["exec", "map"]
    assert all(accepts((), event) for event in events)


@pytest.mark.parametrize(
    "text",
    ["", "fault", "kind=", "kind=weather", "addr=x", "addr=2-1", "addr=5-5", "pid=a", "colour=red", "result=bad"],
)
def test_what_is_no_filter_is_one_line(text):
    with pytest.raises(UsageError) as error:
        parse_filter(text)
    assert "\n" not in str(error.value)
