"""Programs for FreeBSD: one built here by clang and lld, and Go programs as far as they get."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from guest import HERE
from guest.build import find_tool

SOURCE = Path(__file__).parent / "digest.c"
TARGETS = {"freebsd": ("x86_64-unknown-freebsd14", "elf_x86_64_fbsd"), "linux": ("x86_64-linux-gnu", "elf_x86_64")}
SHAPES = {
    "static": ([], []),
    "static-pie": (["-fPIE"], ["-pie", "--no-dynamic-linker", "-z", "text"]),
    "no-rosegment": ([], ["--no-rosegment", "-z", "separate-loadable-segments"]),
}


def _link(abi: str, shape: str, tmp_path: Path) -> Path:
    clang, lld = find_tool("clang"), find_tool("ld.lld")
    if clang is None or lld is None:
        pytest.skip("clang and ld.lld are not both installed")
    target, emulation = TARGETS[abi]
    compile_flags, link_flags = SHAPES[shape]
    obj, out = tmp_path / f"{abi}.o", tmp_path / f"digest-{abi}"
    flags = ["-ffreestanding", "-fno-stack-protector", "-fcf-protection=none", "-O2", f"-I{HERE / 'include'}"]
    subprocess.run([clang, f"--target={target}", *flags, *compile_flags, "-c", SOURCE, "-o", obj], check=True)
    subprocess.run([lld, "-m", emulation, "-static", *link_flags, "-o", out, obj], check=True)
    return out


@pytest.mark.parametrize("release", ["freebsd-9.3", "freebsd-10.1", "freebsd-12.1", "freebsd-15.0"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_program_of_clang_and_lld(shape, release, tmp_path, run_native, run_emulated) -> None:
    text = b"the quick brown fox " * 2000
    expected = run_native([str(_link("linux", shape, tmp_path))], tmp_path, text)
    assert expected.out.decode().split()[0][-8:] == hashlib.sha256(text).hexdigest()[:8]
    program = _link("freebsd", shape, tmp_path)
    actual = run_emulated([str(program)], tmp_path, text, options=["--release", release, "--paranoid"])
    assert actual == expected


@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1"])
def test_a_go_program_gets_as_far_as_its_second_thread(release, made, tmp_path, run_emulated) -> None:
    """The runtime starts, maps its arenas and installs its handlers; thr_new is refused and Go says so."""
    run = run_emulated([str(made("esbuild-freebsd")), "--version"], tmp_path, options=["--release", release])
    assert run.status == 2
    assert b"runtime: failed to create new OS thread (have 2 already; errno=78)" in run.err
