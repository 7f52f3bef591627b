"""A whole machine whose program is the test: it makes system calls by name, with memory of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.machine import Machine
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_sig import ast
from kernel_model.kern.subr_syscall import bind
from tests.hostile.box import DATA, FREEBSD, LINUX, elf, root

if TYPE_CHECKING:
    from pathlib import Path

WORD = (1 << 64) - 1
SCRATCH = DATA + 0x1000


class Process:
    """A process without code; *options* are Machine's."""

    def __init__(self, home: Path | None = None, abi: str = "linux", **options: object) -> None:
        home = home or root()
        self.abi = abi
        if not (home / "prog").exists():
            (home / "prog").write_bytes(elf(b"\x0f\x0b", LINUX if abi == "linux" else FREEBSD))
            (home / "prog").chmod(0o755)
        options = {"stdin": b"", "stdout": bytearray(), "stderr": bytearray(), "ram": 64 << 20} | options
        self.machine = Machine(root=home, abi=abi, **options)
        self.machine.execve("/prog", ["prog"], {})
        self.td = self.machine.thread
        self.proc = self.machine.proc
        self.numbers = {
            row.name: number for number, row in self.proc.p_sysent.sv_table().items() if row.handler is not None
        }
        self.syscall = bind(self.machine.kernel)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.close()

    @property
    def dead(self) -> int:
        """The signal that killed the process, or 0."""
        return self.proc.p_xsig

    def call(self, name: str, *args: int | str | bytes) -> int:
        """The result, or minus the ABI's errno; strings are put into memory."""
        at = SCRATCH
        words = []
        for arg in args:
            if isinstance(arg, str):
                arg = arg.encode()
            if isinstance(arg, bytes):
                copyout(self.td, at, arg + b"\0")
                words.append(at)
                at += len(arg) + 16 & ~15
            else:
                words.append(arg & WORD)
        result = self.syscall(self.numbers[name], *words, *(0,) * (6 - len(words)))
        if isinstance(result, tuple):
            result = result[0]
        if self.td.td_ast:
            ast(self.td)
        if self.abi == "linux" and result >> 63 == 1:
            result -= 1 << 64
        return result

    def put(self, va: int, data: bytes) -> int:
        copyout(self.td, va, data)
        return va

    def get(self, va: int, size: int) -> bytes:
        return copyin(self.td, va, size)
