"""Trace files: what is written is read back, every line obeys the schema, and damage is named."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from emu.trace.codec import encode, from_json, to_json
from emu.trace.tracefile import SCHEMA, TraceError, TraceHeader, TraceReader, TraceWriter
from kernel_model.ktrace import KINDS

HEADER = TraceHeader("/guest/grow", ("grow", "--deep"), "freebsd-10.1", "freebsd", "/", KINDS, {"stack": 8 << 20})


@pytest.fixture
def written(tmp_path, events):
    path = tmp_path / "trace.jsonl"
    with TraceWriter(path, HEADER) as writer:
        for event in events:
            writer(event)
        writer.close(exit_status=3)
    return path


def test_events_come_back_as_they_were(written, events):
    reader = TraceReader(written)
    assert list(reader) == events
    assert reader.header == HEADER
    assert reader.complete
    assert reader.end["exit_status"] == 3


def test_a_repaired_fault_is_formatted_as_json_would(events):
    faults = [event for event in events if event.kind == "fault"]
    assert len(faults) == 3
    for event in faults:
        short, whole = json.loads(encode(event)), json.loads(json.dumps(to_json(event)))
        assert from_json(short) == from_json(whole) == event


def test_every_line_obeys_the_schema(written):
    from jsonschema import Draft202012Validator

    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    lines = written.read_text().splitlines()
    assert len(lines) > len(KINDS)
    for line in lines:
        validator.validate(json.loads(line))


def test_the_schema_refuses_what_is_no_event(events):
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    good = json.loads(encode(events[1]))
    assert validator.is_valid(good)
    assert not validator.is_valid(good | {"what": "vanish"})
    assert not validator.is_valid(good | {"extra": 1})
    assert not validator.is_valid({name: value for name, value in good.items() if name != "cause"})


def test_a_file_without_its_end_is_cut_off(written, events):
    lines = written.read_text().splitlines(keepends=True)
    written.write_text("".join(lines[:-1]))
    with pytest.raises(TraceError, match=r"cut off: no end line after 9 events"):
        list(TraceReader(written))
    reader = TraceReader(written, partial=True)
    assert list(reader) == events
    assert not reader.complete


@pytest.mark.parametrize("keep", [1, 10, 500])
def test_a_line_cut_in_the_middle(written, keep):
    text = written.read_text()
    first = text.index("\n") + 1
    written.write_text(text[: first + keep])
    with pytest.raises(TraceError, match="cut off") as error:
        list(TraceReader(written))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x7fELF\x02\x01\x01", "not a trace"),
        (b'{"a": 1}\n', "not a trace"),
        (b"[]\n", "not a trace"),
        (b'{"kind": "trace", "version": 99}\n', "version 99"),
        (b'{"kind": "trace", "version": 1}\n', "lacks 'program'"),
    ],
)
def test_a_foreign_file_is_named(tmp_path, content, message):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=message) as error:
        TraceReader(path)
    assert "\n" not in str(error.value)


def test_version_1_is_read(written, events):
    lines = written.read_text().splitlines(keepends=True)
    lines[0] = lines[0].replace('"version":2', '"version":1')
    for name in ("abi", "args", "letters", "callers"):
        change = json.loads(lines[2])
        del change["cause"][name]
        lines[2] = json.dumps(change) + "\n"
    written.write_text("".join(lines))
    assert list(TraceReader(written)) == events


def test_a_directory_and_a_missing_file(tmp_path):
    with pytest.raises(TraceError, match="cannot read"):
        TraceReader(tmp_path)
    with pytest.raises(TraceError, match="cannot read"):
        TraceReader(tmp_path / "none")


NO_EVENTS = ["nonsense\n", "[1]\n", '{"kind":"map","seq":1}\n', '{"kind":"weather"}\n', '{"kind":"fault"}\n']


@pytest.mark.parametrize("line", NO_EVENTS)
def test_a_damaged_line_is_named_with_its_number(written, line):
    lines = written.read_text().splitlines(keepends=True)
    lines[3] = line
    written.write_text("".join(lines))
    with pytest.raises(TraceError, match=r"trace.jsonl:4: not "):
        list(TraceReader(written))


def test_a_wrong_count_is_noticed(written):
    lines = written.read_text().splitlines(keepends=True)
    written.write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(TraceError, match="says 9 events but holds 8"):
        list(TraceReader(written))


READ_ALL = """
import resource, sys
from emu.trace.tracefile import TraceReader
resource.setrlimit(resource.RLIMIT_AS, (192 << 20, 192 << 20))  # far less than the objects of the file
print(sum(1 for _ in TraceReader(sys.argv[1])))
"""


@pytest.mark.slow
def test_200_000_events_do_not_have_to_fit_into_memory(tmp_path, events):
    path = tmp_path / "long.jsonl"
    change, repaired = events[1], events[3]
    with TraceWriter(path, HEADER) as writer:
        for _ in range(100_000):
            writer(change)
            writer(repaired)
    assert path.stat().st_size > 100 << 20
    run = subprocess.run([sys.executable, "-c", READ_ALL, str(path)], capture_output=True, text=True, check=False)
    assert run.stdout == "200000\n", run.stderr[-300:]
