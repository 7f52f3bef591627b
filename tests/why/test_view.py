"""Events and verdicts as text."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from emu.program.files import Output
from emu.trace.coverage import Coverage, read_drcov
from emu.trace.decode import Decoder, flag_text, quoted
from emu.trace.flagnames import FLAGS
from emu.view.maps import MapRow, blame_rows, rows_text
from emu.view.trace import RESET, TraceView, use_colour
from emu.view.why import side_by_side, why_text
from emu.why.blame import Blame
from emu.why.verdict import headline, judge
from kernel_model.ktrace import MAP, EntryState, SyscallEvent
from kernel_model.vm.vm_map_protect import vm_map_protect
from kernel_model.vm.vm_param import USRSTACK
from tests.why.model import TEXT, Model


def test_every_event_is_one_line(events):
    view = TraceView()
    lines = [view.line(event) for event in events]
    assert all("\n" not in line and "\x1b" not in line for line in lines)
    assert lines[1].startswith("map     insert   [0x800000000, 0x800001000) rw-  by mmap at event 3")
    assert lines[2] == "mmap(NULL) = 0x800000000"
    verdict = "SIGSEGV/SEGV_MAPERR: stack overflow"
    assert lines[5].startswith(f"fault   write of 8 at 0x7ffffffdeff8  rip 0x201000  {verdict}")
    frame = "frame at 0x7ffffffde000 on the alternate stack"
    assert lines[6] == f"signal  SIGSEGV {{SEGV_MAPERR, addr 0x18}} goes to the handler 0x201100, {frame}"
    assert lines[7] == "NOT MODELLED  syscall ktrace (45)"
    assert lines[8] == "insn    0x201000  nop"


def test_colours_only_on_a_terminal(events, monkeypatch):
    assert TraceView(colour=True).line(events[0]).endswith(RESET)
    assert not use_colour(io.StringIO())
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert use_colour(terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not use_colour(terminal)


def test_flags_and_strings():
    assert flag_text(0x1002, FLAGS["mmap.freebsd"]) == "MAP_PRIVATE|MAP_ANON"
    assert flag_text(0, FLAGS["prot"]) == "PROT_NONE"
    assert flag_text(0x10000002, FLAGS["mmap.linux"]) == "MAP_PRIVATE|0x10000000"
    assert flag_text(0o2000101, FLAGS["open.linux"]) == "O_WRONLY|O_CREAT|O_CLOEXEC"
    assert flag_text(0, FLAGS["open.freebsd"]) == "O_RDONLY"
    assert quoted(b'a"\n\x01\xff') == '"a\\"\\n\\x01\\xff"'


@pytest.fixture
def memory():
    model = Model("freebsd-12.1")
    base = USRSTACK - 0x1000
    assert model.trap(base).repaired

    def put(offset: int, data: bytes) -> int:
        frame = model.space.vm_pmap.extract(base)
        model.vm.phys.mem[(frame << 12) + offset : (frame << 12) + offset + len(data)] = data
        return base + offset

    return model, put


def call(name: str, letters: str, *args: int, abi: str = "FreeBSD ELF64", result: int = 0, errno: int = 0):
    first = SyscallEvent("enter", abi, 1, name, args, letters)
    return first, SyscallEvent("return", abi, 1, name, args, letters, result, errno)


def decoded(model: Model, pair, between=None) -> str:
    decoder = Decoder(pair[0], model.space)
    if between is not None:
        between()
    return ", ".join(decoder.finish(pair[1], model.space))


def test_paths_flags_and_modes(memory):
    model, put = memory
    path = put(0, b"/etc/motd\0")
    assert decoded(model, call("open", "sxo", path, 0x601, 0o644)) == '"/etc/motd", O_WRONLY|O_CREAT|O_TRUNC, 0644'
    linux = call("openat", "fsxo", (1 << 64) - 100, path, 0o2000000, 0, abi="Linux ELF64")
    assert decoded(model, linux) == 'AT_FDCWD, "/etc/motd", O_RDONLY|O_CLOEXEC, 0'


def test_what_a_call_writes_is_shown_after_it(memory):
    model, put = memory
    buffer = put(0, bytes(64))
    pair = call("read", "fbu", 3, buffer, 64, result=5)
    assert decoded(model, pair, lambda: put(0, b"hello")) == '3, "hello", 64'
    assert decoded(model, call("write", "fbu", 1, buffer, 5, result=5)) == '1, "hello", 5'
    failed = call("read", "fbu", 3, buffer, 64, errno=9)
    assert decoded(model, failed).startswith('3, "", 64')


def test_structures_of_both_abis(memory):
    model, put = memory
    limit = put(0x100, (8 << 20).to_bytes(8, "little") + ((1 << 63) - 1).to_bytes(8, "little"))
    shown = decoded(model, call("getrlimit", "np", 3, limit))
    assert shown == "RLIMIT_STACK, {cur=8388608, max=unlimited}"
    spec = put(0x200, (5).to_bytes(8, "little") + (7).to_bytes(8, "little"))
    assert decoded(model, call("clock_gettime", "dp", 4, spec)) == "CLOCK_MONOTONIC, {5.000000007}"
    assert decoded(model, call("clock_gettime", "dp", 1, spec, abi="Linux ELF64")) == "CLOCK_MONOTONIC, {5.000000007}"
    action = put(0x300, (0x201000).to_bytes(8, "little") + (0x41).to_bytes(4, "little") + bytes(16))
    shown = decoded(model, call("sigaction", "dpp", 11, action, 0))
    assert shown == "SIGSEGV, {0x201000, flags=SA_ONSTACK|SA_SIGINFO}, NULL"


def test_a_failed_call_wrote_nothing(memory):
    model, put = memory
    limit = put(0x100, bytes(16))
    shown = decoded(model, call("getrlimit", "np", 3, limit, errno=22))
    assert shown == f"RLIMIT_STACK, {limit:#x}"


def test_unreadable_memory_stays_a_number(memory):
    model, _ = memory
    assert decoded(model, call("open", "sxo", 0x1234, 0, 0)) == "0x1234, O_RDONLY, 0"


def test_the_whole_verdict():
    model = Model("freebsd-12.1")
    blame = Blame()
    model.kt.subscribe(MAP, blame)
    model.frame.rsp = USRSTACK - (8 << 20)
    event = model.trap(USRSTACK - (8 << 20) - 8)
    text = why_text(judge(event, None, blame))
    assert text.splitlines()[0] == "stack overflow; RLIMIT_STACK of 8,388,608 bytes is used up"
    assert "NO  is the stack within RLIMIT_STACK?  need 8,261,632  ssize 131,072  limit 8,388,608" in text
    assert "would have grown with RLIMIT_STACK >= 8,392,704" in text
    _, _, orientation = text.partition("for orientation")
    assert "1 page higher the stack still grows" in orientation
    assert "KERN_PROTECTION_FAILURE -> SIGSEGV/SEGV_ACCERR" in text


def test_repaired_faults_say_what_was_done():
    model = Model("freebsd-10.1")
    assert headline(model.trap(USRSTACK - 8)) == "zero-fill"
    assert headline(model.trap(USRSTACK - 0x20008)) == "stack grown by 131,072 bytes and zero-fill"
    assert headline(model.trap(USRSTACK - 8, 1)) == "mapped again"
    assert headline(model.trap(TEXT, 2)).startswith("write to code")


def test_two_decisions_side_by_side():
    text = side_by_side("a", ["same", "one"], "b", ["same", "two", "three"])
    lines = text.splitlines()
    assert lines[2].split() == ["same", "same"]
    assert lines[3].split() == ["one", "|", "two"]
    assert lines[4].split() == ["|", "three"]


def test_a_table_of_the_map():
    rows = [
        MapRow(0x200000, 0x202000, "r-x", "rwx", 2, 0, 1, 0, "CN--", "vn", "/a", 0, ((0x200000, 0x202000, "r-x"),)),
        MapRow(0x300000, 0x302000, "rw-", "rwx", 0, 0, 1, 0, "--D-", "df", "", 8192, ((0x300000, 0x301000, "rw-"),)),
        MapRow(0x400000, 0x402000, "---", "---", 0, 0, 0, 0, "----", "gd", "", 0, ()),
    ]
    text = rows_text(rows)
    assert [row.mirrored for row in rows] == [True, False, True]
    assert "the same, r-x" in text
    assert "0x300000-0x301000 rw-" in text
    assert "may grow 8,192" in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_map_followed_through_changes():
    model = Model("freebsd-10.1")
    blame = Blame()
    model.kt.subscribe(MAP, blame)
    model.map_at(0x800000000, 0x4000)
    assert vm_map_protect(model.map, 0x800001000, 0x800002000, 1, False) == 0
    rows = blame_rows(blame.map_at())
    assert [(row.start, row.end, row.prot) for row in rows] == [
        (0x800000000, 0x800001000, "rw-"),
        (0x800001000, 0x800002000, "r--"),
        (0x800002000, 0x800004000, "rw-"),
    ]


def test_coverage_is_drcov(tmp_path):
    coverage = Coverage()
    for addr in (0x201000, 0x201010, 0x201010, 0x900000):
        coverage.hit(addr, 16)
    entries = [EntryState(0x200000, 0x202000, 5, 7, vnode="/guest/a b"), EntryState(0x202000, 0x203000, 3, 7)]
    path = tmp_path / "cov"
    assert coverage.write(Output(path), entries) == 2
    assert path.read_bytes().startswith(b"DRCOV VERSION: 2\n")
    modules, blocks = read_drcov(path)
    assert [tuple(module) for module in modules] == [(0x200000, 0x202000, "/guest/a b")]
    assert blocks == [(0, 0x1000, 16), (0, 0x1010, 16)]
