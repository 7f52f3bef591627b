"""``emu why``, ``emu maps`` and the tracing options of ``emu run``, end to end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from emu.cli import main
from emu.trace.coverage import read_drcov
from emu.trace.tracefile import SCHEMA, TraceReader
from guest import guest, guests


def emu(capfd, *words: str) -> tuple[int, str, str]:
    """Status, standard output and standard error of an ``emu`` command."""
    status = main(list(words))
    out, err = capfd.readouterr()
    return status, out, err


def traced(capfd, tmp_path, name: str, *words: str) -> str:
    path = str(tmp_path / f"{name}.jsonl")
    main(["run", "--trace-out", path, *words, "--guest", name])
    capfd.readouterr()
    return path


def test_a_program_and_its_trace_get_the_same_verdict(capfd, tmp_path):
    path = traced(capfd, tmp_path, "null_field", "--seed", "1")
    status, from_trace, _ = emu(capfd, "why", path)
    assert status == 0
    assert from_trace.splitlines()[0] == "null pointer plus 0x18: read of 4 bytes in weigh"
    assert "weigh+0x" in from_trace
    assert "null_field.c:" in from_trace
    status, from_program, _ = emu(capfd, "why", "--seed", "1", "--guest", "null_field")
    assert status == 0
    # The program's own output comes first; sequence numbers differ with what is recorded.
    _, rule, after = from_program.partition("\n--- emu why: null_field (pid 1000) was killed by SIGSEGV\n")
    assert rule
    lines = [line for line in after.splitlines() if not line.startswith("fault")]
    assert "  the process was killed by SIGSEGV" in lines
    assert lines == [line for line in from_trace.splitlines() if not line.startswith("fault")]


def test_nothing_to_explain(capfd, tmp_path):
    status, _out, err = emu(capfd, "why", "--guest", "hello")
    assert status == 1
    assert "no fault was refused" in err
    assert "repaired" in err


def test_an_end_without_a_fault_is_told(capfd):
    status, out, _ = emu(capfd, "why", "--limit", "vmem=100K", "--guest", "hello")
    assert status == 0
    assert out.startswith("execve of ")
    assert "a stack of 0x20000000 bytes cannot be mapped: KERN_NO_SPACE" in out
    status, out, _ = emu(capfd, "why", "/bin/sh", "-c", "kill -TERM $$")
    assert status == 0
    assert out.startswith("killed by SIGTERM")


def test_the_callers_of_a_recursion_are_counted(capfd):
    _, out, _ = emu(capfd, "why", "--guest", "stack_rlimit")
    called = next(line for line in out.splitlines() if "called from" in line)
    assert re.search(r"walk\+0x\w+ at stack_rlimit.c:10 \(511 times\)  <-  main\+0x\w+ at stack_rlimit.c:20", called)
    assert "--limit stack=528384" in out
    assert "ulimit -s 516" in out


def test_only_the_check_that_decided_says_no_aloud(capfd):
    _, out, _ = emu(capfd, "why", "--guest", "use_after_munmap")
    assert "    no  is the address in an entry of the map?" in out
    (line,) = [line for line in out.splitlines() if "NO " in line]
    assert line.endswith("(the nearest stack is 128 TiB away: not a stack access)   <- refused here")


def test_past_the_end_of_a_file(capfd):
    _, out, _ = emu(capfd, "why", "--guest", "past_eof")
    assert "10,912 bytes; its last page is readable to the end, zeros from byte 10,912 on" in out
    assert "the first byte that cannot be read is 12,288" in out
    assert "SIGSEGV/SEGV_ACCERR (freebsd-10.1: a page beyond the object counts as a missing right; SIGBUS on" in out
    _, _, orientation = out.partition("for orientation")
    assert "an access below offset 12,288 succeeds    [--what-if addr=-0x1]" in orientation


def test_a_signal_that_was_caught_is_no_death(capfd):
    _, out, _ = emu(capfd, "why", "--guest", "segv_codes")
    assert re.search(r"--- emu why: segv_codes \(pid 1000\) caught SIGSEGV in its handler \(0x\w+\)\n", out)


def test_list_and_one_fault_by_number(capfd, tmp_path):
    path = traced(capfd, tmp_path, "segv_codes")
    status, out, _ = emu(capfd, "why", path, "--list")
    assert status == 0
    assert len(out.splitlines()) >= 3
    number = out.split()[0]
    status, one, _ = emu(capfd, "why", path, "--fault", number)
    assert out.splitlines()[0].partition(": ")[2] == one.splitlines()[0]
    status, _, err = emu(capfd, "why", path, "--fault", "999999")
    assert (status, err) == (2, "emu: --fault 999999: no fault has this number\n")


def test_blame_of_an_address_at_a_time(capfd, tmp_path):
    path = traced(capfd, tmp_path, "use_after_munmap")
    changes = [event for event in TraceReader(path) if event.kind == "map" and event.cause.name in ("mmap", "munmap")]
    mapped, unmapped = changes
    address = hex(mapped.start + 8)
    status, out, _ = emu(capfd, "why", path, "--address", address)
    assert status == 0
    assert "nothing is mapped, since it was unmapped" in out
    mapping = "mmap(NULL, 16384, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANON, -1, 0)"
    assert f"  {mapped.cause.seq:<6} [{mapped.start:#x}, {mapped.end:#x}) mapped rw- by {mapping}\n" in out
    assert f"unmapped by munmap({unmapped.start:#x}, 16384)\n" in out
    # The line of release(), not that of the inlined system call, and the line of main() that called it.
    place = r"release\+0x\w+ at use_after_munmap.c:12  <-  main\+0x\w+ at use_after_munmap.c:22"
    assert re.search(f"at {unmapped.cause.rip:#x}  {place}", out)
    _, out, _ = emu(capfd, "why", path, "--address", address, "--at", str(mapped.cause.seq))
    assert f"in [{mapped.start:#x}, {mapped.end:#x}) at event {mapped.cause.seq}" in out
    assert "unmapped" not in out
    status, out, _ = emu(capfd, "why", path, "--address", address, "--at", "1")
    assert status == 1
    _, out, _ = emu(capfd, "why", path, "--entry", "0x7ffffffe0000", "--json")
    assert json.loads(out)["changes"][0]["cause"]["name"] == "stack"


def test_what_if_shows_both_decisions(capfd, tmp_path):
    path = traced(capfd, tmp_path, "recursion")
    status, out, _ = emu(capfd, "why", path, "--what-if", "limit.stack=16M")
    assert status == 0
    assert "as it was" in out
    assert "limit 16,777,216" in out
    assert out.rstrip().endswith("the access succeeds, after growing by 131,072 bytes")
    _, out, _ = emu(capfd, "why", path, "--what-if", "limit.stack=8M,sgrowsiz=4096")
    assert "it is still refused" in out
    _, out, _ = emu(capfd, "why", path, "--what-if", "release=freebsd-12.1")
    assert out.rstrip().endswith("SIGSEGV/SEGV_ACCERR")
    for bad in ("limit.stack", "limit.colour=1", "release=beos", "guard=x", "speed=9", "prot=abc", "remove=0x10"):
        status, _, err = emu(capfd, "why", path, "--what-if", bad)
        assert status == 2
        assert err.count("\n") == 1


def test_a_reproducer_passes_on_its_own(capfd, tmp_path):
    path = traced(capfd, tmp_path, "stack_rlimit")
    test = tmp_path / "test_stack_rlimit.py"
    status, _out, _ = emu(capfd, "why", path, "--reproduce", str(test))
    assert status == 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(test)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "2 passed" in run.stdout
    status, _, err = emu(capfd, "why", path, "--reproduce", str(tmp_path / "no" / "where.py"))
    assert (status, err.count("\n")) == (2, 1)


def test_json_of_a_verdict_obeys_the_schema(capfd, tmp_path):
    from jsonschema import Draft202012Validator

    path = traced(capfd, tmp_path, "bad_pointer")
    _, out, _ = emu(capfd, "why", path, "--json")
    verdict = json.loads(out)
    assert verdict["cause"] == "syscall-pointer"
    assert verdict["fault"]["syscall"]["name"] == "write"
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(verdict["fault"])


@pytest.mark.parametrize("content", [b"", b"hello\n", b"{}\n", b'{"kind":"trace","version":7}\n'])
def test_a_foreign_file_is_one_line_and_status_2(capfd, tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    for command in ("why", "maps"):
        status, _, err = emu(capfd, command, str(path))
        assert status == 2
        assert err.count("\n") == 1


def test_a_cut_trace_says_so_and_can_be_read_in_part(capfd, tmp_path):
    path = traced(capfd, tmp_path, "null")
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: data.rindex(b'{"kind":"end"')])
    status, _, err = emu(capfd, "why", path)
    assert status == 2
    assert "cut off" in err
    status, out, _ = emu(capfd, "why", path, "--partial")
    assert status == 0
    assert out.startswith("null pointer: read of 1 byte at address 0 in length")


def test_text_trace_with_filters(capfd):
    status, _, err = emu(capfd, "run", "--trace", "syscall,signal,fault,map", "--guest", "null")
    assert status == 139
    assert 'write(1, "fault at: 0x0\\n", 14) = 14' in err
    assert "SIGSEGV/SEGV_MAPERR: null pointer: read of 1 byte at address 0 in length" in err
    assert "signal  SIGSEGV {SEGV_MAPERR, addr 0x0} kills" in err
    assert "\x1b" not in err
    _, _out, err = emu(capfd, "run", "--trace", "all", "--filter", "kind=fault,result=refused", "--guest", "null")
    assert [line.partition(" ")[0] for line in err.splitlines()] == ["fault", "emu:"]
    status, _, err = emu(capfd, "run", "--trace", "weather", "--guest", "null")
    assert (status, err.count("\n")) == (2, 1)
    status, _, err = emu(capfd, "run", "--filter", "kind=map", "--guest", "null")
    assert (status, err.count("\n")) == (2, 1)


def test_tracing_does_not_change_what_the_program_does(capfd, tmp_path):
    plain = emu(capfd, "run", "--seed", "1", "--guest", "grow")
    trace = str(tmp_path / "t.jsonl")
    status, out, _ = emu(capfd, "run", "--seed", "1", "--trace", "all", "--trace-out", trace, "--guest", "grow")
    assert (status, out) == plain[:2]


def test_coverage_and_instructions(capfd, tmp_path):
    path = tmp_path / "cov"
    status, _, _ = emu(capfd, "run", "--coverage", str(path), "--guest", "hello")
    assert status == 0
    modules, blocks = read_drcov(path)
    assert [module.path for module in modules] == [str(guest("hello").path)]
    assert len(blocks) > 5
    _, _, err = emu(capfd, "run", "--trace", "insn", "--guest", "hello")
    lines = err.splitlines()
    assert len(lines) > 50
    assert all(line.startswith("insn    0x") for line in lines)
    assert any(line.endswith("syscall") for line in lines)


def test_maps_of_a_program_and_of_a_trace(capfd, tmp_path):
    status, out, _ = emu(capfd, "maps", "--guest", "grow", "--json")
    assert status == 0
    rows = json.loads(out[out.index("[\n") :])
    assert [row for row in rows if row["reserve"]]
    for row in rows:
        assert row["unicorn"] == [[row["start"], row["end"], row["prot"]]], row
    path = traced(capfd, tmp_path, "grow")
    _, text, _ = emu(capfd, "maps", path)
    ranges = {tuple(line.split()[:3]) for line in text.splitlines()[1:]}
    assert ranges == {(hex(row["start"]), hex(row["end"]), row["prot"]) for row in rows}
    _, start, _ = emu(capfd, "maps", "--start", "--guest", "grow")
    assert len(start.splitlines()) == len(rows) - 3 + 1


@pytest.mark.slow
@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1"])
def test_every_event_of_the_guest_suite_obeys_the_schema(capfd, tmp_path, release):
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    kinds: set[str] = set()
    for one in guests():
        path = traced(capfd, tmp_path, one.name, "--release", release)
        seen: dict[str, int] = {}
        with open(path, encoding="ascii") as lines:
            for line in lines:
                data = json.loads(line)
                # Thousands of events of one shape: the first fifty of each tell.
                shape = f"{data['kind']} {data.get('result')} {data.get('name')} {data.get('what')} {data.get('stage')}"
                seen[shape] = seen.get(shape, 0) + 1
                if seen[shape] <= 50:
                    validator.validate(data)
                kinds.add(data["kind"])
        assert sum(1 for _ in TraceReader(path)) == sum(seen.values()) - 2
        os.unlink(path)
    assert kinds >= {"trace", "exec", "syscall", "fault", "signal", "map", "end"}
