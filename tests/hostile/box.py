"""A whole machine for machine code given as bytes, with a bound on time."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from emu.machine import Machine
from kernel_model.kern.kern_sig import psignal
from kernel_model.kern.signalvar import KSigInfo
from kernel_model.kern.signo import SIGKILL
from tests.unit.elf_files import PT_LOAD, PT_NOTE, Elf, R, Seg, W, X, freebsd_note

if TYPE_CHECKING:
    from collections.abc import Callable

CODE = 0x400000
DATA = 0x600000
DATA_SIZE = 0x40000
FREEBSD, LINUX = 9, 3
SECONDS = 0.05

_counter = itertools.count()
_root: list[Path] = []


def root() -> Path:
    """A directory of this process's own that is the guest's root."""
    if not _root:
        made = Path(tempfile.mkdtemp(prefix="hostile-"))
        _root.append(made)
        import atexit

        atexit.register(shutil.rmtree, made, ignore_errors=True)
    return _root[0]


def elf(code: bytes, osabi: int = FREEBSD, flags: int = R | W | X, data: bytes = b"") -> bytes:
    """A static program: *code* at CODE, *data* and zeroes at DATA."""
    size = (len(code) + 0xFFF) & ~0xFFF
    segs = [
        Seg(PT_LOAD, flags, 0x1000, CODE, data=code.ljust(size, b"\xcc")),
        Seg(PT_LOAD, R | W, 0x1000 + size, DATA, data=data or b"data", memsz=DATA_SIZE),
    ]
    if osabi == FREEBSD:
        segs.append(Seg(PT_NOTE, R, 0x800, 0x800, data=freebsd_note(), align=4))
    return Elf(segs, osabi=osabi, entry=CODE).build()


def run_machine(machine: Machine, seconds: float = SECONDS) -> int:
    """Run until the program ends; SIGKILL after *seconds*.  The wait status."""
    done = threading.Event()
    due = time.monotonic() + seconds

    def stop() -> None:
        while not done.wait(0.01):
            if time.monotonic() >= due:
                machine._stop()

    watcher = threading.Thread(target=stop, daemon=True)
    watcher.start()
    try:
        while not machine.proc.p_state:
            if time.monotonic() >= due:
                psignal(machine.proc, KSigInfo(SIGKILL))
            machine.step()
    finally:
        done.set()
        watcher.join()
    return machine.proc.wait_status


def run_code(
    code: bytes,
    osabi: int = FREEBSD,
    *,
    data: bytes = b"",
    flags: int = R | W | X,
    seconds: float = SECONDS,
    prepare: Callable[[Machine], None] | None = None,
    **options: object,
) -> int:
    """Run *code* as a program of its own; its wait status (128 + signal when killed)."""
    name = f"p{next(_counter)}"
    path = root() / name
    path.write_bytes(elf(code, osabi, flags, data))
    path.chmod(0o755)
    options = {"stdin": b"", "stdout": bytearray(), "stderr": bytearray(), "ram": 64 << 20} | options
    try:
        with Machine(root=root(), **options) as machine:
            machine.execve(f"/{name}", [name], {})
            if prepare is not None:
                prepare(machine)
            return run_machine(machine, seconds)
    finally:
        os.unlink(path)
