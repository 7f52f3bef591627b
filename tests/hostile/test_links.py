"""What emu itself writes and reads: a program that puts something else under the name changes nothing by it."""

from __future__ import annotations

import gc
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from emu.api import Machine, TraceReader, watch
from emu.cli import main
from emu.program.files import Output, open_beneath
from emu.trace.coverage import read_drcov
from guest import guest
from kernel_model.errors import UsageError
from tests.hostile.asm import ARGUMENTS, RAX, SYSCALL, UD2, movabs
from tests.hostile.box import DATA, LINUX, elf

ROOT = Path(__file__).resolve().parents[2]
SECRET = b"#!/bin/sh\necho the victim\n"
UNLINK, SYMLINK, MKNOD, RENAME, LINK = 87, 88, 133, 82, 86
S_IFIFO = 0o010666
OUTPUTS = {"coverage": ["run", "--coverage"], "trace": ["run", "--trace-out"], "reproduce": ["why", "--reproduce"]}
PATIENCE = 60


def program(path: Path, *calls: tuple[int | str, ...]) -> None:
    """A Linux program that makes *calls* (a number, then words and strings) and then reads through a null pointer."""
    code, data = b"", b""
    for number, *args in calls:
        for register, arg in zip(ARGUMENTS, args, strict=False):
            if isinstance(arg, str):
                code += movabs(register, DATA + len(data))
                data += os.fsencode(arg) + b"\0"
            else:
                code += movabs(register, arg)
        code += movabs(RAX, number) + SYSCALL
    code += movabs(RAX, 0) + bytes.fromhex("8b00") + UD2
    path.write_bytes(elf(code, LINUX, data=data or b"data"))
    path.chmod(0o755)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """``root/work`` is the working directory; ``victim`` lies beside it in the root, and outside of the root."""
    work = tmp_path / "root" / "work"
    work.mkdir(parents=True)
    for place in (tmp_path, tmp_path / "root"):
        (place / "victim").write_bytes(SECRET)
    monkeypatch.chdir(work)
    return tmp_path


