"""A whole machine whose program is the test: it makes system calls by name, with memory of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.machine import Machine
from kernel_model.kern.copyin import copyout
from kernel_model.kern.kern_sig import ast
from tests import process
from tests.hostile.box import DATA, DATA_SIZE, FREEBSD, LINUX, elf, root

if TYPE_CHECKING:
    from pathlib import Path

SCRATCH = DATA + 0x1000


class Process(process.Process):
    """The process of a machine with an engine, which never runs; *options* are Machine's."""

    def __init__(self, home: Path | None = None, abi: str = "linux", **options: object) -> None:
        home = home or root()
        if not (home / "prog").exists():
            (home / "prog").write_bytes(elf(b"\x0f\x0b", LINUX if abi == "linux" else FREEBSD))
            (home / "prog").chmod(0o755)
        options = {"stdin": b"", "stdout": bytearray(), "stderr": bytearray(), "ram": 64 << 20} | options
        self.machine = Machine(root=home, abi=abi, **options)
        self.machine.execve("/prog", ["prog"], {})
        self.adopt(self.machine.thread, SCRATCH, DATA + DATA_SIZE)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.close()

    @property
    def dead(self) -> int:
        """The signal that killed the process, or 0."""
        return self.proc.p_xsig

    def call(self, call: str | int, *args: int | str | bytes) -> int:
        """The result, or minus the ABI's errno; signals are taken before it returns."""
        result = super().call(call, *args)
        if self.td.td_ast:
            ast(self.td)
        return result

    def store(self, va: int, data: bytes) -> int:
        """Store *data* at *va*, and say where."""
        copyout(self.td, va, data)
        return va
