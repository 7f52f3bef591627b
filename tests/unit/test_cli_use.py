"""Bad use of the command line: one line on standard error, exit status 2, before the program does anything."""

from __future__ import annotations

import json

import pytest

from emu.cli import main
from guest import guest

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
