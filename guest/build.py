"""Build the guests with clang and lld: ``python -m guest.build [NAME...]``.

Model only: FreeBSD builds nothing like this.  The output depends on the sources and the compiler
alone (no paths, times or build ids), so a rebuild can be compared byte for byte.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from guest import HERE, Guest, guests

if TYPE_CHECKING:
    from pathlib import Path

CFLAGS = [
    *("-std=c11", "-ffreestanding", "-O1", "-gdwarf-4", "-fdebug-compilation-dir=.", "-Qn"),
    *("-fno-ident", "-fno-stack-protector", "-fno-omit-frame-pointer", "-fno-pic"),
    *("-fno-optimize-sibling-calls", "-fno-asynchronous-unwind-tables", "-fcf-protection=none"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-infinite-recursion", "-Iguest/include"),
]
LDFLAGS = ["-static", "--build-id=none", "-z", "noexecstack"]
TARGETS = {
    "freebsd": ("--target=x86_64-unknown-freebsd14", "elf_x86_64_fbsd"),
    "linux": ("--target=x86_64-unknown-linux-gnu", "elf_x86_64"),
}
TOOLCHAIN = HERE / "bin" / "TOOLCHAIN"


class BuildError(Exception):
    """A tool is missing or failed; the text says which and why."""


def find_tool(name: str) -> str | None:
    """The path of a tool of LLVM, or of its numbered Debian form."""
    return shutil.which(name) or next(
        (path for major in range(30, 13, -1) if (path := shutil.which(f"{name}-{major}"))), None
    )


def toolchain() -> str | None:
    """The compiler and linker found here as one line, or None when one is missing."""
    tools = [find_tool("clang"), find_tool("ld.lld"), find_tool("llvm-objdump")]
    if None in tools:
        return None
    lines = (_run([str(tool), "--version"]).splitlines()[0] for tool in tools[:2])
    return " + ".join(line.partition(" (")[0].strip() for line in lines)


def built_with() -> str:
    """The toolchain line of the programs in guest/bin."""
    return TOOLCHAIN.read_text(encoding="ascii").strip()


def build(guest: Guest, out: Path) -> None:
    """Compile and link one guest to *out*."""
    target, emulation = TARGETS[guest.abi]
    pic, pie = (["-fPIE"], ["-pie", "--no-dynamic-linker", "-z", "text"]) if guest.build == "pie" else ([], [])
    source = guest.source.relative_to(HERE.parent)
    # The object keeps a name of its own: the linker writes none of it into the program.
    obj = out.with_name(out.name + ".o")
    _run([_need("clang"), target, *CFLAGS, *pic, "-c", str(source), "-o", str(obj)])
    strip = ["-s"] if guest.stripped else []
    _run([_need("ld.lld"), "-m", emulation, *LDFLAGS, *pie, *strip, "-o", str(out), str(obj)])
    obj.unlink()


def listing(guest: Guest, program: Path) -> str:
    """The headers and the disassembly."""
    text = _run([_need("llvm-objdump"), "-p", "-h", "-d", "--no-show-raw-insn", str(program)])
    lines = [line.rstrip() for line in text.replace(str(program), guest.name).splitlines()]
    return "\n".join(lines).strip() + "\n"


def main(names: list[str]) -> int:
    """Build the named guests, or all; write programs, listings and the toolchain line.  Status 2 for bad use."""
    if unknown := set(names) - {guest.name for guest in guests()}:
        print(f"guest.build: no guest {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    line = toolchain()
    if line is None:
        print("guest.build: clang, ld.lld and llvm-objdump are needed", file=sys.stderr)
        return 2
    for folder in ("bin", "listing"):
        (HERE / folder).mkdir(exist_ok=True)
    for guest in guests():
        if not names or guest.name in names:
            build(guest, guest.path)
            text = listing(guest, guest.path)
            (HERE / "listing" / f"{guest.name}.txt").write_text(text, encoding="utf-8")
    TOOLCHAIN.write_text(line + "\n", encoding="ascii")
    return 0


def _need(name: str) -> str:
    path = find_tool(name)
    if path is None:
        raise BuildError(f"{name} is not installed")
    return path


def _run(command: list[str]) -> str:
    """Run a tool beside the sources; its output, or BuildError with what it said."""
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
