"""`emu run` where the host itself is hostile: closed streams, full disks, odd roots, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.elf_files import static_elf

ROOT = Path(__file__).resolve().parent.parent.parent
BUSYBOX = "/bin/busybox"
needs_busybox = pytest.mark.skipif(not os.access(BUSYBOX, os.X_OK), reason="no busybox here")
EMU = [sys.executable, "-m", "emu", "run"]


def shell(redirections: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line with what a shell can do to its descriptors."""
    text = 'exec "$@" ' + redirections
    return subprocess.run(
        ["sh", "-c", text, "sh", *EMU, *words], cwd=ROOT, capture_output=True, timeout=60, check=False
    )


@pytest.fixture
def forty_two(tmp_path: Path) -> str:
    """A root with a program that exits with 42."""
    (tmp_path / "prog").write_bytes(static_elf())
    (tmp_path / "prog").chmod(0o755)
    return str(tmp_path)


@pytest.mark.parametrize("redirections", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"])
def test_streams_do_not_matter_to_who_does_not_use_them(forty_two: str, redirections: str) -> None:
    done = shell(redirections, "--root", forty_two, "/prog")
    assert done.returncode == 42
    assert b"Traceback" not in done.stderr


@needs_busybox
@pytest.mark.parametrize(
    ("redirections", "words", "status"),
    [
        (">&-", ["echo", "x"], 1),
        ("<&- >&- 2>&-", ["echo", "x"], 1),
        ("<&-", ["cat"], 1),
        (">/dev/full", ["echo", "x"], 1),
        ("2>&-", ["echo", "x"], 0),
    ],
)
def test_a_closed_stream_is_closed_for_the_program(redirections: str, words: list[str], status: int) -> None:
    done = shell(redirections, "--", BUSYBOX, *words)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", ""])
def test_a_complaint_never_goes_to_standard_output(redirections: str) -> None:
    done = shell(redirections, "/nonexistent")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == (0 if redirections else 1)


@pytest.mark.parametrize(
    "options",
    [
        ["--root", "/etc/passwd"],
        ["--root", "/nonexistent"],
        ["--root", "/usr", "--cwd", "/tmp"],
        ["--cwd", "/nonexistent"],
        ["--cwd", "/etc/passwd"],
        ["--ram", "99999T"],
        ["--ram", "-1"],
        ["--ram", "lots"],
        ["--limit", "data=-5"],
        ["--limit", "patience=5"],
        ["--env", "A"],
        ["--release", "plan9"],
        ["--trace", "syscall", "--trace-out", "/nonexistent/trace"],
        ["--trace", "syscall", "--trace-out", "/dev/full"],
    ],
)
def test_bad_use_is_one_line(forty_two: str, options: list[str]) -> None:
    done = shell("", *([] if "--root" in options else ["--root", forty_two]), *options, "/prog")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith(b"emu")]
    assert len(said) == 1, done.stderr
    assert b"Traceback" not in done.stderr


@needs_busybox
@pytest.mark.parametrize("options", [[], ["--trace", "syscall"], ["--show", "stats,maps"]])
def test_a_reader_that_has_gone(options: list[str]) -> None:
    text = '"$@" 2>&1 | head -c 1'
    done = subprocess.run(
        ["sh", "-c", text, "sh", *EMU, *options, "--", BUSYBOX, "yes"],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert len(done.stdout) == 1
    assert done.stderr == b""


def _unignored() -> None:
    """What a test runner ignores (nohup, a shell's background job) its children would ignore, and so would we."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def interrupted(words: list[str], signals: list[int], options: tuple[str, ...] = ()) -> tuple[int, bytes]:
    """Start, send *signals* one after the other while it lives; status and standard error."""
    child = subprocess.Popen(
        [*EMU, *options, "--", BUSYBOX, *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_unignored,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"go\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"go\n", "the program runs"
    for number in signals:
        child.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.4)
        if child.returncode is not None:
            break
    try:
        errors = child.communicate(timeout=30)[1]
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise
    return child.returncode, errors


LOOP = ["sh", "-c", "echo go; while :; do :; done"]
SLEEP = ["sh", "-c", "echo go; exec /bin/busybox sleep 100"]


@needs_busybox
@pytest.mark.parametrize("words", [LOOP, SLEEP, ["cat"]], ids=["busy", "asleep", "reading"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_of_the_host_ends_the_program(words: list[str], number: int) -> None:
    status, errors = interrupted(words, [number])
    assert status == 128 + number
    assert b"Traceback" not in errors


@needs_busybox
def test_three_of_them_end_a_program_that_will_not() -> None:
    status, errors = interrupted(["sh", "-c", 'trap "" INT; echo go; while :; do :; done'], [signal.SIGINT] * 4)
    assert status == 130
    assert b"Traceback" not in errors


@needs_busybox
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_a_trace(tmp_path: Path, number: int) -> None:
    from emu.trace.tracefile import TraceReader

    trace = tmp_path / "trace"
    interrupted(LOOP, [number], ("--trace-out", str(trace)))
    reader = TraceReader(trace, partial=True)
    events = list(reader)
    assert reader.complete == (number != signal.SIGKILL)
    assert events or number == signal.SIGKILL
