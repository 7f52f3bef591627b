"""Bad use of the command line: one line on standard error, exit status 2, before the program does anything."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from emu.cli import main
from emu.machine import Machine
from emu.trace.coverage import read_drcov
from emu.trace.tracefile import TraceReader
from guest import guest
from kernel_model import one_map
from kernel_model.errors import UsageError
from kernel_model.release import RELEASES

ROOT = Path(__file__).resolve().parents[2]

BAD = {
    "an unknown command": ["frobnicate"],
    "an unknown option": ["run", "--nope"],
    "not one of the choices": ["run", "--abi", "sun", "x"],
    "not a number": ["why", "--seed", "x", "y"],
    "an option without its value": ["maps", "--guest"],
    "no program": ["run"],
    "a bad size": ["run", "--limit", "stack=x", "--guest", "hello"],
    "an unknown release": ["run", "--release", "freebsd-2.0", "--guest", "hello"],
    "a time of nothing": ["why", "--at", "3", "--guest", "null"],
    "a trace that cannot be written": ["run", "--trace-out", "/nonexistent/x", "--guest", "hello"],
    "a change that is none": ["why", "--what-if", "speed=9", "--guest", "null"],
    "a change of a limit that is none": ["why", "--what-if", "guard=2,limit.colour=1", "--guest", "null"],
    "a change without its number": ["why", "--what-if", "remove=x", "--guest", "null"],
    "a change to no release": ["why", "--what-if", "release=beos", "--guest", "null"],
    "a change to no rights": ["why", "--what-if", "prot=abc", "--guest", "null"],
    "a change to no size": ["why", "--what-if", "sgrowsiz=many", "--guest", "null"],
    "a change of a list": ["why", "--list", "--what-if", "guard=2", "--guest", "null"],
    "a test of an address": ["why", "--address", "0", "--reproduce", "/dev/null", "--guest", "null"],
    "no address": ["why", "--address", "main", "--guest", "null"],
    "no address of an entry": ["why", "--entry", "stack", "--guest", "null"],
    "a test that cannot be written": ["why", "--reproduce", "/nonexistent/x", "--guest", "null"],
    "a moment of a program's map": ["maps", "--at", "3", "--guest", "hello"],
    "a filter of nothing": ["maps", "--filter", "kind=map", "--guest", "hello"],
    "an unknown kind of event": ["why", "--trace", "weather", "--guest", "null"],
    "a trace of why that cannot be written": ["why", "--trace-out", "/nonexistent/x", "--guest", "null"],
    "coverage of maps that cannot be written": ["maps", "--coverage", "/nonexistent/x", "--guest", "hello"],
    "arguments for a program that brings its own": ["run", "--guest", "args", "one", "two"],
    "coverage that cannot be written": ["run", "--coverage", "/nonexistent/x", "--guest", "hello"],
}


@pytest.mark.parametrize("words", BAD.values(), ids=BAD)
def test_bad_use_is_one_line_and_status_2(words, capfd):
    try:
        status = main(words)
    except SystemExit as end:  # argparse's way out
        status = end.code
    out, err = capfd.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith("emu") and err.endswith("\n") and err.count("\n") == 1


@pytest.mark.parametrize("command", [["maps"], ["why"], ["why", "--list"], ["why", "--address", "0x202000"]])
def test_json_is_all_there_is_on_standard_output(command, capfd):
    assert main([*command, "--json", "--guest", "null_field"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)
    assert err, "the program's own output"


def test_a_bare_name_is_looked_for_here_and_then_along_path(tmp_path, monkeypatch, capfd):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "a-program").write_bytes(guest("hello").path.read_bytes())
    (folder / "a-program").chmod(0o755)
    (folder / "broken").write_text("neither ELF nor script\n")
    (folder / "broken").chmod(0o755)
    monkeypatch.setenv("PATH", f"/nonexistent::{folder}")
    assert main(["run", "a-program"]) == 0
    assert main(["run", "./a-program"]) == 2, "a slash says where"
    assert main(["run", "nowhere"]) == 2
    assert main(["run", "broken"]) == 2
    err = capfd.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in err] == ["./a-program", "nowhere", f"{folder}/broken"]


@pytest.fixture
def trace(tmp_path, capfd):
    """A recorded run."""
    path = str(tmp_path / "trace.jsonl")
    main(["run", "--trace-out", path, "--guest", "null"])
    capfd.readouterr()
    return path


@pytest.mark.parametrize(
    "words",
    [
        ["maps", "--at", "1000000"], ["maps", "--at", "0"], ["maps", "--at", "-1"], ["maps", "--start"],
        ["why", "--at", "1000000", "--address", "0x200000"], ["why", "--what-if", "speed=9"], ["why", "--address", "x"],
        ["why", "--trace", "map"], ["why", "--trace-out", "t"], ["why", "--coverage", "c"], ["maps", "--trace", "map"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_use_of_a_trace_is_one_line_and_status_2(words, trace, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir())
    assert main([*words, trace]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n"), err[:5]) == ("", 1, "emu: ")
    assert sorted(os.listdir()) == before


def test_the_last_moment_of_a_trace_is_its_end(trace, capfd):
    last = max(event.seq for event in TraceReader(trace))
    assert main(["maps", trace]) == 0
    at_the_end = capfd.readouterr().out
    assert main(["maps", "--at", str(last), trace]) == 0
    assert capfd.readouterr().out == at_the_end
    assert main(["maps", "--at", str(last + 1), trace]) == 2


@pytest.mark.parametrize("command", ["run", "why", "maps"])
def test_run_why_and_maps_share_their_options(command, tmp_path, capfd):
    """README says so: every option of a machine and of a trace, with the same effect."""
    path, cover = tmp_path / "t", tmp_path / "c"
    options = ["--trace", "signal", "--trace-out", str(path), "--filter", "kind=signal", "--coverage", str(cover)]
    assert main([command, *options, "--seed", "1", "--guest", "null"]) == {"run": 139}.get(command, 0)
    _, err = capfd.readouterr()
    assert err.splitlines()[0].startswith("signal  SIGSEGV")
    assert [event.kind for event in TraceReader(path)] == ["signal"]
    modules, blocks = read_drcov(cover)
    assert len(blocks) > 5
    assert modules[0].path == str(guest("null").path)


def test_run_why_and_maps_list_the_same_options(capsys):
    listed = {}
    for command in ("run", "why", "maps"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        listed[command] = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    own = {
        "--show", "--fault", "--list", "--address", "--entry", "--at", "--what-if", "--reproduce", "--json",
        "--partial", "--start",
    }  # fmt: skip
    assert listed["run"] - own == listed["why"] - own == listed["maps"] - own
    assert {"--trace", "--trace-out", "--filter", "--coverage"} <= listed["maps"]


def test_arguments_go_to_a_bundled_program_that_has_none(capfd):
    assert main(["run", "--guest", "hello", "one", "two"]) == 0
    assert main(["run", "--guest", "args"]) == 0
    assert main(["run", "--guest", "args", "one", "two"]) == 2
    err = capfd.readouterr().err
    assert err == f"emu: --guest args brings its own arguments (one 'two words'); for others run {guest('args').path}\n"


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("ascii", "päth-✓".encode()), ("ascii:strict", "päth-✓".encode()), ("utf-8", b"not-utf8-\xff")],
    ids=["ascii", "ascii:strict", "bytes"],
)
def test_what_the_output_cannot_say_is_escaped(tmp_path, encoding, name):
    folder = os.fsencode(tmp_path) + b"/" + name
    os.mkdir(folder)
    path = folder + b"/prog"
    shutil.copy(guest("null_field").path, path)
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    reproduced = folder + b"/t.py"
    for words in (
        ["why"], ["maps"], ["run", "--show", "maps", "--trace", "all"], ["why", "--reproduce", reproduced],
        ["run", "--coverage", folder + b"/c"], ["run", "--abi", "freebsd", folder],
    ):  # fmt: skip
        command = [sys.executable, "-m", "emu", *words, path]
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
        assert done.returncode in ((2,) if folder in words else (0, 139)), done.stderr
        assert b"Traceback" not in done.stderr
        if encoding.startswith("ascii"):
            assert (done.stdout + done.stderr).isascii()
    assert b"null pointer plus 0x18" in Path(os.fsdecode(reproduced)).read_bytes()


def test_what_is_shown_as_json_stays_json(tmp_path, capfd):
    path = tmp_path / "test_null.py"
    assert main(["why", "--json", "--reproduce", str(path), "--guest", "null"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["cause"] == "null"
    assert f"wrote {path}: " in err


def test_a_guest_that_there_is_not_is_not_built(capsys):
    from guest.build import main as build

    assert build(["nosuch", "hello"]) == 2
    assert capsys.readouterr() == ("", "guest.build: no guest nosuch\n")


def test_a_benchmark_that_there_is_not(capsys):
    from tests.bench.__main__ import main as bench

    assert bench(["nosuch", "startup"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "no topic nosuch" in err
    assert "vm_fault" in err


def test_a_release_is_taken_by_its_name_or_itself():
    for release in RELEASES.values():
        with Machine(release=release, stdout=None) as machine:
            assert machine.vm.release is release
    assert one_map(RELEASES["freebsd-12.1"]).vm.release.name == "freebsd-12.1"
    changed = replace(RELEASES["freebsd-12.1"], maxtsiz=1)
    for make in (Machine, one_map):
        for wrong in (changed, replace(changed, name="mine"), "mine"):
            with pytest.raises(UsageError) as caught:
                make(release=wrong)
            assert len(str(caught.value)) < 160
            assert "maxtsiz" not in str(caught.value)