def emu(*words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: it must not wait for anybody."""
    return subprocess.run(
        [sys.executable, "-m", "emu", *words], env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, check=False,
        capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def victims(world: Path) -> list[bytes]:
    return [(world / "victim").read_bytes(), (world / "root" / "victim").read_bytes()]


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize(
    "way", ["absolute", "relative", "beyond", "under a root", "fifo", "gone", "moved", "hard link"]
)
def test_what_a_program_puts_in_the_place_of_an_output_is_not_touched(world, output, way, capfd):
    name = "out.py"
    target = {"absolute": str(world / "victim"), "relative": "../victim", "beyond": "../../victim",
              "under a root": "/victim"}.get(way)  # fmt: skip
    calls: list[tuple[int | str, ...]] = [(UNLINK, name)]
    if target is not None:
        calls.append((SYMLINK, target, name))
    elif way == "fifo":
        calls.append((MKNOD, name, S_IFIFO, 0))
    elif way == "moved":
        calls = [(RENAME, name, "elsewhere")]
    elif way == "hard link":
        (world / "root" / "work" / "own").write_bytes(SECRET)
        calls.append((LINK, "own", name))
    program(world / "root" / "work" / "prog", *calls)
    rooted = ["--root", str(world / "root"), "--cwd", "/work"] if way == "under a root" else []
    words = [*output, name, *rooted, "/work/prog" if rooted else "./prog"]
    assert (emu(*words).returncode if way == "fifo" else main(words)) in (0, 139)
    assert victims(world) == [SECRET, SECRET]
    there = Path(name)
    if target is not None:
        assert os.readlink(there) == target
    elif way == "fifo":
        assert there.is_fifo()
    elif way == "hard link":
        assert there.read_bytes() == SECRET
    else:
        assert not there.exists()
    if way == "moved":
        assert Path("elsewhere").stat().st_size > 100, "the file that was opened is the one that is written"


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_an_output_is_a_file_of_its_own(world, output, capfd):
    """A link, a FIFO, a folder, a device: refused in one line before the program runs, and nothing waits."""
    program(world / "root" / "work" / "prog", (UNLINK, "ran"))
    Path("ran").write_bytes(b"")
    os.symlink("../victim", "link")
    os.symlink("nothing", "dangling")
    os.mkfifo("fifo")
    for name in ("link", "dangling", "fifo", ".", "/dev/tty", "/dev/zero", "no/where", "ran/x"):
        done = emu(*output, name, "./prog") if name == "fifo" else None
        status = main([*output, name, "./prog"]) if done is None else done.returncode
        err = capfd.readouterr().err if done is None else done.stderr
        assert (status, err.count("\n"), err[:18]) == (2, 1, "emu: cannot write "), (name, err)
        assert Path("ran").exists(), name
    assert victims(world) == [SECRET, SECRET]
    assert not os.path.lexists("nothing")
    assert main([*output, "/dev/null", "./prog"]) in (0, 139)


def test_a_reproducer_that_is_not_written_leaves_no_file_and_spoils_none(world, capfd):
    Path("kept.py").write_bytes(SECRET)
    for name in ("new.py", "kept.py"):
        assert main(["why", "--reproduce", name, "--guest", "hello"]) == 1
        assert main(["why", "--reproduce", name, "--what-if", "nonsense=1", "--guest", "null"]) == 2
    assert not Path("new.py").exists()
    assert Path("kept.py").read_bytes() == SECRET
    out = Output("other.py")
    os.rename("kept.py", "other.py")
    out.discard()
    assert Path("other.py").read_bytes() == SECRET, "another file of that name is not removed"


def test_a_name_with_lines_in_it_stays_one_line_of_the_file(world, capfd):
    name = "a\nrm -rf $HOME\n\x1b[2J"
    os.rename("../victim", "../v")
    folder = Path(name)
    folder.mkdir()
    program(folder / "prog", (UNLINK, "x"))
    assert main(["run", "--coverage", "cov", f"./{name}/prog"]) == 139
    data = Path("cov").read_bytes()
    head = data[: data.index(b"BB Table")]
    assert b"\nrm" not in head and b"\x1b" not in head
    (module,), blocks = read_drcov("cov")
    assert module.path.endswith(r"/a\nrm -rf $HOME\n\x1b[2J/prog")
    assert blocks


def crash(folder: Path, name: str = "prog") -> Path:
    """A copy of a bundled program that dies in ``weigh``."""
    path = folder / name
    path.write_bytes(guest("null_field").path.read_bytes())
    path.chmod(0o755)
    return path


DECOY = guest("recursion").path


@pytest.mark.parametrize("way", ["link", "replaced", "removed", "fifo"])
def test_symbols_are_those_of_the_file_that_was_executed(tmp_path, way):
    path = crash(tmp_path)
    with Machine(stdin=None, stdout=None, stderr=None, root=tmp_path) as machine:
        process = watch(machine)
        machine.execve("/prog", ["prog"], {})
        path.unlink()
        if way == "link":
            path.symlink_to(DECOY)
        elif way == "replaced":
            path.write_bytes(DECOY.read_bytes())
        elif way == "fifo":
            os.mkfifo(path)
        machine.run()
        verdict = process.why()
    assert verdict.headline == "null pointer plus 0x18: read of 4 bytes in weigh"
    assert "null_field.c:" in process.text(verdict)
    assert process.symbols.notes == []


def test_two_files_of_one_name_have_no_symbols(tmp_path):
    """Nobody can say which of them a record means: no name is better than a false one."""
    path = crash(tmp_path)
    with Machine(stdin=None, stdout=None, stderr=None, root=tmp_path) as machine:
        process = watch(machine)
        machine.execve("/prog", ["prog"], {})
        path.rename(tmp_path / "first")
        crash(tmp_path)
        machine.execve("/prog", ["prog"], {})
        machine.run()
        verdict = process.why()
    assert verdict.headline == "null pointer plus 0x18: read of 4 bytes"
    assert process.symbols.notes == ["/prog: no symbols: different files were mapped under this name"]


@pytest.mark.parametrize("way", ["link", "folder link", "fifo", "outside"])
def test_a_trace_does_not_lead_out_of_its_root(tmp_path, way, capfd):
    home = tmp_path / "root"
    (home / "bin").mkdir(parents=True)
    path = crash(home / "bin")
    trace = tmp_path / "trace.jsonl"
    assert main(["run", "--root", str(home), "--trace-out", str(trace), "/bin/prog"]) == 139
    capfd.readouterr()
    (tmp_path / "elsewhere").mkdir()
    kept = crash(tmp_path / "elsewhere")
    if way == "folder link":
        path.unlink()
        (home / "bin").rmdir()
        (home / "bin").symlink_to(kept.parent)
    elif way == "outside":
        trace.write_bytes(trace.read_bytes().replace(b'"/bin/prog"', b'"/../elsewhere/prog"'))
    else:
        path.unlink()
        path.symlink_to(kept) if way == "link" else os.mkfifo(path)
    done = emu("why", str(trace))
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "null pointer plus 0x18: read of 4 bytes"


def test_a_file_below_a_root_is_reached_without_links(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"text")
    (tmp_path / "l").symlink_to("d")
    (tmp_path / "d" / "m").symlink_to("f")
    assert open_beneath(str(tmp_path), "/d/./f").read_at(1, 9) == b"ext"
    for name in ("l/f", "d/m", "d", "d/../d/f", "", "/", "d/f/x", "no"):
        with pytest.raises(OSError):
            open_beneath(str(tmp_path), name)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        with pytest.raises(UsageError):
            Output(tmp_path / "l")
        with pytest.raises(OSError):
            open_beneath(str(tmp_path), "d/m")
        Output(tmp_path / "new").discard()
        open_beneath(str(tmp_path), "d/f")
    assert len(os.listdir("/proc/self/fd")) <= before, "no descriptor stays open"


@pytest.mark.parametrize("command", ["why", "maps"])
def test_a_fifo_for_a_trace_is_refused(world, command):
    os.mkfifo("fifo")
    done = emu(command, "fifo")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


# -- what reaches the terminal --------------------------------------------------------------------------------------

NASTY = "p\n\x1b]0;owned\x07\x1b[31m\u202e\x9b2J"


def harmless(*texts: str) -> None:
    """Nothing but visible characters, spaces and the ends of lines."""
    for text in texts:
        assert {char for char in text if not char.isprintable()} <= {"\n"}, text
        assert not any(line.startswith("\x1b") for line in text.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        ["run"], ["run", "--show", "maps,growth,stats"], ["run", "--trace", "all"], ["run", "--trace", "insn,exec"],
        ["why"], ["why", "--list"], ["why", "--entry", "0x201000"], ["why", "--json"], ["why", "--trace", "exec,map"],
        ["maps"], ["maps", "--start"], ["maps", "--json"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_name_is_shown_escaped_everywhere(tmp_path, monkeypatch, capfd, words):
    monkeypatch.chdir(tmp_path)
    crash(tmp_path, NASTY)
    assert main([*words, f"./{NASTY}"]) in (0, 1, 139)
    out, err = capfd.readouterr()
    harmless(out, err)
    assert "\nowned" not in out + err and (r"\x1b]0;owned" in out + err or words in (["run"], ["why", "--list"]))


@pytest.mark.parametrize(
    "words",
    [
        ["run"], ["why"], ["maps"], ["run", "--root"], ["run", "--abi"], ["run", "--coverage"], ["run", "--show"],
        ["run", "--env"], ["why", "--reproduce"], ["guests"], [], ["why", "--what-if"], ["why", "--address"],
        ["run", "--cwd"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_error_message_is_one_harmless_line(tmp_path, monkeypatch, capfd, words):
    monkeypatch.chdir(tmp_path)
    for name in ("a", f"no/{NASTY}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkdir(tmp_path / "no" / NASTY)
    try:
        status = main([*words, f"no/{NASTY}", *(["./x"] if len(words) > 1 else [])])
    except SystemExit as end:
        status = end.code
    out, err = capfd.readouterr()
    harmless(out, err)
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_symbols_and_traces_are_shown_escaped(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    path = crash(tmp_path)
    data = path.read_bytes()
    assert b"\0weigh\0" in data
    path.write_bytes(data.replace(b"\0weigh\0", b"\0w\x1b[2J\0").replace(b"null_field.c", b"null_\x9b2JJ\n.c"))
    for words in (["run", "--trace", "fault"], ["why"], ["why", "--list"], ["run", "--trace-out", "trace"]):
        assert main([*words, "./prog"]) in (0, 139)
        out, err = capfd.readouterr()
        harmless(out, err)
        assert r"w\x1b[2J" in out + err or "trace" in words
    text = Path("trace").read_text().replace(f"{tmp_path}/prog", r"/\u001b[31m\u202e\nx")
    Path("bad").write_text(text)
    for words in (["why", "bad"], ["maps", "bad"], ["why", "bad", "--entry", "0x201000"]):
        assert main(words) == 0
        out, err = capfd.readouterr()
        harmless(out, err)
        assert r"\x1b[31m\u202e\nx" in out
    vnodes = {event.vnode for event in TraceReader("bad") if event.kind == "map"}
    assert r"/\x1b[31m\u202e\nx" in vnodes


def test_a_missing_sysctl_is_named_harmlessly(tmp_path, monkeypatch, capfd):
    """{0, 3} turns a name into numbers; the name is the program's."""
    monkeypatch.chdir(tmp_path)
    from tests.hostile.box import FREEBSD

    name = b"no.\x1b[31m\x9b\n.such"
    data = struct.pack("<iiQ", 0, 3, 64) + bytes(64) + name
    code = b"".join(
        movabs(register, value)
        for register, value in zip(ARGUMENTS, (DATA, 2, DATA + 16, DATA + 8, DATA + 80, len(name)), strict=True)
    )
    code += movabs(RAX, 202) + SYSCALL + movabs(7, 0) + movabs(RAX, 1) + SYSCALL
    path = tmp_path / "prog"
    path.write_bytes(elf(code, FREEBSD, data=data))
    path.chmod(0o755)
    assert main(["run", "--trace", "syscall", "./prog"]) == 0
    out, err = capfd.readouterr()
    harmless(out, err)
    assert r"no.\x1b[31m\x9b\n.such" in err
