"""C programs for Linux, built here and now, run natively and under the machine: same output, same status."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parent / "programs").glob("*.c"))
KINDS = {
    "static": ("gcc", "-static"),
    "dynamic": ("gcc", "-pie", "-fPIE"),
    "clang": ("clang", "-no-pie", "-fno-pie"),
    "musl": ("musl-gcc", "-static"),
    "musl-pie": ("musl-gcc", "-static-pie", "-fPIE"),
}
ARGUMENTS = {"vectors": ("x", "two words", "", "é")}
STDIN = {"lines": b"one\ntwo words\n\nthe last has no newline"}
FEW = {"vectors", "signals", "heap"}
"""Programs that every kind runs; the rest run where their start-up or allocator differs most."""


def _jobs() -> list[tuple[str, Path]]:
    return [
        (kind, source)
        for kind in KINDS
        for source in SOURCES
        if kind in ("static", "dynamic", "musl") or source.stem in FEW
    ]


def _compile(kind: str, source: Path, out: Path) -> None:
    compiler, *flags = KINDS[kind]
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    command = [compiler, "-O1", "-w", *flags, "-o", str(out), str(source), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "cannot find" in done.stderr:
        pytest.skip(f"{kind} programs cannot be linked here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("kind", "source"), _jobs(), ids=lambda value: getattr(value, "stem", value))
def test_a_program_does_the_same(kind, source, tmp_path, same_as_native) -> None:
    program = tmp_path / source.stem
    _compile(kind, source, program)
    argv = [str(program), *ARGUMENTS.get(source.stem, ())]
    same_as_native(argv, stdin=STDIN.get(source.stem, b""), options=["--paranoid"])
