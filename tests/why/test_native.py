"""Verdicts on programs of the host's compiler: position-independent, with shared libraries and DWARF 5."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from emu.api import watch
from emu.machine import Machine
from emu.program.files import open_file
from emu.program.symbols import SymbolTable

SOURCE = r"""
#include <string.h>
#include <stdlib.h>
int data[4] = { 1, 2, 3, 4 };
struct s { char pad[24]; char *name; };
static int deep(struct s *p) { return (int)strlen(p->name); }
static void smash(unsigned long v) { unsigned long *frame = __builtin_frame_address(0); frame[1] = v; }
static int (*volatile nothing)(void);
int main(int argc, char **argv)
{
	struct s s = { .name = 0 };
	char *p;
	switch (argc > 1 ? argv[1][0] : 0) {
	case 's': return deep(&s);
	case 'r': smash(0x41414141414UL); return 0;
	case 'd': smash((unsigned long)data); return 0;
	case 'n': return nothing();
	case 'f': p = malloc(1 << 20); memset(p, 1, 1 << 20); free(p); return p[100];
	case 'z': return argv[1][0] / (argc - 2);
	case 'o': p = malloc(1 << 20); p[(1 << 20) + 8192] = 1; return 0;
	}
	return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    folder = tmp_path_factory.mktemp("native")
    (folder / "crash.c").write_text(SOURCE)
    flags = ["-g", "-O0", "-pie", "-fPIE", "-fno-stack-protector", "-w"]
    subprocess.run(["gcc", *flags, "-o", str(folder / "crash"), str(folder / "crash.c")], check=True)
    return str(folder / "crash")


def verdict(program: str, word: str):
    with Machine(stdin=None, stdout=None, stderr=None, seed=1) as machine:
        process = watch(machine, keep=False)
        machine.execve(program, [program, word], {})
        machine.run()
        return process.why()


def test_a_crash_in_a_library_names_the_caller(program):
    found = verdict(program, "s")
    assert found.kind == "null"
    assert "called from deep" in found.headline
    callers = [str(place) for place in found.case.callers]
    assert callers[0].startswith("deep+0x")
    assert "at crash.c:6" in callers[0]
    assert any(caller.startswith("main+0x") for caller in callers)


@pytest.mark.parametrize(
    ("word", "kind", "words"),
    [
        ("r", "return-address", "return address is not code: 0x41414141414, where nothing is mapped"),
        ("d", "return-address", "return address is not code: data (0x"),
        ("n", "null", "call through a null pointer, called from main+0x"),
        ("f", "use-after-munmap", "use after munmap: read of 1 byte in main, 116 bytes into ["),
        ("z", "trap", "integer division by zero or overflow in main: idiv"),
    ],
)
def test_the_cause_is_named(program, word, kind, words):
    found = verdict(program, word)
    assert found.kind == kind, found.headline
    assert found.headline.startswith(words)


def test_a_store_behind_a_block_is_an_overrun_or_hits_the_next_mapping(program):
    found = verdict(program, "o")
    if found is not None:
        assert found.kind in ("overrun", "wild"), found.headline


def test_data_of_a_position_independent_program_has_its_name(program):
    table = SymbolTable(open_file(program))
    assert table.dynamic
    symbol = next(one for one in table.symbols if one.name == "data")
    assert table.section(symbol.start).name == ".data"
    assert table.find(symbol.start + 5) is symbol
    found = verdict(program, "d")
    place = found.case.place(found.event.addr)
    assert (place.symbol, place.offset, place.section) == ("data", 0, ".data")
